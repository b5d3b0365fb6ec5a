"""Messages get lost: ask providers what became of the payments that nobody has told us about.

Each is asked about later and later, once more right before its order's hold ends, and is closed
right after, or as soon as nobody waits for it. What a provider answers is an event like any other.
"""

import asyncio

import structlog

from core import payments
from core.flows.settle_payment import settle_payment
from core.kit import db

AT_ONCE_MAX = 16

log = structlog.get_logger()


async def reconcile_payments(pool: db.Pool, channels: payments.Channels, *, batch_max: int) -> int:
    """Returns how many were due; fewer than `batch_max` means that no more are."""
    async with db.autocommit(pool) as conn:
        looks = await payments.take_looks(conn, channels=channels.offered, batch_max=batch_max)
    hands = asyncio.Semaphore(AT_ONCE_MAX)

    async def look(due: payments.Look) -> None:
        async with hands:
            try:
                await _reconcile(pool, channels, due)
            except (
                payments.ChannelNotOffered,
                payments.ChannelUnavailable,
                payments.ProviderRefused,
            ) as away:
                log.warning("payment_not_seen", payment_id=due.payment_id, error=str(away))
            except Exception:
                log.exception("payment_not_settled", payment_id=due.payment_id)

    await asyncio.gather(*map(look, looks))
    return len(looks)


async def _reconcile(pool: db.Pool, channels: payments.Channels, due: payments.Look) -> None:
    async with db.reading(pool) as conn:
        payment = await payments.find(conn, payment_id=due.payment_id)
    provider = channels.of(payment.channel)
    event = await (provider.close(payment) if due.is_unwanted else provider.look(payment))
    if event is not None:
        await settle_payment(pool, event)
    if due.is_over:
        async with db.transaction(pool) as conn:
            await payments.look_no_more(conn, payment)
