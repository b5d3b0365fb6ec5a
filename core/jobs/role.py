"""How roles are played: each in its turn, it takes a step, rests, and outlives whatever goes wrong.

A step may be cut off anywhere, and two holders may overlap after a long pause. Every step's writes
guard themselves; a lease only saves work.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, TypeVar

import structlog

from core.kit import db, leases

LEASE_S = 2.0
RENEW_S = 0.5
BACKOFF_MAX_S = 2.0
# A step that hangs is cut off: whatever it waits for has a deadline of its own below this.
STEP_MAX_S = 60.0
# Long before that, its lease is left to whoever else can play the role.
HANGS_S = 2.0
PARTING_S_MAX = 1.0

log = structlog.get_logger()

Step = Callable[[], Awaitable[bool]]
Thing = TypeVar("Thing")


class Role(NamedTuple):
    """`step` says whether there is more to do at once; if not, it rests for `rest_s`.

    `end` is what is left to do when nobody plays it any more.
    """

    name: str
    step: Step
    rest_s: float
    end: Callable[[], Awaitable[None]] | None = None


class Tenure:
    """Which roles are ours. One statement keeps the leases of all of them."""

    def __init__(self, pool: db.Pool, *, holder: str) -> None:
        self._pool = pool
        self._holder = holder
        self._clock = asyncio.get_running_loop().time
        self._until: dict[str, float] = {}
        self._began: dict[str, float] = {}
        "When each role's turn began; never, while it waits or rests."
        self._renewed = asyncio.Event()

    @asynccontextmanager
    async def turn(self, role: str) -> AsyncIterator[None]:
        """Wait until the role is ours. Its lease is kept, unless the turn seems to hang."""
        self._began.setdefault(role, math.inf)
        while self._clock() >= self._until.get(role, 0.0):
            await self._renewed.wait()
        self._began[role] = self._clock()
        try:
            yield
        finally:
            self._began[role] = math.inf

    async def keep(self) -> None:
        """Hold the leases for ever, and let go of them at the end."""
        try:
            while not is_cancelled():
                try:
                    await self._renew()
                except Exception as error:  # noqa: BLE001 - who renews outlives whatever went wrong
                    log.warning("leases_not_renewed", error=repr(error))
                await asyncio.sleep(RENEW_S)
        finally:
            with suppress(Exception):
                async with asyncio.timeout(PARTING_S_MAX), db.autocommit(self._pool) as conn:
                    await leases.drop(conn, holder=self._holder)

    async def _renew(self) -> None:
        now = self._clock()
        roles = [role for role, began in self._began.items() if now - began < HANGS_S]
        async with db.autocommit(self._pool) as conn:
            held = await leases.hold(conn, roles=roles, holder=self._holder, ttl_s=LEASE_S)
        self._until |= dict.fromkeys(held, now + LEASE_S)
        self._renewed.set()
        self._renewed = asyncio.Event()


async def perform(pool: db.Pool, roles: Sequence[Role], *, holder: str) -> None:
    """Play each role for ever, whenever it is ours, in a task of its own, until cancelled."""
    tenure = Tenure(pool, holder=holder)
    async with asyncio.TaskGroup() as group:
        for role in roles:
            group.create_task(play(role, tenure))
        group.create_task(tenure.keep())


async def play(role: Role, tenure: Tenure) -> None:
    try:
        await _play(role, tenure)
    finally:
        if role.end is not None:
            await role.end()


async def _play(role: Role, tenure: Tenure) -> None:
    backoff_s = role.rest_s
    while not is_cancelled():
        try:
            async with tenure.turn(role.name), asyncio.timeout(STEP_MAX_S):
                more = await role.step()
            backoff_s = role.rest_s
            if not more:
                await asyncio.sleep(role.rest_s)
        except Exception as error:  # noqa: BLE001 - a role outlives whatever went wrong in a step
            log.warning("step_failed", role=role.name, error=repr(error))
            await asyncio.sleep(backoff_s)
            backoff_s = min(max(backoff_s, 0.05) * 2, BACKOFF_MAX_S)


def is_cancelled() -> bool:
    """Libraries swallow a cancellation that meets their own deadline, so it is looked for, too."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def for_each(things: Iterable[Thing], act: Callable[[Thing], Awaitable[bool]]) -> bool:
    """Act on each, though another fails, and raise what failed at the end.

    True where one of them had more to do.
    """
    more, failures = False, []
    for thing in things:
        try:
            more |= await act(thing)
        except Exception as failure:  # noqa: BLE001 - raised below, with all others
            failures.append(failure)
    if failures:
        raise ExceptionGroup("some of a step failed", failures)
    return more
