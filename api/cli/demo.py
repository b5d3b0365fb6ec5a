"""What `sluice dev` puts on its shelves: a sale that is open right away."""

from datetime import UTC, datetime, timedelta

from api.cli.clients import clients
from core import catalogue, inventory, sales
from core.flows import plan_sale, run_sale
from core.kit import db
from core.settings import Settings

NAME = "Demo sale · 演示抢购"
LASTS = timedelta(days=7)
QUOTA = 10_000_000
MEMBER_LIMIT = 5
PERCENT = 60
RUNNING = frozenset({"planned", "armed", "open", "paused"})
LOOK_MAX = 100
LOOK_AT_PRODUCTS_MAX = 1_000
# Ten products with two SKUs each, spread evenly over all that there are.
PRODUCTS_MAX = 10
SKUS_A_PRODUCT_MAX = 2


async def open_demo_sale(settings: Settings) -> None:
    """Open one, unless one is there already."""
    async with clients(settings) as (pool, redis):
        sale_id = await running(pool) or await plan(pool)
        if sale_id is None:
            return
        async with db.reading(pool) as conn:
            sale = await sales.find(conn, sale_id=sale_id)
        if sale.state == sales.State.PLANNED:
            await run_sale.arm_sale(pool, redis, sale_id=sale_id)


async def running(pool: db.Pool) -> sales.SaleId | None:
    now = datetime.now(UTC)
    async with db.reading(pool) as conn:
        found = await sales.listing(conn, before=None, page_max=LOOK_MAX)
    return next((s.id for s in found if s.state in RUNNING and s.ends_at > now), None)


async def plan(pool: db.Pool) -> sales.SaleId | None:
    """Some SKUs from all over the shop, at well below their price; None where stock is ordinary."""
    async with db.snapshot(pool) as conn:
        products, by_product = await catalogue.every(
            conn,
            after=catalogue.ProductId(0),
            page_max=LOOK_AT_PRODUCTS_MAX,
            state=catalogue.State.PUBLISHED,
        )
        step = max(1, len(products) // PRODUCTS_MAX)
        featured = [by_product[one.id] for one in products[::step][:PRODUCTS_MAX]]
        every = [sku for its_skus in featured for sku in its_skus[:SKUS_A_PRODUCT_MAX]]
        free = await inventory.free(conn, sku_ids=[sku.id for sku in every])
    skus = [sku for sku in every if free[sku.id] >= QUOTA]
    if not skus:
        return None
    now = datetime.now(UTC)
    planned = await plan_sale.plan_sale(
        pool,
        name=NAME,
        starts_at=now,
        ends_at=now + LASTS,
        items=[
            plan_sale.PlannedItem(sku.id, QUOTA, sku.price_minor * PERCENT // 100, MEMBER_LIMIT)
            for sku in skus
        ],
    )
    return planned.id
