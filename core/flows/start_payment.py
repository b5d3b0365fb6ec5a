"""A member wants to pay an order: write the payment down, then ask the provider for its page."""

from core import orders, payments
from core.flows.find_order import find_order
from core.kit import db
from hotpath.nodes import Redis
from hotpath.receipts import Keyring


async def start_payment(
    pool: db.Pool,
    redis: Redis,
    provider: payments.Provider,
    keyring: Keyring,
    *,
    payment_id: payments.PaymentId,
    order_id: str,
    member_id: int,
    channel: str,
) -> payments.Payment:
    """Return the order's open payment: the one it has, else a new one under `payment_id`.

    Raises NoSuchOrder, NotYetWritten, NotPayable and, with the payment written down,
    ChannelUnavailable: asking again goes on with it.
    """
    seen = await find_order(pool, redis, keyring, order_id=order_id, member_id=member_id)
    if seen.state == "accepted":
        raise orders.NotYetWritten(retry_after_s=1)
    async with db.transaction(pool) as conn:
        order = await _payable(conn, seen.order_id, seen.state)
        payment = await payments.start(
            conn,
            payment_id=payment_id,
            order_id=order.id,
            member_id=member_id,
            channel=channel,
            amount_minor=order.amount_minor,
            currency=order.currency,
        )
    if payment.pay_url is not None:
        return payment
    checkout = await provider.checkout(payment)
    async with db.transaction(pool) as conn:
        return await payments.attach(conn, payment, checkout)


async def _payable(conn: db.Conn, order_id: orders.OrderId, seen: str) -> orders.Order:
    """An order that was lost with its epoch has a state, but no row."""
    if seen != orders.Shown.PENDING_PAYMENT:
        raise payments.NotPayable(state=seen)
    order = await orders.find(conn, order_id=order_id)
    if order.shown != orders.Shown.PENDING_PAYMENT:
        raise payments.NotPayable(state=order.shown)
    return order
