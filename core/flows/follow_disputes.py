"""A buyer contests a payment at its provider: the order's money waits until the provider decides.

What a provider tells is only ever good for asking it. Opened, the dispute holds the order's money
as an after-sale case does; over, it lets go of it. Of one that is lost, whatever went back without
our asking is booked as a chargeback, once, by whichever way we hear of it.
"""

from functools import partial

import structlog

from core import disputes, ledger, payments
from core.flows.settle_payment import settle_payment
from core.kit import db

# A step of a role ends within a minute, and each of these asks twice.
BATCH_MAX = 3

log = structlog.get_logger()


async def follow_dispute(pool: db.Pool, provider: payments.Judge, provider_ref: str) -> None:
    """Ask how a dispute stands, and act on it. Again changes nothing.

    Raises payments.NoSuchPayment, ChannelUnavailable, ProviderRefused.
    """
    told = await provider.dispute(provider_ref)
    async with db.transaction(pool) as conn:
        payment = await payments.find(conn, payment_id=told.payment_id)
        payment, _ = await payments.hold_siblings(conn, payment)
        if payment.channel != told.channel:
            raise payments.NoSuchPayment(payment_id=payment.id)
        dispute = await _note(conn, payment, told)
    log.warning(
        "payment_disputed",
        dispute_id=dispute.id,
        payment_id=payment.id,
        state=dispute.state,
        is_our_turn=dispute.is_our_turn,
    )
    if dispute.state == disputes.State.LOST:
        for event in await provider.reversals(payment):
            await settle_payment(pool, event)


async def follow_disputes(pool: db.Pool, channels: payments.Channels) -> bool:
    """Ask about open disputes that nobody has told of for a while. Returns whether more wait."""
    async with db.transaction(pool) as conn:
        due = await disputes.take_due(conn, batch_max=BATCH_MAX)
    for dispute in due:
        try:
            provider = channels.of(dispute.channel)
            if isinstance(provider, payments.Judge):
                await follow_dispute(pool, provider, dispute.provider_ref)
        except (
            payments.ChannelNotOffered,
            payments.ChannelUnavailable,
            payments.NoSuchPayment,
            payments.ProviderRefused,
        ) as away:
            log.warning("dispute_not_seen", dispute_id=dispute.id, error=str(away))
    return len(due) == BATCH_MAX


async def _note(
    conn: db.Conn, payment: payments.Payment, told: payments.Dispute
) -> disputes.Dispute:
    facts = disputes.Told(
        channel=told.channel,
        provider_ref=told.provider_ref,
        payment_id=told.payment_id,
        state=disputes.State(told.state),
        stage=told.stage,
        reason=told.reason,
        amount_minor=told.amount_minor,
        currency=told.currency,
        is_our_turn=told.is_our_turn,
        respond_by=told.respond_by,
        told_at=told.told_at,
    )
    dispute = await disputes.note(conn, facts, order_id=payment.order_id)
    is_open, hold = dispute.state == disputes.State.OPEN, partial(disputes.hold, conn, dispute)
    if dispute.is_holding and not is_open:
        await ledger.concede(conn, order_id=dispute.order_id)
        await hold(is_holding=False)
    # Money that no order keeps is no order's to hold.
    keeps = payment.state == payments.State.CAPTURED
    if is_open and keeps and not dispute.is_holding:
        await hold(is_holding=await ledger.contest(conn, order_id=dispute.order_id))
    return dispute
