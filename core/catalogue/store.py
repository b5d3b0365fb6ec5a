from collections.abc import Collection, Mapping, Sequence

import msgspec

from core.kit.db import Conn, many, one

from .model import (
    Attribute,
    Category,
    CategoryId,
    Content,
    Hit,
    NewCategory,
    NewSku,
    Product,
    ProductId,
    Sku,
    SkuId,
    Values,
    Wanted,
)
from .states import SkuState, State

# What reads the whole catalogue may take longer than a command usually may.
SCAN_S_MAX = 50.0

ADD_PRODUCT = """
    INSERT INTO catalogue.products (code, seller_id, title, description, images, category_id,
                                    attributes, state)
    VALUES (coalesce($1, 'SPU-' || nextval('catalogue.product_numbers')), $2, $3, $4, $5, $6, $7,
            'draft')
    ON CONFLICT (code) DO NOTHING
 RETURNING id
"""


async def add_product(
    conn: Conn, code: str | None, seller_id: int, content: Content
) -> ProductId | None:
    """None where the code is taken."""
    return await conn.fetchval(ADD_PRODUCT, code, seller_id, *_columns(content))


DESCRIBE = """
    UPDATE catalogue.products
       SET title = $2, description = $3, images = $4, category_id = $5, attributes = $6
     WHERE id = $1 AND state <> 'archived'
"""


async def describe(conn: Conn, product_id: ProductId, content: Content) -> None:
    await conn.execute(DESCRIBE, product_id, *_columns(content))


# What has a code or a GTIN that another has is left out.
ADD_SKUS = """
    WITH wanted AS (
        SELECT code, gtin, currency, prices, attributes, state
          FROM jsonb_to_recordset($2::jsonb)
            AS one (code text, gtin text, currency text, prices jsonb, attributes jsonb, state text)
    ), made AS (
        INSERT INTO catalogue.skus (product_id, code, gtin, currency, attributes, state)
        SELECT $1, code, gtin, currency, attributes, state FROM wanted
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


SET_ATTRIBUTES = "UPDATE catalogue.skus SET attributes = $2 WHERE id = $1"


async def set_attributes(conn: Conn, sku_id: SkuId, values: Values) -> None:
    await conn.execute(SET_ATTRIBUTES, sku_id, values)


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


# Each place is looked up by its whole key. As a join, Postgres would look through whole categories.
UNSHELVE = """
    DELETE FROM catalogue.shelves WHERE ctid = ANY(ARRAY(
        SELECT place.ctid
          FROM catalogue.standing AS old, LATERAL (
               SELECT shelves.ctid FROM catalogue.shelves
                WHERE shelves.category_id = old.category_id AND shelves.currency = old.currency
                  AND shelves.price_minor = old.price_minor AND shelves.product_id = old.product_id
               OFFSET 0) AS place
         WHERE old.product_id = ANY($1::bigint[])))
"""


async def unshelve(conn: Conn, product_ids: Sequence[ProductId]) -> None:
    """Take listings from where they stand, before anything of them changes."""
    await conn.execute(UNSHELVE, product_ids)


UNLIST = "DELETE FROM catalogue.listings WHERE product_id = ANY($1::bigint[])"


async def unlist(conn: Conn, product_ids: Sequence[ProductId]) -> None:
    await conn.execute(UNLIST, product_ids)


LIST = """
    INSERT INTO catalogue.listings (product_id, category_ids, keys, prices, numbers, words)
    SELECT product_id, category_ids, keys, prices, numbers, words
      FROM catalogue.listed WHERE product_id = ANY($1::bigint[])
"""


async def list_published(conn: Conn, product_ids: Sequence[ProductId]) -> None:
    """List those of some products that are published, and are not listed."""
    await conn.execute(LIST, product_ids)


SHELVE = """
    INSERT INTO catalogue.shelves (category_id, currency, price_minor, product_id)
    SELECT category_id, currency, price_minor, product_id
      FROM catalogue.standing WHERE product_id = ANY($1::bigint[])
"""


async def shelve(conn: Conn, product_ids: Sequence[ProductId]) -> None:
    await conn.execute(SHELVE, product_ids)


# How much a category, a facet or a word leaves over differs so much that no plan serves all; and
# however much it is, the index knows it, where a scan of all listings hopes to end early.
PLAN_ANEW = """
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true),
           set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)
"""


async def plan_anew(conn: Conn) -> None:
    """Until the transaction ends, plan each statement for what it is asked."""
    await conn.execute(PLAN_ANEW)


# Only so many are looked at: those that stand next in the order asked for. Without OFFSET 0,
# Postgres would gather all that fits first, and then look for the next among it.
WALK = """ -- -> Hit
    WITH next AS MATERIALIZED (
        SELECT product_id, price_minor FROM catalogue.shelves
         WHERE category_id = $1 AND currency = $2
           AND (price_minor, product_id) > ($3::bigint, $4::bigint) AND price_minor <= $5
         ORDER BY price_minor, product_id LIMIT $6
    )
    SELECT product_id, price_minor::float8 AS key
      FROM next, LATERAL (
           SELECT keys, prices, numbers FROM catalogue.listings
            WHERE listings.product_id = next.product_id OFFSET 0) AS its
     WHERE ($7::text IS NULL OR (prices ->> $7)::bigint BETWEEN $8 AND $9)
       AND (catalogue.sought($10, $11, $12, $13) IS NULL
            OR keys @@ catalogue.sought($10, $11, $12, $13))
       AND ($14::jsonpath IS NULL OR numbers @@ $14)
     ORDER BY price_minor, product_id LIMIT $15
"""


async def walk(conn: Conn, wanted: Wanted, after: Hit, page_max: int, walked_max: int) -> list[Hit]:
    """What fits among the next `walked_max` listings of a category."""
    facts = (*_place(wanted, after), walked_max, *_wanted(wanted), page_max)
    return many(Hit, await conn.fetch(WALK, *facts))


# All that fits, and then its order: cheap where little fits.
GATHER = """ -- -> Hit
    WITH found AS MATERIALIZED (
        SELECT product_id, coalesce((prices ->> $2)::bigint, 0) AS price_minor
          FROM catalogue.listings
         WHERE ($1::bigint = 0 OR category_ids @> ARRAY[$1::bigint])
           AND ($6::text IS NULL OR (prices ->> $6)::bigint BETWEEN $7 AND $8)
           AND (catalogue.sought($9, $10, $11, $12) IS NULL
                OR keys @@ catalogue.sought($9, $10, $11, $12))
           AND ($13::jsonpath IS NULL OR numbers @@ $13)
    )
    SELECT product_id, price_minor::float8 AS key FROM found
     WHERE (price_minor, product_id) > ($3::bigint, $4::bigint) AND price_minor <= $5
     ORDER BY price_minor, product_id LIMIT $14
"""


async def gather(conn: Conn, wanted: Wanted, after: Hit, page_max: int) -> list[Hit]:
    facts = (*_place(wanted, after), *_wanted(wanted), page_max)
    return many(Hit, await conn.fetch(GATHER, *facts))


# Ranking reads the words of every row that matches, so only so many are taken, as they lie.
RANK = """ -- -> Hit
    WITH found AS MATERIALIZED (
        SELECT product_id, ts_rank(words, catalogue.asked($2))::float8 AS key
          FROM catalogue.listings
         WHERE words @@ catalogue.asked($2)
           AND ($1::bigint = 0 OR category_ids @> ARRAY[$1::bigint])
           AND ($6::text IS NULL OR (prices ->> $6)::bigint BETWEEN $7 AND $8)
           AND (catalogue.sought($9, $10, $11, $12) IS NULL
                OR keys @@ catalogue.sought($9, $10, $11, $12))
           AND ($13::jsonpath IS NULL OR numbers @@ $13)
         LIMIT $5
    )
    SELECT product_id, key FROM found
     WHERE (-key, product_id) > (-$3::float8, $4::bigint)
     ORDER BY key DESC, product_id LIMIT $14
"""


async def rank(conn: Conn, wanted: Wanted, after: Hit, page_max: int, hits_max: int) -> list[Hit]:
    place = (wanted.category_id or 0, wanted.words, after.key, after.product_id, hits_max)
    return many(Hit, await conn.fetch(RANK, *place, *_wanted(wanted), page_max))


LISTED = """ -- -> Product
    SELECT id, code, state, title, description, images, category_id, attributes, seller_id
      FROM catalogue.products WHERE id = ANY($1::bigint[])
"""


async def listed(conn: Conn, product_ids: Sequence[ProductId]) -> list[Product]:
    return many(Product, await conn.fetch(LISTED, product_ids))


EVERY = """ -- -> Product
    SELECT id, code, state, title, description, images, category_id, attributes, seller_id
      FROM catalogue.products
     WHERE id > $1 AND ($3::text IS NULL OR state = $3)
     ORDER BY id LIMIT $2
"""


async def every(conn: Conn, after: ProductId, page_max: int, state: State | None) -> list[Product]:
    return many(Product, await conn.fetch(EVERY, after, page_max, state))


OF_CODE = """ -- -> Product
    SELECT id, code, state, title, description, images, category_id, attributes, seller_id
      FROM catalogue.products
     WHERE id > $1 AND ($3::text IS NULL OR state = $3)
       AND id IN (
           SELECT named.id FROM catalogue.products AS named WHERE named.code = $4
            UNION
           SELECT product_id FROM catalogue.skus WHERE skus.code = $4
            UNION
           SELECT product_id FROM catalogue.skus
            WHERE $4 ~ '^[0-9]{8,14}$' AND lpad(gtin, 14, '0') = lpad($4, 14, '0'))
     ORDER BY id LIMIT $2
"""


async def of_code(
    conn: Conn, after: ProductId, page_max: int, state: State | None, code: str
) -> list[Product]:
    return many(Product, await conn.fetch(OF_CODE, after, page_max, state, code))


# Sorting all that has a common word would read half of the catalogue, and so would walking by id to
# a rare one. So only so many are taken, as they lie.
OF_WORDS = """ -- -> Product
    WITH found AS MATERIALIZED (
        SELECT id FROM catalogue.products
         WHERE catalogue.words_of(code, title, description) @@ catalogue.asked($4)
           AND ($3::text IS NULL OR ARRAY[state] @> ARRAY[$3])
         LIMIT $5
    )
    SELECT id, code, state, title, description, images, category_id, attributes, seller_id
      FROM catalogue.products
     WHERE id IN (SELECT found.id FROM found WHERE found.id > $1 ORDER BY found.id LIMIT $2)
     ORDER BY id
"""


async def of_words(
    conn: Conn, after: ProductId, page_max: int, state: State | None, words: str, hits_max: int
) -> list[Product]:
    facts = (after, page_max, state, words, hits_max)
    return many(Product, await conn.fetch(OF_WORDS, *facts))


FIND = """ -- -> Product
    SELECT id, code, state, title, description, images, category_id, attributes, seller_id
      FROM catalogue.products WHERE id = $1
"""


async def find(conn: Conn, product_id: ProductId) -> Product | None:
    return one(Product, await conn.fetchrow(FIND, product_id))


HOLD = """ -- -> Product
    SELECT id, code, state, title, description, images, category_id, attributes, seller_id
      FROM catalogue.products WHERE id = $1 FOR UPDATE
"""


async def hold(conn: Conn, product_id: ProductId) -> Product | None:
    """A product that nobody else changes until the transaction ends."""
    return one(Product, await conn.fetchrow(HOLD, product_id))


# Names the state we read, so a racing writer makes this match nothing.
MOVE = "UPDATE catalogue.products SET state = $3 WHERE id = $1 AND state = $2 RETURNING true"


async def move(conn: Conn, product_id: ProductId, source: State, target: State) -> bool:
    return await conn.fetchval(MOVE, product_id, source, target) or False


# Names the state we read, so a racing writer makes this match nothing.
MOVE_SKU = "UPDATE catalogue.skus SET state = $3 WHERE id = $1 AND state = $2 RETURNING true"


async def move_sku(conn: Conn, sku_id: SkuId, source: SkuState, target: SkuState) -> bool:
    return await conn.fetchval(MOVE_SKU, sku_id, source, target) or False


SKUS_OF = """ -- -> Sku
    SELECT id, product_id, code, state, gtin, own.price_minor, skus.currency,
           (SELECT jsonb_object_agg(every.currency, every.price_minor)
              FROM catalogue.prices AS every WHERE every.sku_id = skus.id) AS prices,
           skus.attributes
      FROM catalogue.skus
      JOIN catalogue.prices AS own ON own.sku_id = skus.id AND own.currency = skus.currency
     WHERE product_id = ANY($1::bigint[]) ORDER BY id
"""


async def skus_of(conn: Conn, product_ids: Sequence[ProductId]) -> list[Sku]:
    return many(Sku, await conn.fetch(SKUS_OF, product_ids))


FIND_SKUS = """ -- -> Sku
    SELECT id, product_id, code, state, gtin, own.price_minor, skus.currency,
           (SELECT jsonb_object_agg(every.currency, every.price_minor)
              FROM catalogue.prices AS every WHERE every.sku_id = skus.id) AS prices,
           skus.attributes
      FROM catalogue.skus
      JOIN catalogue.prices AS own ON own.sku_id = skus.id AND own.currency = skus.currency
     WHERE id = ANY($1::bigint[])
"""


async def find_skus(conn: Conn, sku_ids: Sequence[SkuId]) -> list[Sku]:
    return many(Sku, await conn.fetch(FIND_SKUS, sku_ids))


CODES = "SELECT id, code FROM catalogue.skus WHERE id = ANY($1::bigint[])"


async def codes(conn: Conn, sku_ids: Collection[SkuId]) -> dict[SkuId, str]:
    return {row["id"]: row["code"] for row in await conn.fetch(CODES, sku_ids)}


CODED = "SELECT code, id FROM catalogue.skus WHERE code = ANY($1::text[])"


async def coded(conn: Conn, codes: Collection[str]) -> dict[str, SkuId]:
    return {row["code"]: row["id"] for row in await conn.fetch(CODED, codes)}


ON_SALE = """
    SELECT skus.id FROM catalogue.skus JOIN catalogue.products ON products.id = product_id
     WHERE skus.id = ANY($1::bigint[]) AND skus.state = 'on_sale' AND products.state = 'published'
"""


async def on_sale(conn: Conn, sku_ids: Collection[SkuId]) -> set[SkuId]:
    return {row["id"] for row in await conn.fetch(ON_SALE, sku_ids)}


SELLERS = """
    SELECT skus.id, seller_id
      FROM catalogue.skus JOIN catalogue.products ON products.id = product_id
     WHERE skus.id = ANY($1::bigint[])
"""


async def sellers(conn: Conn, sku_ids: Collection[SkuId]) -> dict[SkuId, int]:
    return {row["id"]: row["seller_id"] for row in await conn.fetch(SELLERS, sku_ids)}


COUNT = "SELECT count(*) FROM catalogue.products"


async def count(conn: Conn) -> int:
    return await conn.fetchval(COUNT)


ADD_CATEGORY = """ -- -> Category
    INSERT INTO catalogue.categories (parent_id, above, code, name, rank)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (code) DO NOTHING
 RETURNING id, parent_id, above, code, name, rank
"""


async def add_category(
    conn: Conn, new: NewCategory, above: Sequence[CategoryId]
) -> Category | None:
    """None where the code is taken."""
    facts = (new.parent_id, above, new.code, new.name, new.rank)
    return one(Category, await conn.fetchrow(ADD_CATEGORY, *facts))


COUNT_CATEGORIES = "SELECT count(*) FROM catalogue.categories"


async def count_categories(conn: Conn) -> int:
    return await conn.fetchval(COUNT_CATEGORIES)


CATEGORIES = """ -- -> Category
    SELECT id, parent_id, above, code, name, rank FROM catalogue.categories
     ORDER BY cardinality(above), rank, id
"""


async def categories(conn: Conn) -> list[Category]:
    return many(Category, await conn.fetch(CATEGORIES))


FIND_CATEGORY = """ -- -> Category
    SELECT id, parent_id, above, code, name, rank FROM catalogue.categories WHERE id = $1
"""


async def find_category(conn: Conn, category_id: CategoryId) -> Category | None:
    return one(Category, await conn.fetchrow(FIND_CATEGORY, category_id))


HOLD_ROOTS = """
    SELECT id FROM catalogue.categories WHERE parent_id IS NULL ORDER BY id FOR NO KEY UPDATE
"""


async def hold_roots(conn: Conn) -> None:
    """Nobody else changes any tree until the transaction ends."""
    await conn.execute(HOLD_ROOTS)


SHARE_ROOT = "SELECT true FROM catalogue.categories WHERE id = $1 FOR SHARE"


async def share_root(conn: Conn, category_id: CategoryId) -> None:
    await conn.execute(SHARE_ROOT, category_id)


HOLD_ROOT = "SELECT true FROM catalogue.categories WHERE id = $1 FOR NO KEY UPDATE"


async def hold_root(conn: Conn, category_id: CategoryId) -> None:
    await conn.execute(HOLD_ROOT, category_id)


BRANCH = """ -- -> Category
    SELECT id, parent_id, above, code, name, rank FROM catalogue.categories
     WHERE id = $1 OR $1 = ANY(above) ORDER BY cardinality(above), rank, id
"""


async def branch(conn: Conn, category_id: CategoryId) -> list[Category]:
    """A category and all below it."""
    return many(Category, await conn.fetch(BRANCH, category_id))


RENAME = "UPDATE catalogue.categories SET name = $2, rank = $3 WHERE id = $1"


async def rename(conn: Conn, category_id: CategoryId, name: Mapping[str, str], rank: int) -> None:
    await conn.execute(RENAME, category_id, name, rank)


# Of what stands above each, what stood above the category gives way to what stands there now.
MOVE_BRANCH = """
    UPDATE catalogue.categories
       SET parent_id = CASE WHEN id = $1 THEN $2 ELSE parent_id END,
           above = $3::bigint[] || above[$4 + 1:]
     WHERE id = $1 OR $1 = ANY(above)
"""


async def move_branch(
    conn: Conn, category: Category, parent_id: CategoryId | None, above: Sequence[CategoryId]
) -> None:
    await conn.execute(MOVE_BRANCH, category.id, parent_id, above, len(category.above))


IN_CATEGORY = """ -- -> Product
    SELECT id, code, state, title, description, images, category_id, attributes, seller_id
      FROM catalogue.products
     WHERE category_id = $1 AND id > $2 AND state <> 'archived' ORDER BY id LIMIT $3
"""


async def in_category(
    conn: Conn, category_id: CategoryId, after: ProductId, page_max: int
) -> list[Product]:
    return many(Product, await conn.fetch(IN_CATEGORY, category_id, after, page_max))


HOLD_IN_CATEGORY = """
    SELECT id FROM catalogue.products WHERE category_id = $1 AND id > $2 ORDER BY id LIMIT $3
       FOR NO KEY UPDATE
"""


async def hold_in_category(
    conn: Conn, category_id: CategoryId, after: ProductId, page_max: int
) -> list[ProductId]:
    """Products that nobody else changes until the transaction ends."""
    rows = await conn.fetch(HOLD_IN_CATEGORY, category_id, after, page_max)
    return [row["id"] for row in rows]


PRESENT = "UPDATE catalogue.categories SET presentation = $2 WHERE id = $1"


async def present(
    conn: Conn, category_id: CategoryId, presentation: Mapping[str, object] | None
) -> None:
    await conn.execute(PRESENT, category_id, presentation)


PRESENTATIONS = """
    SELECT id, presentation FROM catalogue.categories
     WHERE id = ANY($1::bigint[]) AND presentation IS NOT NULL
"""


async def presentations(
    conn: Conn, category_ids: Sequence[CategoryId]
) -> dict[CategoryId, dict[str, object]]:
    rows = await conn.fetch(PRESENTATIONS, category_ids)
    return {row["id"]: row["presentation"] for row in rows}


DEFINE = """
    INSERT INTO catalogue.attributes (category_id, code, name, kind, level, is_required, unit,
                                      choices, lowest, highest, rank)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (category_id, code)
    DO UPDATE SET name = $3, kind = $4, level = $5, is_required = $6, unit = $7, choices = $8,
                  lowest = $9, highest = $10, rank = $11
"""


async def define(conn: Conn, attribute: Attribute) -> None:
    fields = (getattr(attribute, field) for field in Attribute.__struct_fields__)
    await conn.execute(DEFINE, *fields)


ATTRIBUTES_OF = """ -- -> Attribute
    SELECT category_id, code, name, kind, level, is_required, unit, choices, lowest, highest, rank
      FROM catalogue.attributes WHERE category_id = ANY($1::bigint[])
"""


async def attributes_of(conn: Conn, category_ids: Sequence[CategoryId]) -> list[Attribute]:
    return many(Attribute, await conn.fetch(ATTRIBUTES_OF, category_ids))


ATTRIBUTES_BELOW = """ -- -> Attribute
    SELECT category_id, code, name, kind, level, is_required, unit, choices, lowest, highest, rank
      FROM catalogue.attributes
     WHERE code = $2
       AND category_id IN (SELECT id FROM catalogue.categories WHERE $1::bigint = ANY(above))
"""


async def attributes_below(conn: Conn, category_id: CategoryId, code: str) -> list[Attribute]:
    """What the categories further down say about the same code."""
    return many(Attribute, await conn.fetch(ATTRIBUTES_BELOW, category_id, code))


KINDS = "SELECT DISTINCT code, kind FROM catalogue.attributes"


async def kinds(conn: Conn) -> list[tuple[str, str]]:
    """Code and kind of each attribute that any category asks for."""
    return [(row["code"], row["kind"]) for row in await conn.fetch(KINDS)]


# In the order of their ids, so that two who hold many products never wait in a ring.
HOLD_BY_CODE = """ -- -> Product
    SELECT id, code, state, title, description, images, category_id, attributes, seller_id
      FROM catalogue.products WHERE code = ANY($1::text[]) ORDER BY id FOR UPDATE
"""


async def hold_by_code(conn: Conn, codes: Sequence[str]) -> list[Product]:
    """Products that nobody else changes until the transaction ends."""
    return many(Product, await conn.fetch(HOLD_BY_CODE, codes))


OWNERS = """
    SELECT skus.code, products.code AS spu_code
      FROM catalogue.skus JOIN catalogue.products ON products.id = skus.product_id
     WHERE skus.code = ANY($1::text[])
"""


async def owners(conn: Conn, codes: Sequence[str]) -> dict[str, str]:
    """SKU code -> SPU code."""
    rows = await conn.fetch(OWNERS, codes)
    return {row["code"]: row["spu_code"] for row in rows}


GTINS = """
    SELECT lpad(gtin, 14, '0') AS gtin, code FROM catalogue.skus
     WHERE lpad(gtin, 14, '0') = ANY($1::text[])
"""


async def gtins(conn: Conn, gtins_14: Sequence[str]) -> dict[str, str]:
    """GTIN with 14 digits -> SKU code."""
    rows = await conn.fetch(GTINS, gtins_14)
    return {row["gtin"]: row["code"] for row in rows}


# Ids are given in the order of the rows, as each product's codes and SKUs are listed by them.
DRAFT_MANY = """
    INSERT INTO catalogue.products (code, title, description, images, category_id, attributes,
                                    state)
    SELECT code, title, description, images, category_id, attributes, 'draft'
      FROM ROWS FROM (jsonb_to_recordset($1::jsonb)
           AS (code text, title jsonb, description jsonb, images text[], category_id bigint,
               attributes jsonb)) WITH ORDINALITY
     ORDER BY ordinality
 RETURNING code, id
"""


async def draft_many(conn: Conn, products: Sequence[Product]) -> dict[str, ProductId]:
    """Code -> id. The ids and states of `products` count for nothing."""
    rows = await conn.fetch(DRAFT_MANY, msgspec.to_builtins(products))
    return {row["code"]: row["id"] for row in rows}


DESCRIBE_MANY = """
    UPDATE catalogue.products AS kept
       SET title = told.title, description = told.description, images = told.images,
           category_id = told.category_id, attributes = told.attributes
      FROM jsonb_to_recordset($1::jsonb)
        AS told (id bigint, title jsonb, description jsonb, images text[], category_id bigint,
                 attributes jsonb)
     WHERE kept.id = told.id AND kept.state <> 'archived'
"""


async def describe_many(conn: Conn, products: Sequence[Product]) -> None:
    await conn.execute(DESCRIBE_MANY, msgspec.to_builtins(products))


MOVE_MANY = """
    UPDATE catalogue.products SET state = $3 WHERE id = ANY($1::bigint[]) AND state = $2
"""


async def move_many(
    conn: Conn, product_ids: Sequence[ProductId], source: State, target: State
) -> None:
    await conn.execute(MOVE_MANY, product_ids, source, target)


MOVE_SKUS = "UPDATE catalogue.skus SET state = $3 WHERE id = ANY($1::bigint[]) AND state = $2"


async def move_skus(
    conn: Conn, sku_ids: Sequence[SkuId], source: SkuState, target: SkuState
) -> None:
    await conn.execute(MOVE_SKUS, sku_ids, source, target)


ADD_SKUS_TO_MANY = """
    WITH told AS (
        SELECT product_id, code, gtin, currency, prices, attributes, state, ordinality
          FROM ROWS FROM (jsonb_to_recordset($1::jsonb)
               AS (product_id bigint, code text, gtin text, currency text, prices jsonb,
                   attributes jsonb, state text)) WITH ORDINALITY
    ), made AS (
        INSERT INTO catalogue.skus (product_id, code, gtin, currency, attributes, state)
        SELECT product_id, code, gtin, currency, attributes, state FROM told ORDER BY ordinality
     RETURNING id, code
    )
    INSERT INTO catalogue.prices (sku_id, currency, price_minor)
    SELECT id, key, value::bigint FROM made JOIN told USING (code), jsonb_each_text(prices)
"""


async def add_skus_to_many(conn: Conn, skus: Sequence[tuple[ProductId, NewSku]]) -> None:
    """A code or a GTIN that another SKU has fails all of them."""
    told = [{"product_id": at, **msgspec.to_builtins(sku)} for at, sku in skus]
    await conn.execute(ADD_SKUS_TO_MANY, told)


CHANGE_SKUS = """
    WITH told AS (
        SELECT id, gtin, prices, attributes
          FROM jsonb_to_recordset($1::jsonb)
            AS told (id bigint, gtin text, prices jsonb, attributes jsonb)
    ), priced AS (
        INSERT INTO catalogue.prices (sku_id, currency, price_minor)
        SELECT id, key, value::bigint FROM told, jsonb_each_text(prices)
        ON CONFLICT (sku_id, currency) DO UPDATE SET price_minor = excluded.price_minor
    ), dropped AS (
        DELETE FROM catalogue.prices USING told
         WHERE sku_id = told.id AND NOT told.prices ? currency::text
    )
    UPDATE catalogue.skus SET gtin = told.gtin, attributes = told.attributes
      FROM told WHERE skus.id = told.id
"""


async def change_skus(conn: Conn, skus: Sequence[tuple[SkuId, NewSku]]) -> None:
    """Set GTIN, prices and attributes of each: these and no others."""
    told = [{"id": sku_id, **msgspec.to_builtins(sku)} for sku_id, sku in skus]
    await conn.execute(CHANGE_SKUS, told)


NAMED = """
    WITH goods AS (
        SELECT skus.id, title, description, products.attributes, skus.attributes AS its
          FROM catalogue.products JOIN catalogue.skus ON skus.product_id = products.id
         WHERE products.state <> 'archived'
    )
    SELECT 'title' AS family, jsonb_object_keys(title) AS name FROM goods
     UNION
    SELECT 'description', jsonb_object_keys(description) FROM goods
     UNION
    SELECT 'price', currency FROM goods JOIN catalogue.prices ON prices.sku_id = goods.id
     UNION
    SELECT 'attribute', key || coalesce('.' || language, '')
      FROM (SELECT attributes AS said FROM goods UNION ALL SELECT its FROM goods) AS every,
           jsonb_each(said)
      LEFT JOIN jsonb_object_keys(CASE WHEN jsonb_typeof(value) = 'object' THEN value END)
             AS language ON true
"""


async def named(conn: Conn) -> list[tuple[str, str]]:
    """Each language, currency and attribute in use, after what it is used for.

    Of all SKUs that are not archived, so it reads everything.
    """
    return [(row["family"], row["name"]) for row in await conn.fetch(NAMED, timeout=SCAN_S_MAX)]


def _columns(content: Content) -> tuple[object, ...]:
    return (
        content.title,
        content.description,
        list(content.images),
        content.category_id,
        content.attributes,
    )


def _place(wanted: Wanted, after: Hit) -> tuple[object, ...]:
    """Category, order, the price and the id after which it goes on, and the last price."""
    category_id = wanted.category_id or 0
    if not wanted.is_by_price:
        return (category_id, "", 0, after.product_id, 0)
    place = max((int(after.key), after.product_id), (wanted.lowest, 0))
    return (category_id, wanted.currency, *place, wanted.highest)


def _wanted(wanted: Wanted) -> tuple[object, ...]:
    """Prices; facets, codes and bounds of what has a key; and where the numbers have to lie."""
    keyed = [(one.code, one.lowest, one.highest) for one in wanted.ranges]
    if wanted.currency is not None:
        keyed.append((wanted.currency, wanted.lowest, wanted.highest))
    codes, lowest, highest = zip(*keyed, strict=True) if keyed else ((), (), ())
    path = " && ".join(
        f'exists($."{one.code}"[*] ? (@ >= {one.lowest} && @ <= {one.highest}))'
        for one in wanted.ranges
    )
    prices = (wanted.currency, wanted.lowest, wanted.highest)
    return (*prices, list(wanted.facets), codes, lowest, highest, path or None)
