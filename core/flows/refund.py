"""Money goes back: ask the provider, then note that it did.

Killed in between, it asks again, and the provider knows the payment by its id.
"""

import msgspec

from core import payments
from core.flows import book_payment
from core.kit import db
from core.kit.outbox import TryLater

TOPIC = payments.REFUND_TOPIC


async def refund(pool: db.Pool, provider: payments.Provider, payload: object) -> None:
    """Handle one message. Raises TryLater while the provider is away.

    A debt does not end because it is old.
    """
    due = msgspec.convert(payload, payments.Due)
    async with db.reading(pool) as conn:
        payment = await payments.find(conn, payment_id=due.payment_id)
    if payment.state != payments.State.REFUNDING:
        return
    try:
        await provider.refund(payment)
    except payments.ChannelUnavailable as error:
        raise TryLater(str(error)) from error
    async with db.transaction(pool) as conn:
        payment, _ = await payments.hold_siblings(conn, payment)
        if payment.state == payments.State.REFUNDING:
            await book_payment.refunded(conn, payment)
