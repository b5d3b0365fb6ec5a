"""Every step of a payment that moves money, together with its entry in the ledger.

Nobody else takes these steps, so no payment is without its entries. The caller's transaction holds
both.
"""

from collections.abc import Mapping

from core import ledger, orders, payments
from core.kit import db, money

SHIPPING_NO = 0
# Above every line of an order.
TAX_FROM = 10_000


async def capture(
    conn: db.Conn, payment: payments.Payment, event: payments.Event, order: orders.Order
) -> None:
    """Money came for the order that waits for it."""
    await payments.capture(conn, payment, event)
    await ledger.capture_for_order(
        conn,
        parts_of(order),
        payment_id=payment.id,
        channel=payment.channel,
        order_id=order.id,
        currency=event.currency,
    )


async def capture_late(conn: db.Conn, payment: payments.Payment, event: payments.Event) -> None:
    """Money came for an order that is cancelled: it waits for what becomes of it."""
    await payments.capture(conn, payment, event)
    await _post_capture(conn, payment, event)


async def send_back(
    conn: db.Conn, payment: payments.Payment, event: payments.Event, *, reason: str
) -> None:
    """Money came that cannot stay."""
    await payments.send_back(conn, payment, event, reason=reason)
    await _post_capture(conn, payment, event)
    await ledger.send_back(
        conn,
        payment_id=payment.id,
        channel=payment.channel,
        amount_minor=event.amount_minor,
        currency=event.currency,
    )


async def move_to_order(conn: db.Conn, payment: payments.Payment, order: orders.Order) -> None:
    """Money that came late pays the order that was placed anew."""
    await payments.move_to_order(conn, payment, order_id=order.id)
    await ledger.apply(
        conn,
        parts_of(order),
        payment_id=payment.id,
        channel=payment.channel,
        order_id=order.id,
        currency=order.currency,
    )


async def refund(conn: db.Conn, payment: payments.Payment, *, reason: str) -> None:
    """Money that came late goes back."""
    await payments.refund(conn, payment, reason=reason)
    amount_minor, currency = _captured(payment)
    await ledger.send_back(
        conn,
        payment_id=payment.id,
        channel=payment.channel,
        amount_minor=amount_minor,
        currency=currency,
    )


async def refunded(conn: db.Conn, payment: payments.Payment) -> None:
    """The provider has sent it back."""
    await payments.refunded(conn, payment)
    amount_minor, currency = _captured(payment)
    await ledger.sent_back(
        conn,
        payment_id=payment.id,
        channel=payment.channel,
        amount_minor=amount_minor,
        currency=currency,
    )


async def owe(
    conn: db.Conn,
    payment: payments.Payment,
    *,
    refund_id: payments.RefundId,
    lines: Mapping[int, int],
    reason: str,
) -> None:
    """So much of each line (line number -> amount) of an order that was paid goes back."""
    amount_minor = sum(lines.values())
    await payments.owe(conn, payment, refund_id=refund_id, amount_minor=amount_minor, reason=reason)
    await ledger.refund(conn, reference=refund_id, order_id=payment.order_id, lines=lines)


async def refund_paid(conn: db.Conn, payment: payments.Payment, refund: payments.Refund) -> None:
    """The provider has sent a refund."""
    await payments.refund_paid(conn, refund)
    await ledger.refund_paid(
        conn, reference=refund.id, order_id=payment.order_id, amount_minor=refund.amount_minor
    )


async def charge_back(conn: db.Conn, payment: payments.Payment, event: payments.Event) -> None:
    """The buyer's bank claims so much back: of each line in the measure of what is left of it.

    What is over that, and money that no order keeps, is the platform's loss.
    """
    claim = {"reference": event.id, "order_id": payment.order_id}
    shares = await _shares_of(conn, payment, event.currency)
    left = [share.amount_minor - share.returned_minor for share in shares]
    covered_minor = min(event.amount_minor, sum(left))
    if covered_minor:
        claimed = money.allocate(covered_minor, left)
        lines = {s.line_no: amount for s, amount in zip(shares, claimed, strict=True) if amount}
        lost_minor = event.amount_minor - covered_minor
        await ledger.charge_back(conn, **claim, lines=lines, lost_minor=lost_minor)
    else:
        await ledger.lose(
            conn,
            **claim,
            channel=payment.channel,
            amount_minor=event.amount_minor,
            currency=event.currency,
        )


def parts_of(order: orders.Order) -> list[ledger.Part]:
    """Whose its money is: a line's goods under the line's number, the tax that was added to them
    under TAX_FROM + that number, shipping as line 0.
    """
    parts = [
        ledger.goods(
            line.line_no,
            seller_id=ledger.SellerId(line.seller_id),
            amount_minor=line.goods_minor,
            commission_bps=line.commission_bps,
        )
        for line in order.lines
    ]
    if order.shipping_minor:
        parts.append(ledger.shipping(SHIPPING_NO, amount_minor=order.shipping_minor))
    taxes = {line.line_no: line.tax_minor for line in order.lines}
    taxes[SHIPPING_NO] = order.shipping_tax_minor
    parts += [ledger.tax(TAX_FROM + n, amount_minor=minor) for n, minor in taxes.items() if minor]
    return parts


async def _shares_of(conn: db.Conn, payment: payments.Payment, currency: str) -> list[ledger.Share]:
    """What the order that a payment pays has of this currency; nothing where it pays none."""
    if payment.state != payments.State.CAPTURED:
        return []
    try:
        hold, shares = await ledger.find_hold(conn, order_id=payment.order_id)
    except ledger.NoSuchHold:
        return []
    return shares if hold.currency == currency else []


async def _post_capture(conn: db.Conn, payment: payments.Payment, event: payments.Event) -> None:
    await ledger.capture(
        conn,
        payment_id=payment.id,
        channel=payment.channel,
        amount_minor=event.amount_minor,
        currency=event.currency,
    )


def _captured(payment: payments.Payment) -> tuple[int, str]:
    assert payment.captured_minor is not None
    assert payment.captured_currency is not None
    return payment.captured_minor, payment.captured_currency
