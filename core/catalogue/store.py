from collections.abc import Sequence

from core.kit.db import Conn, many

from .model import Product, ProductId, Sku, SkuId

INSERT_PRODUCT = "INSERT INTO catalogue.products (title) VALUES ($1) RETURNING id"


async def insert_product(conn: Conn, title: dict[str, str]) -> ProductId:
    return await conn.fetchval(INSERT_PRODUCT, title)


INSERT_SKUS = """
    INSERT INTO catalogue.skus (product_id, code, price_minor, currency)
    SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[])
 RETURNING id
"""


async def insert_skus(
    conn: Conn, product_id: ProductId, skus: Sequence[tuple[str, int, str]]
) -> list[SkuId]:
    rows = await conn.fetch(INSERT_SKUS, product_id, *map(list, zip(*skus, strict=True)))
    return [row["id"] for row in rows]


PAGE = """ -- -> Product
    SELECT id, title FROM catalogue.products WHERE id > $1 ORDER BY id LIMIT $2
"""


async def page(conn: Conn, after: ProductId, page_max: int) -> list[Product]:
    return many(Product, await conn.fetch(PAGE, after, page_max))


SKUS_OF = """ -- -> Sku
    SELECT id, product_id, code, price_minor, currency
      FROM catalogue.skus WHERE product_id = ANY($1::bigint[]) ORDER BY id
"""


async def skus_of(conn: Conn, product_ids: Sequence[ProductId]) -> list[Sku]:
    return many(Sku, await conn.fetch(SKUS_OF, product_ids))


FIND_SKUS = """ -- -> Sku
    SELECT id, product_id, code, price_minor, currency
      FROM catalogue.skus WHERE id = ANY($1::bigint[])
"""


async def find_skus(conn: Conn, sku_ids: Sequence[SkuId]) -> list[Sku]:
    return many(Sku, await conn.fetch(FIND_SKUS, sku_ids))


COUNT = "SELECT count(*) FROM catalogue.products"


async def count(conn: Conn) -> int:
    return await conn.fetchval(COUNT)
