"""Orders that were not paid within their hold are cancelled, and their units go back for sale."""

from collections.abc import Collection

import structlog

from core import orders, sales
from core.flows.give_back import book_release
from core.kit import db

# After a batch that failed, so many are tried by themselves.
ALONE_MAX = 50

log = structlog.get_logger()


async def expire_holds(pool: db.Pool, *, batch_max: int) -> int:
    """Returns how many orders expired; fewer than `batch_max` means that no more are due."""
    try:
        async with db.transaction(pool) as conn:
            expired = await _take(conn, batch_max=batch_max)
            await book_release(conn, expired)
    except Exception as error:  # noqa: BLE001 - what is wrong with one is no matter of the others
        log.warning("holds_not_expired", error=repr(error))
        return await _expire_alone(pool)
    return len({line.id for line in expired})


async def _expire_alone(pool: db.Pool) -> int:
    """One by one. Whatever cannot end is named, and passed over."""
    ended, passed = 0, list[orders.OrderId]()
    for _ in range(ALONE_MAX):
        taken: list[orders.Expired] = []
        try:
            async with db.transaction(pool) as conn:
                taken = await _take(conn, batch_max=1, passed=passed)
                await book_release(conn, taken)
        except Exception:
            if not taken:
                raise
            log.exception("order_not_expired", order_id=taken[0].id)
            passed.append(taken[0].id)
            continue
        if not taken:
            break
        ended += 1
    return ended


async def _take(
    conn: db.Conn, *, batch_max: int, passed: Collection[orders.OrderId] = ()
) -> list[orders.Expired]:
    # Who waits for a rebuild waits with every other sale's orders in hand.
    spared = await sales.buckets_being_rebuilt(conn)
    return await orders.expire(conn, spared=spared, passed=passed, batch_max=batch_max)
