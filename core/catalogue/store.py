from collections.abc import Collection, Mapping, Sequence

import msgspec

from core.kit.db import Conn, many, one

from .model import Content, NewSku, Product, ProductId, Sku, SkuId
from .states import State

ADD_PRODUCT = """
    INSERT INTO catalogue.products (code, title, description, images, state)
    VALUES (coalesce($1, 'SPU-' || nextval('catalogue.product_numbers')), $2, $3, $4, 'draft')
    ON CONFLICT (code) DO NOTHING
 RETURNING id
"""


async def add_product(conn: Conn, code: str | None, content: Content) -> ProductId | None:
    """None where the code is taken."""
    return await conn.fetchval(
        ADD_PRODUCT, code, content.title, content.description, list(content.images)
    )


DESCRIBE = """
    UPDATE catalogue.products SET title = $2, description = $3, images = $4
     WHERE id = $1 AND state <> 'archived'
"""


async def describe(conn: Conn, product_id: ProductId, content: Content) -> None:
    await conn.execute(
        DESCRIBE, product_id, content.title, content.description, list(content.images)
    )


# What has a code or a GTIN that another has is left out.
ADD_SKUS = """
    WITH wanted AS (
        SELECT code, gtin, currency, prices
          FROM jsonb_to_recordset($2::jsonb)
            AS one (code text, gtin text, currency text, prices jsonb)
    ), made AS (
        INSERT INTO catalogue.skus (product_id, code, gtin, currency)
        SELECT $1, code, gtin, currency FROM wanted
        ON CONFLICT DO NOTHING
     RETURNING id, code
    ), priced AS (
        INSERT INTO catalogue.prices (sku_id, currency, price_minor)
        SELECT id, key, value::bigint FROM made JOIN wanted USING (code), jsonb_each_text(prices)
    )
    SELECT code, id FROM made
"""


async def add_skus(conn: Conn, product_id: ProductId, skus: Sequence[NewSku]) -> dict[str, SkuId]:
    """Code -> id of those that were made."""
    rows = await conn.fetch(ADD_SKUS, product_id, msgspec.to_builtins(skus))
    return {row["code"]: row["id"] for row in rows}


SET_PRICES = """
    INSERT INTO catalogue.prices (sku_id, currency, price_minor)
    SELECT $1, key, value::bigint FROM jsonb_each_text($2::jsonb)
    ON CONFLICT (sku_id, currency) DO UPDATE SET price_minor = excluded.price_minor
"""


async def set_prices(conn: Conn, sku_id: SkuId, prices: Mapping[str, int]) -> None:
    await conn.execute(SET_PRICES, sku_id, prices)


DROP_PRICES = "DELETE FROM catalogue.prices WHERE sku_id = $1 AND currency <> ALL($2::text[])"


async def drop_prices(conn: Conn, sku_id: SkuId, currencies: Collection[str]) -> None:
    """Forget every price but those in some currencies."""
    await conn.execute(DROP_PRICES, sku_id, list(currencies))


PAGE = """ -- -> Product
    SELECT id, code, state, title, description, images FROM catalogue.products
     WHERE id > $1 AND state = 'published' ORDER BY id LIMIT $2
"""


async def page(conn: Conn, after: ProductId, page_max: int) -> list[Product]:
    return many(Product, await conn.fetch(PAGE, after, page_max))


EVERY = """ -- -> Product
    SELECT id, code, state, title, description, images FROM catalogue.products
     WHERE id > $1 AND ($3::text IS NULL OR state = $3) ORDER BY id LIMIT $2
"""


async def every(conn: Conn, after: ProductId, page_max: int, state: State | None) -> list[Product]:
    return many(Product, await conn.fetch(EVERY, after, page_max, state))


FIND = """ -- -> Product
    SELECT id, code, state, title, description, images FROM catalogue.products WHERE id = $1
"""


async def find(conn: Conn, product_id: ProductId) -> Product | None:
    return one(Product, await conn.fetchrow(FIND, product_id))


HOLD = """ -- -> Product
    SELECT id, code, state, title, description, images
      FROM catalogue.products WHERE id = $1 FOR UPDATE
"""


async def hold(conn: Conn, product_id: ProductId) -> Product | None:
    """A product that nobody else changes until the transaction ends."""
    return one(Product, await conn.fetchrow(HOLD, product_id))


# Names the state we read, so a racing writer makes this match nothing.
MOVE = "UPDATE catalogue.products SET state = $3 WHERE id = $1 AND state = $2 RETURNING true"


async def move(conn: Conn, product_id: ProductId, source: State, target: State) -> bool:
    return await conn.fetchval(MOVE, product_id, source, target) or False


SKUS_OF = """ -- -> Sku
    SELECT id, product_id, code, gtin, own.price_minor, skus.currency,
           (SELECT jsonb_object_agg(every.currency, every.price_minor)
              FROM catalogue.prices AS every WHERE every.sku_id = skus.id) AS prices
      FROM catalogue.skus
      JOIN catalogue.prices AS own ON own.sku_id = skus.id AND own.currency = skus.currency
     WHERE product_id = ANY($1::bigint[]) ORDER BY id
"""


async def skus_of(conn: Conn, product_ids: Sequence[ProductId]) -> list[Sku]:
    return many(Sku, await conn.fetch(SKUS_OF, product_ids))


FIND_SKUS = """ -- -> Sku
    SELECT id, product_id, code, gtin, own.price_minor, skus.currency,
           (SELECT jsonb_object_agg(every.currency, every.price_minor)
              FROM catalogue.prices AS every WHERE every.sku_id = skus.id) AS prices
      FROM catalogue.skus
      JOIN catalogue.prices AS own ON own.sku_id = skus.id AND own.currency = skus.currency
     WHERE id = ANY($1::bigint[])
"""


async def find_skus(conn: Conn, sku_ids: Sequence[SkuId]) -> list[Sku]:
    return many(Sku, await conn.fetch(FIND_SKUS, sku_ids))


COUNT = "SELECT count(*) FROM catalogue.products"


async def count(conn: Conn) -> int:
    return await conn.fetchval(COUNT)
