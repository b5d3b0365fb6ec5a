from collections.abc import AsyncIterator, Sequence

import msgspec

from core.kit.db import Conn, many, one

from .model import Expired, NewOrder, Order, OrderId, Written
from .rows import LINE_COLUMNS, ORDER_COLUMNS


async def in_one_piece(payload: bytes) -> AsyncIterator[bytes]:
    """A source for COPY that needs no thread, as a file would."""
    yield payload


async def copy(conn: Conn, orders: bytes, lines: bytes) -> None:
    """Copy the rows of new orders and of their lines in, each in Postgres' binary format."""
    for table, columns, payload in (
        ("orders", ORDER_COLUMNS, orders),
        ("lines", LINE_COLUMNS, lines),
    ):
        source = in_one_piece(payload)
        await conn.copy_to_table(
            table, source=source, columns=columns, schema_name="orders", format="binary"
        )


INSERT = """
    WITH placed AS (
        INSERT INTO orders.orders (id, sale_id, bucket, member_id, idempotency_key, epoch, key_id,
                                   state, reason, amount_minor, currency, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $13, $14, $9::int * $10::bigint, $11,
                now() + make_interval(secs => $12))
     RETURNING id
    )
    INSERT INTO orders.lines (order_id, line_no, sku_id, quantity, price_minor)
    SELECT id, 1, $8, $9, $10 FROM placed
"""


async def insert(conn: Conn, order: NewOrder, state: str, reason: str) -> None:
    await conn.execute(INSERT, *msgspec.structs.astuple(order), state, reason)


FIND = """ -- -> Order
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state,
           reason, amount_minor, currency, follows::text, placed_at, expires_at, sku_id, quantity,
           price_minor
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE o.id = $1
"""


async def find(conn: Conn, order_id: OrderId) -> Order | None:
    return one(Order, await conn.fetchrow(FIND, order_id))


FIND_BY_KEY = """ -- -> Order
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state,
           reason, amount_minor, currency, follows::text, placed_at, expires_at, sku_id, quantity,
           price_minor
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE sale_id = $1 AND member_id = $2 AND idempotency_key = $3
"""


async def find_by_key(conn: Conn, sale_id: int, member_id: int, key: str) -> Order | None:
    return one(Order, await conn.fetchrow(FIND_BY_KEY, sale_id, member_id, key))


# Names the state we read, so a racing writer makes this match nothing.
MOVE = """
    UPDATE orders.orders SET state = $3, reason = $4 WHERE id = $1 AND state = $2 RETURNING true
"""


async def move(conn: Conn, order_id: OrderId, source: str, target: str, reason: str | None) -> bool:
    return await conn.fetchval(MOVE, order_id, source, target, reason) or False


EXPIRE = """ -- -> Expired
    WITH late AS (
        SELECT id FROM orders.orders
         WHERE state = 'pending_payment' AND expires_at <= now() AND bucket <> ALL($2::int[])
         ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ), ended AS (
        UPDATE orders.orders o SET state = 'cancelled', reason = 'expired'
          FROM late WHERE o.id = late.id
     RETURNING o.id, o.bucket, o.member_id
    )
    SELECT ended.id::text, bucket, member_id, sku_id, quantity
      FROM ended JOIN orders.lines ON order_id = ended.id AND line_no = 1
"""


async def expire(conn: Conn, batch_max: int, spared: Sequence[int]) -> list[Expired]:
    return many(Expired, await conn.fetch(EXPIRE, batch_max, spared))


FOLLOW = """
    UPDATE orders.orders SET follows = $2
     WHERE id = $1 AND follows IS NULL AND EXISTS (SELECT FROM orders.orders WHERE id = $2)
 RETURNING true
"""


async def follow(conn: Conn, order_id: OrderId, follows: OrderId) -> bool:
    return await conn.fetchval(FOLLOW, order_id, follows) or False


WRITTEN_IN = """ -- -> Written
    SELECT o.id::text, member_id, idempotency_key, epoch, key_id,
           state NOT IN ('cancelled', 'rejected') AS live, sku_id, quantity
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE bucket = $1 AND o.id > $2
     ORDER BY o.id LIMIT $3
"""


async def written_in(conn: Conn, bucket: int, after: OrderId, page_max: int) -> list[Written]:
    return many(Written, await conn.fetch(WRITTEN_IN, bucket, after, page_max))
