from collections.abc import Collection, Sequence

from core.kit.db import Conn, many

from .model import Item

# Who changes a cart holds its row, so that what is counted stays counted.
OPEN_CART = """
    INSERT INTO carts.carts (member_id) VALUES ($1)
    ON CONFLICT (member_id) DO UPDATE SET changed_at = now()
"""


async def open_cart(conn: Conn, member_id: int) -> None:
    await conn.execute(OPEN_CART, member_id)


ADD = """
    INSERT INTO carts.items AS i (member_id, sku_id, quantity)
    SELECT $1, $2, $3::int
     WHERE (SELECT count(*) FROM carts.items WHERE member_id = $1 AND sku_id <> $2) < $4::int
    ON CONFLICT (member_id, sku_id) DO UPDATE SET quantity = i.quantity + excluded.quantity
     WHERE i.quantity + excluded.quantity <= $5::int
 RETURNING true
"""


async def add(
    conn: Conn, member_id: int, sku_id: int, quantity: int, items_max: int, quantity_max: int
) -> bool:
    facts = (member_id, sku_id, quantity, items_max, quantity_max)
    return await conn.fetchval(ADD, *facts) or False


PUT = """
    UPDATE carts.items SET quantity = $3 WHERE member_id = $1 AND sku_id = $2 RETURNING true
"""


async def put(conn: Conn, member_id: int, sku_id: int, quantity: int) -> bool:
    return await conn.fetchval(PUT, member_id, sku_id, quantity) or False


REMOVE = "DELETE FROM carts.items WHERE member_id = $1 AND sku_id = $2 RETURNING true"


async def remove(conn: Conn, member_id: int, sku_id: int) -> bool:
    return await conn.fetchval(REMOVE, member_id, sku_id) or False


ITEMS = """ -- -> Item
    SELECT member_id, sku_id, quantity, added_at FROM carts.items
     WHERE member_id = ANY($1::bigint[]) ORDER BY member_id, added_at, sku_id
"""


async def items(conn: Conn, member_ids: Collection[int]) -> list[Item]:
    return many(Item, await conn.fetch(ITEMS, list(member_ids)))


# In one order, so that two who hold the same carts do not wait in a ring.
HOLD_MANY = """
    SELECT member_id FROM carts.carts WHERE member_id = ANY($1::bigint[])
     ORDER BY member_id FOR UPDATE
"""


async def hold_many(conn: Conn, member_ids: Collection[int]) -> None:
    await conn.execute(HOLD_MANY, list(member_ids))


TAKE_OUT = """
    DELETE FROM carts.items USING unnest($1::bigint[], $2::bigint[]) AS bought (member, sku)
     WHERE member_id = member AND sku_id = sku
"""


async def take_out(conn: Conn, bought: Sequence[tuple[int, int]]) -> None:
    await conn.execute(TAKE_OUT, *zip(*bought, strict=True))
