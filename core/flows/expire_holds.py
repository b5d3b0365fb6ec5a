"""Orders that were not paid within their hold are cancelled, and their units go back for sale."""

from core import orders, sales
from core.flows.give_back import book_release
from core.kit import db


async def expire_holds(pool: db.Pool, *, batch_max: int) -> int:
    """Returns how many orders expired; fewer than `batch_max` means that no more are due."""
    async with db.transaction(pool) as conn:
        # Who waits for a rebuild waits with every other sale's orders in hand.
        spared = await sales.buckets_being_rebuilt(conn)
        expired = await orders.expire(conn, spared=spared, batch_max=batch_max)
        await book_release(conn, expired)
    return len({line.id for line in expired})
