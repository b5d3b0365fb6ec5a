"""Stock under many hands at once: proven at every instant, each deed once, nobody in a ring.

TEST_STOCK_STEPS is how many deeds (with `make faults` 100,000); TEST_SEED replays the choices.
"""

import asyncio
import os
import random
from functools import partial

import pytest

from core import catalogue, inventory
from core.flows.reserve_stock import Reserver
from core.kit import db
from core.kit.refusal import Refusal
from tests.core.stock import DEEDS, KINDS_MIN, STEPS, VERBS
from tests.core.test_stock_walk import PLACES, SKUS, VALUE_MAX, WORTH, places_added

STEPS_MAX = int(os.environ.get("TEST_STOCK_STEPS", "1500"))
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
HANDS = 6
LOOK_S = 0.02
REMEMBERED_MAX = 8
# Allocating comes before shipping, and is wanted as often as what undoes it.
STEPS_OFTEN = [*STEPS, "allocate", "allocate", "ship", "ship"]


class Hand:
    """Does whatever the dice say; `world` is what all hands have heard of."""

    def __init__(self, number, pool, reservers, world):
        self.dice = random.Random(SEED + number)
        self.pool, self.reservers, self.world = pool, reservers, world
        self.number, self.deeds = number, 0

    def name(self, kind):
        self.deeds += 1
        return f"{kind}:{self.number}:{self.deeds}"

    def units(self):
        return {
            sku: self.dice.randint(1, 9) for sku in self.dice.sample(SKUS, self.dice.randint(1, 3))
        }

    async def ask(self, verb, *words, **facts):
        async with db.transaction(self.pool) as conn:
            return await verb(conn, *words, **facts)

    async def act(self):
        """One deed; sometimes two hands do the very same at once, under one name."""
        chosen = self.dice.choice(
            [
                self.deed,
                self.deed,
                self.reserve,
                self.settle,
                self.settle,
                self.plan,
                self.follow,
                self.count,
                self.decide,
            ]
        )
        reference, does = chosen()
        twice = self.dice.random() < 0.2
        answers = await asyncio.gather(*(does() for _ in range(1 + twice)), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, Refusal):
                continue
            if isinstance(answer, BaseException):
                raise answer
            self.world["done"].add(reference)
            if reference.startswith("order:"):
                self.remember("purposes", reference)
            if isinstance(answer, inventory.Transfer):
                self.remember("transfers", answer.id)
            elif answer and isinstance(answer, list) and isinstance(answer[0], inventory.Count):
                self.remember("counts", answer[0].id)

    def remember(self, what, one):
        self.world[what].append(one)
        del self.world[what][:-REMEMBERED_MAX]

    def deed(self):
        kind = self.dice.choice([*DEEDS, "receive"])
        facts = {"place_id": self.dice.choice(PLACES), "units": self.units()}
        reference = self.name(kind)
        return reference, partial(self.ask, VERBS[kind], **facts, reference=reference, by="w")

    def reserve(self):
        place = self.dice.choice([None, None, *PLACES])
        purpose = self.name("order")
        wanted = inventory.Wanted(purpose, self.units(), by="w", place_id=place)

        async def reserve():
            return await self.dice.choice(self.reservers).reserve(wanted)

        return purpose, reserve

    def settle(self):
        kind = self.dice.choice(STEPS_OFTEN)
        units = {sku: self.dice.randint(1, 4) for sku in self.dice.sample(SKUS, 1)}
        reference = self.name(kind)
        purpose = self.dice.choice(self.world["purposes"] or ["order:none"])
        deed = inventory.Deed(purpose, units, reference, by="w")
        return reference, partial(self.ask, VERBS[kind], [deed])

    def plan(self):
        source, target = self.dice.sample(PLACES, 2)
        facts = {"source_id": source, "target_id": target, "units": self.units()}
        return "", partial(self.ask, inventory.plan_transfer, **facts, by="w")

    def follow(self):
        number, name = self.dice.choice(self.world["transfers"] or [0]), self.name("end")
        told = {"transfer_id": number, "reference": name, "by": "w"}
        units = {self.dice.choice(SKUS): self.dice.randint(1, 4)}
        sent, ended = f"transfer:{number}", f"transfer:{number}:{name}"
        send = partial(self.ask, inventory.send_transfer, transfer_id=number, by="w")
        arrive = partial(self.ask, inventory.receive_transfer, came=units, **told)
        lose = partial(self.ask, inventory.write_off_transfer, lost=units, reason="r", **told)
        cancel = partial(self.ask, inventory.cancel_transfer, transfer_id=number)
        deeds = [(sent, send)] * 3 + [(ended, arrive)] * 3 + [(ended, lose), ("", cancel)]
        return self.dice.choice(deeds)

    def count(self):
        counted = {self.dice.choice(SKUS): self.dice.randint(0, 60)}
        facts = {"place_id": self.dice.choice(PLACES), "counted": counted, "worths": WORTH}
        facts |= {"value_max": VALUE_MAX, "reference": self.name("count"), "by": "ann"}
        return "", partial(self.ask, inventory.count, **facts)

    def decide(self):
        number = self.dice.choice(self.world["counts"] or [0])
        verb = self.dice.choice([inventory.approve_count, inventory.reject_count])
        return "", partial(self.ask, verb, count_id=number, by="bea")


async def watch(pool, still):
    """Every instant that anybody can see is even."""
    looks = 0
    while still():
        async with db.snapshot(pool) as conn:
            assert await inventory.audit(conn) == []
            for one in await inventory.balances(conn, sku_ids=SKUS):
                assert one.on_hand == one.reserved + one.allocated + one.free
                figures = (one.reserved, one.allocated, one.free, one.in_transit, one.damaged)
                assert min(figures) >= 0
        looks += 1
        await asyncio.sleep(LOOK_S)
    assert looks > 3


@pytest.fixture
async def wide(database_url):
    async with db.create_pool(database_url, size_max=HANDS * 2 + 1) as pool:
        async with db.transaction(pool) as conn:
            await places_added(conn)
            skus = [(f"SKU-{sku}", 100, "CNY") for sku in SKUS]
            title = {"en": "Kettle", "zh": "水壶"}
            _, made = await catalogue.add_product(conn, title=title, skus=skus)
            assert made == list(SKUS)
        yield pool


async def test_many_hands_at_once_leave_every_figure_proven(wide):
    print(f"TEST_SEED={SEED}")
    reservers = [Reserver(wide), Reserver(wide)]
    world = {"purposes": [], "transfers": [], "counts": [], "done": set()}
    hands = [Hand(number, wide, reservers, world) for number in range(HANDS)]

    async def work(hand):
        for _ in range(STEPS_MAX // HANDS):
            await hand.act()

    at_work = [asyncio.create_task(work(hand)) for hand in hands]
    watcher = asyncio.create_task(watch(wide, lambda: not all(task.done() for task in at_work)))
    await asyncio.gather(*at_work, watcher)

    async with db.snapshot(wide) as conn:
        assert await inventory.audit(conn) == []
        moved = await conn.fetch("SELECT DISTINCT reference FROM inventory.movements")
        # What was answered with a yes is there, and nothing else is.
        told = {reference for reference in world["done"] if reference}
        booked = {row["reference"] for row in moved}
        own = {r for r in booked if not r.startswith("count:")}
        assert own == told
        # Units came in, went out, were found or lost on the way: nothing else changes their number.
        there, came = await conn.fetchrow(
            "SELECT (SELECT sum(on_hand + damaged + in_transit) FROM inventory.balances),"
            "       sum(quantity * (on_hand + damaged + in_transit))"
            "  FROM inventory.movements JOIN inventory.kinds USING (kind)"
            " WHERE kind IN ('receive', 'ship', 'scrap', 'lose', 'surplus', 'shortage')"
        )
        assert there == came
        kinds = {row["kind"] for row in await conn.fetch("SELECT kind FROM inventory.movements")}
        assert len(kinds) >= KINDS_MIN
