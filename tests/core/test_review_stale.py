"""A process that is stopped and wakes much later carries out what it was about to do: no harm."""

import asyncio

import pytest

from core import sales
from core.flows.run_sale import close_sale, tell_redis
from core.flows.settle_sale import settle_sale
from core.jobs.conductor import Conductor
from core.kit import db


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
