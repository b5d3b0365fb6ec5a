"""Roles change hands, and none waits for another's slow step."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

from core.jobs import role
from core.jobs.outbox_relay import OutboxRelay
from core.jobs.role import Role, perform
from core.kit import db, outbox

LIMIT_S = 30.0


class Stage:
    """Two workers with the same roles, and who took how many steps in which."""

    def __init__(self, pool: db.Pool) -> None:
        self.pool = pool
        self.steps: Counter[tuple[str, str]] = Counter()
        self.hung: set[str] = set()

    @asynccontextmanager
    async def worker(self, who: str, *names: str, rest_s: float = 0.02):
        roles = [Role(name, self.step(who, name), rest_s) for name in names]
        task = asyncio.create_task(perform(self.pool, roles, holder=who))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def step(self, who: str, name: str):
        async def step() -> bool:
            self.steps[who, name] += 1
            if who in self.hung:
                await asyncio.Event().wait()
            return False

        return step

    async def seen(self, who: str, name: str, *, more: int = 1) -> None:
        target = self.steps[who, name] + more
        async with asyncio.timeout(LIMIT_S):
            while self.steps[who, name] < target:  # noqa: ASYNC110 - bounded by the timeout
                await asyncio.sleep(0.01)


async def test_a_role_has_one_player_and_falls_to_another_when_it_leaves(pool):
    stage = Stage(pool)
    async with AsyncExitStack() as first:
        await first.enter_async_context(stage.worker("one", "a", "b"))
        await stage.seen("one", "a")
        await stage.seen("one", "b")
        async with stage.worker("two", "a", "b"):
            await stage.seen("one", "a", more=50)
            assert not stage.steps["two", "a"]
            await first.aclose()
            await stage.seen("two", "a")
            await stage.seen("two", "b")
    async with db.reading(pool) as conn:
        assert await conn.fetchval("SELECT count(*) FROM kit.leases") == 0


async def test_a_step_that_hangs_leaves_its_role_to_another_and_keeps_the_rest(pool, monkeypatch):
    monkeypatch.setattr(role, "HANGS_S", 0.3)
    monkeypatch.setattr(role, "LEASE_S", 1.0)
    stage = Stage(pool)
    async with stage.worker("one", "a"):
        await stage.seen("one", "a")
        stage.hung.add("one")
        async with stage.worker("two", "a"):
            await stage.seen("two", "a")


async def test_a_role_that_rests_long_stays_with_its_player(pool, monkeypatch):
    monkeypatch.setattr(role, "HANGS_S", 0.3)
    monkeypatch.setattr(role, "LEASE_S", 0.5)
    monkeypatch.setattr(role, "RENEW_S", 0.1)
    stage = Stage(pool)
    async with stage.worker("one", "a", rest_s=60.0):
        await stage.seen("one", "a")
        async with stage.worker("two", "a"):
            await asyncio.sleep(2.0)
            assert not stage.steps["two", "a"]


async def test_a_topic_that_hangs_keeps_no_other_waiting(pool):
    began, handled = asyncio.Event(), asyncio.Queue()

    async def hang(_: object) -> None:
        began.set()
        await asyncio.Event().wait()

    async def handle(payload: object) -> None:
        handled.put_nowait(payload)

    relay = OutboxRelay(pool, {"slow": hang, "quick": handle})
    async with asyncio.timeout(LIMIT_S):
        async with db.transaction(pool) as conn:
            await outbox.add(conn, "slow", list(range(64)))
        step = asyncio.create_task(relay.step())
        await began.wait()
        async with db.transaction(pool) as conn:
            await outbox.add(conn, "quick", [1])
        assert await handled.get() == 1
        await step
        async with db.transaction(pool) as conn:
            await outbox.add(conn, "quick", [2])
        step = asyncio.create_task(relay.step())
        assert await handled.get() == 2
        await step
        await relay.end()
    async with db.reading(pool) as conn:
        assert await outbox.count(conn) == (64, 0)
