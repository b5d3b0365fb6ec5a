"""One sale's trouble stays its own, units find their way back, and an old Redis is found out."""

import asyncio

import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core import inventory, sales
from core.flows.admit_redis import Outcome, admit_redis
from core.flows.cancel_order import cancel_order
from core.flows.expire_holds import expire_holds
from core.flows.rebuild_sale import rebuild_sale
from core.flows.retire_sale import retire_sale
from core.flows.run_sale import arm_sale, close_sale
from core.flows.settle_sale import settle_sale
from core.jobs.auditor import SETTLED_REST_S, Auditor
from core.jobs.conductor import Conductor
from core.kit import db, outbox
from hotpath import scripts
from hotpath.nodes import Redis
from tests.core.steps import books, drain
from tests.patience import PATIENCE_S

KEYS = scripts.BucketKeys(1)


async def test_a_rebuild_of_one_sale_holds_up_no_expiry_of_another(pool, redis, plan, buy, writer):
    rebuilt = await arm_sale(pool, redis, sale_id=(await plan(hold_s=1)).id)
    other = await arm_sale(pool, redis, sale_id=(await plan(hold_s=1)).id)
    await buy(rebuilt, 7)
    await buy(other, 7)
    await drain(writer)
    await asyncio.sleep(1.1)
    async with db.transaction(pool) as conn:
        await sales.fence(conn, number=1, reason="being rebuilt")
    async with db.transaction(pool) as loading:
        await sales.hold_bucket_alone(loading, number=1)
        async with asyncio.timeout(PATIENCE_S):
            assert await expire_holds(pool, batch_max=10) == 1
            assert not await settle_sale(pool, redis, sale_id=rebuilt.id)
    assert await expire_holds(pool, batch_max=10) == 1


async def test_a_message_that_waited_long_is_not_given_up_at_its_first_failure(pool, conn):
    await outbox.add(conn, "t", [{"n": 1}])
    for _ in range(2 * outbox.ATTEMPTS_MAX):
        await conn.execute("UPDATE kit.outbox SET due_at = now()")
        (message,) = await outbox.take(conn, "t", each_max=1, lease_s=1)
        await outbox.later(conn, [message.id], error="not yet")
    await conn.execute("UPDATE kit.outbox SET due_at = now()")
    (message,) = await outbox.take(conn, "t", each_max=1, lease_s=1)
    await outbox.failed(conn, [message.id], error="broken")
    assert await outbox.count(conn) == (1, 0)


async def test_a_redis_without_memory_is_no_fault_of_a_release(
    pool, redis, keyring, sale, buy, writer, relay
):
    accepted = await buy(sale, 7)
    await drain(writer)
    await cancel_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    async with db.reading(pool) as conn:
        await conn.execute("UPDATE kit.outbox SET attempts = 49")
    await redis.config_set("maxmemory", 1)
    try:
        await relay.step()
    finally:
        await redis.config_set("maxmemory", 0)
    async with db.reading(pool) as conn:
        assert await outbox.count(conn) == (1, 0)
        await conn.execute("UPDATE kit.outbox SET due_at = now()")
    await relay.step()
    assert await books(pool, redis, sale) == (100, 0, 0, 0)


async def test_a_retirement_that_was_cut_off_can_be_finished(pool, redis, sale, buy, writer):
    await buy(sale, 7)
    await drain(writer)
    await close_sale(pool, redis, sale_id=sale.id)
    await settle_sale(pool, redis, sale_id=sale.id)
    async with Redis(port=9, retry=Retry(NoBackoff(), 0)) as away:
        with pytest.raises(RedisError):
            await retire_sale(pool, away, sale_id=sale.id, age_min_s=0)
    assert (await retire_sale(pool, redis, sale_id=sale.id, age_min_s=0)).state == "retired"
    assert await redis.dbsize() == 0


async def test_a_rebuild_of_a_settled_sale_puts_nothing_up_for_sale(
    pool, redis, keyring, sale, buy, writer
):
    first = await buy(sale, 7)
    await drain(writer)
    await close_sale(pool, redis, sale_id=sale.id)
    await settle_sale(pool, redis, sale_id=sale.id)
    await redis.flushall()
    await rebuild_sale(pool, redis, sale_id=sale.id)
    assert await scripts.left(redis, KEYS) == {await sku_of(pool, sale): 0}
    assert await buy(sale, 7) == first
    with pytest.raises(sales.SaleNotOpen):
        await buy(sale, 8)
    assert await books(pool, redis, sale) == (0, 0, 1, 99)


async def sku_of(pool, sale) -> int:
    async with db.reading(pool) as conn:
        return (await sales.items(conn, sale_id=sale.id))[0].sku_id


async def test_a_redis_that_forgot_a_release_is_fenced(
    pool, redis, keyring, sale, buy, writer, relay, fence
):
    accepted = await buy(sale, 7)
    await drain(writer)
    await cancel_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    await relay.step()
    sku_id = await sku_of(pool, sale)
    # An old copy of the log, from before the units came back: otherwise it lacks nothing.
    await redis.delete(KEYS.returned, KEYS.back)
    await redis.hincrby(KEYS.left, str(sku_id), -1)
    await redis.hincrby(KEYS.members, f"{sku_id}:7", 1)
    await newcomer(pool, fence)
    async with db.reading(pool) as conn:
        assert (await sales.bucket(conn, number=1)).fence_reason
    await rebuild_sale(pool, redis, sale_id=sale.id)
    assert await books(pool, redis, sale) == (100, 0, 0, 0)


async def test_a_redis_is_admitted_while_units_are_on_their_way_back(
    pool, redis, keyring, sale, buy, writer, relay, fence
):
    accepted = await buy(sale, 7)
    await drain(writer)
    await cancel_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    await newcomer(pool, fence)
    async with db.reading(pool) as conn:
        assert (await sales.bucket(conn, number=1)).run_id == await scripts.process_of(redis)
    await relay.step()
    assert await books(pool, redis, sale) == (100, 0, 0, 0)


async def newcomer(pool, fence) -> None:
    """Let the fence take the Redis that stands there for one that has just come."""
    async with db.reading(pool) as conn:
        await conn.execute("UPDATE sales.buckets SET run_id = repeat('0', 40)")
    await fence.step()
    await asyncio.sleep(0.7)
    await fence.step()


async def test_stock_is_locked_in_one_order_whoever_moves_it(pool, sale, sku_ids):
    low, high, _ = sku_ids
    lock = "UPDATE inventory.balances SET on_hand = on_hand WHERE sku_id = $1"
    both = {high: 1, low: 1}

    async def put(conn):
        place = inventory.MAIN
        await inventory.receive(conn, place_id=place, units=both, reference="1", by="test")

    async def keep(conn):
        await inventory.reserve(conn, inventory.Wanted("order:2", both, by="test"))

    async def put_back(conn):
        deeds = [inventory.Deed("order:2", {sku: 1}, f"cancel:{sku}", by="test") for sku in both]
        await inventory.release(conn, deeds)

    async def move(verb):
        async with db.transaction(pool) as conn:
            await verb(conn)

    for verb in (put, keep, put_back):
        async with db.transaction(pool) as conn:
            await conn.execute(lock, low)
            task = asyncio.create_task(move(verb))
            await asyncio.sleep(0.2)
            async with asyncio.timeout(PATIENCE_S):
                await conn.execute(lock, high)
        await task


async def test_two_refreshes_at_once_never_trip_over_each_other(pool, redis, sale, directory, plan):
    planned = [await plan() for _ in range(3)]

    async def arm_and_retire(one):
        await arm_sale(pool, redis, sale_id=one.id)
        await directory.refresh()
        await close_sale(pool, redis, sale_id=one.id)
        await settle_sale(pool, redis, sale_id=one.id)
        await retire_sale(pool, redis, sale_id=one.id, age_min_s=0)

    async def refresh():
        for _ in range(60):
            await directory.refresh()

    await asyncio.gather(*(refresh() for _ in range(4)), *(arm_and_retire(p) for p in planned))
    await directory.refresh()
    assert [view.id for view in directory.listing()] == [sale.id]
    assert directory._lookout._shelves.keys() == {1}


async def test_two_conductors_settle_a_sale_once(pool, redis, sale, sku_ids):
    await close_sale(pool, redis, sale_id=sale.id)
    both = (settle_sale(pool, redis, sale_id=sale.id) for _ in range(2))
    assert sorted(await asyncio.gather(*both)) == [False, True]
    async with db.reading(pool) as conn:
        assert (await inventory.free(conn, sku_ids=sku_ids))[sku_ids[0]] == 1_000


async def test_a_sale_is_closed_when_its_window_is_over_by_the_clock_of_redis(
    pool, redis_url, redis, plan
):
    """Postgres' clock may be hours ahead, and what is closed stays closed."""
    planned = await plan(starts_in_s=-10, lasts_s=11)
    sale = await arm_sale(pool, redis, sale_id=planned.id)
    await asyncio.sleep(1.1)

    class Behind(Redis):
        async def time(self):
            seconds, micros = await super().time()
            return seconds - 7_200, micros

    async def closed_by(client) -> bool:
        await Conductor(pool, client).step()
        async with db.reading(pool) as conn:
            return (await sales.find(conn, sale_id=sale.id)).state == "closed"

    async with Behind.from_url(redis_url, retry=Retry(NoBackoff(), 0)) as behind:
        assert not await closed_by(behind)
    assert await closed_by(redis)


async def test_only_the_process_that_witnesses_were_waited_for_is_judged(pool, redis, sale):
    async with db.reading(pool) as conn:
        await conn.execute("UPDATE sales.buckets SET run_id = NULL")
    judged = await admit_redis(pool, redis, number=1, run_id="0" * 40)
    assert judged.outcome is Outcome.WAITING
    run_id = await scripts.process_of(redis)
    judged = await admit_redis(pool, redis, number=1, run_id=run_id)
    assert judged.outcome is Outcome.ADMITTED


async def test_rebuilds_at_the_same_time_leave_the_books_even(pool, redis, sale, buy, writer):
    await buy(sale, 7)
    await drain(writer)
    rebuilds = (rebuild_sale(pool, redis, sale_id=sale.id) for _ in range(3))
    for came in await asyncio.gather(*rebuilds, return_exceptions=True):
        assert isinstance(came, (list, sales.NotReady)), came
    assert await books(pool, redis, sale) == (99, 0, 1, 0)
    await buy(sale, 8)


async def test_a_settled_sale_is_audited_now_and_then_and_a_running_one_each_time(
    pool, redis, sale
):
    async def audited_at():
        async with db.reading(pool) as conn:
            return await conn.fetchval("SELECT audited_at FROM sales.audits")

    auditor = Auditor(pool, redis)
    await auditor.step()
    first = await audited_at()
    await auditor.step()
    second = await audited_at()
    await close_sale(pool, redis, sale_id=sale.id)
    assert await settle_sale(pool, redis, sale_id=sale.id)
    await auditor.step()
    assert first < second == await audited_at()
    auditor._clock = lambda: asyncio.get_running_loop().time() + SETTLED_REST_S
    await auditor.step()
    assert await audited_at() > second
