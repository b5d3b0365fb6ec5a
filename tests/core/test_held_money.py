"""Money that is held until goods leave: taken once and never too late, or let go with its order."""

import asyncio
import itertools
import random
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import msgspec
import pytest

from core import feeds, inventory, ledger, orders, payments
from core.flows import refund, void_payment
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.flows.hear_feed import Teller, hear_feed
from core.flows.order_flow import order_flow
from core.flows.reconcile_payments import reconcile_payments
from core.flows.send_consignments import ship, ship_consignment
from core.flows.settle_payment import settle_payment
from core.jobs.outbox_relay import OutboxRelay
from core.kit import db
from core.kit.states import IllegalMove
from core.payments import EventKind, Taking
from tests.core.keeper import PARCEL, Keeper, Till

KETTLES = (0, 3, 3_333, 100, 250, 7, 500)
LIDS = (1, 2, 1_000, 0, 0, 1, 0)
UNITS = 100
EXPECTED = (
    *(IllegalMove, orders.AlreadyShipped),
    *(payments.NotCaptured, payments.ChannelUnavailable),
)
WAITING = "SELECT count(*) FROM kit.outbox WHERE topic <> 'orders.paid'"


class Vault(Till):
    """A provider that holds money: payment -> `held`, `taken` or `gone`, whichever was first."""

    taking = Taking.AT_DISPATCH

    def __init__(self):
        super().__init__()
        self.stands: dict[str, str] = {}
        self.refuses = self.is_away = self.loses = False
        self.until = datetime.now(UTC) + timedelta(days=7)

    async def checkout(self, payment):
        raise AssertionError("nobody is sent there")

    async def look(self, payment):
        return self.tell(payment)

    async def capture(self, payment):
        return await self.ask(payment, "taken")

    async def void(self, payment):
        return await self.ask(payment, "gone")

    close = void

    async def ask(self, payment, wish):
        await asyncio.sleep(0)
        if self.is_away:
            raise payments.ChannelUnavailable
        if self.refuses and wish == "taken":
            raise payments.ProviderRefused("the bank says no")
        if self.stands[payment.id] == "held":
            self.stands[payment.id] = wish
        if self.loses:
            raise payments.ChannelUnavailable
        return self.tell(payment)

    def tell(self, payment, kind=None, **facts):
        kinds = {
            "held": EventKind.AUTHORIZED,
            "taken": EventKind.CAPTURED,
            "gone": EventKind.VOIDED,
        }
        told = kind or kinds[self.stands[payment.id]]
        event = payments.Event(
            channel=payment.channel,
            id=f"{payment.id} {told}",
            kind=told,
            payment_id=payment.id,
            provider_ref="ref",
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            capture_ref="cap",
            authorized_until=self.until,
        )
        return msgspec.structs.replace(event, **facts)


class Holder(Keeper):
    """A shop whose channels hold money first."""

    def __init__(self, pool, keyring=None):
        super().__init__(pool, keyring)
        self.till = self.vault = Vault()
        self.channels = payments.Channels({"vault": self.vault, "other": self.vault})
        handlers = {
            refund.TOPIC: partial(refund.refund, pool, self.channels),
            refund.KEPT_TOPIC: partial(refund.refund_kept, pool, self.channels),
            void_payment.TOPIC: partial(void_payment.void_payment, pool, self.channels),
        }
        self.relay = OutboxRelay(pool, handlers)

    async def start(self, order_id, *, channel="vault", taking=Taking.AT_DISPATCH):
        async with db.transaction(self.pool) as conn:
            order = await orders.find(conn, order_id=order_id)
            payment = await payments.start(
                conn,
                payment_id=payments.PaymentId(str(uuid4())),
                order_id=order_id,
                member_id=order.member_id,
                channel=channel,
                amount_minor=order.amount_minor,
                currency=order.currency,
                taking=taking,
                expires_at=order.expires_at,
            )
        self.vault.stands[payment.id] = "held"
        return payment

    async def held(self, lines=(KETTLES, LIDS), member=7):
        """An order whose money is held, and its payment."""
        order_id = await self.place(member, lines, shipping=600)
        payment = await self.start(order_id)
        await self.tell(payment)
        assert (await self.order(order_id)).payment == "authorized"
        return order_id, payment

    async def tell(self, payment, kind=None, **facts):
        await settle_payment(self.pool, self.vault.tell(payment, kind, **facts))

    async def payment(self, payment):
        async with db.reading(self.pool) as conn:
            return await payments.find(conn, payment_id=payment.id)

    async def ship(self, order_id):
        for one in await self.parcels(order_id):
            where = {"consignment_id": one.consignment.id, "parcel": PARCEL, "by": "test"}
            await ship_consignment(self.pool, self.channels, **where)

    async def reconcile(self):
        await self.pool.execute(
            "UPDATE payments.payments SET look_at = now() WHERE look_at > now()"
        )
        await reconcile_payments(self.pool, self.channels, batch_max=100)

    async def states(self, order_id):
        return {one.consignment.state for one in await self.parcels(order_id)}

    async def is_untouched(self, order_id, *, reason=None, payment="unpaid") -> None:
        """Nobody was charged, and every unit is for sale."""
        order = await self.order(order_id)
        assert (order.shown, order.reason, order.payment) == ("cancelled", reason, payment)
        assert set((await self.stock()).values()) == {(UNITS, 0, 0, 0)}
        assert not any((await self.balances()).values())
        await self.even()

    async def even(self):
        await self.settle_money()
        assert await audit_ledger(self.pool) == LedgerAudit([], [])
        for row in await self.pool.fetch("SELECT id::text, state FROM payments.payments"):
            stands = self.vault.stands[row["id"]]
            assert row["state"] in {"held": "authorized", "taken": "captured refunded"}.get(
                stands, "voided"
            )
        assert await self.pool.fetchval(WAITING) == 0


@pytest.fixture
async def keeper(pool, keyring):
    return await Holder(pool, keyring).open(UNITS)


async def test_an_order_whose_money_is_held_is_got_ready_and_taken_when_it_leaves(keeper):
    order_id, payment = await keeper.held()
    order = await keeper.order(order_id)
    assert order.shown == orders.Shown.PAID
    assert (await keeper.payment(payment)).authorized_until == keeper.vault.until
    assert not any((await keeper.balances()).values())
    async with db.snapshot(keeper.pool) as conn:
        with pytest.raises(ledger.NoSuchHold):
            await ledger.find_hold(conn, order_id=order_id)
        listed = await orders.listing(conn, shown=orders.Shown.PAID, before=None, page_max=10)
    assert [one.id for one in listed] == [order_id]
    await keeper.dispatch()
    assert await keeper.states(order_id) == {"allocated"}
    assert keeper.vault.stands == {payment.id: "held"}
    moment = datetime.now(UTC)
    await keeper.ship(order_id)
    assert keeper.vault.stands == {payment.id: "taken"}
    order = await keeper.order(order_id)
    assert (order.shown, order.payment) == ("shipped", "paid")
    assert (await keeper.payment(payment)).captured_minor == order.amount_minor
    assert (await keeper.balances())["escrow", ""] == -order.amount_minor
    async with db.snapshot(keeper.pool) as conn:
        then = await orders.as_of(conn, order_id=order_id, moment=moment)
    assert (then.shown, then.payment) == ("paid", "authorized")
    flow = await order_flow(keeper.pool, order_id=order_id)
    assert flow.held_until is None
    told = [step.what for step in flow.steps]
    assert told == [
        *("placed", "held", "planned", "planned", "allocated", "allocated"),
        *("paid", "shipped", "shipped"),
    ]
    await keeper.dispatch()
    await keeper.ship(order_id)
    await keeper.even()


@pytest.mark.parametrize("is_ready", [False, True])
async def test_a_cancel_lets_the_money_go_and_nothing_goes_back(keeper, is_ready):
    order_id, payment = await keeper.held()
    if is_ready:
        await keeper.dispatch()
    await keeper.cancel(order_id, 7)
    assert (await keeper.payment(payment)).state == "voiding"
    await keeper.is_untouched(order_id, reason="member")
    assert keeper.vault.stands == {payment.id: "gone"}
    assert keeper.vault.went == {}
    await keeper.dispatch()
    with pytest.raises(IllegalMove):
        await keeper.cancel(order_id, 7)
    await keeper.is_untouched(order_id, reason="member")


async def test_what_cannot_be_taken_does_not_leave_and_staff_are_told(keeper):
    order_id, payment = await keeper.held()
    await keeper.dispatch()
    before = await keeper.stock()
    for trouble, refusal in (
        ("refuses", payments.NotCaptured),
        ("is_away", payments.ChannelUnavailable),
    ):
        setattr(keeper.vault, trouble, True)
        with pytest.raises(refusal):
            await keeper.ship(order_id)
        setattr(keeper.vault, trouble, False)
        assert await keeper.stock() == before
        assert await keeper.states(order_id) == {"allocated"}
        assert (await keeper.order(order_id)).shown == "paid"
    assert keeper.vault.stands == {payment.id: "held"}
    await keeper.ship(order_id)
    assert (await keeper.order(order_id)).shown == "shipped"
    await keeper.even()


async def test_a_warehouse_that_tells_what_left_has_the_money_taken_first(keeper):
    order_id, payment = await keeper.held([KETTLES])
    await keeper.dispatch()
    (parcel,) = await keeper.parcels(order_id)
    async with db.transaction(keeper.pool) as conn:
        where = {"system": "wms", "place_id": inventory.MAIN}
        await feeds.open_feed(conn, **where, silent_max_s=None)
    named = {"consignment_id": parcel.consignment.id, "carrier": "SF", "tracking": "SF-1"}

    async def tell(reference, kind=feeds.Kind.SHIPPED, **told):
        message = feeds.Message(reference, kind, **told)
        teller = Teller("wms", inventory.MAIN, {})
        (answer,), _ = await hear_feed(keeper.pool, keeper.channels, teller, [message])
        return answer

    unfit = await tell("M-0", kind=feeds.Kind.ALIVE, **named)
    assert isinstance(unfit.refusal, feeds.UnfitMessage)
    keeper.vault.refuses = True
    refused = await tell("M-1", **named)
    assert isinstance(refused.refusal, payments.NotCaptured)
    assert await keeper.states(order_id) == {"allocated"}
    assert keeper.vault.stands == {payment.id: "held"}
    keeper.vault.refuses = False
    assert (await tell("M-1", **named)).is_new
    assert (await tell("M-1", **named)).refusal is None
    assert keeper.vault.stands == {payment.id: "taken"}
    assert (await keeper.order(order_id)).shown == "shipped"
    await keeper.even()


async def test_nothing_leaves_in_the_callers_own_transaction_before_it_is_taken(keeper):
    order_id, _ = await keeper.held()
    await keeper.dispatch()
    one, _ = await keeper.parcels(order_id)
    with pytest.raises(payments.NotCaptured):
        async with db.transaction(keeper.pool) as conn:
            await ship(conn, consignment_id=one.consignment.id, parcel=PARCEL, by="test")
    assert await keeper.states(order_id) == {"allocated"}


@pytest.mark.parametrize("how", ["message", "look", "shipment", "time"])
async def test_when_what_is_held_ends_so_does_the_order(keeper, how):
    """Whoever hears of it first: a webhook, the reconciler, somebody who sends it, or the clock."""
    order_id, payment = await keeper.held()
    await keeper.dispatch()
    if how == "time":
        await keeper.pool.execute("UPDATE payments.payments SET authorized_until = now()")
        await keeper.reconcile()
    else:
        keeper.vault.stands[payment.id] = "gone"
    if how == "message":
        await keeper.tell(payment)
        await keeper.tell(payment)
    if how == "look":
        await keeper.reconcile()
    if how == "shipment":
        with pytest.raises(payments.NotCaptured) as refused:
            await keeper.ship(order_id)
        assert refused.value.facts["reason"] == "authorization-ended"
    assert await keeper.states(order_id) == {"cancelled"}
    await keeper.is_untouched(order_id, reason="authorization-ended")
    with pytest.raises(IllegalMove):
        await keeper.ship(order_id)


async def test_a_worker_that_took_the_money_and_died_is_followed_by_another(keeper):
    for heal in (keeper.reconcile, None):
        order_id, payment = await keeper.held([KETTLES])
        await keeper.dispatch()
        await keeper.vault.capture(payment)
        if heal is not None:
            await heal()
            assert (await keeper.order(order_id)).payment == "paid"
        await keeper.ship(order_id)
        assert (await keeper.order(order_id)).shown == "shipped"
        await keeper.even()


async def test_what_was_taken_before_it_was_let_go_goes_back(keeper):
    order_id, payment = await keeper.held()
    await keeper.cancel(order_id, 7)
    await keeper.vault.capture(payment)
    await keeper.settle_money()
    await keeper.settle_money()
    found = await keeper.payment(payment)
    assert (found.state, found.reason) == ("refunded", "member")
    assert keeper.vault.went == {payment.id: found.captured_minor}
    await keeper.is_untouched(order_id, reason="member")


@pytest.mark.parametrize("wrong", [{"amount_minor": 1}, {"currency": "USD"}])
async def test_what_is_not_what_was_asked_is_let_go_or_goes_back(keeper, wrong):
    order_id = await keeper.place(7, [KETTLES])
    payment = await keeper.start(order_id)
    await keeper.tell(payment, **wrong)
    assert (await keeper.order(order_id)).shown == "pending_payment"
    await keeper.settle_money()
    assert (await keeper.payment(payment)).state == "voided"
    await keeper.cancel(order_id, 7)
    await keeper.is_untouched(order_id, reason="member")

    order_id, payment = await keeper.held([KETTLES])
    keeper.vault.stands[payment.id] = "taken"
    await keeper.tell(payment, **wrong)
    await keeper.settle_money()
    found = await keeper.payment(payment)
    assert (found.state, found.reason) == ("refunded", next(iter(wrong)).partition("_")[0])
    await keeper.is_untouched(order_id, reason=found.reason)


async def test_what_is_held_too_late_or_twice_is_let_go(keeper):
    late = await keeper.place(7, [KETTLES])
    payment = await keeper.start(late)
    await keeper.expire(late)
    await keeper.tell(payment)
    await keeper.settle_money()
    assert (await keeper.payment(payment)).reason == "too-late"
    await keeper.is_untouched(late, reason="expired")

    order_id = await keeper.place(8, [KETTLES])
    first = await keeper.start(order_id)
    async with db.transaction(keeper.pool) as conn:
        await payments.fail(conn, first, reason="replaced")
    second = await keeper.start(order_id, channel="other")
    await keeper.tell(second)
    await keeper.tell(first)
    await keeper.settle_money()
    assert (await keeper.payment(first)).state == "voided"
    assert (await keeper.payment(first)).reason == "already-paid"
    assert (await keeper.payment(second)).state == "authorized"
    await keeper.even()


@pytest.mark.parametrize("last", [EventKind.VOIDED, EventKind.CAPTURED])
@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_messages_may_come_in_any_order_and_twice(keeper, last, is_cancelled):
    """The provider let it go, or took it, whatever is heard first."""
    told = [EventKind.AUTHORIZED, EventKind.DECLINED, last]
    for kinds in itertools.permutations(told + told[-1:]):
        order_id = await keeper.place(7, [LIDS])
        payment = await keeper.start(order_id)
        keeper.vault.stands[payment.id] = "gone" if last == EventKind.VOIDED else "taken"
        for number, kind in enumerate(kinds):
            await keeper.tell(payment, kind, id=f"{payment.id} {number}")
            if is_cancelled and number == 1:
                try:
                    await keeper.cancel(order_id, 7)
                except IllegalMove:
                    assert (await keeper.order(order_id)).state == "cancelled"
        await keeper.settle_money()
        found = await keeper.payment(payment)
        if last == EventKind.VOIDED:
            assert found.state == "voided", kinds
            assert (await keeper.order(order_id)).payment == "unpaid"
        else:
            assert found.state in {"captured", "refunded"}, kinds
        if (await keeper.order(order_id)).state == "open":
            await keeper.cancel(order_id, 7)
    await keeper.even()
    assert set((await keeper.stock()).values()) == {(UNITS, 0, 0, 0)}
    assert not any((await keeper.balances()).values())


async def test_of_sending_cancelling_and_ending_at_once_one_happens(keeper):
    """Nothing is ever sent that is not paid for, and nobody pays for what is not sent."""
    outcomes = set()
    for round_no in range(12):
        order_id, payment = await keeper.held([LIDS])
        await keeper.dispatch()
        acts = [keeper.ship(order_id), keeper.cancel(order_id, 7), keeper.ship(order_id)]
        if round_no % 3 == 2:
            keeper.vault.stands[payment.id] = "gone"
            acts.append(keeper.tell(payment))
        told = await asyncio.gather(
            *acts[:: (-1) ** round_no], keeper.settle_money(), return_exceptions=True
        )
        for answer in told:
            expected = (IllegalMove, payments.NotCaptured, orders.AlreadyShipped)
            assert (
                answer is None or not isinstance(answer, Exception) or isinstance(answer, expected)
            ), answer
        await keeper.settle_money()
        order, found = await keeper.order(order_id), await keeper.payment(payment)
        outcomes.add((order.shown, found.state))
        is_sent = order.shown == "shipped"
        assert (found.state == "captured" and not found.refunded_minor) == is_sent
        assert await keeper.states(order_id) == {"shipped" if is_sent else "cancelled"}
        await keeper.even()
    assert len(outcomes) > 1, outcomes


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_goods_that_left_are_paid_for_and_nobody_else_pays(keeper, seed):
    """Anybody does anything at once, and the provider refuses, is away, and loses its answers."""
    draw = random.Random(seed)
    every = [await keeper.held([LIDS], member) for member in range(1, 9)]
    await keeper.dispatch()

    async def end(order_id, payment):
        if keeper.vault.stands[payment.id] == "held":
            keeper.vault.stands[payment.id] = "gone"
        await keeper.tell(payment)

    acts = {
        lambda order_id, _: keeper.ship(order_id): 4,
        lambda order_id, payment: keeper.cancel(order_id, payment.member_id): 2,
        lambda _, payment: keeper.tell(payment): 3,
        lambda *_: keeper.reconcile(): 2,
        lambda *_: keeper.relay.step(): 2,
        end: 1,
    }
    for _ in range(20):
        for trouble, likely in (("refuses", 0.2), ("is_away", 0.2), ("loses", 0.3)):
            setattr(keeper.vault, trouble, draw.random() < likely)
        chosen = draw.choices(list(acts), list(acts.values()), k=4)
        told = await asyncio.gather(
            *(act(*draw.choice(every)) for act in chosen), return_exceptions=True
        )
        for answer in told:
            assert not isinstance(answer, BaseException) or isinstance(answer, EXPECTED), answer
    keeper.vault.refuses = keeper.vault.is_away = keeper.vault.loses = False
    await keeper.reconcile()
    await keeper.pool.execute("UPDATE kit.outbox SET due_at = now()")
    await keeper.settle_money()
    left = 0
    for order_id, payment in every:
        if (await keeper.order(order_id)).shown == "paid":
            await keeper.ship(order_id)
        is_sent = (await keeper.order(order_id)).shown == "shipped"
        found = await keeper.payment(payment)
        assert (found.state == "captured" and not found.refunded_minor) == is_sent
        assert await keeper.states(order_id) == {"shipped" if is_sent else "cancelled"}
        left += 2 * is_sent
    assert (await keeper.stock())[keeper.sku_ids[1]] == (UNITS - left, 0, 0, 0)
    await keeper.even()


async def test_a_provider_that_is_away_is_told_later_to_let_go(keeper):
    order_id, payment = await keeper.held()
    keeper.vault.is_away = True
    await keeper.cancel(order_id, 7)
    for _ in range(3):
        await keeper.pool.execute("UPDATE kit.outbox SET due_at = now()")
        await keeper.relay.step()
    assert (await keeper.payment(payment)).state == "voiding"
    keeper.vault.is_away = False
    await keeper.pool.execute("UPDATE kit.outbox SET due_at = now()")
    await keeper.is_untouched(order_id, reason="member")


async def test_what_is_held_is_asked_about_now_and_then(keeper):
    """What is held for days is asked about every few hours, and right before it ends."""
    _, payment = await keeper.held()
    await keeper.pool.execute(
        "UPDATE payments.payments SET started_at = now() - interval '3 days', look_at = now()"
    )
    await reconcile_payments(keeper.pool, keeper.channels, batch_max=10)
    wait = "SELECT extract(epoch FROM look_at - now())::float8 FROM payments.payments"
    assert await keeper.pool.fetchval(wait) == pytest.approx(21_600, abs=60)
    await keeper.pool.execute(
        "UPDATE payments.payments SET authorized_until = now() + interval '1 hour', look_at = now()"
    )
    await reconcile_payments(keeper.pool, keeper.channels, batch_max=10)
    assert await keeper.pool.fetchval(wait) == pytest.approx(3_590, abs=60)
    assert (await keeper.payment(payment)).state == "authorized"
