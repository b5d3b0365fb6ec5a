"""Postgres is away for a while: accepting goes on up to the backlog, and all of it drains once."""

import asyncio
import signal

import psutil
import pytest

from core import embedded, sales
from core.jobs.order_writer import OrderWriter
from core.jobs.role import Role, perform
from core.kit import db
from hotpath.claims import Claim, Kind
from hotpath.gate import Gate
from tests.core.steps import books
from tests.patience import PATIENCE_S

BACKLOG_MAX = 8


@pytest.fixture
async def small_gate(gate) -> Gate:
    gate._backlog_max = BACKLOG_MAX
    return gate


def tell_all(postgres: embedded.Postgres, how: signal.Signals) -> None:
    """Every process of the server at once, as on a machine that hangs."""
    main = psutil.Process(postgres.process.pid)
    for one in (main, *main.children(recursive=True)):
        one.send_signal(how)


async def test_accepting_goes_on_to_the_backlog_while_postgres_hangs_and_drains_once(
    postgres, pool, redis, keyring, sale, directory, small_gate, sku_ids, monkeypatch
):
    monkeypatch.setattr(db, "COMMAND_TIMEOUT_S", 0.5)
    monkeypatch.setattr(db, "CONNECT_TIMEOUT_S", 0.5)
    await directory.refresh()
    async with db.create_pool(postgres.url_of(await name_of(pool)), size_max=2) as roles:
        writer = Role("order_writer", OrderWriter(roles, redis, keyring).step, 0.02)
        task = asyncio.create_task(perform(roles, [writer], holder="one"))
        watch = asyncio.create_task(directory.run())
        await asyncio.sleep(0.3)
        tell_all(postgres, signal.SIGSTOP)
        try:
            verdicts = [
                await small_gate.ask(Claim(sale.id, member, "k", sku_ids[0], 1))
                for member in range(1, BACKLOG_MAX + 5)
            ]
            await asyncio.sleep(3)
        finally:
            tell_all(postgres, signal.SIGCONT)
        kinds = [verdict.kind for verdict in verdicts]
        assert kinds == [Kind.ACCEPTED] * BACKLOG_MAX + [Kind.BUSY] * 4
        for _ in range(10 * PATIENCE_S):
            if await sold(pool, sale) == BACKLOG_MAX:
                break
            await asyncio.sleep(0.1)
        assert not task.done()
        assert not watch.done()
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
    assert await books(pool, redis, sale) == (92, 0, BACKLOG_MAX, 0)


async def name_of(pool) -> str:
    async with db.reading(pool) as conn:
        return await conn.fetchval("SELECT current_database()")


async def sold(pool, sale) -> int:
    async with db.reading(pool) as conn:
        return (await sales.books(conn, sale_id=sale.id))[0].allotments[0].sold
