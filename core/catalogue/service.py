from collections.abc import Iterable, Sequence

from core.kit.db import Conn

from . import store
from .model import NoSuchSku, Product, ProductId, Sku, SkuId


async def add_product(
    conn: Conn, *, title: dict[str, str], skus: Sequence[tuple[str, int, str]]
) -> tuple[ProductId, list[SkuId]]:
    """Add a product with its SKUs, each (code, price in minor units, currency)."""
    product_id = await store.insert_product(conn, title)
    return product_id, await store.insert_skus(conn, product_id, skus)


async def page(
    conn: Conn, *, after: ProductId, page_max: int
) -> tuple[list[Product], dict[ProductId, list[Sku]]]:
    """Products in the order of their ids, from the first one after `after`, with their SKUs."""
    products = await store.page(conn, after, page_max)
    by_product: dict[ProductId, list[Sku]] = {product.id: [] for product in products}
    for sku in await store.skus_of(conn, list(by_product)):
        by_product[sku.product_id].append(sku)
    return products, by_product


async def skus(conn: Conn, *, sku_ids: Iterable[SkuId]) -> dict[SkuId, Sku]:
    """Raises NoSuchSku for the first id that names nothing."""
    wanted = list(sku_ids)
    found = {sku.id: sku for sku in await store.find_skus(conn, wanted)}
    for sku_id in wanted:
        if sku_id not in found:
            raise NoSuchSku(sku_id=str(sku_id))
    return found


async def count(conn: Conn) -> int:
    return await store.count(conn)
