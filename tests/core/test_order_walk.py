"""Orders in any order of events, their providers failing at any moment; it comes out even.

Ordinary orders and those of flash sales are paid, expired, cancelled, shipped, returned, refunded.
TEST_ORDER_STEPS is how many steps (with `make faults` 100,000); TEST_SEED replays what fails, but
for who is first where some things happen at the same moment.
"""

import asyncio
import logging
import os
import random
import time
from collections import Counter
from datetime import datetime
from typing import ClassVar

import asyncpg
import hypothesis
import pytest
import structlog
import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core import aftersale, fulfilment, ledger, orders
from core.flows.audit_ledger import audit_ledger
from core.flows.audit_sale import audit_sale
from core.kit import db
from core.kit.refusal import Refusal
from hotpath.nodes import Redis
from tests.core.bank import TROUBLES
from tests.core.market import Market

STEPS_MAX = int(os.environ.get("TEST_ORDER_STEPS", "2000"))
STEPS_PER_EXAMPLE = 150
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
UNITS = 10**7
MEMBERS = (7, 8, 9)
CROWD_MAX = 4
ROUNDS_MAX = 60
STEP_S_MAX = 60

# What may happen next, and how often.
WEIGHTS = {
    "place": 1,
    "claim": 2,
    "close_sale": 0.1,
    "start": 2,
    "click": 2,
    "post": 3,
    "look": 1,
    "pay": 5,
    "trouble": 2,
    "lapse": 0.5,
    "charge_back": 0.5,
    "cancel": 0.5,
    "cancel_for_staff": 0.5,
    "expire": 0.5,
    "ship": 4,
    "deliver": 3,
    "ask": 5,
    "agree": 1,
    "refuse": 0.5,
    "withdraw": 0.5,
    "send_back": 0.5,
    "receive": 1,
    "refund": 2,
    "replace": 0.5,
    "go_on": 8,
    "settle_money": 2,
    "at_once": 2,
}
ALONE = {"place", "claim", "close_sale", "post", "look", "trouble", "settle_money"}
ABOUT_ORDERS = (
    *("start", "click", "pay", "cancel", "cancel_for_staff", "expire", "ship", "deliver", "ask"),
    *("lapse", "charge_back"),
    "at_once",
)
# What may come of a case as it stands.
NEXT = {
    "asked": ("agree", "agree", "agree", "refuse", "withdraw", "refund"),
    "agreed": ("send_back", "send_back", "receive", "withdraw"),
    "on_its_way": ("receive",),
    "received": ("refund", "refund", "replace"),
}
RACES = (
    *("start", "click", "post", "look", "cancel", "cancel_for_staff", "expire", "settle_money"),
    *("ship", "lapse", "charge_back"),
)


class Walk(RuleBasedStateMachine):
    """Some orders of a few members, in a shop that goes on from walk to walk."""

    runner: asyncio.Runner
    market: Market
    steps = 0
    seen: ClassVar[Counter[str]] = Counter()
    ends: ClassVar[Counter[str]] = Counter()
    # What must be on hand, damaged; and what came back, by the kind of case.
    away: ClassVar[Counter[int]] = Counter()
    damaged: ClassVar[Counter[int]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, int] = {}
        self.touched: set[str] = set()
        self.cases: list[aftersale.Case] = []
        self.sent: set[str] = set()
        self.came: set[int] = set()
        self.began: datetime
        self.crowd = 1

    def run(self, *deeds):
        """All of them at the same moment."""

        async def together():
            async with asyncio.timeout(STEP_S_MAX):
                await asyncio.gather(*deeds)

        self.runner.run(together())

    async def ask_for(self, verb, *words, **facts):
        """What it answers; its refusal where it refuses."""
        Walk.steps += 1
        try:
            found = await verb(*words, **facts)
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
        self.run(self.set_out(dice))

    async def set_out(self, dice):
        self.market.dice, self.crowd = dice, dice.choice([1, CROWD_MAX])
        self.began = await self.market.pool.fetchval("SELECT now()")
        await self.market.open_sale()
        await self.place(dice)
        for verb in (self.pay, self.ship, self.deliver):
            await verb(dice, next(iter(self.orders)))

    @rule(dice=st.randoms(use_true_random=True))
    def step(self, dice):
        self.market.dice = dice
        for bank in self.market.banks.values():
            bank.dice = dice
        verbs = dice.choices(list(WEIGHTS), WEIGHTS.values(), k=dice.randint(1, self.crowd))
        self.run(*(self.act(dice, verb) for verb in verbs))

    async def act(self, dice, verb):
        about = list(self.orders) if verb in ABOUT_ORDERS else self.cases
        if verb in ALONE:
            await getattr(self, verb)(dice)
        elif about:
            # The newest ones most of all: they have the most before them.
            one = dice.choice(about[-dice.choice([1, 2, 3, len(about)]) :])
            self.touched.add(one if verb in ABOUT_ORDERS else one.order_id)
            await getattr(self, verb)(dice, one)

    async def at_once(self, dice, order_id):
        """What may happen to an order, all at the same moment."""

        async def one(verb):
            await getattr(self, verb)(dice, *([] if verb in ALONE else [order_id]))

        await asyncio.gather(*map(one, dice.choices(RACES, k=dice.randint(2, 5))))

    async def place(self, dice):
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
        fee, member = dice.randrange(99), dice.choice(MEMBERS)
        facts = {"shipping": fee, "shipping_tax": fee // 9}
        found = await self.ask_for(self.market.place, member, bought, **facts)
        if self.did(found):
            self.orders[found] = member

    async def claim(self, dice):
        member = dice.choice(MEMBERS)
        found = await self.ask_for(self.market.claim, member, dice.randrange(2), dice.randint(1, 2))
        if self.did(found):
            self.orders[found] = member

    async def close_sale(self, _dice):
        await self.ask_for(self.market.close_sale)

    async def trouble(self, dice):
        """A provider is in trouble or well again; some of its mail gets lost."""
        bank = dice.choice(list(self.market.banks.values()))
        bank.trouble = dice.choice([*TROUBLES, *[""] * 8])
        if dice.random() < 0.5:
            bank.catch_up()
        bank.lose_mail(dice.choice([0, 0, 0, 0.9]))

    async def start(self, dice, order_id):
        order = await self.market.order(order_id)
        if order.amount_minor and (order.shown == "pending_payment" or dice.random() < 0.2):
            channel = dice.choice(list(self.market.banks))
            await self.ask_for(self.market.start, order_id, self.orders[order_id], channel)

    async def click(self, _dice, order_id):
        await self.ask_for(self.market.click, order_id)

    async def lapse(self, _dice, order_id):
        await self.ask_for(self.market.lapse, order_id)

    async def charge_back(self, dice, order_id):
        amount = dice.choice([1, dice.randrange(1, 10**4), 10**9])
        await self.ask_for(self.market.charge_back, order_id, amount)

    async def post(self, dice):
        await self.ask_for(self.market.post, at_most=dice.randint(1, 4))

    async def look(self, _dice):
        await self.ask_for(self.market.look)

    async def pay(self, dice, order_id):
        await self.start(dice, order_id)
        await self.click(dice, order_id)
        await self.look(dice)

    async def cancel(self, _dice, order_id):
        await self.ask_for(self.market.cancel, order_id, self.orders[order_id])

    async def cancel_for_staff(self, _dice, order_id):
        await self.ask_for(self.market.cancel_for_staff, order_id)

    async def expire(self, _dice, order_id):
        await self.ask_for(self.market.expire, order_id)

    async def ship(self, _dice, order_id):
        await self.market.dispatch()
        await self.ask_for(self.market.ship, order_id)
        await self.note_what_left(order_id)

    async def deliver(self, _dice, order_id):
        await self.ask_for(self.market.deliver, order_id)

    async def ask(self, dice, order_id):
        kind = dice.choice(list(aftersale.Kind))
        order = await self.market.order(order_id)
        if order.fulfilment == "unshipped" and dice.random() < 0.9:
            return
        line = dice.choice(order.lines)
        facts = {"line_no": line.line_no, "quantity": dice.randint(1, line.quantity)}
        is_claim = kind is aftersale.Kind.CLAIM
        facts["amount"] = dice.choice([1, dice.randrange(1, 10**6)]) if is_claim else 0
        found = await self.ask_for(self.market.ask, order_id, self.orders[order_id], kind, **facts)
        self.cases += [found] if self.did(found) else []

    async def agree(self, _dice, case):
        await self.ask_for(self.market.agree, case)

    async def refuse(self, _dice, case):
        await self.ask_for(self.market.refuse, case)

    async def withdraw(self, _dice, case):
        await self.ask_for(self.market.withdraw, case, case.member_id)

    async def send_back(self, _dice, case):
        await self.ask_for(self.market.send_back, case, case.member_id)

    async def refund(self, dice, case):
        amount = dice.choice([None, None, dice.randint(1, 9)])
        await self.ask_for(self.market.refund, case, amount)

    async def replace(self, _dice, case):
        found = await self.ask_for(self.market.replace, case)
        if self.did(found):
            self.orders[found.follow_up] = case.member_id

    async def receive(self, dice, case):
        condition = dice.choice(["good", "damaged"])
        if not self.did(await self.ask_for(self.market.receive, case, condition)):
            return
        assert case.id not in self.came, "units came back twice"
        self.came.add(case.id)
        if condition == "damaged":
            Walk.damaged[case.sku_id] += case.quantity
        else:
            Walk.away[case.sku_id] -= case.quantity

    async def go_on(self, dice, case):
        async with db.snapshot(self.market.pool) as conn:
            found = await aftersale.find(conn, case_id=case.id)
        if found.state in NEXT:
            await getattr(self, dice.choice(NEXT[found.state]))(dice, case)

    async def settle_money(self, _dice):
        await self.ask_for(self.market.settle_money)

    async def note_what_left(self, order_id):
        """Count the units of each parcel that has left, once."""
        for one in await self.market.parcels(order_id):
            number = one.consignment.id
            if one.consignment.state in {"shipped", "delivered"} and number not in self.sent:
                self.sent.add(number)
                for line in one.lines:
                    Walk.away[line.sku_id] += line.quantity

    @invariant()
    def every_log_makes_its_row_and_every_cent_is_somewhere(self):
        if len(self.touched) > 3:
            self.run(self.check_touched())

    async def check_touched(self):
        while self.touched:
            await self.check(self.touched.pop())

    def teardown(self) -> None:
        self.runner.run(asyncio.wait_for(self.end(), 4 * STEP_S_MAX))

    async def end(self):
        """The providers are well again, every limit passes, all do their work: all is quiet."""
        for bank in self.market.banks.values():
            bank.trouble = ""
            bank.catch_up()
            bank.lose_mail(0.5)
        await self.market.post(at_most=1_000)
        await self.ask_for(self.market.close_sale)
        for _ in range(ROUNDS_MAX):
            waiting = await self.market.work()
            self.orders |= await self.market.placed_since(self.began)
            if not await self.finish() and not waiting:
                break
        else:
            raise AssertionError(f"it is never quiet: {waiting}")
        for order_id in self.orders:
            await self.check(order_id)
            await self.check_end(order_id)
        await self.check_all()

    async def finish(self) -> bool:
        """Staff sends what was paid and ends what is asked of it; true where there was any."""
        is_busy = False
        for order_id in list(self.orders):
            order = await self.market.order(order_id)
            is_kept = order.payment in {"authorized", "paid"}
            if is_kept and order.state == "open" and order.fulfilment != "delivered":
                is_busy = True
                await self.ship(self.market.dice, order_id)
                await self.deliver(self.market.dice, order_id)
            async with db.snapshot(self.market.pool) as conn:
                cases = await aftersale.of_order(conn, order_id=order_id)
            for case in cases:
                is_busy |= case.ended_at is None
                await self.go_on(self.market.dice, case)
        return is_busy

    async def check(self, order_id):
        """Kept + gone = came, line by line; no more units back than left; one end."""
        order = await self.market.order(order_id)
        assert order.payment != "refunded" or order.state == "cancelled"
        async with db.snapshot(self.market.pool) as conn:
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
        if order.payment in {"unpaid", "authorized"} or order.amount_minor == 0:
            return
        returned = sum((await self.market.shares(order_id)).values())
        gone = sum(case.refunded_minor for case in cases)
        if order.state == "cancelled":
            assert (returned, gone) == (order.amount_minor, 0)
        else:
            # What a bank took back of an order is no more than the order still has.
            assert gone <= returned <= gone + await self.market.claimed(order_id)

    async def check_end(self, order_id):
        """It has ended, and once."""
        async with db.snapshot(self.market.pool) as conn:
            order = await orders.find(conn, order_id=order_id)
            log = await orders.log(conn, order_id=order_id)
        ended = [one for one in log if isinstance(one.event, orders.Cancelled)]
        Walk.ends[order.shown] += 1
        assert order.shown in {"completed", "cancelled"}, order
        assert len(ended) == (order.shown == "cancelled")

    async def check_all(self):
        """The providers say the same; nothing is kept for anybody; what is away was sent."""
        kept = await self.market.money(list(self.orders))
        for order_id, minor in kept.items():
            order = await self.market.order(order_id)
            left = 0
            if order.payment == "paid" and order.amount_minor:
                left = order.amount_minor - sum((await self.market.shares(order_id)).values())
            assert left <= minor <= left + await self.market.claimed(order_id), order
        assert await self.market.parked() == 0
        audit = await audit_sale(self.market.pool, self.market.redis, sale_id=self.market.sale.id)
        assert audit.drift == 0
        stock = await self.market.stock()
        for sku_id, figures in stock.items():
            assert figures == (UNITS - self.away[sku_id], 0, 0, self.damaged[sku_id])
        async with db.snapshot(self.market.pool) as conn:
            assert await ledger.uneven(conn) == []


async def open_shop(url, redis_url):
    pool = db.create_pool(url, size_max=8)
    await pool
    redis = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=5)
    return await Market(pool, redis, redis_url, random.Random(SEED)).open(UNITS)


async def close_shop(market):
    found = await audit_ledger(market.pool)
    shown = await market.pool.fetch(
        "SELECT state, reason, channel, count(*) FROM payments.payments GROUP BY 1, 2, 3"
    )
    await market.close()
    return found, shown


@pytest.fixture
def url(postgres, template):
    """A migrated database, for a test that runs its own loop."""
    name = "t_order_walk"

    async def run(statement: str) -> None:
        admin = await asyncpg.connect(postgres.url_of("postgres"))
        await admin.execute(statement)
        await admin.close()

    asyncio.run(run(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield postgres.url_of(name)
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def quiet():
    """A provider in trouble is told of a thousand times, with all that stood around it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("quiet")
def test_whatever_happens_to_orders_it_comes_out_even(url, redis_url):
    print(f"TEST_SEED={SEED}")
    began = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        Walk.runner, Walk.market = runner, runner.run(open_shop(url, redis_url))
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
            found, shown = runner.run(close_shop(Walk.market))
    took_s = time.monotonic() - began
    print(f"{Walk.steps} steps in {took_s:.0f} s, seed {SEED}: {dict(sorted(Walk.seen.items()))}")
    print(dict(Walk.ends), sorted(map(str, map(tuple, shown))))
    assert (found.mismatches, found.drifts) == ([], [])
    for verb in ("claim", "start", "cancel", "ship", "deliver", "ask", "agree", "receive", "lapse"):
        assert Walk.seen[verb], f"nobody ever managed to {verb}"
