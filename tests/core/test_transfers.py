"""Units that go from bucket to bucket: each once, never lost, the books even at every step."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import sales
from core.flows.admit_redis import Outcome, admit_redis
from core.flows.audit_sale import audit_sale
from core.flows.carry_units import arrive, carry_units, cross, put_in, take_out
from core.flows.directory import Directory
from core.flows.rebuild_sale import rebuild_sale
from core.flows.run_sale import arm_sale, close_sale
from core.flows.settle_sale import settle_sale
from core.jobs.rebalancer import Rebalancer
from core.kit import db
from hotpath import scripts
from hotpath.claims import Claim, Kind
from hotpath.gate import Gate
from hotpath.lookout import Lookout
from hotpath.routing import bucket_of
from hotpath.scripts import BucketKeys
from tests.core.steps import books, drain

HERE, THERE = BucketKeys(1), BucketKeys(2)


@pytest.fixture
async def sale(pool, redis, plan) -> sales.Sale:
    """An open sale of 100 units in two buckets of 50."""
    return await arm_sale(pool, redis, sale_id=(await plan(buckets=2)).id)


@pytest.fixture
async def planned(pool, sale, sku_ids) -> sales.Transfer:
    """Ten units shall go from bucket 1 to bucket 2."""
    async with db.transaction(pool) as conn:
        source = await sales.bucket(conn, number=1)
        wish = sales.NewTransfer(sale.id, sku_ids[0], 1, 2, 10, source.stamp)
        await sales.plan_transfers(conn, [wish, wish])
    (transfer,) = await open_ones(pool)
    return transfer


async def open_ones(pool) -> list[sales.Transfer]:
    async with db.reading(pool) as conn:
        return await sales.open_transfers(conn, page_max=10)


async def left(redis) -> list[int]:
    return [sum((await scripts.left(redis, keys)).values()) for keys in (HERE, THERE)]


async def carry_all(pool, redis) -> None:
    while any([await carry_units(pool, redis, transfer) for transfer in await open_ones(pool)]):
        pass


async def take(redis, transfer) -> int:
    """The first half of `take_out`, as if killed after it."""
    return await scripts.debit(
        redis,
        HERE,
        stamp=transfer.source_stamp,
        transfer_id=transfer.id,
        sku_id=transfer.sku_id,
        units_max=transfer.units_max,
    )


async def put(redis, transfer) -> bool:
    """The first half of `put_in`."""
    return await scripts.credit(
        redis,
        THERE,
        stamp=transfer.target_stamp,
        transfer_id=transfer.id,
        sku_id=transfer.sku_id,
        units=transfer.units,
    )


async def test_the_books_are_even_at_every_step_and_repeats_change_nothing(
    pool, redis, sale, planned
):
    assert await books(pool, redis, sale) == (100, 0, 0, 0)
    for _ in range(2):
        assert await take(redis, planned) == 10
        assert await books(pool, redis, sale) == (90, 10, 0, 0)
    assert await take_out(pool, redis, planned)
    assert not await take_out(pool, redis, planned)
    assert await books(pool, redis, sale) == (90, 10, 0, 0)
    (crossed,) = await open_ones(pool)
    assert (crossed.state, crossed.units) == ("crossed", 10)
    for _ in range(2):
        assert await put(redis, crossed)
        assert await books(pool, redis, sale) == (100, 0, 0, 0)
    assert await put_in(pool, redis, crossed)
    assert not await put_in(pool, redis, crossed)
    assert await open_ones(pool) == []
    assert await left(redis) == [40, 60]
    assert await books(pool, redis, sale) == (100, 0, 0, 0)
    async with db.reading(pool) as conn:
        found = await sales.books(conn, sale_id=sale.id)
    assert [each.allotments[0].quota for each in found] == [40, 60]


async def test_many_carriers_at_once_are_as_good_as_one(pool, redis, sale, planned):
    await asyncio.gather(*(carry_units(pool, redis, planned) for _ in range(6)))
    (crossed,) = await open_ones(pool)
    await asyncio.gather(*(carry_units(pool, redis, crossed) for _ in range(6)))
    assert await left(redis) == [40, 60]
    assert await books(pool, redis, sale) == (100, 0, 0, 0)


async def test_only_what_is_left_goes_and_nothing_goes_late(pool, redis, sale, planned):
    await redis.hset(HERE.left, str(planned.sku_id), 0)
    assert await take(redis, planned) == 0
    await redis.hset(HERE.left, str(planned.sku_id), 50)
    await carry_all(pool, redis)
    assert await open_ones(pool) == []
    assert await left(redis) == [50, 50]
    assert await take(redis, planned) == 0


@pytest.mark.parametrize("lost", ["source", "target", "both"])
@pytest.mark.parametrize("when", ["planned", "taken", "crossed", "put", "arrived"])
async def test_a_bucket_with_a_new_epoch_is_settled_by_arithmetic(
    pool, redis, sale, planned, when, lost
):
    await go_until(pool, redis, planned, when)
    for keys in {"source": [HERE], "target": [THERE], "both": [HERE, THERE]}[lost]:
        await redis.delete(*keys.all())
    await rebuild_sale(pool, redis, sale_id=sale.id)
    audit = await audit_sale(pool, redis, sale_id=sale.id)
    assert audit.drift == 0
    await carry_all(pool, redis)
    assert await open_ones(pool) == []
    assert await books(pool, redis, sale) == (100, 0, 0, 0)
    assert await left(redis) == ([50, 50] if when in {"planned", "taken"} else [40, 60])


async def go_until(pool, redis, planned, when) -> None:
    if when == "planned":
        return
    await take(redis, planned)
    if when == "taken":
        return
    await carry_units(pool, redis, planned)
    (crossed,) = await open_ones(pool)
    if when == "crossed":
        return
    await put(redis, crossed)
    if when == "arrived":
        await carry_units(pool, redis, crossed)


@pytest.mark.parametrize("when", ["planned", "taken", "crossed", "put", "arrived"])
async def test_a_sale_is_settled_while_units_are_between_buckets(
    pool, redis, sale, planned, when, buy, writer
):
    await buy(sale, 7)
    await go_until(pool, redis, planned, when)
    await close_sale(pool, redis, sale_id=sale.id)
    await drain(writer)
    assert (await audit_sale(pool, redis, sale_id=sale.id)).drift == 0
    assert await settle_sale(pool, redis, sale_id=sale.id)
    await carry_all(pool, redis)
    assert await open_ones(pool) == []
    assert await books(pool, redis, sale) == (0, 0, 1, 99)


@pytest.mark.parametrize("when", ["planned", "taken", "crossed", "put", "arrived"])
async def test_a_redis_that_kept_everything_is_admitted_between_any_two_steps(
    pool, redis, sale, planned, when
):
    await go_until(pool, redis, planned, when)
    assert await judged(pool, redis) == [Outcome.ADMITTED] * 2
    await carry_all(pool, redis)
    assert await left(redis) == [40, 60]


async def judged(pool, redis) -> list[Outcome]:
    """Let the fence look at the Redis that stands there as at a newcomer."""
    await pool.execute("UPDATE sales.buckets SET run_id = 'another'")
    run_id = await scripts.process_of(redis)
    found = [await admit_redis(pool, redis, number=n, run_id=run_id) for n in (1, 2)]
    return [judgement.outcome for judgement in found]


@pytest.mark.parametrize(("forgot", "when"), [(HERE, "crossed"), (THERE, "arrived")])
async def test_a_redis_that_forgot_a_transfer_is_fenced(pool, redis, sale, planned, forgot, when):
    await go_until(pool, redis, planned, when)
    units = 10 if forgot is HERE else -10
    await redis.hincrby(forgot.left, str(planned.sku_id), units)
    await redis.delete(forgot.transfers, forgot.transferred)
    expected = [Outcome.FENCED, Outcome.ADMITTED]
    assert await judged(pool, redis) == (expected if forgot is HERE else expected[::-1])
    await rebuild_sale(pool, redis, sale_id=sale.id)
    await carry_all(pool, redis)
    assert await left(redis) == [40, 60]


async def test_quota_does_not_move_on_the_word_of_a_process_that_is_gone(
    pool, redis, sale, planned
):
    units = await take(redis, planned)
    assert not await cross(pool, planned, units, run_id="another")
    await carry_units(pool, redis, planned)
    (crossed,) = await open_ones(pool)
    await put(redis, crossed)
    assert not await arrive(pool, crossed, run_id="another")
    await pool.execute("UPDATE sales.buckets SET run_id = NULL")
    assert not await carry_units(pool, redis, crossed)
    assert await judged(pool, redis) == [Outcome.ADMITTED] * 2
    await carry_all(pool, redis)
    assert await left(redis) == [40, 60]


@pytest.fixture
async def shop(pool, redis, gate, directory):
    """All that a worker and the rebalancer do by themselves."""
    rebalancer = Rebalancer(pool, redis)

    async def rebalance() -> None:
        while True:
            if not await rebalancer.step():
                await asyncio.sleep(0.05)

    roles = (rebalance(), directory.run(), directory._lookout.run())
    tasks = [asyncio.create_task(role) for role in roles]
    yield
    for task in tasks:
        # Libraries swallow a cancellation that meets their own deadline: once is not enough.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=0.5)
    broken = [task.exception() for task in tasks if not task.cancelled() and task.exception()]
    assert not broken, broken


async def ask(gate, sale, member, *, sku_id, quantity=1, key="k") -> Kind:
    """The last word on a claim, as a buyer hears it who comes again after each 503."""
    for _ in range(10):
        verdict = await gate.ask(Claim(sale.id, member, key, sku_id, quantity))
        if verdict.kind not in {Kind.UNAVAILABLE, Kind.UNKNOWN}:
            return verdict.kind
    return verdict.kind


async def test_the_last_unit_is_sold_wherever_it_lies_and_only_then_is_it_sold_out(
    pool, redis, sale, gate, directory, writer, sku_ids, shop
):
    await directory.refresh()
    crowd = [ask(gate, sale, member, sku_id=sku_ids[0]) for member in range(1, 301)]
    kinds = Counter(await asyncio.gather(*crowd))
    assert kinds == {Kind.ACCEPTED: 100, Kind.SOLD_OUT: 200}
    assert await left(redis) == [0, 0]
    await drain(writer)
    assert await books(pool, redis, sale) == (0, 0, 100, 0)


async def test_a_unit_in_another_bucket_is_never_denied(
    pool, redis, sale, gate, directory, sku_ids, shop
):
    """All units lie in bucket 1; members of bucket 2 get every one of them."""
    await directory.refresh()
    async with db.transaction(pool) as conn:
        source = await sales.bucket(conn, number=2)
        wish = sales.NewTransfer(sale.id, sku_ids[0], 2, 1, 50, source.stamp)
        await sales.plan_transfers(conn, [wish])
    members = [m for m in range(1, 500) if bucket_of(m, 2) == 1][:120]
    crowd = [ask(gate, sale, member, sku_id=sku_ids[0]) for member in members]
    assert Counter(await asyncio.gather(*crowd)) == {Kind.ACCEPTED: 100, Kind.SOLD_OUT: 20}


async def test_two_units_in_two_buckets_are_enough_for_who_wants_both(
    pool, redis, sale, gate, directory, sku_ids, shop
):
    await directory.refresh()
    for keys, units in ((HERE, 49), (THERE, 49)):
        await redis.hincrby(keys.left, str(sku_ids[0]), -units)
    member = next(m for m in range(1, 99) if bucket_of(m, 2) == 0)
    assert await ask(gate, sale, member, sku_id=sku_ids[0], quantity=2) is Kind.ACCEPTED
    verdict = await gate.ask(Claim(sale.id, member + 1, "k", sku_ids[0], 2))
    assert verdict.kind is Kind.SOLD_OUT


async def test_a_bucket_that_is_away_makes_the_sale_wait_and_not_sold_out(
    pool, redis, sale, gate, directory, sku_ids, monkeypatch
):
    await directory.refresh()
    await redis.hset(HERE.left, str(sku_ids[0]), 0)
    await pool.execute("UPDATE sales.buckets SET run_id = NULL WHERE number = 2")
    member = next(m for m in range(1, 99) if bucket_of(m, 2) == 0)
    quick = Gate(gate.wire_of(1), key_id=1, backlog_max=9, deadline_s=0.5)
    there = Directory(pool, quick, Lookout(quick))
    roles = [asyncio.create_task(role) for role in (there.run(), there._lookout.run())]
    await asyncio.sleep(0.5)
    for _ in range(3):
        claim = Claim(sale.id, member, "k", sku_ids[0], 1)
        assert (await quick.ask(claim)).kind is Kind.UNAVAILABLE
    for role in roles:
        role.cancel()
    await asyncio.gather(*roles, return_exceptions=True)


stocks = st.dictionaries(st.integers(1, 6), st.integers(0, 30), min_size=1)
wishes = st.dictionaries(st.integers(1, 6), st.integers(0, 9))


@given(stocks, wishes)
def test_evening_out_moves_only_what_is_there_and_comes_to_rest(left, wanted):
    stock = dict(left)
    for _ in range(20):
        plan = sales.even_out(stock, wanted)
        for source, target, units in plan:
            assert source != target
            assert 0 < units <= stock[source]
            stock[source] -= units
            stock[target] += units
    assert plan == []
    assert sum(stock.values()) == sum(left.values())
    poor = [b for b in stock if stock[b] < wanted.get(b, 0)]
    spare = [b for b in stock if stock[b] > wanted.get(b, 0)]
    assert not poor or not spare, "somebody waits for units that nobody asks for elsewhere"
    if 0 in stock.values():
        assert all(stock[b] - wanted.get(b, 0) < 2 for b in stock)
