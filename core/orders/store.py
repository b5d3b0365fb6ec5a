from collections.abc import Sequence

from core.kit.db import Conn, many, one

from .model import Expired, NewOrder, Order, OrderId, Written

INSERT = """
    WITH incoming AS (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::bigint[], $5::text[],
                             $6::smallint[], $7::text[], $8::smallint[], $9::bigint[], $10::int[],
                             $11::bigint[], $12::text[], $13::int[])
          AS t (id, sale_id, bucket, member_id, idempotency_key, epoch, position, key_id, sku_id,
                quantity, price_minor, currency, hold_s)
    ), placed AS (
        INSERT INTO orders.orders (id, sale_id, bucket, member_id, idempotency_key, epoch, position,
                                   key_id, state, reason, amount_minor, currency, expires_at)
        SELECT id, sale_id, bucket, member_id, idempotency_key, epoch, position, key_id, $14, $15,
               price_minor * quantity, currency, now() + make_interval(secs => hold_s)
          FROM incoming
    )
    INSERT INTO orders.lines (order_id, line_no, sku_id, quantity, price_minor)
    SELECT id, 1, sku_id, quantity, price_minor FROM incoming
"""


async def insert(conn: Conn, orders: Sequence[NewOrder], state: str, reason: str | None) -> None:
    fields = NewOrder.__struct_fields__
    columns = [[getattr(order, field) for order in orders] for field in fields]
    await conn.execute(INSERT, *columns, state, reason)


FIND = """ -- -> Order
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, position, key_id, state,
           reason, amount_minor, currency, follows::text, placed_at, expires_at, sku_id, quantity,
           price_minor
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE o.id = $1
"""


async def find(conn: Conn, order_id: OrderId) -> Order | None:
    return one(Order, await conn.fetchrow(FIND, order_id))


FIND_BY_KEY = """ -- -> Order
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, position, key_id, state,
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
    UPDATE orders.orders SET follows = $2 WHERE id = $1 AND follows IS NULL RETURNING true
"""


async def follow(conn: Conn, order_id: OrderId, follows: OrderId) -> bool:
    return await conn.fetchval(FOLLOW, order_id, follows) or False


WRITTEN_IN = """ -- -> Written
    SELECT o.id::text, member_id, idempotency_key, epoch, position, key_id,
           state NOT IN ('cancelled', 'rejected') AS live, sku_id, quantity
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE bucket = $1 AND o.id > $2
     ORDER BY o.id LIMIT $3
"""


async def written_in(conn: Conn, bucket: int, after: OrderId, page_max: int) -> list[Written]:
    return many(Written, await conn.fetch(WRITTEN_IN, bucket, after, page_max))
