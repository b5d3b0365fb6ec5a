"""A member wants to pay an order: write the payment down, then ask the provider for its page.

An order has one open payment. Who chooses another way to pay gives that one up first, and is told
so where its money was there already.
"""

from functools import partial

import structlog

from core import orders, payments
from core.flows.find_order import OrderView, find_order
from core.flows.settle_payment import settle_payment
from core.kit import db
from hotpath.nodes import Redis
from hotpath.receipts import Keyring

RETRY_AFTER_S = 2

log = structlog.get_logger()


async def start_payment(
    pool: db.Pool,
    redis: Redis,
    channels: payments.Channels,
    keyring: Keyring,
    *,
    payment_id: payments.PaymentId,
    order_id: str,
    member_id: int,
    channel: str,
) -> payments.Payment:
    """Return the order's open payment: the one it has, else a new one under `payment_id`.

    Raises ChannelNotOffered, NoSuchOrder, NotYetWritten, NotPayable and, with the payment written
    down, ChannelUnavailable: asking again goes on with it.
    """
    provider = channels.of(channel)
    seen = await find_order(pool, redis, keyring, order_id=order_id, member_id=member_id)
    if seen.state == "accepted":
        raise orders.NotYetWritten(retry_after_s=1)
    taking = channels.taking(channel)
    start = partial(_start, pool, seen, payment_id, member_id=member_id, channel=channel)
    payment = await start(taking=taking)
    if payment.channel != channel:
        await _give_up(pool, channels, payment)
        payment = await start(taking=taking)
    if payment.channel != channel:
        raise payments.NotPayable("Another payment for this order was started just now.")
    if payment.pay_url is not None:
        return payment
    try:
        checkout = await provider.checkout(payment)
    except payments.ProviderRefused as refused:
        log.exception("checkout_refused", payment_id=payment.id, channel=channel)
        raise payments.ChannelUnavailable(retry_after_s=RETRY_AFTER_S) from refused
    async with db.transaction(pool) as conn:
        return await payments.attach(conn, payment, checkout)


async def _start(
    pool: db.Pool,
    seen: OrderView,
    payment_id: payments.PaymentId,
    *,
    member_id: int,
    channel: str,
    taking: payments.Taking,
) -> payments.Payment:
    async with db.transaction(pool) as conn:
        order = await _payable(conn, seen.order_id, seen.state)
        return await payments.start(
            conn,
            payment_id=payment_id,
            order_id=order.id,
            member_id=member_id,
            channel=channel,
            taking=taking,
            amount_minor=order.amount_minor,
            currency=order.currency,
            expires_at=order.expires_at,
        )


async def _payable(conn: db.Conn, order_id: orders.OrderId, seen: str) -> orders.Order:
    """An order that was lost with its epoch has a state, but no row."""
    if seen != orders.Shown.PENDING_PAYMENT:
        raise payments.NotPayable(state=seen)
    order = await orders.find(conn, order_id=order_id)
    if order.shown != orders.Shown.PENDING_PAYMENT:
        raise payments.NotPayable(state=order.shown)
    return order


async def _give_up(pool: db.Pool, channels: payments.Channels, payment: payments.Payment) -> None:
    """Close it where it was started. A provider that is away keeps nobody from paying elsewhere.

    Money that comes by both ways is sent back once.
    """
    try:
        event = await channels.of(payment.channel).close(payment)
    except (
        payments.ChannelNotOffered,
        payments.ChannelUnavailable,
        payments.ProviderRefused,
    ) as away:
        log.warning("payment_not_closed", payment_id=payment.id, error=str(away))
        await _fail(pool, payment)
    else:
        await settle_payment(pool, event)


async def _fail(pool: db.Pool, payment: payments.Payment) -> None:
    async with db.transaction(pool) as conn:
        payment, _ = await payments.hold_siblings(conn, payment)
        if payment.state == payments.State.STARTED:
            await payments.fail(conn, payment, reason="replaced")
            await payments.call_off(conn, order_id=payment.first_order_id)
