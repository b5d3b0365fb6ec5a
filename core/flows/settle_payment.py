"""A provider says that money came, or is held, or will not come: the payment and its order hear of
it at once.

One transaction: the message is noted, the payment moves, the order moves, the ledger has its
entries, and what has to follow stands in the outbox. Repeated and reordered messages therefore
change nothing more.
"""

from core import orders, payments
from core.flows import book_payment, settle_late
from core.flows.cancel_order import end
from core.kit import db, outbox

# What a payment fails for. Money that comes all the same counts.
FAILED: dict[str, str] = {
    payments.EventKind.DECLINED: "declined",
    payments.EventKind.CLOSED: "closed",
}
# Nobody's money is here or held yet.
OPEN = frozenset({payments.State.STARTED, payments.State.FAILED})
LET_GO = frozenset({payments.State.VOIDING, payments.State.VOIDED})
HELD_NO_MORE = "authorization-ended"
BY = "settler"


async def settle_payment(pool: db.Pool, event: payments.Event) -> None:
    """Raises payments.NoSuchPayment: money for nothing we know must not be swallowed."""
    async with db.transaction(pool) as conn:
        payment = await payments.find(conn, payment_id=event.payment_id)
        if payment.channel != event.channel:
            raise payments.NoSuchPayment(payment_id=event.payment_id)
        payment, others = await payments.hold_siblings(conn, payment)
        if not await payments.record(conn, event):
            return
        if event.kind == payments.EventKind.AUTHORIZED and payment.state in OPEN:
            await _authorized(conn, payment, others, event)
        if event.kind == payments.EventKind.VOIDED:
            await _voided(conn, payment)
        if event.kind == payments.EventKind.CAPTURED:
            await _captured(conn, payment, others, event)
        if event.kind in FAILED and payment.state == payments.State.STARTED:
            await payments.fail(conn, payment, reason=FAILED[event.kind])
        if event.kind == payments.EventKind.CHARGED_BACK:
            await book_payment.charge_back(conn, payment, event)


async def _captured(
    conn: db.Conn,
    payment: payments.Payment,
    others: list[payments.Payment],
    event: payments.Event,
) -> None:
    if payment.state == payments.State.AUTHORIZED:
        await _held_was_taken(conn, payment, event)
    elif payment.state in LET_GO:
        await book_payment.send_back(conn, payment, event, reason=payment.reason or "cancelled")
    elif payment.state in OPEN:
        misfit = _misfit(payment, others, event)
        if misfit is not None:
            await book_payment.send_back(conn, payment, event, reason=misfit)
        else:
            await _pay(conn, payment, event)


def _misfit(
    payment: payments.Payment, others: list[payments.Payment], event: payments.Event
) -> str | None:
    """Why this money cannot stay."""
    if event.currency != payment.currency:
        return "currency"
    if event.amount_minor != payment.amount_minor:
        return "amount"
    return "already-paid" if payments.is_kept(others) else None


async def _authorized(
    conn: db.Conn,
    payment: payments.Payment,
    others: list[payments.Payment],
    event: payments.Event,
) -> None:
    """What is held for an order that does not wait for it is let go: nothing was taken."""
    misfit = _misfit(payment, others, event)
    order = await _hold_order(conn, payment)
    if misfit is None and order.shown != orders.Shown.PENDING_PAYMENT:
        misfit = "too-late"
    if misfit is not None:
        await payments.void(conn, payment, reason=misfit)
        return
    await payments.authorize(conn, payment, event)
    await orders.authorize(conn, order, payment_id=payment.id)


async def _voided(conn: db.Conn, payment: payments.Payment) -> None:
    """Whoever let it go, it is not held any more; an order that counted on it ends."""
    if payment.state in OPEN:
        await payments.voided(conn, payment, reason="closed")
    elif payment.state == payments.State.VOIDING:
        await payments.voided(conn, payment)
    elif payment.state == payments.State.AUTHORIZED:
        await payments.voided(conn, payment, reason=HELD_NO_MORE)
        await end(conn, await _hold_order(conn, payment), reason=HELD_NO_MORE, by=BY)


async def _held_was_taken(conn: db.Conn, payment: payments.Payment, event: payments.Event) -> None:
    order = await _hold_order(conn, payment)
    misfit = _misfit(payment, [], event)
    if misfit is not None:
        await book_payment.send_back(conn, payment, event, reason=misfit)
        await end(conn, order, reason=misfit, by=BY)
        return
    await orders.pay(conn, order, payment_id=payment.id)
    await book_payment.capture(conn, payment, event, order)


async def _hold_order(conn: db.Conn, payment: payments.Payment) -> orders.Order:
    (order,) = await orders.hold(conn, order_ids=[orders.OrderId(payment.order_id)])
    return order


async def _pay(conn: db.Conn, payment: payments.Payment, event: payments.Event) -> None:
    """Move the order to paid, unless expiry or a cancel was there first."""
    order = await orders.find(conn, order_id=orders.OrderId(payment.order_id))
    assert order.amount_minor == payment.amount_minor
    assert order.currency == payment.currency
    if order.shown == orders.Shown.PENDING_PAYMENT:
        try:
            await orders.pay(conn, order, payment_id=payment.id)
        except orders.IllegalMove:
            order = await orders.find(conn, order_id=order.id)
        else:
            await book_payment.capture(conn, payment, event, order)
            return
    await _came_late(conn, payment, event, order)


async def _came_late(
    conn: db.Conn, payment: payments.Payment, event: payments.Event, order: orders.Order
) -> None:
    """The order does not wait any more, and never will again. What staff cancelled stays so."""
    if order.state == orders.State.CANCELLED and order.reason == "staff":
        await book_payment.send_back(conn, payment, event, reason="cancelled")
    elif order.state == orders.State.CANCELLED:
        await book_payment.capture_late(conn, payment, event)
        await outbox.add(conn, settle_late.TOPIC, [payments.Due(payment.id)])
    else:
        await book_payment.send_back(conn, payment, event, reason="already-paid")
