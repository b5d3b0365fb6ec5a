"""Members put what is on sale into their carts, and see what became of it since."""

import msgspec

from core import carts, catalogue, inventory
from core.flows.quote_cart import goods_of
from core.kit import db


class InCart(msgspec.Struct, frozen=True):
    """`sku` is None once nobody may order it any more; `free` units may be promised now."""

    item: carts.Item
    sku: catalogue.Sku | None
    free: int


async def add(pool: db.Pool, *, member_id: int, sku_id: catalogue.SkuId, quantity: int) -> None:
    """Raises catalogue.NoSuchSku for what is not on sale, whether it is there or not, and
    carts.TooManyItems.
    """
    async with db.transaction(pool) as conn:
        if not await catalogue.on_sale(conn, sku_ids=[sku_id]):
            raise catalogue.NoSuchSku(sku_id=str(sku_id))
        await carts.add(conn, member_id=member_id, sku_id=sku_id, quantity=quantity)


async def look(pool: db.Pool, *, member_id: int) -> list[InCart]:
    async with db.snapshot(pool) as conn:
        items = await carts.items(conn, member_id=member_id)
        goods = await goods_of(conn, items)
        free = await inventory.free(conn, sku_ids=[item.sku_id for item in items])
    return [InCart(item, goods[item.sku_id], free[item.sku_id]) for item in items]
