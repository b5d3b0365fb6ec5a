"""Money that was held is let go: tell its provider, and hear what came of it.

Killed in between, it tells it again. Where the money was taken first, it goes back.
"""

import msgspec

from core import payments
from core.flows.settle_payment import settle_payment
from core.kit import db
from core.kit.outbox import TryLater

TOPIC = payments.VOID_TOPIC


async def void_payment(pool: db.Pool, channels: payments.Channels, payload: object) -> None:
    """Handle one message. Raises TryLater while the provider is away."""
    due = msgspec.convert(payload, payments.Due)
    async with db.reading(pool) as conn:
        payment = await payments.find(conn, payment_id=due.payment_id)
    if payment.state != payments.State.VOIDING:
        return
    try:
        event = await channels.holder(payment.channel).void(payment)
    except (payments.ChannelNotOffered, payments.ChannelUnavailable) as error:
        raise TryLater(str(error)) from error
    await settle_payment(pool, event)
