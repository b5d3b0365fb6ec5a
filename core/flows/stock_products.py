"""Add products to the catalogue and put units of each of their SKUs on hand."""

from collections.abc import Sequence

import msgspec

from core import catalogue, inventory
from core.kit import db


class NewProduct(msgspec.Struct, frozen=True):
    """`title` holds one text per language; each SKU is (code, price in minor units, currency)."""

    title: dict[str, str]
    skus: list[tuple[str, int, str]]


async def stock_products(
    pool: db.Pool, *, products: Sequence[NewProduct], units: int, reference: str
) -> list[catalogue.SkuId]:
    """Does nothing, and returns nothing, where the catalogue has products already."""
    made: list[catalogue.SkuId] = []
    async with db.transaction(pool) as conn:
        if await catalogue.count(conn):
            return []
        for product in products:
            _, sku_ids = await catalogue.add_product(conn, title=product.title, skus=product.skus)
            made += sku_ids
        await inventory.receive(
            conn,
            place_id=inventory.MAIN,
            units=dict.fromkeys(made, units),
            reference=reference,
            by="seed",
        )
    return made
