"""Stock in any order of deeds: every figure is what it should be, and proven, at every step.

TEST_STOCK_STEPS is how many steps (with `make faults` 100,000); TEST_SEED replays what fails.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import asyncpg
import hypothesis
import pytest
import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from core import catalogue, inventory, sales
from core.flows import run_sale
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.settle_sale import settle_sale
from core.kit import db
from core.kit.refusal import Refusal
from core.kit.states import IllegalMove
from hotpath import nodes
from hotpath.nodes import Redis
from tests.core.stock import DEEDS, FIGURES, KINDS_MIN, STEPS, VERBS, Stock

STEPS_MAX = int(os.environ.get("TEST_STOCK_STEPS", "2000"))
STEPS_PER_EXAMPLE = 50
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
CONNECTIONS = 5

SKUS = (1, 2, 3)
# The main warehouse, another one, and a store.
PLACES = (1, 2, 3)
WAREHOUSES = (1, 2)
WORTH = {sku: inventory.Worth(10, "CNY") for sku in SKUS}
VALUE_MAX = {"CNY": 50}
FIRST = 25
HOUR = timedelta(hours=1)

# How units in transit come to an end: the verb, what it calls them, and what else it asks.
ENDS = {
    "arrive": (inventory.receive_transfer, "came", {}),
    "lose": (inventory.write_off_transfer, "lost", {"reason": "fell off"}),
}

skus, places = st.sampled_from(SKUS), st.sampled_from(PLACES)
quantities = st.integers(1, 12)
rarely = st.sampled_from([False] * 7 + [True])
baskets = st.dictionaries(skus, quantities, min_size=1, max_size=2)


class OneConnection:
    """What the flows of sales take for a pool: the walk's own connection."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self.conn = conn

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout: float):  # noqa: ASYNC109 - as asyncpg calls it
        yield self.conn


class Walk(RuleBasedStateMachine):
    """One life of a stock. Everything is rolled back at its end."""

    runner: asyncio.Runner
    conn: asyncpg.Connection
    redis: Redis
    steps = 0
    closed_sales = 0
    kinds: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.stock = Stock()
        self.numbers = 0
        self.purposes: list[str] = []
        self.done: list[tuple[str, dict[str, object]]] = []
        self.transfers: dict[int, tuple[str, int, int, dict[int, int]]] = {}
        # Of each transfer, what has neither arrived nor been lost.
        self.left: dict[int, Counter[int]] = {}
        self.counts: dict[int, inventory.Count] = {}
        # Of each armed sale, what of its quota is not sold.
        self.unsold: dict[int, Counter[int]] = {}
        self.transaction = self.conn.transaction()
        self.runner.run(self.transaction.start())
        for place in PLACES:
            units = dict.fromkeys(SKUS, FIRST)
            facts = {"place_id": place, "units": units, "reference": self.name("d")}
            assert self.ask(inventory.receive, **facts, by="w") is None
            for sku in SKUS:
                self.stock.change(sku, place, on_hand=FIRST, free=FIRST)
        # Many lives are denied some of the rules: the long ways are begun for all.
        self.reserve({1: 9, 2: 9}, place=None, is_sale=True)
        self.step("allocate", self.purposes[0], 1, 6)
        self.plan_transfer(1, 3, {1: 9, 3: 9}, is_sent=True)
        self.arm_sale({1: 3, 2: 2})

    def teardown(self) -> None:
        counted = "SELECT kind, count(*) FROM inventory.movements GROUP BY kind"
        Walk.kinds.update(dict(self.runner.run(self.conn.fetch(counted))))
        self.runner.run(self.transaction.rollback())

    def ask(self, verb, *words, **facts):
        """What a verb answers, in a transaction of its own; its refusal where it refuses."""

        async def ask():
            async with self.conn.transaction():
                return await verb(self.conn, *words, **facts)

        Walk.steps += 1
        try:
            return self.runner.run(ask())
        except (Refusal, IllegalMove) as refusal:
            return refusal

    def pick(self, data, state: str) -> int:
        """A transfer, most likely one in this state."""
        fit = [number for number, known in self.transfers.items() if known[0] == state]
        return data.draw(st.sampled_from(sorted(self.transfers) + fit * 5))

    def name(self, kind: str) -> str:
        self.numbers += 1
        return f"{kind}:{self.numbers}"

    @rule(kind=st.sampled_from(sorted(DEEDS)), sku=skus, place=places, quantity=quantities)
    def deed(self, kind, sku, place, quantity):
        needs, by = DEEDS[kind]
        facts = {"place_id": place, "units": {sku: quantity}, "reference": self.name("d")}
        has = quantity if needs is None else self.stock.shows(needs, sku, place)
        answer = self.ask(VERBS[kind], **facts, by="w")
        if has < quantity:
            assert isinstance(answer, inventory.OutOfStock)
            return
        assert answer is None
        self.done.append((kind, facts))
        self.stock.change(sku, place, **{name: sign * quantity for name, sign in by.items()})

    @rule(units=baskets, place=st.none() | places, is_sale=st.booleans())
    def reserve(self, units, place, is_sale):
        purpose = self.name("quota" if is_sale else "order")
        wanted = inventory.Wanted(purpose, units, by="w", place_id=place, region="P2")
        answer = self.ask(inventory.reserve, wanted)
        shelves = WAREHOUSES if place is None else (place,)
        free = {
            sku: {where: self.stock.shows("free", sku, where) for where in shelves} for sku in units
        }
        if any(sum(free[sku].values()) < units[sku] for sku in units):
            assert isinstance(answer, inventory.OutOfStock)
            return
        got = Counter()
        for one in answer:
            assert one.quantity <= free[one.sku_id][one.place_id]
            got[one.sku_id] += one.quantity
            if max(free[one.sku_id].values()) >= units[one.sku_id]:
                assert one.quantity == units[one.sku_id]
        assert got == units
        self.purposes.append(purpose)
        self.done.append(("reserve", {"wanted": wanted}))
        self.stock.keep(purpose, answer)

    @rule(sku=skus, region=st.sampled_from(["", "P2", "P3", "elsewhere"]))
    def promise(self, sku, region):
        """What the shop promises is what it keeps: so many, and from that place first."""
        (offer,) = self.ask(inventory.offers, sku_ids=[sku], region=region)
        free = {place: self.stock.shows("free", sku, place) for place in PLACES}
        assert offer.free == sum(free[place] for place in WAREHOUSES)
        assert offer.stores == (free[PLACES[-1]] > 0)
        (shelf,) = self.ask(inventory.pickups, sku_id=sku, region="", after=0, page_max=9)
        assert (shelf.place_id, shelf.free) == (PLACES[-1], free[PLACES[-1]])
        purpose = self.name("order")
        wanted = inventory.Wanted(purpose, {sku: 1}, by="w", region=region)
        answer = self.ask(inventory.reserve, wanted)
        if offer.ships_from is None:
            assert isinstance(answer, inventory.OutOfStock)
            return
        assert [one.place_id for one in answer] == [offer.ships_from.id]
        self.purposes.append(purpose)
        self.done.append(("reserve", {"wanted": wanted}))
        self.stock.keep(purpose, answer)

    @precondition(lambda self: self.purposes)
    @rule(data=st.data(), is_any=rarely, is_over=rarely)
    def settle(self, data, is_any, is_over):
        """Most likely a step that something kept can take, and rarely one unit too many."""
        steps = [
            (kind, who, sku)
            for kind, (figure, *_) in sorted(STEPS.items())
            for (who, sku, _), n in sorted(self.stock.kept.items())
            if n[figure] and who in self.purposes
        ]
        if is_any or not steps:
            steps = [(kind, who, sku) for kind in STEPS for who in self.purposes for sku in SKUS]
        kind, purpose, sku = data.draw(st.sampled_from(steps))
        has = self.stock.has(purpose, sku, STEPS[kind][0])
        quantity = has + 1 if is_over or not has else data.draw(st.integers(1, has))
        self.step(kind, purpose, sku, quantity)

    def step(self, kind, purpose, sku, quantity):
        has = self.stock.has(purpose, sku, STEPS[kind][0])
        deed = inventory.Deed(purpose, {sku: quantity}, self.name("s"), by="w")
        answer = self.ask(VERBS[kind], [deed])
        if has < quantity:
            assert isinstance(answer, inventory.NotKept)
            return
        assert answer is None
        self.done.append((kind, {"deed": deed}))
        self.stock.settle(kind, purpose, sku, quantity)

    @precondition(lambda self: self.purposes)
    @rule(data=st.data())
    def close_sale(self, data):
        """What a sale did not sell comes back at once, of all SKUs."""
        purpose = data.draw(st.sampled_from(self.purposes))
        left = {sku: self.stock.has(purpose, sku, "reserved") for sku in SKUS}
        units = {sku: quantity for sku, quantity in left.items() if quantity}
        deed = inventory.Deed(purpose, units, self.name("close"), by="w")
        assert self.ask(inventory.release, [deed]) is None
        for sku, quantity in units.items():
            self.stock.settle("release", purpose, sku, quantity)

    def flow(self, flow, *words, **facts):
        """The same of a flow, which opens its transactions by itself."""
        Walk.steps += 1
        try:
            return self.runner.run(flow(OneConnection(self.conn), *words, **facts))
        except Refusal as refusal:
            return refusal

    @rule(units=baskets)
    def arm_sale(self, units):
        """A whole sale draws its quota from the warehouses, or does not begin."""
        items = [PlannedItem(sku, quantity, 5_000, 1) for sku, quantity in units.items()]
        now = datetime.now(UTC)
        times = {"starts_at": now - HOUR, "ends_at": now + HOUR}
        planned = self.flow(plan_sale, name="walk", items=items, **times)
        answer = self.flow(run_sale.arm_sale, self.redis, sale_id=planned.id)
        free = {sku: [self.stock.shows("free", sku, p) for p in WAREHOUSES] for sku in units}
        if any(sum(free[sku]) < units[sku] for sku in units):
            assert isinstance(answer, inventory.OutOfStock)
            return
        assert answer.state == sales.State.OPEN
        drawn = self.ask(inventory.reservations, kept_for=f"sale:{answer.id}")
        kept = [inventory.Kept(one.sku_id, one.place_id, one.reserved) for one in drawn]
        self.stock.keep(f"sale:{answer.id}", kept)
        assert {sku: self.stock.has(f"sale:{answer.id}", sku, "reserved") for sku in units} == units
        self.unsold[answer.id] = Counter(units)

    @precondition(lambda self: self.unsold)
    @rule(data=st.data())
    def sell(self, data):
        """Some of a sale's quota is sold, which moves no stock."""
        sale_id = data.draw(st.sampled_from(sorted(self.unsold)))
        sold = {sku: data.draw(st.integers(0, n)) for sku, n in self.unsold[sale_id].items()}
        (bucket,) = self.ask(sales.buckets, sale_id=sale_id)
        rows = [sales.Entry(bucket.number, sku, sold=n) for sku, n in sold.items() if n]
        assert self.ask(sales.book, rows) is None
        self.unsold[sale_id].subtract(sold)

    @precondition(lambda self: self.unsold)
    @rule(data=st.data())
    def close_whole_sale(self, data):
        """What a sale did not sell comes back once; what it sold stays kept, to be shipped."""
        sale_id = data.draw(st.sampled_from(sorted(self.unsold)))
        assert self.flow(settle_sale, self.redis, sale_id=sale_id) is False
        assert self.flow(run_sale.close_sale, self.redis, sale_id=sale_id).state == "closed"
        assert self.flow(settle_sale, self.redis, sale_id=sale_id) is True
        assert self.flow(settle_sale, self.redis, sale_id=sale_id) is False
        for sku, quantity in self.unsold.pop(sale_id).items():
            self.stock.settle("release", f"sale:{sale_id}", sku, quantity)
        self.purposes.append(f"sale:{sale_id}")
        Walk.closed_sales += 1

    @precondition(lambda self: self.done)
    @rule(data=st.data(), is_other=st.booleans())
    def repeat(self, data, is_other):
        """The same again changes nothing, and other units under its name are refused."""
        kind, facts = data.draw(st.sampled_from(self.done))
        if kind == "reserve":
            wanted = facts["wanted"]
            units = dict.fromkeys(wanted.units, 999) if is_other else wanted.units
            again = inventory.Wanted(wanted.kept_for, units, by="w")
            answer = self.ask(inventory.reserve, again)
        elif kind in ENDS:
            verb, units, more = ENDS[kind]
            other = {units: dict.fromkeys(facts[units], 999)} if is_other else {}
            answer = self.ask(verb, **(facts | other), **more, by="w")
        elif kind in STEPS:
            deed = facts["deed"]
            units = dict.fromkeys(deed.units, 999) if is_other else deed.units
            again = inventory.Deed(deed.kept_for, units, deed.reference, by="w")
            answer = self.ask(VERBS[kind], [again])
        else:
            units = {"units": dict.fromkeys(facts["units"], 999)} if is_other else {}
            answer = self.ask(VERBS[kind], **(facts | units), by="w")
        if is_other:
            assert isinstance(answer, inventory.ReferenceReused)
        else:
            assert not isinstance(answer, Refusal)

    @rule(source=places, there=places, units=baskets, is_sent=st.booleans())
    def plan_transfer(self, source, there, units, is_sent):
        where = {"source_id": source, "target_id": there}
        answer = self.ask(inventory.plan_transfer, **where, units=units, by="w")
        if source == there:
            assert isinstance(answer, inventory.ImpossibleTransfer)
            return
        self.transfers[answer.id] = ("planned", source, there, units)
        self.left[answer.id] = Counter(units)
        if is_sent:
            self.send_one(answer.id)

    @precondition(lambda self: self.transfers)
    @rule(data=st.data())
    def send(self, data):
        self.send_one(self.pick(data, "planned"))

    def send_one(self, number):
        state, source, target, units = self.transfers[number]
        answer = self.ask(inventory.send_transfer, transfer_id=number, by="w")
        if state in ("arrived", "cancelled"):
            assert isinstance(answer, IllegalMove)
        elif state == "planned":
            if any(self.stock.shows("free", sku, source) < units[sku] for sku in units):
                assert isinstance(answer, inventory.OutOfStock)
                return
            self.transfers[number] = ("sent", source, target, units)
            for sku, quantity in units.items():
                self.stock.change(sku, source, on_hand=-quantity, free=-quantity)
                self.stock.change(sku, target, in_transit=quantity)

    @precondition(lambda self: self.transfers)
    @rule(data=st.data(), kind=st.sampled_from(["arrive", "arrive", "lose"]), is_over=rarely)
    def account_for(self, data, kind, is_over):
        """Some of what is under way comes to an end, and rarely one unit too many."""
        number = self.pick(data, "sent")
        state, source, target, units = self.transfers[number]
        left = self.left[number]
        some = {sku: data.draw(st.integers(0, left[sku])) + is_over for sku in left}
        ended = {sku: quantity for sku, quantity in some.items() if quantity} or dict(+left)
        if not ended:
            return
        verb, name, more = ENDS[kind]
        facts = {"transfer_id": number, name: ended, "reference": self.name("e")}
        answer = self.ask(verb, **facts, **more, by="w")
        if state != "sent":
            assert isinstance(answer, IllegalMove)
            return
        if any(quantity > left[sku] for sku, quantity in ended.items()):
            assert isinstance(answer, inventory.ImpossibleTransfer)
            return
        self.done.append((kind, facts))
        left.subtract(ended)
        assert answer.state == ("sent" if any(left.values()) else "arrived")
        self.transfers[number] = (answer.state, source, target, units)
        for sku, quantity in ended.items():
            came = quantity if kind == "arrive" else 0
            self.stock.change(sku, target, in_transit=-quantity, on_hand=came, free=came)

    @precondition(lambda self: self.transfers)
    @rule(data=st.data())
    def cancel(self, data):
        number = self.pick(data, "arrived")
        state, *rest = self.transfers[number]
        answer = self.ask(inventory.cancel_transfer, transfer_id=number)
        assert isinstance(answer, IllegalMove) is (state in ("sent", "arrived"))
        if state == "planned":
            self.transfers[number] = ("cancelled", *rest)

    @rule(sku=skus, place=places, off=st.integers(-8, 8))
    def count(self, sku, place, off):
        on_hand = self.stock.shows("on_hand", sku, place)
        counted = max(0, on_hand + off)
        answer = self.ask(
            inventory.count,
            place_id=place,
            counted={sku: counted},
            worths=WORTH,
            value_max=VALUE_MAX,
            reference=self.name("c"),
            by="ann",
        )
        waiting = {(c.sku_id, c.place_id) for c in self.counts.values() if c.state == "proposed"}
        if (sku, place) in waiting:
            assert isinstance(answer, inventory.CountPending)
            return
        (found,) = answer
        much = abs(counted - on_hand) > 5
        fits = on_hand - counted <= self.stock.shows("free", sku, place)
        assert (found.state == "applied") is (not much and fits)
        self.counts[found.id] = found
        if found.state == "applied":
            self.stock.change(sku, place, on_hand=counted - on_hand, free=counted - on_hand)

    @precondition(lambda self: self.counts)
    @rule(data=st.data(), who=st.sampled_from(["ann", "bea"]), verdict=st.booleans())
    def decide(self, data, who, verdict):
        found = self.counts[data.draw(st.sampled_from(sorted(self.counts)))]
        verb = inventory.approve_count if verdict else inventory.reject_count
        answer = self.ask(verb, count_id=found.id, by=who)
        if found.state != "proposed":
            same = found.state == ("applied" if verdict else "rejected")
            assert isinstance(answer, IllegalMove) is not same
            return
        off = found.counted - found.expected
        if verdict and found.needs_second and who == "ann":
            assert isinstance(answer, inventory.SecondPersonNeeded)
        elif verdict and -off > self.stock.shows("free", found.sku_id, found.place_id):
            assert isinstance(answer, inventory.OutOfStock)
        else:
            self.counts[found.id] = answer
            if verdict:
                self.stock.change(found.sku_id, found.place_id, on_hand=off, free=off)

    @rule(sku=skus, place=places, units=st.integers(0, 60))
    def set_safety_stock(self, sku, place, units):
        self.ask(inventory.set_safety_stock, sku_id=sku, place_id=place, units=units)
        self.stock.change(sku, place)

    @invariant()
    def every_figure_is_as_it_should_be_and_proven(self):
        self.runner.run(self.look())

    async def look(self):
        found = await inventory.balances(self.conn, sku_ids=SKUS)
        shown = {(b.sku_id, b.place_id): tuple(getattr(b, n) for n in FIGURES) for b in found}
        # A count that finds nothing where nothing was opens a balance and moves nothing.
        expected = dict.fromkeys(shown, (0,) * len(FIGURES)) | self.stock.shown()
        assert shown == expected
        kept = {
            tuple(row)[:3]: tuple(row)[3:]
            for row in await self.conn.fetch(
                "SELECT kept_for, sku_id, place_id, reserved, allocated, shipped"
                "  FROM inventory.reservations"
            )
        }
        assert kept == {
            key: (n["reserved"], n["allocated"], n["shipped"]) for key, n in self.stock.kept.items()
        }
        assert await inventory.audit(self.conn) == []
        low = {(b.sku_id, b.place_id) for b in found if b.alerted}
        assert low <= {(b.sku_id, b.place_id) for b in found if b.free <= b.safety_stock}
        told = await inventory.alerts(self.conn, after=0, page_max=100)
        assert sorted(low) == sorted((alert.sku_id, alert.place_id) for alert in told)


async def places_added(conn: asyncpg.Connection) -> None:
    for number, kind in zip(PLACES[1:], ("warehouse", "store"), strict=True):
        name = {"en": "Place", "zh": "仓"}
        place = await inventory.add_place(
            conn, code=f"P{number}", kind=kind, name=name, region=f"P{number}", rank=number
        )
        assert place.id == number


@pytest.fixture
def url(postgres, template):
    """A migrated database with three places, for a test that runs its own loop."""
    name = "t_stock_walk"

    async def run(statement: str) -> None:
        admin = await asyncpg.connect(postgres.url_of("postgres"))
        await admin.execute(statement)
        await admin.close()

    async def fill() -> None:
        conn = await asyncpg.connect(postgres.url_of(name))
        await db.speak_json(conn)
        await places_added(conn)
        codes = [(f"SKU-{sku}", 5_000, "CNY") for sku in SKUS]
        title = {"en": "Kettle", "zh": "水壶"}
        _, made = await catalogue.add_product(conn, title=title, skus=codes)
        assert tuple(made) == SKUS
        await conn.close()

    asyncio.run(run(f"CREATE DATABASE {name} TEMPLATE {template}"))
    asyncio.run(fill())
    yield postgres.url_of(name)
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


def test_whatever_happens_in_whatever_order_stock_is_what_its_movements_say(url, redis_url):
    print(f"TEST_SEED={SEED}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        conn = runner.run(asyncpg.connect(url))
        runner.run(db.speak_json(conn))
        redis = nodes.connect(redis_url, timeout_s=5)
        runner.run(redis.__aenter__())
        try:
            machine = type("Walk", (Walk,), {"runner": runner, "conn": conn, "redis": redis})
            walk(hypothesis.seed(SEED)(machine))
        finally:
            runner.run(redis.__aexit__(None, None, None))
            runner.run(conn.close())
    print(f"{Walk.steps} deeds, {Walk.closed_sales} whole sales: {dict(Walk.kinds)}")
    assert len(Walk.kinds) >= KINDS_MIN
    assert Walk.closed_sales > 0


def walk(machine: type[Walk]) -> None:
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=max(1, STEPS_MAX // STEPS_PER_EXAMPLE),
            stateful_step_count=STEPS_PER_EXAMPLE,
            # What fails is printed as it was: to shorten it takes minutes of database.
            phases=[hypothesis.Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
