"""A process that is stopped and wakes much later carries out what it was about to do: no harm."""

import asyncio

import asyncpg
import pytest

from core import sales
from core.flows.rebuild_sale import rebuild_sale
from core.flows.run_sale import close_sale, tell_redis
from core.flows.settle_sale import settle_sale
from core.jobs import order_writer
from core.jobs.conductor import Conductor
from core.jobs.order_writer import OrderWriter
from core.kit import db
from tests.core.steps import books, drain
from tests.patience import PATIENCE_S


async def buckets_of(pool, sale):
    async with db.reading(pool) as conn:
        return await sales.buckets(conn, sale_id=sale.id)


async def set_run_id(pool, run_id):
    async with db.reading(pool) as conn:
        await conn.execute("UPDATE sales.buckets SET run_id = $1", run_id)


async def test_a_settled_sale_is_never_opened_again_by_who_slept_through_its_close(
    pool, redis, sale, buy
):
    buckets = await buckets_of(pool, sale)
    await close_sale(pool, redis, sale_id=sale.id)
    assert await settle_sale(pool, redis, sale_id=sale.id)
    await tell_redis(redis, sale, buckets)  # a conductor, or an API worker, of long ago: "open"
    await Conductor(pool, redis).step()
    with pytest.raises(sales.SaleNotOpen):
        await buy(sale, 7)


async def test_a_redis_that_forgot_the_close_of_a_settled_sale_takes_no_claim(
    pool, redis, sale, buy, fence
):
    await close_sale(pool, redis, sale_id=sale.id)
    assert await settle_sale(pool, redis, sale_id=sale.id)
    # An old copy of the log: all claims are there, the last change of state is not.
    await redis.hset("sluice:{1}:sale", "state", "open")
    await set_run_id(pool, "0" * 40)
    await fence.step()
    await asyncio.sleep(0.7)
    await fence.step()
    with pytest.raises(sales.SaleNotOpen):
        await buy(sale, 7)


async def test_a_trim_of_an_ended_epoch_leaves_the_next_one_alone(
    pool, redis, keyring, sale, buy, writer, monkeypatch
):
    """The next Redis may well have a clock that is behind."""
    ahead = 2**41
    await redis.xadd("sluice:{1}:claims", {"c": ""}, id=f"{ahead}-0")
    await redis.xdel("sluice:{1}:claims", f"{ahead}-0")
    await buy(sale, 1)
    await drain(writer)
    sleeper = writer
    await rebuild_sale(pool, redis, sale_id=sale.id)

    accepted = [await buy(sale, member) for member in range(2, 22)]
    monkeypatch.setattr(order_writer, "BATCH_MAX", 1)
    sleeper._clock = lambda: asyncio.get_running_loop().time() + 60
    await sleeper.step()
    assert await redis.xlen("sluice:{1}:claims") == len(accepted)
    sleeper._clock = asyncio.get_running_loop().time
    await drain(OrderWriter(pool, redis, keyring))
    assert await books(pool, redis, sale) == (79, 0, 21, 0)


async def test_a_process_frozen_in_a_transaction_stops_the_others_for_seconds_only(
    database_url, redis, sale, buy, writer, pool, monkeypatch
):
    monkeypatch.setattr(db, "IDLE_IN_TRANSACTION_S", 1.0)
    async with db.create_pool(database_url, size_max=1) as other, other.acquire() as frozen:
        await frozen.execute("BEGIN")
        await sales.hold_bucket_shared(frozen, number=1)
        (bucket,) = await buckets_of(pool, sale)
        await sales.advance(frozen, bucket, source="0-0", target="9-9", claims=1)
        await buy(sale, 7)
        async with asyncio.timeout(PATIENCE_S):
            await drain(writer)
        assert await books(pool, redis, sale) == (99, 0, 1, 0)


async def sleep_in_a_transaction(pool) -> None:
    async with db.transaction(pool) as conn:
        await conn.fetchval("SELECT 1")
        await asyncio.sleep(0.5)
        await conn.fetchval("SELECT 1")


async def test_a_woken_process_is_told_that_its_transaction_is_gone(database_url, monkeypatch):
    monkeypatch.setattr(db, "IDLE_IN_TRANSACTION_S", 0.2)
    async with db.create_pool(database_url, size_max=1) as pool:
        with pytest.raises(asyncpg.InterfaceError):
            await sleep_in_a_transaction(pool)
        async with db.reading(pool) as conn:
            assert await conn.fetchval("SELECT 1") == 1
