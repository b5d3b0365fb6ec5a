"""Orders in any order of events: pay, expire, cancel, ship, return, refund; it comes out even.

TEST_ORDER_STEPS is how many steps (with `make faults` 100,000); TEST_SEED replays what fails.
"""

import asyncio
import os
import random
from collections import Counter
from typing import ClassVar

import asyncpg
import hypothesis
import pytest
import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from core import aftersale, fulfilment, ledger
from core.flows.audit_ledger import audit_ledger
from core.kit import db
from core.kit.refusal import Refusal
from tests.core.keeper import Keeper

STEPS_MAX = int(os.environ.get("TEST_ORDER_STEPS", "2000"))
STEPS_PER_EXAMPLE = 100
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
UNITS = 10**7
MEMBER = 7

# What may happen next, and how often.
WEIGHTS = {
    "place": 1,
    "pay": 3,
    "cancel": 1,
    "expire": 1,
    "ship": 4,
    "deliver": 3,
    "ask": 6,
    "agree": 4,
    "refuse": 1,
    "withdraw": 1,
    "send_back": 2,
    "receive": 4,
    "refund": 5,
    "replace": 2,
    "settle_money": 1,
}
ABOUT_ORDERS = {"pay", "cancel", "expire", "ship", "deliver", "ask"}


class Walk(RuleBasedStateMachine):
    """Some orders of one member, in a shop that goes on from walk to walk."""

    runner: asyncio.Runner
    keeper: Keeper
    steps = 0
    seen: ClassVar[Counter[str]] = Counter()
    # What must be on hand, damaged; and what came back, by the kind of case.
    away: ClassVar[Counter[int]] = Counter()
    damaged: ClassVar[Counter[int]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[str] = []
        self.cases: list[aftersale.Case] = []
        self.sent: set[str] = set()
        self.came: set[int] = set()

    def ask_for(self, verb, *words, **facts):
        """What it answers; its refusal where it refuses."""
        Walk.steps += 1
        try:
            found = self.runner.run(verb(*words, **facts))
        except Refusal as refusal:
            Walk.seen[f"{verb.__name__} refused"] += 1
            return refusal
        Walk.seen[verb.__name__] += 1
        return found

    def did(self, found) -> bool:
        return not isinstance(found, Refusal)

    @initialize(dice=st.randoms(use_true_random=True))
    def begin(self, dice):
        """With an order that is there."""
        self.place(dice)
        for verb in (self.pay, self.ship, self.deliver):
            verb(dice, self.orders[0])

    @rule(dice=st.randoms(use_true_random=True))
    def step(self, dice):
        verb = dice.choices(list(WEIGHTS), WEIGHTS.values())[0]
        about = self.orders if verb in ABOUT_ORDERS else self.cases
        if verb in {"place", "settle_money"}:
            getattr(self, verb)(dice)
        elif about:
            # The newest ones most of all: they have the most before them.
            getattr(self, verb)(dice, dice.choice(about[-dice.choice([1, 2, 3, len(about)]) :]))

    def place(self, dice):
        bought = [
            (
                dice.randrange(2),
                dice.randint(1, 4),
                dice.choice([0, dice.randrange(10), dice.randrange(10**6)]),
                0,
                dice.randrange(99),
                dice.choice([1, 7]),
                dice.choice([0, 500, 1_999]),
            )
            for _ in range(dice.randint(1, 3))
        ]
        fee = dice.randrange(99)
        facts = {"shipping": fee, "shipping_tax": fee // 9}
        found = self.ask_for(self.keeper.place, MEMBER, bought, **facts)
        self.orders += [found] if self.did(found) else []

    def pay(self, _dice, order_id):
        if self.runner.run(self.keeper.order(order_id)).amount_minor:
            self.ask_for(self.keeper.pay, order_id)

    def cancel(self, _dice, order_id):
        self.ask_for(self.keeper.cancel, order_id, MEMBER)

    def expire(self, _dice, order_id):
        self.ask_for(self.keeper.expire, order_id)

    def ship(self, _dice, order_id):
        self.runner.run(self.keeper.dispatch())
        self.ask_for(self.keeper.ship, order_id)
        self.note_what_left(order_id)

    def deliver(self, _dice, order_id):
        self.ask_for(self.keeper.deliver, order_id)

    def ask(self, dice, order_id):
        kind = dice.choice(list(aftersale.Kind))
        facts = {"line_no": dice.randint(1, 3), "quantity": dice.randint(1, 3)}
        is_claim = kind is aftersale.Kind.CLAIM
        facts["amount"] = dice.choice([1, dice.randrange(1, 10**6)]) if is_claim else 0
        found = self.ask_for(self.keeper.ask, order_id, MEMBER, kind, **facts)
        self.cases += [found] if self.did(found) else []

    def agree(self, _dice, case):
        self.ask_for(self.keeper.agree, case)

    def refuse(self, _dice, case):
        self.ask_for(self.keeper.refuse, case)

    def withdraw(self, _dice, case):
        self.ask_for(self.keeper.withdraw, case, MEMBER)

    def send_back(self, _dice, case):
        self.ask_for(self.keeper.send_back, case, MEMBER)

    def refund(self, dice, case):
        self.ask_for(self.keeper.refund, case, dice.choice([None, None, dice.randint(1, 9)]))

    def replace(self, _dice, case):
        found = self.ask_for(self.keeper.replace, case)
        self.orders += [found.follow_up] if self.did(found) else []

    def receive(self, dice, case):
        condition = dice.choice(["good", "damaged"])
        if not self.did(self.ask_for(self.keeper.receive, case, condition)):
            return
        assert case.id not in self.came, "units came back twice"
        self.came.add(case.id)
        if condition == "damaged":
            Walk.damaged[case.sku_id] += case.quantity
        else:
            Walk.away[case.sku_id] -= case.quantity

    def settle_money(self, _dice):
        self.ask_for(self.keeper.settle_money)

    def note_what_left(self, order_id):
        """Count the units of each parcel that has left, once."""
        for one in self.runner.run(self.keeper.parcels(order_id)):
            number = one.consignment.id
            if one.consignment.state in {"shipped", "delivered"} and number not in self.sent:
                self.sent.add(number)
                for line in one.lines:
                    Walk.away[line.sku_id] += line.quantity

    @invariant()
    def every_log_makes_its_row_and_every_cent_is_somewhere(self):
        if self.steps % 5 == 0:
            for order_id in self.orders:
                self.runner.run(self.check(order_id))

    def teardown(self) -> None:
        self.ask_for(self.keeper.settle_money)
        for order_id in self.orders:
            self.runner.run(self.check(order_id))
        self.runner.run(self.check_all())

    async def check(self, order_id):
        """Kept + gone = came, line by line; no more units back than left; one end."""
        order = await self.keeper.order(order_id)
        assert order.payment != "refunded" or order.state == "cancelled"
        async with db.snapshot(self.keeper.pool) as conn:
            cases = await aftersale.of_order(conn, order_id=order_id)
            every = await fulfilment.of_orders(conn, order_ids=[order_id])
        assert order.open_cases == sum(case.ended_at is None for case in cases)
        for line in order.lines:
            shipped = sum(
                one.quantity
                for parcel in every
                if parcel.consignment.state in {"shipped", "delivered"}
                for one in parcel.lines
                if (one.order_id, one.line_no) == (order_id, line.line_no)
            )
            back = aftersale.units_of(c for c in cases if c.line_no == line.line_no)
            assert back <= shipped <= line.quantity
        if order.payment == "unpaid" or order.amount_minor == 0:
            return
        shares = await self.keeper.shares(order_id)
        gone = sum(case.refunded_minor for case in cases)
        whole = order.amount_minor if order.state == "cancelled" else gone
        assert sum(shares.values()) == whole
        assert order.state != "cancelled" or gone == 0

    async def check_all(self):
        stock = await self.keeper.stock()
        for sku_id, (on_hand, _, _, damaged) in stock.items():
            assert on_hand == UNITS - self.away[sku_id]
            assert damaged == self.damaged[sku_id]
        async with db.snapshot(self.keeper.pool) as conn:
            assert await ledger.uneven(conn) == []


async def open_shop(url):
    pool = db.create_pool(url, size_max=4)
    await pool
    return await Keeper(pool).open(UNITS)


async def close_shop(keeper):
    found = await audit_ledger(keeper.pool)
    shown = await keeper.pool.fetch(
        "SELECT state, payment, fulfilment, open_cases, count(*) FROM orders.orders"
        " GROUP BY 1, 2, 3, 4"
    )
    await keeper.pool.close()
    return found, shown


@pytest.fixture
def url(postgres, template):
    """A migrated database, for a test that runs its own loop."""
    name = "t_after_sale_walk"

    async def run(statement: str) -> None:
        admin = await asyncpg.connect(postgres.url_of("postgres"))
        await admin.execute(statement)
        await admin.close()

    asyncio.run(run(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield postgres.url_of(name)
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


def test_whatever_happens_to_orders_it_comes_out_even(url):
    print(f"TEST_SEED={SEED}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        Walk.runner, Walk.keeper = runner, runner.run(open_shop(url))
        try:
            run_state_machine_as_test(
                hypothesis.seed(SEED)(Walk),
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
        finally:
            found, shown = runner.run(close_shop(Walk.keeper))
    print(f"{Walk.steps} steps, seed {SEED}: {dict(sorted(Walk.seen.items()))}")
    print([tuple(row) for row in shown])
    assert (found.mismatches, found.drifts) == ([], [])
    for verb in ("pay", "cancel", "ship", "deliver", "ask", "agree", "receive", "refund"):
        assert Walk.seen[verb], f"nobody ever managed to {verb}"
