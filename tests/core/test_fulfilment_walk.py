"""Ordinary orders in any order of events: each ends once, and its units and its money with it.

TEST_FULFILMENT_STEPS is how many steps (with `make faults` 100,000); TEST_SEED replays what fails.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter
from typing import ClassVar
from uuid import uuid4

import asyncpg
import hypothesis
import msgspec
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

from core import catalogue, fulfilment, inventory, ledger, orders, payments, staff
from core.flows.cancel_order import cancel_for_staff
from core.flows.dispatch_orders import dispatch_orders
from core.flows.expire_holds import expire_holds
from core.flows.place_ordinary import place_many, purpose
from core.flows.send_consignments import (
    deliver_consignment,
    merge_consignments,
    ship_consignment,
    split_consignment,
)
from core.flows.settle_payment import settle_payment
from core.kit import db
from core.kit.refusal import Refusal
from hotpath.receipts import Keyring
from hotpath.signing import Signer
from tests.core.test_ordinary_orders import a_line

STEPS_MAX = int(os.environ.get("TEST_FULFILMENT_STEPS", "1500"))
STEPS_PER_EXAMPLE = 50
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
EVENTS_MIN = 9
MEMBERS, FIRST = (7, 8), 12
WAREHOUSES = (1, 2)
KEYRING = Keyring({1: b"k" * 32})
SEALER = staff.Sealer({1: Signer(b"n" * 32)})
AUTHOR = staff.Author(SEALER, "bea", staff.Permission.ORDERS_WRITE, "test", "r-1")
INSIDE = ("allocated",)
OUT = ("shipped", "delivered")


class OnePool:
    """Every transaction of a flow is a savepoint of the one that is rolled back in the end."""

    def __init__(self, conn) -> None:
        self.conn = conn

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout):  # noqa: ASYNC109  as the driver has it
        yield self.conn


class Bought(msgspec.Struct):
    """An order as it should be: `kept` is SKU and place -> units, while they are kept for it."""

    order: orders.Order
    is_due: bool
    kept: dict[tuple[int, int], int]
    state: str = "pending_payment"
    is_planned: bool = False


class Parcel(msgspec.Struct):
    """`load` is order and line -> units."""

    state: str
    place: int
    load: Counter[tuple[str, int]]


class Walk(RuleBasedStateMachine):
    runner: asyncio.Runner
    conn: asyncpg.Connection
    sku_ids: tuple[int, ...]
    steps = 0
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.pool = OnePool(self.conn)
        self.bought: dict[str, Bought] = {}
        self.parcels: dict[int, Parcel] = {}
        self.keys = 0
        self.transaction = self.conn.transaction()
        self.runner.run(self.transaction.start())
        # Many lives are denied some of the rules: the long ways are begun for all.
        self.place([1], 8, is_due=True)
        self.expire()
        for _ in range(3):
            self.place([2, 1], 7, is_due=False)
            self.pay(next(reversed(self.bought)))
        self.dispatch()
        self.ship_one(next(iter(self.parcels)))
        self.deliver_one(next(iter(self.parcels)))

    def teardown(self) -> None:
        self.runner.run(self.transaction.rollback())

    def ask(self, verb, *words, **facts):
        """What a flow answers; its refusal where it refuses."""
        Walk.steps += 1
        try:
            return self.runner.run(verb(*words, **facts))
        except Refusal as refusal:
            return refusal

    async def read(self, verb, **facts):
        return await verb(self.conn, **facts)

    def saw(self, event: str) -> None:
        Walk.seen[event] += 1

    def pick(self, data):
        return list(self.bought)[data.draw(st.integers(0, len(self.bought) - 1))]

    def choose(self, data, state: str) -> int:
        """A parcel, most likely one in this state. Lives differ in their numbers, not in ranks."""
        fit = [at for at, one in enumerate(self.parcels.values()) if one.state == state]
        at = data.draw(st.sampled_from([*range(len(self.parcels)), *fit * 5]))
        return list(self.parcels)[at]

    @rule(
        quantities=st.lists(st.integers(1, 5), min_size=1, max_size=2),
        member=st.sampled_from(MEMBERS),
        is_due=st.sampled_from([False, False, True]),
    )
    def place(self, quantities, member, is_due):
        answer = self.ask(self.placed, quantities, member, hold_s=0 if is_due else 900)
        if isinstance(answer, Refusal):
            assert isinstance(answer, inventory.OutOfStock)
            return
        found = self.runner.run(self.read(inventory.reservations, kept_for=purpose(answer.id)))
        kept = {(one.sku_id, one.place_id): one.reserved for one in found}
        self.bought[answer.id] = Bought(answer, is_due, kept)
        self.saw("placed")

    async def placed(self, quantities, member, *, hold_s):
        self.keys += 1
        key = f"k{self.keys}"
        order_id = orders.OrderId(KEYRING.order_ids.of_key(1_700_000_000_000, member, key))
        lines = tuple(
            a_line(order_id, number, self.sku_ids[number - 1], quantity=quantity, seller_id=number)
            for number, quantity in enumerate(quantities, 1)
        )
        bought = orders.Purchase(
            id=order_id,
            member_id=member,
            idempotency_key=key,
            asked=bytes(32),
            lines=lines,
            shipping_minor=1_201,
            shipping_tax_minor=100,
            shipping_included_tax_minor=0,
            currency="CNY",
            hold_s=hold_s,
            agreement=orders.Agreement({"country": "DE"}, []),
        )
        async with db.transaction(self.pool) as conn:
            (outcome,) = await place_many(conn, [bought])
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    @precondition(lambda self: self.bought)
    @rule(data=st.data())
    def pay_one(self, data):
        self.pay(self.pick(data))

    def pay(self, order_id):
        """Whoever pays what is paid, or cancelled by staff, gets the money back."""
        one = self.bought[order_id]
        if one.state == "expired":
            return
        event = self.runner.run(self.started(one.order))
        assert self.ask(settle_payment, self.pool, event) is None
        payment = self.runner.run(self.read(payments.find, payment_id=event.payment_id))
        is_kept = one.state == "pending_payment"
        assert payment.state == ("captured" if is_kept else "refunding")
        if is_kept:
            one.state = "paid"
        self.saw("paid" if is_kept else "sent back")

    async def started(self, order):
        async with db.transaction(self.pool) as conn:
            payment = await payments.start(
                conn,
                payment_id=payments.PaymentId(str(uuid4())),
                order_id=order.id,
                member_id=order.member_id,
                channel="sandbox",
                amount_minor=order.amount_minor,
                currency=order.currency,
                expires_at=order.expires_at,
            )
        captured = payments.EventKind.CAPTURED
        facts = (payment.id, "ref", order.amount_minor, order.currency)
        return payments.Event("sandbox", str(uuid4()), captured, *facts)

    @rule()
    def expire(self):
        late = [one for one in self.bought.values() if one.is_due]
        late = [one for one in late if one.state == "pending_payment"]
        assert self.ask(expire_holds, self.pool, batch_max=100) == len(late)
        for one in late:
            one.state, one.kept = "expired", {}
            self.saw("expired")

    @precondition(lambda self: self.bought)
    @rule(data=st.data())
    def cancel(self, data):
        order_id = self.pick(data)
        one = self.bought[order_id]
        ids = {"order_id": order_id, "refund_id": payments.RefundId(str(uuid4()))}
        answer = self.ask(cancel_for_staff, self.pool, **ids, author=AUTHOR)
        loads = [p for p in self.parcels.values() if order_id in {n for n, _ in p.load}]
        if any(parcel.state in OUT for parcel in loads):
            assert isinstance(answer, orders.AlreadyShipped)
            return
        if one.state not in ("pending_payment", "paid"):
            assert isinstance(answer, orders.IllegalMove)
            return
        assert answer.shown == "cancelled"
        one.state, one.kept = "cancelled", {}
        for parcel in loads:
            for spot in [spot for spot in parcel.load if spot[0] == order_id]:
                del parcel.load[spot]
        self.learn(order_id)
        self.saw("cancelled")

    @rule()
    def dispatch(self):
        due = [n for n, one in self.bought.items() if one.state == "paid" and not one.is_planned]
        self.ask(dispatch_orders, self.pool, batch_max=100)
        for order_id in due:
            self.bought[order_id].is_planned = True
            self.learn(order_id)
            self.saw("dispatched")

    def learn(self, *order_ids):
        """Take over what is written; that it adds up is seen at every step."""
        for one, lines in self.runner.run(self.read(fulfilment.of_orders, order_ids=order_ids)):
            load = Counter({tuple(line.spot): line.quantity for line in lines})
            self.parcels[one.id] = Parcel(one.state, one.place_id, load)

    @precondition(lambda self: self.parcels)
    @rule(data=st.data())
    def ship(self, data):
        self.ship_one(self.choose(data, "allocated"))

    def ship_one(self, number):
        parcel = fulfilment.Parcel("SF", str(number))
        answer = self.ask(
            ship_consignment,
            self.pool,
            payments.Channels({}),
            consignment_id=number,
            parcel=parcel,
            by="bea",
        )
        self.moved(number, answer, {"allocated": "shipped", "shipped": "shipped"})

    @precondition(lambda self: self.parcels)
    @rule(data=st.data())
    def deliver(self, data):
        self.deliver_one(self.choose(data, "shipped"))

    def deliver_one(self, number):
        answer = self.ask(deliver_consignment, self.pool, consignment_id=number, by="bea")
        self.moved(number, answer, {"shipped": "delivered", "delivered": "delivered"})

    def moved(self, number, answer, moves):
        parcel = self.parcels[number]
        if parcel.state not in moves:
            assert isinstance(answer, orders.IllegalMove)
            return
        parcel.state = moves[parcel.state]
        assert answer.consignment.state == parcel.state
        self.saw(parcel.state)

    @precondition(lambda self: self.parcels)
    @rule(data=st.data())
    def split(self, data):
        number = self.choose(data, "allocated")
        parcel = self.parcels[number]
        leaving = {
            fulfilment.Spot(*spot): data.draw(st.integers(0, units))
            for spot, units in sorted(parcel.load.items())
        }
        answer = self.ask(
            split_consignment, self.pool, consignment_id=number, leaving=leaving, author=AUTHOR
        )
        if parcel.state not in INSIDE:
            assert isinstance(answer, orders.IllegalMove)
        elif sum(leaving.values()) in (0, sum(parcel.load.values())):
            assert isinstance(answer, fulfilment.ImpossibleSplit)
        else:
            self.learn(*{order_id for order_id, _ in parcel.load})
            self.saw("split")

    @precondition(lambda self: len(self.parcels) > 1)
    @rule(data=st.data())
    def merge(self, data):
        ids = [self.choose(data, "allocated") for _ in range(2)]
        every = [self.parcels[number] for number in ids]
        answer = self.ask(merge_consignments, self.pool, ids=ids, author=AUTHOR)
        if isinstance(answer, Refusal):
            assert isinstance(answer, orders.IllegalMove | fulfilment.ImpossibleMerge)
            return
        assert {(one.state, one.place) for one in every} == {("allocated", every[0].place)}
        self.parcels[ids[1]] = Parcel("cancelled", every[1].place, Counter())
        self.learn(*{order_id for one in every for order_id, _ in one.load})
        self.saw("merged")

    @invariant()
    def every_unit_and_every_cent_is_where_it_should_be(self):
        self.runner.run(self.look())

    async def look(self):
        await self.look_at_stock()
        assert await ledger.audit(self.conn) == []
        for order_id, one in self.bought.items():
            order = await orders.find(self.conn, order_id=order_id)
            log = await orders.log(self.conn, order_id=order_id)
            assert orders.first_broken(order, log) is None
            assert order.shown == self.shown(order_id, one)
            loads = await fulfilment.of_orders(self.conn, order_ids=[order_id])
            lines = [n for load in loads for n in load.lines if n.order_id == order_id]
            assert bool(lines) is one.is_planned
            if lines:
                self.adds_up(order, lines)

    def shown(self, order_id, one):
        if one.state != "paid":
            return "cancelled" if one.state == "expired" else one.state
        states = {p.state for p in self.parcels.values() if order_id in {n for n, _ in p.load}}
        if not states & set(OUT):
            return "paid"
        return "completed" if states == {"delivered"} else "shipped"

    def adds_up(self, order, lines):
        assert Counter((n.line_no, n.sku_id) for n in lines).keys() == {
            (line.line_no, line.sku_id) for line in order.lines
        }
        for line in order.lines:
            mine = [n for n in lines if n.line_no == line.line_no]
            assert sum(n.quantity for n in mine) == line.quantity
            assert sum(n.discount_minor for n in mine) == line.discount_minor
        amount = sum(
            n.goods_minor - n.discount_minor + n.tax_minor + n.shipping_minor for n in lines
        )
        assert amount == order.amount_minor

    async def look_at_stock(self):
        """On hand, reserved and allocated, recomputed from orders and parcels alone."""
        wanted = {(sku_id, place): [FIRST, 0, 0] for sku_id in self.sku_ids for place in WAREHOUSES}
        for one in self.bought.values():
            if not one.is_planned:
                for shelf, units in one.kept.items():
                    wanted[shelf][1] += units
        for parcel in self.parcels.values():
            for (_, line_no), units in parcel.load.items():
                shelf = wanted[self.sku_ids[line_no - 1], parcel.place]
                shelf[0] -= units * (parcel.state in OUT)
                shelf[2] += units * (parcel.state in INSIDE)
        found = await inventory.balances(self.conn, sku_ids=self.sku_ids)
        shown = {(b.sku_id, b.place_id): [b.on_hand, b.reserved, b.allocated] for b in found}
        assert shown == wanted
        assert await inventory.audit(self.conn) == []


async def furnished(conn) -> tuple[int, ...]:
    """Two SKUs with a few units in each of two warehouses."""
    name = {"en": "West", "zh": "西仓"}
    await inventory.add_place(conn, code="W", kind="warehouse", name=name, region="W", rank=1)
    skus = [("A", 9_900, "CNY"), ("B", 9_900, "CNY")]
    _, made = await catalogue.add_product(conn, title={"en": "Tea", "zh": "茶"}, skus=skus)
    for place in WAREHOUSES:
        units = dict.fromkeys(made, FIRST)
        facts = {"place_id": inventory.PlaceId(place), "reference": f"van {place}", "by": "test"}
        await inventory.receive(conn, units=units, **facts)
    return tuple(made)


@pytest.fixture
def url(postgres, template):
    name = "t_fulfilment_walk"

    async def run(statement: str) -> None:
        admin = await asyncpg.connect(postgres.url_of("postgres"))
        await admin.execute(statement)
        await admin.close()

    asyncio.run(run(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield postgres.url_of(name)
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


def test_however_orders_are_paid_sent_and_cancelled_each_unit_and_cent_ends_once(url):
    print(f"TEST_SEED={SEED}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        conn = runner.run(asyncpg.connect(url))
        runner.run(db.speak_json(conn))
        try:
            sku_ids = runner.run(furnished(conn))
            facts = {"runner": runner, "conn": conn, "sku_ids": sku_ids}
            walk(hypothesis.seed(SEED)(type("Walk", (Walk,), facts)))
        finally:
            runner.run(conn.close())
    print(f"{Walk.steps} deeds: {dict(Walk.seen)}")
    assert len(Walk.seen) >= EVENTS_MIN


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
