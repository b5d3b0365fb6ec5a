"""A sale's whole life in random order, with late comers: the books are even at every moment.

TEST_WALKS is how many lives of TEST_WALK_STEPS; TEST_SEED replays the one that a failure names.
"""

import asyncio
import os
import random
from collections import Counter

import pytest

from core import inventory, sales
from core.flows.admit_redis import Outcome, admit_redis
from core.flows.audit_sale import audit_sale
from core.flows.cancel_order import cancel_order
from core.flows.carry_units import carry_units
from core.flows.directory import Directory
from core.flows.expire_holds import expire_holds
from core.flows.find_order import find_order
from core.flows.give_back import give_back
from core.flows.give_back_dead_letter import give_back_dead_letter
from core.flows.place_order import place_order
from core.flows.rebuild_sale import rebuild_sale
from core.flows.run_sale import arm_sale, close_sale, pause_sale, resume_sale, tell_redis
from core.flows.write_orders import AnotherWriter
from core.jobs import order_writer
from core.jobs.conductor import Conductor
from core.jobs.order_writer import OrderWriter
from core.jobs.rebalancer import Rebalancer
from core.kit import db
from core.kit.outbox import TryLater
from core.kit.refusal import Refusal
from core.kit.states import IllegalMove
from hotpath import scripts
from hotpath.claims import Claim
from hotpath.gate import Gate
from hotpath.loading import EpochMoved
from hotpath.lookout import Lookout
from hotpath.routing import bucket_of
from tests.core.steps import drain

WALKS = int(os.environ.get("TEST_WALKS", "3"))
STEPS = int(os.environ.get("TEST_WALK_STEPS", "120"))
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
QUOTA, LIMIT, MEMBERS, STOCK = 12, 3, 6, 1_000
KEPT = ("pending_payment", "paid")


# What a flipped byte looks like to the books: the units are taken and the claim is unreadable.
DAMAGED = """
    local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state')
    local left = tonumber(redis.call('HGET', KEYS[2], ARGV[1]))
    if sale[1] == ARGV[3] and sale[2] == 'open' and left > 0 then
        redis.call('HINCRBY', KEYS[2], ARGV[1], -1)
        redis.call('HINCRBY', KEYS[4], ARGV[1] .. ':' .. ARGV[2], 1)
        redis.call('XADD', KEYS[3], '*', 'c', ARGV[4], 'n', '1,1')
        redis.call('HINCRBY', KEYS[1], 'accepted', 1)
    end
"""


class Walk:
    def __init__(self, seed, pool, redis, gate, directory, keyring, sku_ids, sale, monkeypatch):
        self.dice = random.Random(seed)
        self.pool, self.redis, self.gate, self.directory = pool, redis, gate, directory
        self.keyring, self.sku_ids, self.sale = keyring, sku_ids, sale
        self.writers = [OrderWriter(pool, redis, keyring) for _ in range(2)]
        self.told: dict[tuple[int, str], object] = {}
        self.asked: dict[tuple[int, str], Claim] = {}
        self.payloads: list[object] = []
        self.transfers: list[sales.Transfer] = []
        self.rebalancers = [Rebalancer(pool, redis) for _ in range(2)]
        self.asleep: list[tuple] = []
        self.numbers = 0
        monkeypatch.setattr(order_writer, "BATCH_MAX", 4)

    async def buy(self):
        if self.asked and self.dice.random() < 0.2:
            claim = self.dice.choice(list(self.asked.values()))
        else:
            self.numbers += 1
            member = self.dice.randint(1, MEMBERS)
            sku_id = self.dice.choice(self.sku_ids[:2])
            claim = Claim(self.sale.id, member, f"{self.numbers}", sku_id, self.dice.randint(1, 2))
        who = (claim.member_id, claim.key)
        self.asked[who] = claim
        try:
            accepted = await place_order(
                self.pool, self.gate, self.directory, self.keyring, claim=claim
            )
        except Refusal:
            return
        assert self.told.setdefault(who, accepted) == accepted

    async def rush(self):
        """Some buyers in one turn, whose claims become one entry of the stream."""
        await asyncio.gather(*(self.buy() for _ in range(self.dice.randint(2, 6))))

    async def refresh(self):
        await self.directory.refresh()

    async def write(self):
        writer = self.dice.choice(self.writers)
        if self.dice.random() < 0.5:
            writer._look_at = 0.0
        if self.dice.random() < 0.2:
            later = self.dice.choice([0, order_writer.TRIM_LAG_S + 1])
            writer._clock = lambda: asyncio.get_running_loop().time() + later
        await writer.step()

    async def cancel(self):
        if not self.told:
            return
        (member, _), accepted = self.dice.choice(list(self.told.items()))
        await cancel_order(
            self.pool, self.redis, self.keyring, order_id=accepted.order_id, member_id=member
        )

    async def expire(self):
        await self.pool.execute(
            "UPDATE orders.orders SET expires_at = now() WHERE id IN"
            " (SELECT id FROM orders.orders WHERE state = 'open' AND payment = 'unpaid' LIMIT 2)"
        )
        await expire_holds(self.pool, batch_max=1)

    async def relay(self):
        """Deliver one message, or one of long ago again."""
        row = await self.pool.fetchrow(
            "SELECT id, payload FROM kit.outbox ORDER BY random() LIMIT 1"
        )
        if row is None or self.dice.random() < 0.2:
            if self.payloads:
                await self.quietly(
                    give_back(self.pool, self.redis, self.dice.choice(self.payloads))
                )
            return
        await give_back(self.pool, self.redis, row["payload"])
        self.payloads.append(row["payload"])
        if self.dice.random() < 0.8:
            await self.pool.execute("DELETE FROM kit.outbox WHERE id = $1", row["id"])

    async def rebalance(self):
        """Carry units between buckets, and now and then go on with what one read long ago."""
        async with db.reading(self.pool) as conn:
            self.transfers += await sales.open_transfers(conn, page_max=10)
        if self.transfers and self.dice.random() < 0.5:
            await carry_units(self.pool, self.redis, self.dice.choice(self.transfers))
        else:
            await self.dice.choice(self.rebalancers).step()

    async def shift(self):
        """Move any number of units from any bucket to any other."""
        buckets = await self.buckets()
        if len(buckets) > 1:
            source, target = self.dice.sample(buckets, 2)
            units, sku_id = self.dice.randint(1, 9), self.dice.choice(self.sku_ids[:2])
            wish = sales.NewTransfer(
                self.sale.id, sku_id, source.number, target.number, units, source.stamp
            )
            async with db.transaction(self.pool) as conn:
                await sales.plan_transfers(conn, [wish])

    async def quietly(self, deed):
        await asyncio.gather(deed, return_exceptions=True)

    async def rebuild(self):
        if self.dice.random() < 0.4:
            await rebuild_sale(self.pool, self.redis, sale_id=self.sale.id, drain_s=0.05)

    async def pause(self):
        await pause_sale(self.pool, self.redis, sale_id=self.sale.id)

    async def resume(self):
        await resume_sale(self.pool, self.redis, sale_id=self.sale.id)

    async def close(self):
        if self.dice.random() < 0.01:
            await close_sale(self.pool, self.redis, sale_id=self.sale.id)

    async def conduct(self):
        await Conductor(self.pool, self.redis).step()

    async def fall_asleep(self):
        async with db.reading(self.pool) as conn:
            sale = await sales.find(conn, sale_id=self.sale.id)
            self.asleep.append((sale, await sales.buckets(conn, sale_id=sale.id)))

    async def wake(self):
        """Somebody who looked long ago tells Redis what he saw then."""
        if self.asleep:
            await tell_redis(self.redis, *self.dice.choice(self.asleep))

    async def damage(self):
        """A claim that nobody can read, with its units out of what is left."""
        if self.dice.random() > 0.1:
            return
        member = self.dice.randint(1, MEMBERS)
        buckets = await self.buckets()
        bucket = buckets[bucket_of(member, len(buckets))]
        keys = scripts.BucketKeys(bucket.number)
        sku_id = self.sku_ids[0]
        await self.redis.eval(
            DAMAGED,
            4,
            *(keys.sale, keys.left, keys.claims, keys.members),
            sku_id,
            member,
            bucket.stamp,
            f"2,{bucket.epoch},{member},{sku_id},1,1,00000000,dead",
        )

    async def decide(self):
        async with db.reading(self.pool) as conn:
            letters = await sales.dead_letters(conn, page_max=10)
        if letters:
            await give_back_dead_letter(self.pool, self.keyring, letter_id=letters[0].id)

    async def restart(self):
        """The same Redis as another process, as far as the fence can tell."""
        await self.pool.execute(
            "UPDATE sales.buckets SET run_id = repeat('0', 40) WHERE run_id IS NOT NULL"
        )
        await self.refresh()
        run_id = await scripts.process_of(self.redis)
        for bucket in await self.buckets():
            found = await admit_redis(self.pool, self.redis, number=bucket.number, run_id=run_id)
            assert "rebuilt" in found.reason or found.outcome is not Outcome.FENCED, found
        await self.refresh()

    async def buckets(self):
        async with db.reading(self.pool) as conn:
            return await sales.buckets(conn, sale_id=self.sale.id)

    async def step(self):
        deeds = (
            self.buy,
            self.buy,
            self.buy,
            self.rush,
            self.refresh,
            self.write,
            self.write,
            self.cancel,
            self.expire,
            self.relay,
            self.relay,
            self.rebuild,
            self.pause,
            self.resume,
            self.resume,
            self.close,
            self.conduct,
            self.fall_asleep,
            self.wake,
            self.damage,
            self.decide,
            self.rebalance,
            self.rebalance,
            self.shift,
        )
        if self.dice.random() < 0.05:
            await self.restart()
        crowd = [self.dice.choice(deeds) for _ in range(self.dice.randint(1, 6))]
        for came in await asyncio.gather(*(deed() for deed in crowd), return_exceptions=True):
            if isinstance(came, BaseException) and not isinstance(came, EXPECTED):
                raise came
        await self.check()

    async def check(self):
        await self.check_limits()
        if any(bucket.fence_reason == "being rebuilt" for bucket in await self.buckets()):
            return
        audit = await audit_sale(self.pool, self.redis, sale_id=self.sale.id)
        assert audit.drift == 0, audit
        for item in audit.items:
            assert 0 <= item.left <= item.quota

    async def check_limits(self):
        held = Counter()
        for member, sku_id, quantity in await self.pool.fetch(
            "SELECT member_id, sku_id, quantity FROM orders.orders o JOIN orders.lines"
            " ON order_id = o.id WHERE state = ANY($1)",
            KEPT,
        ):
            held[member, sku_id] += quantity
        assert max(held.values(), default=0) <= LIMIT, held

    async def end(self):
        for _ in range(200):
            async with db.reading(self.pool) as conn:
                sale = await sales.find(conn, sale_id=self.sale.id)
            if sale.settled_at is not None:
                break
            for deed in (self.relay, self.conduct, self.restart):
                await self.quietly(deed())
            writer = OrderWriter(self.pool, self.redis, self.keyring)
            await self.quietly(drain(writer))
            if sale.state != "closed":
                await self.quietly(close_sale(self.pool, self.redis, sale_id=sale.id))
            if any(b.fence_reason for b in await self.buckets()):
                await self.quietly(rebuild_sale(self.pool, self.redis, sale_id=sale.id))
        else:
            raise AssertionError("the sale is never settled")
        for late in self.asleep:
            await self.quietly(tell_redis(self.redis, *late))
        while await self.rebalancers[0].step():
            pass
        async with db.reading(self.pool) as conn:
            assert await sales.open_transfers(conn, page_max=1) == []
        await self.refresh()
        claim = Claim(self.sale.id, MEMBERS + 1, "too late", self.sku_ids[0], 1)
        with pytest.raises(sales.SaleNotOpen):
            await place_order(self.pool, self.gate, self.directory, self.keyring, claim=claim)
        await self.check()
        await self.check_stock_and_orders()

    async def check_stock_and_orders(self):
        kept, ids = Counter(), set()
        for (member, key), accepted in self.told.items():
            claim = self.asked[member, key]
            seen = await find_order(
                self.pool, self.redis, self.keyring, order_id=accepted.order_id, member_id=member
            )
            assert seen.state in ("pending_payment", "cancelled"), (seen, claim)
            assert (seen.sku_id, seen.quantity) == (claim.sku_id, claim.quantity)
            ids.add(accepted.order_id)
            if seen.state == "pending_payment":
                kept[claim.sku_id] += claim.quantity
            again = await place_order(
                self.pool, self.gate, self.directory, self.keyring, claim=claim
            )
            assert again == accepted
        assert (
            len(ids)
            == len(self.told)
            == await self.pool.fetchval("SELECT count(*) FROM orders.orders")
        )
        dead = Counter()
        for row in await self.pool.fetch("SELECT sku_id, dead FROM sales.allotments"):
            dead[row["sku_id"]] += row["dead"]
        async with db.reading(self.pool) as conn:
            free = await inventory.free(conn, sku_ids=self.sku_ids)
            assert await inventory.audit(conn) == []
        for sku_id in self.sku_ids[:2]:
            assert free[sku_id] == STOCK - kept[sku_id] - dead[sku_id]


EXPECTED = (Refusal, IllegalMove, TryLater, EpochMoved, AnotherWriter)


@pytest.mark.parametrize("buckets", [1, 3])
@pytest.mark.parametrize("number", range(WALKS))
async def test_whatever_happens_in_whatever_order_nothing_is_lost_or_sold_twice(
    number, buckets, pool, redis, gate, keyring, sku_ids, plan, monkeypatch
):
    seed = SEED + number
    print(f"TEST_SEED={seed}")
    planned = await plan(quota=QUOTA, limit=LIMIT, skus=2, buckets=buckets)
    sale = await arm_sale(pool, redis, sale_id=planned.id)
    # Who waits for units of another bucket does so for a moment only.
    gate = Gate(gate.wire_of(0), key_id=1, backlog_max=100_000, deadline_s=0.2)
    directory = Directory(pool, gate, Lookout(gate))
    await directory.refresh()
    walk = Walk(seed, pool, redis, gate, directory, keyring, sku_ids, sale, monkeypatch)
    for _ in range(STEPS):
        await walk.step()
    await walk.end()
