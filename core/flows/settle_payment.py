"""A provider says that money came, or will not come: the payment and its order hear of it at once.

One transaction: the message is noted, the payment moves, the order moves, the ledger has its
entries, and what has to follow stands in the outbox. Repeated and reordered messages therefore
change nothing more.
"""

from core import orders, payments
from core.flows import book_payment, settle_late
from core.kit import db, outbox

# What a payment fails for. Money that comes all the same counts.
FAILED: dict[str, str] = {
    payments.EventKind.DECLINED: "declined",
    payments.EventKind.CLOSED: "closed",
}


async def settle_payment(pool: db.Pool, event: payments.Event) -> None:
    """Raises payments.NoSuchPayment: money for nothing we know must not be swallowed."""
    async with db.transaction(pool) as conn:
        payment = await payments.find(conn, payment_id=event.payment_id)
        if payment.channel != event.channel:
            raise payments.NoSuchPayment(payment_id=event.payment_id)
        payment, others = await payments.hold_siblings(conn, payment)
        if not await payments.record(conn, event):
            return
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
    if payment.state not in {payments.State.STARTED, payments.State.FAILED}:
        return
    if event.currency != payment.currency:
        await book_payment.send_back(conn, payment, event, reason="currency")
    elif event.amount_minor != payment.amount_minor:
        await book_payment.send_back(conn, payment, event, reason="amount")
    elif payments.is_kept(others):
        await book_payment.send_back(conn, payment, event, reason="already-paid")
    else:
        await _pay(conn, payment, event)


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
