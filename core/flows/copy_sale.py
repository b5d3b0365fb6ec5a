"""A shadow of a sale: the same SKUs, prices and limits, for a rehearsal."""

from datetime import datetime

from core import sales
from core.flows.plan_sale import PlannedItem, plan_sale
from core.kit import db

# No hold runs out while a rehearsal lasts: a unit that was sold twice is then always an error.
HOLD_MIN_S = 6 * 60 * 60


async def shadow_sale(
    pool: db.Pool,
    *,
    sale_id: sales.SaleId,
    starts_at: datetime,
    ends_at: datetime,
    units_max: int | None = None,
) -> sales.Sale:
    """Plan a copy that draws no stock and that no storefront lists. Arm it like any other sale.

    `units_max` caps each SKU's quota, so that few buyers can buy it out. Raises NoSuchSale.
    """
    async with db.snapshot(pool) as conn:
        sale = await sales.find(conn, sale_id=sale_id)
        items = await sales.items(conn, sale_id=sale_id)
    return await plan_sale(
        pool,
        name=f"Rehearsal of {sale.name}",
        starts_at=starts_at,
        ends_at=ends_at,
        items=[
            PlannedItem(
                sku_id=item.sku_id,
                quota=item.quota if units_max is None else min(item.quota, units_max),
                price_minor=item.price_minor,
                member_limit=item.member_limit,
            )
            for item in items
        ],
        hold_s=max(sale.hold_s, HOLD_MIN_S),
        shadow=True,
        bucket_count=sale.bucket_count,
    )
