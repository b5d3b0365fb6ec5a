"""Money goes back: ask the provider, then note that it did.

Killed in between, it asks again, and the provider knows the refund by its id.
"""

import msgspec

from core import payments
from core.flows import book_payment
from core.kit import db
from core.kit.outbox import TryLater

TOPIC = payments.REFUND_TOPIC
KEPT_TOPIC = payments.KEPT_REFUND_TOPIC


async def refund(pool: db.Pool, channels: payments.Channels, payload: object) -> None:
    """Send back money that could never be kept. Raises TryLater while the provider is away.

    A debt does not end because it is old.
    """
    due = msgspec.convert(payload, payments.Due)
    async with db.reading(pool) as conn:
        payment = await payments.find(conn, payment_id=due.payment_id)
    if payment.state != payments.State.REFUNDING:
        return
    assert payment.captured_minor is not None
    await _ask(
        channels,
        payment,
        refund_id=payment.id,
        amount_minor=payment.captured_minor,
        reason=payment.reason or "",
    )
    async with db.transaction(pool) as conn:
        payment, _ = await payments.hold_siblings(conn, payment)
        if payment.state == payments.State.REFUNDING:
            await book_payment.refunded(conn, payment)


async def refund_kept(pool: db.Pool, channels: payments.Channels, payload: object) -> None:
    """Send back money that was kept. Raises TryLater while the provider is away."""
    due = msgspec.convert(payload, payments.RefundDue)
    async with db.reading(pool) as conn:
        owed = await payments.find_refund(conn, refund_id=due.refund_id)
        payment = await payments.find(conn, payment_id=owed.payment_id)
    if owed.state != payments.RefundState.OWED:
        return
    await _ask(
        channels, payment, refund_id=owed.id, amount_minor=owed.amount_minor, reason=owed.reason
    )
    async with db.transaction(pool) as conn:
        await book_payment.refund_paid(conn, payment, owed)


async def _ask(
    channels: payments.Channels,
    payment: payments.Payment,
    *,
    refund_id: str,
    amount_minor: int,
    reason: str,
) -> None:
    """By the way the money came, and no other. What has gone already is not asked for again."""
    try:
        provider = channels.of(payment.channel)
        gone = await provider.is_refunded(payment, refund_id=refund_id) or await provider.refund(
            payment, refund_id=refund_id, amount_minor=amount_minor, reason=reason
        )
    except (payments.ChannelNotOffered, payments.ChannelUnavailable) as error:
        raise TryLater(str(error)) from error
    if not gone:
        raise TryLater("the refund is under way at the provider")
