"""A member's orders, newest first; one that is not written down yet comes a moment later."""

from core import orders, sales
from core.kit import db

# A shop's last few years.
SALES_MAX = 1_000


async def list_orders(
    pool: db.Pool, *, member_id: int, before: orders.OrderId | None, page_max: int
) -> list[orders.Order]:
    async with db.snapshot(pool) as conn:
        newest = await sales.listing(conn, before=None, page_max=SALES_MAX)
        return await orders.of_member(
            conn,
            member_id=member_id,
            sale_ids=[sale.id for sale in newest],
            before=before,
            page_max=page_max,
        )
