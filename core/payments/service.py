import re
from collections.abc import Collection, Sequence
from datetime import datetime

from core.kit import outbox
from core.kit.db import Conn
from core.kit.states import IllegalMove, check_move

from . import store
from .model import (
    Booked,
    Due,
    Event,
    Look,
    NoSuchPayment,
    NoSuchRefund,
    NotPayable,
    NotRefundable,
    Payment,
    PaymentId,
    Refund,
    RefundDue,
    RefundId,
    Taking,
)
from .provider import Checkout
from .states import MOVES, REFUND_MOVES, RefundState, State

REFUND_TOPIC = "payments.refund"
KEPT_REFUND_TOPIC = "payments.refund_kept"
VOID_TOPIC = "payments.void"
REFUNDS_MAX = 1_000
START_TRIES_MAX = 3
# The provider is asked after this, then at pauses of a quarter of the payment's age, and for the
# last time while its order still waits.
FIRST_LOOK_S = 10.0
PAUSE_S = 5.0
PAUSE_MAX_S = 600.0
# Money that is held is held for days, and its provider tells when that ends early.
HELD_PAUSE_MAX_S = 21_600.0
LAST_LOOK_S = 10.0
KEPT = frozenset({State.AUTHORIZED, State.CAPTURED})
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def start(
    conn: Conn,
    *,
    payment_id: PaymentId,
    order_id: str,
    member_id: int,
    channel: str,
    amount_minor: int,
    currency: str,
    expires_at: datetime,
    taking: Taking = Taking.AT_ONCE,
) -> Payment:
    """Start a payment, or return the one that is open for this order already."""
    # Between the two statements the open one may end; then there is room for ours.
    for _ in range(START_TRIES_MAX):
        await store.start(
            conn,
            payment_id,
            order_id,
            member_id,
            channel,
            amount_minor,
            currency,
            taking,
            expires_at,
            FIRST_LOOK_S,
        )
        payment = await store.open_for(conn, order_id)
        if payment is not None:
            return payment
    raise NotPayable("Another payment for this order ended just now; look at it.")


async def attach(conn: Conn, payment: Payment, checkout: Checkout) -> Payment:
    """Note where the buyer pays. The first page noted stays."""
    await store.attach(conn, payment.id, checkout.provider_ref, checkout.pay_url)
    return await find(conn, payment_id=payment.id)


async def find(conn: Conn, *, payment_id: PaymentId) -> Payment:
    payment = await store.find(conn, payment_id) if UUID.fullmatch(payment_id) else None
    if payment is None:
        raise NoSuchPayment(payment_id=payment_id)
    return payment


async def take_looks(conn: Conn, *, channels: Collection[str], batch_max: int) -> list[Look]:
    """Payments whose provider is to be asked now. Whoever takes one and dies delays it, no more."""
    pauses = (PAUSE_S, PAUSE_MAX_S, HELD_PAUSE_MAX_S, LAST_LOOK_S)
    return await store.take_looks(conn, batch_max, *pauses, channels)


async def look_no_more(conn: Conn, payment: Payment) -> None:
    """Nothing more can come."""
    await store.look_no_more(conn, payment.id)


async def call_off(conn: Conn, *, order_id: str) -> None:
    """Nobody waits for what was started for this order: have it closed at its provider, soon."""
    await store.call_off(conn, order_id)


async def hold_siblings(conn: Conn, payment: Payment) -> tuple[Payment, list[Payment]]:
    """Hold every payment that was started for this one's first order until the transaction ends.

    Returns this one as it stands now, and the others.
    """
    held = await store.hold_siblings(conn, payment.first_order_id)
    others = [one for one in held if one.id != payment.id]
    (found,) = (one for one in held if one.id == payment.id)
    return found, others


def is_kept(payments: Sequence[Payment]) -> bool:
    """Tell whether one of these pays for the order they were started for, or for its successor."""
    return any(p.state in KEPT or p.order_id != p.first_order_id for p in payments)


async def taken(conn: Conn, *, after: PaymentId, page_max: int) -> list[Payment]:
    """Payments for which money came, in the order of their ids."""
    return await store.taken(conn, after, page_max)


async def record(conn: Conn, event: Event) -> bool:
    """Note a provider's message; false when it was noted before."""
    return await store.record(conn, event.channel, event.id, event.payment_id, event.kind)


async def told_of(conn: Conn, *, channel: str, event_id: str) -> PaymentId | None:
    """Which payment a message was about, where one of that name came."""
    return await store.told_of(conn, channel, event_id)


async def hear(conn: Conn, payment: Payment, *, event_id: str, kind: str) -> None:
    """Note a message that is good for asking its provider and for nothing else; have it asked."""
    if await store.record(conn, payment.channel, event_id, payment.id, kind):
        await wake(conn, payment)


async def wake(conn: Conn, payment: Payment) -> None:
    """Something may have become of it: have its provider asked now, where its money is not here."""
    await store.wake(conn, payment.id)


async def authorize(conn: Conn, payment: Payment, event: Event) -> None:
    """Count on money that is held. Nothing of it is ours before it is captured."""
    assert event.authorized_until is not None, "whoever holds money says until when"
    check_move(MOVES, State(payment.state), State.AUTHORIZED)
    if not await store.authorize(conn, payment, State.AUTHORIZED, event, PAUSE_MAX_S):
        raise _moved(payment, State.AUTHORIZED)


async def void(conn: Conn, payment: Payment, *, reason: str) -> None:
    """Have money that is held let go: it was never ours, so nothing goes back."""
    await _move(conn, payment, State.VOIDING, reason)
    await outbox.add(conn, VOID_TOPIC, [Due(payment.id)])


async def voided(conn: Conn, payment: Payment, *, reason: str | None = None) -> None:
    """It is not held any more. The reason that was given first stays, where none is given now."""
    await _move(conn, payment, State.VOIDED, reason)


async def capture(conn: Conn, payment: Payment, event: Event) -> None:
    """Keep the money that came. The database refuses any other amount than was asked."""
    await _take(conn, payment, State.CAPTURED, None, event)


async def send_back(conn: Conn, payment: Payment, event: Event, *, reason: str) -> None:
    """Take the money that came, and ask for its refund in the same breath."""
    await _take(conn, payment, State.REFUNDING, reason, event)
    await outbox.add(conn, REFUND_TOPIC, [Due(payment.id)])


async def refund(conn: Conn, payment: Payment, *, reason: str) -> None:
    """Ask for the refund of a captured payment."""
    await _move(conn, payment, State.REFUNDING, reason)
    await outbox.add(conn, REFUND_TOPIC, [Due(payment.id)])


async def refunded(conn: Conn, payment: Payment) -> None:
    await _move(conn, payment, State.REFUNDED, None)


async def hold_kept(conn: Conn, *, order_id: str) -> Payment | None:
    """Hold the payment that an order keeps until the transaction ends; None where it keeps none.

    Its money is here, or it is held for us.
    """
    return await store.hold_kept(conn, order_id)


async def held_until(conn: Conn, *, order_id: str) -> datetime | None:
    """Until when an order's money is held; None where none is."""
    return await store.held_until(conn, order_id)


async def owe(
    conn: Conn, payment: Payment, *, refund_id: RefundId, amount_minor: int, reason: str
) -> None:
    """Owe so much of a kept payment back, and ask the provider for it. Raises NotRefundable."""
    if not await store.owe(conn, refund_id, payment.id, amount_minor, reason):
        raise NotRefundable(payment_id=payment.id, amount=amount_minor)
    await outbox.add(conn, KEPT_REFUND_TOPIC, [RefundDue(refund_id)])


async def find_refund(conn: Conn, *, refund_id: RefundId) -> Refund:
    refund = await store.find_refund(conn, refund_id)
    if refund is None:
        raise NoSuchRefund(refund_id=refund_id)
    return refund


async def refunds(conn: Conn, *, order_id: str) -> list[Refund]:
    """What went back of what an order keeps, oldest first."""
    return await store.refunds(conn, order_id, REFUNDS_MAX)


async def owed(conn: Conn, *, order_id: str, refund_id: RefundId, page_max: int) -> list[Refund]:
    """Refunds of kept money behind this one, by their orders' ids and then by their own."""
    return await store.owed(conn, order_id, refund_id, page_max)


async def refund_paid(conn: Conn, refund: Refund) -> None:
    """The provider has sent it back. Raises IllegalMove where that was known already."""
    check_move(REFUND_MOVES, RefundState(refund.state), RefundState.PAID)
    if not await store.move_refund(conn, refund, RefundState.PAID):
        raise IllegalMove(
            "The refund moved while we were looking.",
            source=refund.state,
            target=RefundState.PAID.value,
        )


async def booked(conn: Conn, *, channel: str, references: Collection[str]) -> list[Booked]:
    """What we have of these payments and refunds; what is no id of ours names nothing."""
    ours = [one for one in references if UUID.fullmatch(one)]
    return await store.booked(conn, channel, ours)


async def booked_in(
    conn: Conn, *, channel: str, since: datetime, until: datetime, page_max: int
) -> list[Booked]:
    """What came and went by a channel in a span of time, oldest first."""
    return await store.booked_in(conn, channel, since, until, page_max)


async def fail(conn: Conn, payment: Payment, *, reason: str) -> None:
    await _move(conn, payment, State.FAILED, reason)


async def move_to_order(conn: Conn, payment: Payment, *, order_id: str) -> None:
    """Let a captured payment count for another order than it was started for. Once, no more."""
    if not await store.move_to_order(conn, payment.id, order_id):
        raise _moved(payment, State.CAPTURED)


async def _take(
    conn: Conn, payment: Payment, target: State, reason: str | None, event: Event
) -> None:
    check_move(MOVES, State(payment.state), target)
    if not await store.take(conn, payment, target, reason, event):
        raise _moved(payment, target)


async def _move(conn: Conn, payment: Payment, target: State, reason: str | None) -> None:
    check_move(MOVES, State(payment.state), target)
    if not await store.move(conn, payment, target, reason):
        raise _moved(payment, target)


def _moved(payment: Payment, target: State) -> IllegalMove:
    return IllegalMove(
        "The payment moved while we were looking.", source=payment.state, target=target.value
    )
