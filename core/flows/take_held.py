"""Goods are about to leave: what is held for them is taken first, and without it nothing leaves.

The provider is asked outside of any transaction. Whoever dies here is followed by another try of
whoever sends the goods, or by the reconciler; the money is taken once.
"""

from collections.abc import Collection

import structlog

from core import orders, payments
from core.flows.settle_payment import settle_payment
from core.kit import db

log = structlog.get_logger()


async def take_held(
    pool: db.Pool, channels: payments.Channels, *, order_ids: Collection[orders.OrderId]
) -> None:
    """Take the money of those of these orders whose money is held.

    Raises NotCaptured where it could not be taken, and ChannelUnavailable where nobody knows yet.
    """
    for order_id in sorted(order_ids):
        payment = await _held_for(pool, order_id)
        if payment is not None:
            await _take(pool, channels, payment)


async def _held_for(pool: db.Pool, order_id: orders.OrderId) -> payments.Payment | None:
    async with db.transaction(pool) as conn:
        order = await orders.find(conn, order_id=order_id)
        if order.payment != orders.Payment.AUTHORIZED:
            return None
        kept = await payments.hold_kept(conn, order_id=order_id)
    return kept if kept is not None and kept.state == payments.State.AUTHORIZED else None


async def _take(pool: db.Pool, channels: payments.Channels, payment: payments.Payment) -> None:
    try:
        event = await channels.holder(payment.channel).capture(payment)
    except payments.ChannelNotOffered as away:
        raise payments.ChannelUnavailable from away
    except payments.ProviderRefused as refused:
        log.warning("held_money_not_taken", payment_id=payment.id, error=str(refused))
        raise payments.NotCaptured(order_id=payment.order_id, reason="refused") from refused
    await settle_payment(pool, event)
    if event.kind != payments.EventKind.CAPTURED:
        raise payments.NotCaptured(order_id=payment.order_id, reason="authorization-ended")
