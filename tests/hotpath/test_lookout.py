"""A gate that is kept informed, over real Redis: what is gone costs no call, and comes back."""

import asyncio
import contextlib
import signal
import time

import pytest
from redis import Redis

from hotpath import lookout, scripts, soldout
from hotpath.claims import BucketFacts, Kind, SaleFacts
from hotpath.lookout import Lookout
from hotpath.routing import bucket_of
from tests.hotpath.eventually import eventually
from tests.hotpath.test_gate import claim_of, gate_to
from tests.patience import PATIENCE_S


class Shop:
    """A gate, its lookout, and a client that sees what both cost."""

    def __init__(self, gate, client):
        self.gate, self.client = gate, client
        self.lookout = Lookout(gate)
        self.lookout.watch([17])

    async def look(self):
        await self.lookout.look()
        await self.lookout.read()

    async def kind(self, member, *, is_new=True, **claim):
        return (await self.gate.ask(claim_of(member, **claim), is_new=is_new)).kind

    async def costs(self, member, **claim):
        """What came of a claim, and whether Redis was asked."""
        before = self.gate.counters.claims
        kind = await self.kind(member, **claim)
        return kind, self.gate.counters.claims - before

    def release(self, sale, member, sku=7, quantity=1):
        order = f"{member:08x}-{sku:04x}"
        return self.client.eval(
            scripts.RELEASE.source,
            5,
            *sale.keys.for_release(),
            *(sale.stamp, order, sku, member, quantity),
        )


@contextlib.asynccontextmanager
async def shop_at(url, sale, **options):
    async with gate_to(url, **options) as gate:
        with Redis.from_url(url) as client:
            yield Shop(gate, client)


FREE = Kind.SOLD_OUT, 0
ASKED = Kind.SOLD_OUT, 1


async def test_what_is_gone_is_refused_without_redis_but_to_who_holds_it(redis_url, sale):
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=2, limit=1))
        await shop.look()
        assert await shop.kind(1) is Kind.ACCEPTED
        await shop.look()
        assert await shop.costs(2, quantity=1) == (Kind.ACCEPTED, 1)
        assert await shop.costs(3) == ASKED
        await shop.look()
        assert await shop.costs(3) == FREE
        assert await shop.costs(1) == (Kind.ACCEPTED, 1)
        assert await shop.costs(1, key="other") == (Kind.MEMBER_LIMIT, 1)
        assert await shop.costs(1, quantity=2) == (Kind.KEY_REUSED, 1)
        assert await shop.costs(3, quantity=2) == (Kind.MEMBER_LIMIT, 1)
        assert await shop.costs(3, sku=8) == (Kind.NO_SUCH_SKU, 1)
        assert shop.gate.counters.sold_out == 1
        assert shop.lookout.left(17) == {7: 0}


async def test_a_unit_that_came_back_is_sold_from_the_next_look_on(redis_url, sale):
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=1))
        await shop.kind(1)
        await shop.look()
        assert await shop.costs(2) == FREE
        assert shop.release(sale, 1) == 1
        await shop.lookout.look()
        assert shop.lookout.left(17) == {7: 1}
        assert await shop.costs(2) == (Kind.ACCEPTED, 1)
        await shop.look()
        assert await shop.costs(3) == FREE


async def test_without_looks_everything_is_asked_within_a_second(redis_url, sale):
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=1))
        await shop.kind(1)
        await shop.look()
        assert await shop.costs(2) == FREE
        await asyncio.sleep(soldout.LEASE_S)
        assert await shop.costs(2) == ASKED
        await shop.lookout.look()
        assert await shop.costs(2) == FREE


async def test_a_look_that_redis_answers_late_is_worth_nothing(mortal, sale):
    async with shop_at(mortal.url, sale) as shop:
        shop.gate.know(sale.open(mortal.url, left=1))
        await shop.kind(1)
        await shop.look()
        look = asyncio.create_task(shop.lookout.look())
        await asyncio.sleep(0)
        mortal.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(soldout.LEASE_S + 0.05)
        mortal.process.send_signal(signal.SIGCONT)
        await look
        assert await shop.costs(2) == ASKED


@pytest.mark.parametrize(
    "change",
    [
        {"state": "paused"},
        {"state": "closed"},
        {"stamp": "4.ff"},
        {"closes_at_ms": 1},
        {"opens_at_ms": 2**42},
    ],
    ids=str,
)
async def test_a_sale_that_does_not_sell_is_asked_each_time(redis_url, sale, change):
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=1))
        await shop.kind(1)
        await shop.look()
        shop.client.hset(sale.keys.sale, mapping=change)
        await shop.look()
        kind, asked = await shop.costs(2)
        assert kind in {Kind.NOT_OPEN, Kind.UNAVAILABLE}
        assert asked == 1


async def test_another_process_begins_with_nothing_known(mortal, sale):
    async with shop_at(mortal.url, sale) as shop:
        shop.gate.know(sale.open(mortal.url, left=1))
        await shop.kind(1)
        await shop.look()
        await asyncio.to_thread(mortal.stop)
        await asyncio.to_thread(mortal.start)
        await shop.gate.wire_of(17).connected()
        await shop.look()
        assert await shop.kind(2) is Kind.UNAVAILABLE
        shop.gate.know(sale.facts(shop.gate.process_of(17)))
        assert await shop.costs(2) == ASKED
        await shop.look()
        assert await shop.costs(2) == FREE


async def test_a_key_that_was_used_before_is_always_asked(redis_url, sale):
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=1))
        shop.client.hset(sale.keys.left, "8", 2)
        shop.client.hset(sale.keys.limits, "8", 1)
        await shop.kind(1)
        await shop.look()
        # Another worker's acceptance, which this one has not heard of.
        async with gate_to(redis_url) as other:
            other.know(sale.facts(other.process_of(17)))
            assert (await other.ask(claim_of(2, sku=8))).kind is Kind.ACCEPTED
        assert await shop.costs(2, is_new=False) == (Kind.KEY_REUSED, 1)
        assert await shop.costs(3, is_new=False) == ASKED
        assert await shop.costs(3) == FREE
        # Our own acceptances we know at once.
        assert await shop.kind(4, sku=8) is Kind.ACCEPTED
        assert await shop.costs(4) == (Kind.KEY_REUSED, 1)


async def test_a_sale_of_two_buckets_has_to_agree(redis_url, sale):
    async with shop_at(redis_url, sale) as shop:
        open_in_two_buckets(shop, redis_url, sale)
        shop.client.hset(scripts.BucketKeys(18).left, "7", 1)
        here = next(m for m in range(1, 100) if bucket_of(m, 2) == 0)
        there = next(m for m in range(1, 100) if bucket_of(m, 2) == 1)
        await shop.look()
        await nothing_is_on_its_way(shop)
        # It waits for the unit of the other bucket, which nobody brings.
        assert await shop.kind(here) is Kind.UNAVAILABLE
        assert await shop.kind(there) is Kind.ACCEPTED
        await shop.look()
        await nothing_is_on_its_way(shop)
        assert await shop.costs(here) == FREE


async def test_two_clicks_of_one_key_that_wait_for_one_unit_are_both_told_that_it_is_theirs(
    redis_url, sale
):
    async with shop_at(redis_url, sale) as shop:
        open_in_two_buckets(shop, redis_url, sale)
        member = next(m for m in range(1, 100) if bucket_of(m, 2) == 0)
        clicks = [asyncio.create_task(shop.gate.ask(claim_of(member))) for _ in range(2)]
        await eventually(lambda: shop.gate.wanted() == {(17, 7): 2})
        shop.client.hset(sale.keys.left, "7", 1)
        shop.gate.review(17, {7: 1})
        await asyncio.wait(clicks, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        assert shop.gate.wanted() == {(17, 7): 1}
        # By now nothing is left anywhere, and the other click still waits.
        await shop.look()
        await nothing_is_on_its_way(shop)
        async with asyncio.timeout(PATIENCE_S):
            first, second = await asyncio.gather(*clicks)
        assert first.kind is Kind.ACCEPTED
        assert second == first


def open_in_two_buckets(shop, redis_url, sale):
    """With not one unit in either."""
    run_id = sale.open(redis_url, left=0)[1].buckets[0].run_id
    for name in ("sale", "left", "limits"):
        shop.client.copy(getattr(sale.keys, name), getattr(scripts.BucketKeys(18), name))
    facts = [BucketFacts(number, 3, sale.stamp, run_id) for number in (17, 18)]
    shop.gate.know({1: SaleFacts(facts)})
    shop.lookout.watch([17, 18])


async def nothing_is_on_its_way(shop):
    """What Postgres says between two looks."""
    await asyncio.sleep(0.01)
    now = asyncio.get_running_loop().time()
    shop.gate.elsewhere.transfers((), asked_at=now, answered_at=now)
    await asyncio.sleep(0.01)
    await shop.look()


def crowd(shop, sale, members):
    """Answers that were given before; so many that Redis shows them a few at a time."""
    shop.client.hset(sale.keys.answers, mapping={f"{member}:k": "" for member in members})


async def test_a_release_while_the_holders_are_read_spoils_the_reading(
    redis_url, sale, monkeypatch
):
    monkeypatch.setattr(lookout, "FIELDS_PER_S_MAX", 10_000)
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=1))
        crowd(shop, sale, range(1_001, 3_001))
        await shop.kind(1)
        await shop.lookout.look()
        reading = asyncio.create_task(shop.lookout.read())
        await asyncio.sleep(0.05)
        assert shop.gate.sold_out(17).reading is not None
        shop.release(sale, 1)
        assert await shop.kind(2) is Kind.ACCEPTED
        await reading
        assert await shop.costs(3) == ASKED
        await shop.look()
        assert await shop.costs(3) == FREE
        assert [await shop.kind(member) for member in (1, 2)] == [Kind.ACCEPTED] * 2


async def test_a_reading_takes_a_tenth_of_the_time_and_looks_go_on(redis_url, sale, monkeypatch):
    monkeypatch.setattr(lookout, "FIELDS_PER_S_MAX", 1_000)
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=0))
        crowd(shop, sale, range(1, 1_001))
        began = time.monotonic()
        await shop.look()
        assert 0.4 < time.monotonic() - began < 5
        assert await shop.costs(5_000) == FREE
        holders = shop.gate.sold_out(17)._holders
        assert all(member in holders for member in range(1, 1_001))


async def test_damaged_counts_are_no_knowledge(redis_url, sale):
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=1))
        await shop.kind(1)
        await shop.look()
        shop.client.hset(sale.keys.sale, "freed", 1)
        shop.client.hset(sale.keys.left, "8", "many")
        await shop.look()
        assert await shop.costs(2) == ASKED
        shop.client.delete(sale.keys.answers)
        shop.client.set(sale.keys.answers, "no hash")
        await shop.look()
        assert shop.gate.sold_out(17).limits == {}


async def test_nothing_is_asked_twice_while_nothing_changes(redis_url, sale):
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=5))
        await shop.look()
        sent = shop.gate.wire_of(17).counters.sent
        for _ in range(10):
            await shop.look()
        assert shop.gate.wire_of(17).counters.sent - sent == 10
        await shop.kind(1)
        await shop.look()
        assert shop.lookout.left(17) == {7: 4}


async def test_a_lost_script_cache_costs_no_knowledge(redis_url, sale):
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know(sale.open(redis_url, left=0))
        shop.client.script_flush()
        await shop.look()
        assert await shop.costs(2) == FREE


async def test_nobody_looks_where_nobody_said_to(redis_url, sale):
    async with shop_at(redis_url, sale) as shop:
        shop.gate.know({1: SaleFacts([BucketFacts(17, 3, sale.stamp, "0" * 40)])})
        await shop.look()
        assert shop.lookout.left(17) is None
        shop.lookout.watch([])
        shop.gate.know(sale.open(redis_url, left=0))
        await shop.look()
        assert shop.lookout.left(17) is None
        assert await shop.costs(2) == ASKED
