"""What buyers can have of what is on sale: sent to them, or picked up in a store."""

from core import catalogue, inventory
from core.kit import db


async def of_product(
    pool: db.Pool, *, product_id: catalogue.ProductId, region: str, after: int, page_max: int
) -> list[tuple[catalogue.Sku, inventory.Offer]]:
    """A published product's SKUs by id, from the first after `after`.

    Raises catalogue.NoSuchProduct.
    """
    async with db.snapshot(pool) as conn:
        _, every = await catalogue.find_published(conn, product_id=product_id)
        skus = [sku for sku in every if sku.id > after][:page_max]
        offers = await inventory.offers(conn, sku_ids=[sku.id for sku in skus], region=region)
    return list(zip(skus, offers, strict=True))


async def of_sku(
    pool: db.Pool, *, sku_id: catalogue.SkuId, region: str, after: int, page_max: int
) -> list[inventory.Pickup]:
    """Raises catalogue.NoSuchSku for what is not on sale, whether it is there or not."""
    async with db.snapshot(pool) as conn:
        try:
            await catalogue.insist_on_sale(conn, sku_ids=[sku_id])
        except catalogue.NotOnSale:
            raise catalogue.NoSuchSku(sku_id=str(sku_id)) from None
        return await inventory.pickups(
            conn, sku_id=sku_id, region=region, after=after, page_max=page_max
        )
