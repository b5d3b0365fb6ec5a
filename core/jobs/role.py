"""How a role is played: hold its lease, take a step, rest, and outlive whatever goes wrong.

A step may be cut off anywhere, and two holders may overlap after a long pause. Every step's writes
guard themselves; the lease only saves work.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeVar

import structlog

from core.kit import db, leases

LEASE_S = 2.0
RENEW_S = 0.5
BACKOFF_MAX_S = 2.0
# A step that hangs is cut off: whatever it waits for has a deadline of its own below this.
STEP_MAX_S = 60.0

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


async def play(pool: db.Pool, role: Role, *, holder: str) -> None:
    """Play a role for ever, whenever its lease is ours."""
    try:
        await _play(pool, role, holder)
    finally:
        if role.end is not None:
            await role.end()


async def _play(pool: db.Pool, role: Role, holder: str) -> None:
    clock = asyncio.get_running_loop().time
    backoff_s = role.rest_s
    renew_at = 0.0
    me = asyncio.current_task()
    assert me is not None
    # Libraries swallow a cancellation that meets their own deadline, so it is looked for, too.
    while not me.cancelling():
        try:
            if clock() >= renew_at:
                if not await hold(pool, role, holder):
                    await asyncio.sleep(RENEW_S)
                    continue
                renew_at = clock() + RENEW_S
            async with asyncio.timeout(STEP_MAX_S):
                more = await role.step()
            backoff_s = role.rest_s
            if not more:
                await asyncio.sleep(role.rest_s)
        except Exception as error:  # noqa: BLE001 - a role outlives whatever went wrong in a step
            log.warning("step_failed", role=role.name, error=repr(error))
            renew_at = 0.0
            await asyncio.sleep(backoff_s)
            backoff_s = min(max(backoff_s, 0.05) * 2, BACKOFF_MAX_S)


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


async def hold(pool: db.Pool, role: Role, holder: str) -> bool:
    async with db.transaction(pool) as conn:
        return await leases.hold(conn, role=role.name, holder=holder, ttl_s=LEASE_S)
