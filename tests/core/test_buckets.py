"""A sale of several buckets: whatever holds for one holds for all of them together."""

import asyncio
from collections import Counter

import pytest

from core import inventory, sales
from core.flows.cancel_order import cancel_order
from core.flows.find_order import find_order
from core.flows.place_order import Accepted
from core.flows.rebuild_sale import rebuild_sale
from core.flows.retire_sale import retire_sale
from core.flows.run_sale import arm_sale, close_sale
from core.flows.settle_sale import settle_sale
from core.kit import db
from hotpath import scripts
from hotpath.ids import parts
from hotpath.routing import bucket_of
from hotpath.scripts import BucketKeys
from tests.core.steps import books, drain

BUCKETS = 3


@pytest.fixture
async def sale(pool, redis, plan) -> sales.Sale:
    """An open sale of 100 units, two a member, in three buckets."""
    return await arm_sale(pool, redis, sale_id=(await plan(buckets=BUCKETS)).id)


async def numbers_of(pool, sale) -> list[int]:
    async with db.reading(pool) as conn:
        return [b.number for b in await sales.buckets(conn, sale_id=sale.id)]


@pytest.mark.parametrize(("quota", "buckets"), [(7, 3), (2, 3), (1, 64), (1_000, 7), (9, 3)])
async def test_a_quota_is_shared_out_evenly_and_to_the_unit(pool, redis, plan, quota, buckets):
    planned = await plan(quota=quota, skus=3, buckets=buckets)
    sale = await arm_sale(pool, redis, sale_id=planned.id)
    shares: dict[int, Counter] = {}
    for number in await numbers_of(pool, sale):
        async with db.reading(pool) as conn:
            bucket = await sales.bucket(conn, number=number)
            for allotment in await sales.allotted(conn, bucket):
                shares.setdefault(allotment.sku_id, Counter())[number] = allotment.quota
        left = await scripts.left(redis, BucketKeys(number))
        assert left == {sku_id: share[number] for sku_id, share in shares.items()}
    assert len(shares) == 3
    for share in shares.values():
        assert share.total() == quota
        assert max(share.values()) - min(share.values()) <= 1
    if quota % buckets:
        # No bucket is the one that always gets more.
        most = [{n for n in share if share[n] == max(share.values())} for share in shares.values()]
        assert most[0] != most[1]


async def test_each_member_buys_in_a_bucket_of_its_own_and_the_books_add_up(
    pool, redis, keyring, sale, buy, writer
):
    numbers = await numbers_of(pool, sale)
    bought = dict(
        zip(range(1, 31), await asyncio.gather(*(buy(sale, m) for m in range(1, 31))), strict=True)
    )
    assert await books(pool, redis, sale) == (70, 30, 0, 0)
    for member, accepted in bought.items():
        assert parts(accepted.order_id).bucket == numbers[bucket_of(member, BUCKETS)]
        seen = await find_order(pool, redis, keyring, order_id=accepted.order_id, member_id=member)
        assert seen.state == "accepted"
    assert {parts(a.order_id).bucket for a in bought.values()} == set(numbers)
    await drain(writer)
    assert await books(pool, redis, sale) == (70, 0, 30, 0)
    await buy(sale, 1, key="second")
    with pytest.raises(sales.MemberLimit):
        await buy(sale, 1, key="third")


async def test_units_go_back_to_the_bucket_they_were_bought_in(
    pool, redis, keyring, sale, buy, writer, relay
):
    before = [await scripts.left(redis, BucketKeys(n)) for n in await numbers_of(pool, sale)]
    bought = {member: await buy(sale, member) for member in range(1, 13)}
    await drain(writer)
    for member, accepted in bought.items():
        await cancel_order(pool, redis, keyring, order_id=accepted.order_id, member_id=member)
    assert await books(pool, redis, sale) == (88, 12, 0, 0)
    await relay.step()
    after = [await scripts.left(redis, BucketKeys(n)) for n in await numbers_of(pool, sale)]
    assert after == before


async def test_one_lost_bucket_is_fenced_and_the_others_go_on_selling(
    pool, redis, sale, buy, writer, fence, directory, monkeypatch
):
    monkeypatch.setattr("core.jobs.fence.WITNESS_S", 0.0)
    lost, *_ = await numbers_of(pool, sale)
    await redis.delete(BucketKeys(lost).sale)
    await pool.execute("UPDATE sales.buckets SET run_id = 'another'")
    await fence.step()
    outcomes = await asyncio.gather(
        *(buy(sale, member) for member in range(1, 31)), return_exceptions=True
    )
    for member, came in enumerate(outcomes, 1):
        expected = sales.SaleFenced if bucket_of(member, BUCKETS) == 0 else Accepted
        assert isinstance(came, expected), came
    assert directory.sale(sale.id).state == "open"
    await drain(writer)
    rebuilt = await rebuild_sale(pool, redis, sale_id=sale.id, drain_s=1)
    assert [each.bucket for each in rebuilt] == [lost]
    assert isinstance(await buy(sale, 3, key="again"), Accepted)
    await drain(writer)
    accepted = sum(isinstance(came, Accepted) for came in outcomes) + 1
    assert await books(pool, redis, sale) == (100 - accepted, 0, accepted, 0)


async def test_a_sale_of_buckets_is_settled_whole_and_leaves_nothing_in_redis(
    pool, redis, sale, buy, writer, sku_ids
):
    bought = {member: await buy(sale, member) for member in range(1, 13)}
    await close_sale(pool, redis, sale_id=sale.id)
    assert not await settle_sale(pool, redis, sale_id=sale.id)
    await drain(writer)
    assert await settle_sale(pool, redis, sale_id=sale.id)
    assert await books(pool, redis, sale) == (0, 0, 12, 88)
    async with db.reading(pool) as conn:
        assert (await inventory.free(conn, sku_ids=sku_ids))[sku_ids[0]] == 988
    await retire_sale(pool, redis, sale_id=sale.id, age_min_s=0)
    assert await redis.dbsize() == 0
    assert {m: await buy(sale, m) for m in bought} == bought
