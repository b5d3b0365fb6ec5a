"""Orders that were not paid within their hold are cancelled, and their units go back for sale."""

from core import orders
from core.flows.give_back import book_release
from core.kit import db


async def expire_holds(pool: db.Pool, *, batch_max: int) -> int:
    """Returns how many orders expired; fewer than `batch_max` means that no more are due."""
    async with db.transaction(pool) as conn:
        expired = await orders.expire(conn, batch_max=batch_max)
        await book_release(conn, expired)
    return len(expired)
