"""Money and orders: whatever comes, in whatever order, whoever dies, it comes out even."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core import orders, payments, sales, staff
from core.flows import give_back, refund, settle_late
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.flows.audit_sale import audit_sale
from core.flows.cancel_order import cancel_for_staff, cancel_order
from core.flows.dispatch_orders import dispatch_orders
from core.flows.expire_holds import expire_holds
from core.flows.place_order import place_order
from core.flows.rebuild_sale import rebuild_sale
from core.flows.reconcile_payments import reconcile_payments
from core.flows.run_sale import arm_sale, close_sale
from core.flows.settle_payment import settle_payment
from core.flows.settle_sale import settle_sale
from core.flows.start_payment import start_payment
from core.kit import db, outbox
from core.kit.outbox import TryLater
from core.kit.states import IllegalMove
from hotpath.claims import Claim
from hotpath.nodes import Redis
from hotpath.signing import Signer

PRICE = 5_000
SECRET = b"s" * 32
SEALER = staff.Sealer({1: Signer(b"n" * 32)})
AUTHOR = staff.Author(SEALER, "bea", staff.Permission.ORDERS_WRITE, "test", "r-1")


class Till:
    """A provider that keeps its books in memory. `away` makes it not answer."""

    def __init__(self) -> None:
        self.away = False
        self.came: dict[str, int] = {}
        self.went: dict[str, int] = {}
        self.under_way: set[str] = set()
        self.closed: set[str] = set()

    def answer(self):
        if self.away:
            raise payments.ChannelUnavailable(retry_after_s=2)

    async def checkout(self, payment):
        self.answer()
        return payments.Checkout(f"c-{payment.id}", f"https://till.example/pay/{payment.id}")

    async def look(self, payment):
        self.answer()
        if payment.id in self.came:
            return event_of(payment, amount_minor=self.came[payment.id])
        return event_of(payment, "payment.closed") if payment.id in self.closed else None

    async def close(self, payment):
        self.answer()
        self.closed.add(payment.id)
        return await self.look(payment)

    async def refund(self, payment, *, refund_id, amount_minor, reason):
        self.answer()
        assert payment.id in self.came
        assert reason
        assert refund_id not in self.went, "what has gone is not asked for again"
        if refund_id in self.under_way:
            self.under_way.remove(refund_id)
            return False
        self.went[refund_id] = amount_minor
        return True

    async def is_refunded(self, payment, *, refund_id):
        self.answer()
        return refund_id in self.went


class Shop(msgspec.Struct):
    """A sale, its members and its till, with the relay and the writer played by hand."""

    pool: db.Pool
    redis: Redis
    gate: object
    directory: object
    keyring: object
    writer: object
    sku_id: int
    till: Till
    other: Till

    @property
    def channels(self) -> payments.Channels:
        return payments.Channels({"sandbox": self.till, "other": self.other})

    async def order(self, sale, member, *, quantity=1, key="k") -> str:
        await self.directory.refresh()
        claim = Claim(sale.id, member, key, self.sku_id, quantity)
        accepted = await place_order(
            self.pool, self.gate, self.directory, self.keyring, claim=claim
        )
        return accepted.order_id

    async def written(self, sale, member, **facts) -> str:
        order_id = await self.order(sale, member, **facts)
        await self.write()
        return order_id

    async def write(self) -> None:
        self.writer._look_at = 0.0
        while await self.writer.step():
            pass

    async def start(self, order_id, member, channel="sandbox") -> payments.Payment:
        return await start_payment(
            self.pool,
            self.redis,
            self.channels,
            self.keyring,
            payment_id=payments.PaymentId(str(uuid4())),
            order_id=order_id,
            member_id=member,
            channel=channel,
        )

    async def tell(self, payment, kind="payment.captured", **facts) -> None:
        """The provider says so; money that it says has come is in the till."""
        event = msgspec.structs.replace(event_of(payment, kind), **facts)
        if kind == "payment.captured":
            till = self.channels.of(payment.channel)
            till.came[payment.id] = event.amount_minor
        await settle_payment(self.pool, event)

    async def reconcile(self, *, again=True) -> int:
        """Ask providers about every payment that may still come, as if it were time to."""
        if again:
            await self.pool.execute(
                "UPDATE payments.payments SET look_at = now() WHERE look_at > now()"
            )
        return await reconcile_payments(self.pool, self.channels, batch_max=1_000)

    async def cancel(self, order_id, member) -> None:
        await cancel_order(self.pool, self.redis, self.keyring, order_id=order_id, member_id=member)

    async def cancel_for_staff(self, order_id) -> orders.Order:
        refund_id = payments.RefundId(str(uuid4()))
        return await cancel_for_staff(
            self.pool, order_id=order_id, refund_id=refund_id, author=AUTHOR
        )

    async def cancelled(self, sale, member, **facts) -> tuple[str, payments.Payment]:
        order_id = await self.written(sale, member, **facts)
        payment = await self.start(order_id, member)
        await self.cancel(order_id, member)
        return order_id, payment

    async def deliver(self, *, pool=None, redis=None) -> int:
        """Handle every message once; what may not be handled yet stays. Returns how many do."""
        pool, redis = pool or self.pool, redis or self.redis
        handlers = {
            give_back.TOPIC: lambda payload: give_back.give_back(pool, redis, payload),
            settle_late.TOPIC: lambda payload: settle_late.settle_late(
                pool, redis, self.keyring, payload, backlog_max=1_000
            ),
            refund.TOPIC: lambda payload: refund.refund(pool, self.channels, payload),
            refund.KEPT_TOPIC: lambda payload: refund.refund_kept(pool, self.channels, payload),
        }
        later = 0
        for topic, handle in handlers.items():
            for message in await self.messages(topic):
                try:
                    await handle(message.payload)
                except TryLater:
                    later += 1
                else:
                    async with db.transaction(self.pool) as conn:
                        await outbox.done(conn, [message.id])
        return later

    async def messages(self, topic) -> list[outbox.Message]:
        async with db.transaction(self.pool) as conn:
            return await outbox.take(conn, topic, each_max=10_000, lease_s=0)

    async def settle_down(self) -> None:
        """Deliver and write until nothing moves any more."""
        for _ in range(50):
            await dispatch_orders(self.pool, batch_max=1_000)
            waiting = await self.deliver()
            await self.write()
            async with db.reading(self.pool) as conn:
                if (await outbox.count(conn))[0] == 0 and not waiting:
                    return
        raise AssertionError("the outbox never gets empty")

    async def look(self, order_id) -> orders.Order:
        async with db.reading(self.pool) as conn:
            return await orders.find(conn, order_id=order_id)

    async def pay(self, payment_id) -> payments.Payment:
        async with db.reading(self.pool) as conn:
            return await payments.find(conn, payment_id=payment_id)

    async def check(self, sale) -> None:
        """The books of units and of money are even, order by order and line by line."""
        assert (await audit_sale(self.pool, self.redis, sale_id=sale.id)).drift == 0
        assert await audit_ledger(self.pool) == LedgerAudit([], [])
        rows = await self.pool.fetch(
            "SELECT id::text, order_id::text, state, captured_minor, refunded_minor"
            "  FROM payments.payments"
        )
        came, went = self.till.came | self.other.came, self.till.went | self.other.went
        owed = await self.pool.fetch("SELECT id::text, amount_minor, state FROM payments.refunds")
        for refund_id, amount, state in owed:
            assert (state, went.get(refund_id)) == ("paid", amount)
        kept = Counter()
        for payment_id, order_id, state, captured, refunded in rows:
            assert came.get(payment_id) == captured
            assert (payment_id in went) == (state == "refunded")
            assert went.get(payment_id) in (None, captured)
            assert state != "refunding"
            if state == "captured":
                kept[order_id] += captured - refunded
        for (order_id,) in await self.pool.fetch("SELECT id::text FROM orders.orders"):
            async with db.snapshot(self.pool) as conn:
                order = await orders.find(conn, order_id=order_id)
                log = await orders.log(conn, order_id=order_id)
            assert orders.first_broken(order, log) is None
            assert kept[order_id] == (order.amount_minor if order.payment == "paid" else 0), order


def event_of(payment, kind="payment.captured", *, amount_minor=None) -> payments.Event:
    return payments.Event(
        channel=payment.channel,
        id=f"evt-{uuid4()}",
        kind=kind,
        payment_id=payment.id,
        provider_ref=f"c-{payment.id}",
        amount_minor=payment.amount_minor if amount_minor is None else amount_minor,
        currency=payment.currency,
        capture_ref=f"m-{payment.id}",
    )


@pytest.fixture
async def shop(pool, redis, gate, directory, keyring, writer, sku_ids) -> Shop:
    return Shop(pool, redis, gate, directory, keyring, writer, sku_ids[0], Till(), Till())


async def test_a_member_pays_and_the_order_is_paid(shop, sale):
    order_id = await shop.written(sale, 7, quantity=2)
    payment = await shop.start(order_id, 7)
    assert (payment.state, payment.amount_minor, payment.currency) == ("started", 2 * PRICE, "CNY")
    assert payment.pay_url == f"https://till.example/pay/{payment.id}"
    await shop.tell(payment)
    assert (await shop.look(order_id)).shown == "paid"
    assert (await shop.pay(payment.id)).state == "captured"
    await shop.check(sale)


async def test_starting_again_answers_with_the_open_payment(shop, sale):
    order_id = await shop.written(sale, 7)
    started = await asyncio.gather(*(shop.start(order_id, 7) for _ in range(8)))
    assert len({payment.id for payment in started}) == 1


async def test_an_order_that_is_not_written_yet_is_paid_later(shop, sale):
    order_id = await shop.order(sale, 7)
    with pytest.raises(orders.NotYetWritten) as refusal:
        await shop.start(order_id, 7)
    assert refusal.value.facts == {"retry_after_s": 1}
    await shop.write()
    assert (await shop.start(order_id, 7)).state == "started"


async def test_only_the_owner_pays_and_only_while_the_order_waits(shop, sale):
    order_id = await shop.written(sale, 7)
    for foreign in (order_id, str(uuid4()), "17", "\0"):
        with pytest.raises(orders.NoSuchOrder):
            await shop.start(foreign, 8)
    await shop.cancel(order_id, 7)
    with pytest.raises(payments.NotPayable) as refusal:
        await shop.start(order_id, 7)
    assert refusal.value.facts == {"state": "cancelled"}


async def test_a_provider_that_is_away_costs_nothing_but_another_try(shop, sale):
    order_id = await shop.written(sale, 7)
    shop.till.away = True
    with pytest.raises(payments.ChannelUnavailable):
        await shop.start(order_id, 7)
    (payment_id,) = await shop.pool.fetchrow("SELECT id::text FROM payments.payments")
    shop.till.away = False
    assert (await shop.start(order_id, 7)).id == payment_id


async def test_who_chooses_another_way_to_pay_gives_the_first_one_up(shop, sale):
    order_id = await shop.written(sale, 7)
    first = await shop.start(order_id, 7)
    second = await shop.start(order_id, 7, "other")
    assert (second.channel, second.state) == ("other", "started")
    assert second.id != first.id
    given_up = await shop.pay(first.id)
    assert (given_up.state, given_up.reason) == ("failed", "closed")
    assert first.id in shop.till.closed
    await shop.tell(second)
    kept = await shop.pay(second.id)
    assert (kept.state, kept.capture_ref) == ("captured", f"m-{second.id}")
    await shop.check(sale)


async def test_who_paid_already_is_told_so_before_paying_by_another_way(shop, sale):
    order_id = await shop.written(sale, 7)
    first = await shop.start(order_id, 7)
    shop.till.came[first.id] = first.amount_minor  # its message is still under way
    with pytest.raises(payments.NotPayable) as refusal:
        await shop.start(order_id, 7, "other")
    assert refusal.value.facts == {"state": "paid"}
    assert (await shop.look(order_id)).shown == "paid"
    assert not shop.other.came
    await shop.check(sale)


async def test_a_provider_that_is_away_keeps_nobody_from_paying_another_way(shop, sale):
    order_id = await shop.written(sale, 7)
    first = await shop.start(order_id, 7)
    shop.till.away = True
    second = await shop.start(order_id, 7, "other")
    assert (await shop.pay(first.id)).reason == "replaced"
    await shop.tell(second)
    await shop.tell(first)  # and goes back the way it came
    assert await shop.deliver() == 1
    shop.till.away = False
    assert await shop.deliver() == 0
    assert shop.till.went == {first.id: first.amount_minor}
    assert not shop.other.went
    await shop.check(sale)


async def test_a_channel_that_is_not_offered_is_refused_and_starts_nothing(shop, sale):
    order_id = await shop.written(sale, 7)
    with pytest.raises(payments.ChannelNotOffered) as refusal:
        await shop.start(order_id, 7, "gold")
    assert refusal.value.facts == {"channel": "gold", "offered": ["other", "sandbox"]}
    assert await shop.pool.fetchval("SELECT count(*) FROM payments.payments") == 0


async def test_a_refund_that_is_under_way_is_asked_for_until_it_has_gone(shop, sale):
    _, payment = await shop.cancelled(sale, 7)
    await shop.tell(payment, amount_minor=1)
    shop.till.under_way = {payment.id}
    assert await shop.deliver() == 1
    assert (await shop.pay(payment.id)).state == "refunding"
    assert await shop.deliver() == 0
    assert (await shop.pay(payment.id)).state == "refunded"
    await shop.check(sale)


async def test_money_that_no_message_told_about_is_found_and_settled(shop, sale):
    order_id = await shop.written(sale, 7)
    payment = await shop.start(order_id, 7)
    shop.till.came[payment.id] = payment.amount_minor
    assert await shop.reconcile(again=False) == 0, "its message may still come"
    shop.till.away = True
    assert await shop.reconcile() == 1
    assert (await shop.pay(payment.id)).state == "started"
    shop.till.away = False
    assert await shop.reconcile() == 1
    assert (await shop.look(order_id)).shown == "paid"
    assert await shop.reconcile() == 0
    await shop.tell(payment)  # the message comes after all
    await shop.check(sale)


async def test_one_provider_that_is_away_hides_nothing_of_another(shop, sale):
    held = [await shop.written(sale, member) for member in (7, 8)]
    first = await shop.start(held[0], 7)
    second = await shop.start(held[1], 8, "other")
    shop.till.away = True
    shop.till.came[first.id] = first.amount_minor
    shop.other.came[second.id] = second.amount_minor
    assert await shop.reconcile() == 2
    assert [(await shop.look(one)).shown for one in held] == ["pending_payment", "paid"]
    shop.till.away = False
    await shop.reconcile()
    await shop.check(sale)


async def test_what_nobody_is_to_pay_any_more_is_closed_and_then_left_alone(shop, sale):
    ended, cancelled, open_ = [await shop.written(sale, member) for member in (7, 8, 9)]
    started = [await shop.start(o, m) for o, m in ((ended, 7), (cancelled, 8), (open_, 9))]
    await shop.cancel(cancelled, 8)
    await shop.pool.execute(
        "UPDATE payments.payments SET expires_at = now() WHERE id = $1", started[0].id
    )
    assert await shop.reconcile() == 3
    assert shop.till.closed == {payment.id for payment in started[:2]}
    told = [(await shop.pay(payment.id)) for payment in started]
    assert [(p.state, p.reason) for p in told] == [
        ("failed", "closed"),
        ("failed", "closed"),
        ("started", None),
    ]
    # What was called off before its time may be opened anew somewhere until its time is over.
    assert await shop.reconcile() == 2


async def test_money_that_was_there_when_its_order_was_cancelled_is_not_lost(shop, sale):
    order_id, payment = await shop.cancelled(sale, 7)
    shop.till.came[payment.id] = payment.amount_minor
    assert await shop.reconcile(again=False) == 1
    await shop.settle_down()
    kept = await shop.pay(payment.id)
    assert (kept.state, kept.order_id != order_id) == ("captured", True)
    await shop.check(sale)


async def test_a_payment_is_asked_about_less_and_less_but_at_the_end_of_its_hold(shop, sale):
    order_id = await shop.written(sale, 7)
    payment = await shop.start(order_id, 7)
    ages_s = []
    for _ in range(40):
        age_s, held_s = await shop.pool.fetchrow(
            "SELECT extract(epoch FROM look_at - started_at)::float8,"
            "       extract(epoch FROM expires_at - started_at)::float8"
            "  FROM payments.payments WHERE id = $1",
            payment.id,
        )
        ages_s.append(round(age_s))
        if age_s >= held_s:
            break
        # As much time passes as it is to wait.
        await shop.pool.execute(
            "UPDATE payments.payments SET look_at = look_at - wait, expires_at = expires_at - wait,"
            " started_at = started_at - wait FROM (SELECT look_at - now() AS wait"
            "  FROM payments.payments WHERE id = $1) AS due WHERE id = $1",
            payment.id,
        )
        assert await shop.reconcile(again=False) == 1
    assert ages_s[:3] == [10, 15, 20]
    assert ages_s[-2:] == [round(held_s - 10), round(held_s)]
    assert len(ages_s) < 25
    pauses_s = [late - soon for soon, late in itertools.pairwise(ages_s[:-2])]
    assert pauses_s == sorted(pauses_s)


async def test_one_message_counts_once_however_often_it_comes(shop, sale):
    order_id = await shop.written(sale, 7)
    payment = await shop.start(order_id, 7)
    event = event_of(payment)
    shop.till.came[payment.id] = event.amount_minor
    await asyncio.gather(*(settle_payment(shop.pool, event) for _ in range(10)))
    await shop.tell(payment)  # the same capture under another event id
    assert await shop.pool.fetchval("SELECT count(*) FROM payments.events") == 2
    assert (await shop.look(order_id)).shown == "paid"
    await shop.check(sale)


@pytest.mark.parametrize(
    "kinds", list(itertools.permutations(["payment.captured", "payment.declined"]))
)
async def test_money_that_came_counts_wherever_the_decline_stands(shop, sale, kinds):
    order_id = await shop.written(sale, 7)
    payment = await shop.start(order_id, 7)
    for kind in kinds:
        await shop.tell(payment, kind)
    assert (await shop.look(order_id)).shown == "paid"
    await shop.check(sale)


async def test_a_kind_of_message_that_we_do_not_know_changes_nothing(shop, sale):
    payment = await shop.start(await shop.written(sale, 7), 7)
    await shop.tell(payment, "payment.pondered")
    assert (await shop.pay(payment.id)).state == "started"


async def test_money_for_nothing_we_know_is_not_swallowed(shop, sale):
    payment = await shop.start(await shop.written(sale, 7), 7)
    for facts in ({"payment_id": str(uuid4())}, {"channel": "another"}):
        with pytest.raises(payments.NoSuchPayment):
            await settle_payment(shop.pool, msgspec.structs.replace(event_of(payment), **facts))


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"amount_minor": PRICE - 1}, "amount"),
        ({"amount_minor": PRICE + 1}, "amount"),
        ({"amount_minor": 0}, "amount"),
        ({"currency": "USD"}, "currency"),
    ],
)
async def test_another_amount_than_was_asked_goes_back(shop, sale, facts, reason):
    order_id = await shop.written(sale, 7)
    payment = await shop.start(order_id, 7)
    await shop.tell(payment, **facts)
    assert (await shop.look(order_id)).shown == "pending_payment"
    await shop.settle_down()
    payment = await shop.pay(payment.id)
    assert (payment.state, payment.reason) == ("refunded", reason)
    again = await shop.start(order_id, 7)
    assert again.id != payment.id
    await shop.tell(again)
    assert (await shop.look(order_id)).shown == "paid"
    await shop.check(sale)


async def test_of_two_payments_for_one_order_one_goes_back(shop, sale):
    order_id = await shop.written(sale, 7)
    first = await shop.start(order_id, 7)
    await shop.tell(first, "payment.declined")
    second = await shop.start(order_id, 7)
    assert second.id != first.id
    await asyncio.gather(shop.tell(first), shop.tell(second))
    await shop.settle_down()
    found = sorted([await shop.pay(first.id), await shop.pay(second.id)], key=lambda p: p.state)
    assert [(p.state, p.reason) for p in found] == [
        ("captured", None),
        ("refunded", "already-paid"),
    ]
    await shop.check(sale)


async def test_staff_cancel_a_paid_order_and_its_money_and_units_go_back(shop, sale):
    order_id = await shop.written(sale, 7, quantity=2)
    payment = await shop.start(order_id, 7)
    await shop.tell(payment)
    shop.till.away = True
    order = await shop.cancel_for_staff(order_id)
    assert (order.shown, order.reason, order.payment) == ("cancelled", "staff", "refunded")
    assert await shop.deliver() == 1
    shop.till.away = False
    await shop.settle_down()
    assert list(shop.till.went.values()) == [2 * PRICE]
    assert (await shop.pay(payment.id)).state == "captured"
    with pytest.raises(IllegalMove):
        await shop.cancel_for_staff(order_id)
    notes = await shop.pool.fetch("SELECT kind, object_id FROM staff.notes")
    assert [tuple(note) for note in notes] == [("order", order_id)]
    # The member's units are for sale again, also to the same member.
    await shop.written(sale, 7, quantity=2, key="again")
    await shop.check(sale)


async def test_money_for_an_order_that_staff_cancelled_goes_back(shop, sale):
    order_id = await shop.written(sale, 7)
    payment = await shop.start(order_id, 7)
    order = await shop.cancel_for_staff(order_id)
    assert (order.shown, order.reason, order.payment) == ("cancelled", "staff", "unpaid")
    await shop.tell(payment)
    await shop.settle_down()
    payment = await shop.pay(payment.id)
    assert (payment.state, payment.reason) == ("refunded", "cancelled")
    assert await shop.pool.fetchval("SELECT count(*) FROM orders.orders") == 1
    await shop.check(sale)


async def test_of_all_who_cancel_or_pay_an_order_at_once_one_decides(shop, sale):
    for member in range(1, 21):
        order_id = await shop.written(sale, member)
        payment = await shop.start(order_id, member)
        if member % 2:
            await shop.tell(payment)

        async def soon(action):
            with contextlib.suppress(IllegalMove):
                await action

        await asyncio.gather(
            *(soon(shop.cancel_for_staff(order_id)) for _ in range(3)),
            soon(shop.tell(payment)),
            soon(shop.cancel(order_id, member)),
        )
    await shop.settle_down()
    assert await shop.pool.fetchval("SELECT count(*) FROM payments.refunds") >= 10
    await shop.check(sale)


async def test_nobody_refunds_more_than_came(shop, sale):
    payment = await shop.start(await shop.written(sale, 7), 7)
    await shop.tell(payment)
    async with db.transaction(shop.pool) as conn:
        kept = await payments.hold_kept(conn, order_id=payment.order_id)
        for amount, fits in ((PRICE + 1, False), (PRICE - 1, True), (2, False), (1, True)):
            refund_id = payments.RefundId(str(uuid4()))
            facts = {"refund_id": refund_id, "amount_minor": amount, "reason": "test"}
            if fits:
                await payments.owe(conn, kept, **facts)
                continue
            with pytest.raises(payments.NotRefundable):
                await payments.owe(conn, kept, **facts)
        with pytest.raises(payments.NoSuchRefund):
            await payments.find_refund(conn, refund_id=payments.RefundId(str(uuid4())))


async def test_a_refund_waits_until_the_provider_is_back(shop, sale):
    payment = await shop.start(await shop.written(sale, 7), 7)
    await shop.tell(payment, amount_minor=1)
    shop.till.away = True
    assert await shop.deliver() == 1
    assert (await shop.pay(payment.id)).state == "refunding"
    shop.till.away = False
    assert await shop.deliver() == 0
    assert (await shop.pay(payment.id)).state == "refunded"


async def test_late_money_buys_a_new_order_that_names_the_first(shop, sale):
    first_id, payment = await shop.cancelled(sale, 7, quantity=2)
    await shop.tell(payment)
    assert (await shop.look(first_id)).shown == "cancelled"
    await shop.settle_down()
    payment = await shop.pay(payment.id)
    second = await shop.look(payment.order_id)
    assert (second.shown, second.follows, sum(second.units.values())) == ("paid", first_id, 2)
    assert (payment.state, payment.first_order_id) == ("captured", first_id)
    first = await shop.look(first_id)
    assert (first.shown, first.reason) == ("cancelled", "member")
    await shop.check(sale)


async def test_late_money_waits_for_the_units_of_its_own_order(shop, plan):
    """Else it would be told sold-out for the very unit that is about to come back."""
    sale = await arm_sale(shop.pool, shop.redis, sale_id=(await plan(quota=1, limit=1)).id)
    _, payment = await shop.cancelled(sale, 7)
    await shop.tell(payment)
    (late,) = await shop.messages(settle_late.TOPIC)
    with pytest.raises(TryLater):
        await settle_late.settle_late(
            shop.pool, shop.redis, shop.keyring, late.payload, backlog_max=100
        )
    await shop.settle_down()
    assert (await shop.pay(payment.id)).state == "captured"
    await shop.check(sale)


async def bought_by_another(shop, sale):
    await shop.deliver()
    await shop.written(sale, 8)


async def bought_by_the_same_member(shop, sale):
    await shop.deliver()
    await shop.written(sale, 7, key="another")


async def closed(shop, sale):
    await close_sale(shop.pool, shop.redis, sale_id=sale.id)


async def settled(shop, sale):
    await closed(shop, sale)
    await shop.deliver()
    await settle_sale(shop.pool, shop.redis, sale_id=sale.id)


async def retired(shop, sale):
    """Redis has never heard of it."""
    await settled(shop, sale)
    await shop.redis.flushall()


@pytest.mark.parametrize(
    ("meanwhile", "quota", "reason"),
    [
        (bought_by_another, 1, "sold-out"),
        (bought_by_the_same_member, 2, "member-limit"),
        (closed, 2, "sale-not-open"),
        (settled, 2, "sale-not-open"),
        (retired, 2, "sale-not-open"),
    ],
)
async def test_late_money_that_buys_nothing_goes_back_with_the_reason(
    shop, plan, meanwhile, quota, reason
):
    sale = await arm_sale(shop.pool, shop.redis, sale_id=(await plan(quota=quota, limit=1)).id)
    first_id, payment = await shop.cancelled(sale, 7)
    await meanwhile(shop, sale)
    await shop.tell(payment)
    await shop.settle_down()
    payment = await shop.pay(payment.id)
    assert (payment.state, payment.reason) == ("refunded", reason)
    assert payment.order_id == first_id
    assert (await shop.look(first_id)).shown == "cancelled"
    await shop.check(sale)


async def test_a_late_payment_that_two_relays_handle_at_once_is_settled_once(shop, sale):
    for member in range(1, 11):
        _, payment = await shop.cancelled(sale, member)
        await shop.tell(payment)
        await shop.deliver()
        await shop.write()
        due = payments.Due(payment.id)
        await asyncio.gather(
            *(
                settle_late.settle_late(
                    shop.pool, shop.redis, shop.keyring, msgspec.to_builtins(due), backlog_max=100
                )
                for _ in range(3)
            )
        )
        assert (await shop.pay(payment.id)).state == "captured"
    await shop.settle_down()
    await shop.check(sale)


async def test_two_late_payments_for_one_order_place_it_anew_once(shop, sale):
    order_id = await shop.written(sale, 7)
    first = await shop.start(order_id, 7)
    await shop.tell(first, "payment.declined")
    second = await shop.start(order_id, 7)
    await shop.cancel(order_id, 7)
    await asyncio.gather(shop.tell(first), shop.tell(second))
    await shop.settle_down()
    states = {(await shop.pay(p.id)).state for p in (first, second)}
    assert states == {"captured", "refunded"}
    assert await shop.pool.fetchval("SELECT count(*) FROM orders.orders") == 2
    await shop.check(sale)


async def test_late_money_goes_back_when_the_new_order_went_its_own_way(shop, sale):
    _, payment = await shop.cancelled(sale, 7)
    await shop.tell(payment)
    await shop.deliver()
    await shop.deliver()
    await shop.write()
    new_id = await shop.pool.fetchval(
        "SELECT id::text FROM orders.orders WHERE state = 'open' AND payment = 'unpaid'"
    )
    own = await shop.start(new_id, 7)
    await shop.tell(own)
    await shop.settle_down()
    payment = await shop.pay(payment.id)
    assert (payment.state, payment.reason) == ("refunded", "already-paid")
    assert (await shop.look(new_id)).shown == "paid"
    await shop.check(sale)


async def test_no_claim_goes_to_a_redis_that_is_not_admitted(shop, sale):
    _, payment = await shop.cancelled(sale, 7)
    await shop.deliver()
    await shop.tell(payment)
    run_id = await shop.pool.fetchval("UPDATE sales.buckets SET run_id = 'x' RETURNING run_id")
    assert run_id == "x"
    assert await shop.deliver() == 1
    await shop.pool.execute("UPDATE sales.buckets SET run_id = NULL")
    assert await shop.deliver() == 1
    await shop.write()
    assert await shop.pool.fetchval("SELECT count(*) FROM orders.orders") == 1


async def test_late_money_survives_the_loss_of_redis_between_claim_and_writing(shop, sale):
    first_id, payment = await shop.cancelled(sale, 7)
    await shop.tell(payment)
    await shop.deliver()
    assert await shop.deliver() == 1
    await shop.redis.flushall()
    await shop.pool.execute("UPDATE sales.buckets SET run_id = NULL, fence_reason = 'lost'")
    await rebuild_sale(shop.pool, shop.redis, sale_id=sale.id)
    await shop.settle_down()
    payment = await shop.pay(payment.id)
    second = await shop.look(payment.order_id)
    assert (second.shown, second.follows) == ("paid", first_id)
    await shop.check(sale)


@pytest.mark.parametrize("seed", range(4))
async def test_pay_races_expiry_and_cancel_and_the_money_nets(shop, plan, seed):
    """A hundred orders a seed; payments, their repeats, cancels and the expirer all at once."""
    draw = random.Random(seed)
    count = 100
    sale = await arm_sale(
        shop.pool, shop.redis, sale_id=(await plan(quota=count, limit=1, hold_s=1)).id
    )
    ids = {member: await shop.order(sale, member) for member in range(1, count + 1)}
    await shop.write()
    started = {member: await shop.start(order_id, member) for member, order_id in ids.items()}
    await shop.pool.execute(
        "UPDATE orders.orders SET expires_at = CASE WHEN random() < 0.7 THEN now() ELSE expires_at"
        " + interval '1 hour' END"
    )

    async def soon(action):
        await asyncio.sleep(draw.random() * 0.1)
        try:
            await action
        except (IllegalMove, sales.SoldOut):
            return

    actions = [soon(expire_holds(shop.pool, batch_max=3)) for _ in range(20)]
    for member, payment in started.items():
        event = event_of(payment)
        shop.till.came[payment.id] = event.amount_minor
        actions += [soon(settle_payment(shop.pool, event)) for _ in range(draw.choice((1, 2)))]
        if draw.random() < 0.3:
            actions.append(soon(shop.tell(payment, "payment.declined")))
        if draw.random() < 0.5:
            actions.append(soon(shop.cancel(ids[member], member)))
        if draw.random() < 0.2:
            actions.append(soon(shop.cancel_for_staff(ids[member])))
    draw.shuffle(actions)
    await asyncio.gather(*actions)
    # Others are after the units that come back, so that some late money finds none.
    greedy = [soon(shop.order(sale, 1_000 + n)) for n in range(20)]
    await asyncio.gather(shop.deliver(), *greedy)
    await shop.settle_down()
    states = Counter(
        p["state"] for p in await shop.pool.fetch("SELECT state FROM payments.payments")
    )
    assert states.keys() == {"captured", "refunded"}, "each outcome is there to be tested"
    assert states.total() == count
    await shop.check(sale)


class Killed(Exception):
    """What the process does not live to see."""


# Whoever is killed inside a transaction finds its connection closed on the way out.
DEATHS = (Killed, asyncpg.InterfaceError)


class Doom:
    """Dies at the n-th step; a step is the instant before or after a command."""

    def __init__(self) -> None:
        self.left = 0

    def step(self) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                raise Killed


DOOM = Doom()


class MortalConnection(asyncpg.Connection):
    async def execute(self, *args, **facts):
        return await self._live(super().execute(*args, **facts))

    async def fetch(self, *args, **facts):
        return await self._live(super().fetch(*args, **facts))

    async def fetchrow(self, *args, **facts):
        return await self._live(super().fetchrow(*args, **facts))

    async def fetchval(self, *args, **facts):
        return await self._live(super().fetchval(*args, **facts))

    async def _live(self, command):
        try:
            DOOM.step()
        except Killed:
            command.close()
            self.terminate()
            raise
        answer = await command
        try:
            DOOM.step()
        except Killed:
            self.terminate()
            raise
        return answer


class MortalRedis(Redis):
    async def execute_command(self, *args, **facts):
        DOOM.step()
        answer = await super().execute_command(*args, **facts)
        DOOM.step()
        return answer


@pytest.fixture
async def mortal(database_url, redis_url):
    async with (
        asyncpg.create_pool(
            database_url,
            min_size=1,
            max_size=4,
            init=db.speak_json,
            connection_class=MortalConnection,
        ) as pool,
        MortalRedis.from_url(redis_url, retry=Retry(NoBackoff(), 0)) as redis,
    ):
        yield {"pool": pool, "redis": redis}
        DOOM.left = 0


async def die_at(step, shop, mortal) -> bool:
    """Relay until done, dying once; true if it came to that."""
    DOOM.left = step
    died = False
    for _ in range(6):
        try:
            await shop.deliver(**mortal)
        except DEATHS:
            died = True
        await shop.write()
    DOOM.left = 0
    return died


@pytest.mark.parametrize("outcome", ["captured", "refunded"])
async def test_late_money_comes_out_even_wherever_the_relay_is_killed(shop, plan, mortal, outcome):
    planned = await plan(quota=200, limit=1)
    sale = await arm_sale(shop.pool, shop.redis, sale_id=planned.id)
    for step in itertools.count(1):
        first_id, payment = await shop.cancelled(sale, step)
        await shop.deliver()
        if outcome == "refunded":
            await shop.written(sale, step, key="another")
        await shop.tell(payment)
        died = await die_at(step, shop, mortal)
        await shop.settle_down()
        payment = await shop.pay(payment.id)
        assert payment.state == outcome
        placed = await shop.pool.fetch(
            "SELECT payment, follows::text FROM orders.orders WHERE member_id = $1 AND id <> $2",
            step,
            first_id,
        )
        followed = first_id if outcome == "captured" else None
        assert [tuple(row) for row in placed] == [("paid" if followed else "unpaid", followed)]
        if not died:
            break
    assert step > 20, "there is more to die of than this"
    await shop.check(sale)


async def test_a_message_is_settled_whole_or_not_at_all_wherever_it_is_killed(shop, sale, mortal):
    for step in itertools.count(1):
        order_id = await shop.written(sale, step)
        payment = await shop.start(order_id, step)
        event = event_of(payment)
        shop.till.came[payment.id] = event.amount_minor
        DOOM.left = step
        try:
            await settle_payment(mortal["pool"], event)
        except DEATHS:
            states = (await shop.look(order_id)).shown, (await shop.pay(payment.id)).state
            assert states in {("pending_payment", "started"), ("paid", "captured")}
        else:
            break
        finally:
            DOOM.left = 0
        await settle_payment(shop.pool, event)
        assert (await shop.look(order_id)).shown == "paid"
    assert step > 10
    await shop.check(sale)


def test_a_signed_message_with_any_bit_flipped_is_refused():
    """A hundred messages, every bit of body and header, except where the header says the same."""
    draw = random.Random(18)
    for _ in range(100):
        body = draw.randbytes(draw.randrange(1, 60))
        now_s = draw.randrange(1_500_000_000, 1_900_000_000)
        header = payments.sign(SECRET, body, now_s=now_s)
        payments.check_signature(SECRET, header, body, now_s=now_s)
        for bit in range(8 * len(body)):
            with pytest.raises(payments.Forged):
                payments.check_signature(SECRET, header, flipped(body, bit), now_s=now_s)
        raw = header.encode()
        for bit in range(8 * len(raw)):
            said = flipped(raw, bit).decode("latin-1")
            with pytest.raises(payments.Forged):
                payments.check_signature(SECRET, said, body, now_s=now_s)


def flipped(raw, bit) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize(
    ("age_s", "fresh"), [(-301, False), (-300, True), (300, True), (301, False)]
)
def test_a_signature_is_good_for_five_minutes(age_s, fresh):
    now_s = 1_700_000_000
    header = payments.sign(SECRET, b"{}", now_s=now_s - age_s)
    if fresh:
        payments.check_signature(SECRET, header, b"{}", now_s=now_s)
    else:
        with pytest.raises(payments.Forged):
            payments.check_signature(SECRET, header, b"{}", now_s=now_s)
