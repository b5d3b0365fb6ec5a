"""Money in any order of events: even in each currency, and whose it should be, at every step.

TEST_LEDGER_STEPS is how many steps (with `make faults` 100,000); TEST_SEED replays what fails.
"""

import asyncio
import os
import random
from collections import Counter
from fractions import Fraction
from math import floor
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

from core import ledger
from core.kit import db
from core.kit.refusal import Refusal

STEPS_MAX = int(os.environ.get("TEST_LEDGER_STEPS", "1500"))
STEPS_PER_EXAMPLE = 50
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)

CURRENCIES = ("CNY", "JPY")
RATES = {1: 0, 2: 500, 3: 1_999}
FACTS = {"channel": "sandbox"}
amounts = st.integers(0, 30) | st.integers(0, 10**6)
lines = st.lists(st.tuples(st.sampled_from(sorted(RATES)), amounts), min_size=1, max_size=4)


class Sold:
    """An order as its buyer and its sellers see it, line by line."""

    def __init__(self, order_id, currency, parts):
        self.order_id, self.currency, self.parts = order_id, currency, parts
        self.back = dict.fromkeys((part.line_no for part in parts), 0)
        self.is_released = False

    def left(self) -> dict[int, int]:
        return {p.line_no: p.amount_minor - self.back[p.line_no] for p in self.parts}

    def net(self, shares) -> Counter[tuple[str, str]]:
        """What each account gets of what is left, counted in fractions of the fixed commission."""
        got: Counter[tuple[str, str]] = Counter()
        for share in shares:
            left = share.amount_minor - self.back[share.line_no]
            part = Fraction(self.back[share.line_no], share.amount_minor or 1)
            commission = share.commission_minor - floor(share.commission_minor * part)
            got[share.account, share.owner] += left - commission
            got["commission_revenue", ""] += commission
        return got


class Walk(RuleBasedStateMachine):
    """One life of a ledger. Everything is rolled back at its end."""

    runner: asyncio.Runner
    conn: asyncpg.Connection
    steps = 0
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.orders: list[Sold] = []
        self.waiting: dict[str, tuple[int, str]] = {}
        self.owed: list[tuple[str, str, str, int, str]] = []
        self.clearing: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.done: list[tuple[object, tuple, dict]] = []
        self.transaction = self.conn.transaction()
        self.runner.run(self.transaction.start())

    def teardown(self) -> None:
        self.runner.run(self.transaction.rollback())

    def ask(self, verb, *words, **facts):
        """What a verb answers, in a transaction of its own; its refusal where it refuses."""

        async def ask():
            async with self.conn.transaction():
                return await verb(self.conn, *words, **facts)

        Walk.steps += 1
        Walk.seen[verb.__name__] += 1
        try:
            answer = self.runner.run(ask())
        except Refusal as refusal:
            return refusal
        self.done.append((verb, words, facts))
        return answer

    def name(self, kind: str) -> str:
        self.numbers += 1
        return f"{kind}{self.numbers}"

    def sell(self, currency, sold, fee) -> Sold:
        parts = [
            ledger.goods(
                n,
                seller_id=ledger.SellerId(seller),
                amount_minor=amount,
                commission_bps=RATES[seller],
            )
            for n, (seller, amount) in enumerate(sold, 1)
        ]
        parts += [ledger.shipping(98, amount_minor=fee), ledger.tax(99, amount_minor=fee)]
        return Sold(self.name("order"), currency, parts)

    @rule(currency=st.sampled_from(CURRENCIES), sold=lines, fee=amounts)
    def capture(self, currency, sold, fee):
        order = self.sell(currency, sold, fee)
        facts = {"payment_id": self.name("p"), "order_id": order.order_id, **FACTS}
        self.ask(ledger.capture_for_order, order.parts, currency=currency, **facts)
        total = sum(part.amount_minor for part in order.parts)
        self.clearing[currency] += total
        self.orders += [order] if total else []

    @rule(currency=st.sampled_from(CURRENCIES), amount=amounts)
    def capture_late(self, currency, amount):
        payment = self.name("p")
        facts = {"amount_minor": amount, "currency": currency, **FACTS}
        self.ask(ledger.capture, payment_id=payment, **facts)
        self.clearing[currency] += amount
        self.waiting[payment] = (amount, currency)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), verdict=st.booleans())
    def decide_late(self, data, verdict):
        payment = data.draw(st.sampled_from(sorted(self.waiting)))
        amount, currency = self.waiting.pop(payment)
        if verdict:
            order = self.sell(currency, [(2, amount)], 0)
            facts = {"payment_id": payment, "order_id": order.order_id, **FACTS}
            self.ask(ledger.apply, order.parts, currency=currency, **facts)
            self.orders += [order] if amount else []
            return
        facts = {"payment_id": payment, "amount_minor": amount, "currency": currency, **FACTS}
        self.ask(ledger.send_back, **facts)
        self.ask(ledger.sent_back, **facts)
        self.clearing[currency] -= amount

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), kind=st.sampled_from(["refunds", "chargebacks"]))
    def give_back(self, data, kind):
        order = data.draw(st.sampled_from(self.orders))
        left = order.left()
        line_no = data.draw(st.sampled_from(sorted(left)))
        most = left[line_no]
        amount = data.draw(st.integers(0, most + 1) | st.sampled_from([most, most + 1]))
        verb = ledger.refund if kind == "refunds" else ledger.charge_back
        reference = self.name("r")
        facts = {"reference": reference, "order_id": order.order_id}
        lost = data.draw(st.sampled_from([0, 0, 1, 700])) if kind == "chargebacks" else 0
        facts |= {"lost_minor": lost} if lost else {}
        answer = self.ask(verb, lines={line_no: amount}, **facts)
        if not 0 < amount <= most:
            assert isinstance(answer, ledger.MoreThanIsLeft)
            return
        assert answer is None
        order.back[line_no] += amount
        self.lost[order.currency] += lost
        self.owed.append((kind, reference, order.order_id, amount + lost, order.currency))

    @precondition(lambda self: self.owed)
    @rule(data=st.data())
    def deduct(self, data):
        kind, reference, order_id, amount, currency = self.owed.pop(
            data.draw(st.integers(0, len(self.owed) - 1))
        )
        verb = ledger.refund_paid if kind == "refunds" else ledger.chargeback_paid
        self.ask(verb, reference=reference, order_id=order_id, amount_minor=amount)
        self.clearing[currency] -= amount

    @rule(currency=st.sampled_from(CURRENCIES), amount=st.integers(1, 700))
    def lose(self, currency, amount):
        """A chargeback of money that no order keeps."""
        reference, order_id = self.name("r"), self.name("order")
        where = {"reference": reference, "order_id": order_id, "channel": "sandbox"}
        self.ask(ledger.lose, **where, amount_minor=amount, currency=currency)
        self.lost[currency] += amount
        self.owed.append(("chargebacks", reference, order_id, amount, currency))

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def complete(self, data):
        order = data.draw(st.sampled_from(self.orders))
        self.ask(ledger.release, order_id=order.order_id)
        order.is_released = True

    @rule(is_carried=st.booleans())
    def settle(self, is_carried):
        if is_carried:
            self.ask(ledger.carry_forward, batch_max=1_000)
        run = self.ask(ledger.open_run, reference=self.name("run"))
        while run.state == ledger.RunState.OPEN:
            run = self.ask(ledger.settle_next, run)

    @rule(data=st.data(), state=st.sampled_from(["sent", "paid", "paid", "failed"]))
    def pay_out(self, data, state):
        found = self.ask(ledger.open_payouts, after=ledger.PayoutId(0), page_max=100)
        if found:
            payout = data.draw(st.sampled_from(found))
            transfer = ledger.Transfer(f"b{payout.id}", state)
            self.ask(ledger.note_transfer, payout, transfer)

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def repeat(self, data):
        """Whatever was done is done again, and changes nothing."""
        verb, words, facts = data.draw(st.sampled_from(self.done))
        if verb in (ledger.settle_next, ledger.open_run, ledger.open_payouts):
            return
        before = self.runner.run(self.balances())
        self.ask(verb, *words, **facts)
        self.done.pop()
        assert self.runner.run(self.balances()) == before

    async def balances(self) -> Counter[tuple[str, str, str]]:
        found = await ledger.trial_balance(self.conn)
        return Counter({(b.account, b.owner, b.currency): b.amount_minor for b in found})

    @invariant()
    def every_account_holds_what_it_should(self):
        self.runner.run(self.look())

    async def look(self):
        assert await ledger.audit(self.conn) == []
        found = await self.balances()
        for currency in CURRENCIES:
            assert sum(a for (_, _, c), a in found.items() if c == currency) == 0
            assert found["provider_clearing", "sandbox", currency] == self.clearing[currency]
            assert found["chargeback_losses", "sandbox", currency] == self.lost[currency]
        wanted: Counter[tuple[str, str, str]] = Counter()
        for order in self.orders:
            hold, shares = await ledger.find_hold(self.conn, order_id=order.order_id)
            assert (hold.state == "released") is order.is_released
            left = sum(order.left().values())
            assert left == sum(s.amount_minor - s.returned_minor for s in shares) >= 0
            if order.is_released:
                for where, amount in order.net(shares).items():
                    wanted[(*where, order.currency)] -= amount
            else:
                wanted["escrow", "", order.currency] -= left
        for payout in await ledger.payouts(self.conn, before=None, page_max=1_000):
            if payout.state != "failed":
                wanted["seller_payable", str(payout.seller_id), payout.currency] += (
                    payout.amount_minor
                )
        checked = {"escrow", "seller_payable", "commission_revenue", "shipping_revenue"}
        for where in found.keys() | wanted.keys():
            if where[0] in checked:
                assert found[where] == wanted[where], where
        # Captured less refunded less charged back is what the kept lines come to.
        for currency in CURRENCIES:
            kept = sum(sum(o.left().values()) for o in self.orders if o.currency == currency)
            owed = sum(a for (name, _, c), a in found.items() if name in DEBTS and c == currency)
            assert self.clearing[currency] + owed == kept


DEBTS = {"refunds", "chargebacks", "chargeback_losses", "customer_funds"}


@pytest.fixture
def url(postgres, template):
    """A migrated database, for a test that runs its own loop."""
    name = "t_ledger_walk"

    async def run(statement: str) -> None:
        admin = await asyncpg.connect(postgres.url_of("postgres"))
        await admin.execute(statement)
        await admin.close()

    asyncio.run(run(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield postgres.url_of(name)
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


def test_whatever_happens_in_whatever_order_the_money_is_whose_it_should_be(url):
    print(f"TEST_SEED={SEED}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        conn = runner.run(asyncpg.connect(url))
        runner.run(db.speak_json(conn))
        try:
            machine = type("Walk", (Walk,), {"runner": runner, "conn": conn})
            run_state_machine_as_test(
                hypothesis.seed(SEED)(machine),
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
            runner.run(conn.close())
    print(f"{Walk.steps} deeds: {dict(Walk.seen)}")
