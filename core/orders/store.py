from collections.abc import AsyncIterator, Sequence

import msgspec

from core.kit.db import Conn, many, one

from .model import (
    Cancelled,
    Event,
    Expired,
    Logged,
    NewOrder,
    Order,
    OrderId,
    Standing,
    Written,
)
from .rows import LINE_COLUMNS, ORDER_COLUMNS
from .states import Payment, State


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
           payment, reason, amount_minor, currency, follows::text, placed_at, expires_at, version,
           sku_id, quantity, price_minor, seller_id, commission_bps
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE o.id = $1
"""


async def find(conn: Conn, order_id: OrderId) -> Order | None:
    return one(Order, await conn.fetchrow(FIND, order_id))


FIND_BY_KEY = """ -- -> Order
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state,
           payment, reason, amount_minor, currency, follows::text, placed_at, expires_at, version,
           sku_id, quantity, price_minor, seller_id, commission_bps
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE sale_id = $1 AND member_id = $2 AND idempotency_key = $3
"""


async def find_by_key(conn: Conn, sale_id: int, member_id: int, key: str) -> Order | None:
    return one(Order, await conn.fetchrow(FIND_BY_KEY, sale_id, member_id, key))


# Names the version we read, so a racing writer makes this match nothing.
APPEND = """
    WITH moved AS (
        UPDATE orders.orders o
           SET state = $4, payment = $5, reason = $6, follows = $7, version = version + 1,
               head = orders.sealed(coalesce(head, orders.as_placed(o)), version + 1, at, $8)
          FROM clock_timestamp() AS at
         WHERE id = $1 AND version = $2 AND state = $3
     RETURNING id, version, at, head
    )
    INSERT INTO orders.events (order_id, number, happened_at, event, digest)
    SELECT id, version, at, $8, head FROM moved
 RETURNING true
"""


async def append(conn: Conn, order: Order, standing: Standing, event: Event) -> bool:
    said = msgspec.json.encode(event).decode()
    seen = (order.id, order.version, order.state)
    return await conn.fetchval(APPEND, *seen, *standing, said) or False


EXPIRE = """ -- -> Expired
    WITH late AS (
        SELECT id FROM orders.orders
         WHERE state = 'open' AND payment = 'unpaid' AND expires_at <= now()
           AND bucket <> ALL($2::int[])
         ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ), ended AS (
        UPDATE orders.orders o
           SET state = 'cancelled', reason = 'expired', version = version + 1,
               head = orders.sealed(coalesce(head, orders.as_placed(o)), version + 1, at, $3)
          FROM late, clock_timestamp() AS at WHERE o.id = late.id
     RETURNING o.id, o.bucket, o.member_id, version, at, head
    ), logged AS (
        INSERT INTO orders.events (order_id, number, happened_at, event, digest)
        SELECT id, version, at, $3, head FROM ended
    )
    SELECT ended.id::text, bucket, member_id, sku_id, quantity
      FROM ended JOIN orders.lines ON order_id = ended.id AND line_no = 1
"""


async def expire(
    conn: Conn, batch_max: int, spared: Sequence[int], event: Cancelled
) -> list[Expired]:
    said = msgspec.json.encode(event).decode()
    return many(Expired, await conn.fetch(EXPIRE, batch_max, spared, said))


LOG = """ -- -> Logged
    SELECT number, happened_at, event::text AS text, digest
      FROM orders.events WHERE order_id = $1 ORDER BY number LIMIT $2
"""


async def log(conn: Conn, order_id: OrderId, page_max: int) -> list[Logged]:
    return many(Logged, await conn.fetch(LOG, order_id, page_max))


# So few or so many orders show one word that no plan serves all.
PLAN_ANEW = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"


async def plan_anew(conn: Conn) -> None:
    """Until the transaction ends, plan each statement for what it is asked."""
    await conn.execute(PLAN_ANEW)


LISTING = """ -- -> Order
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state,
           payment, reason, amount_minor, currency, follows::text, placed_at, expires_at, version,
           sku_id, quantity, price_minor, seller_id, commission_bps
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR payment = $2)
       AND ($3::uuid IS NULL OR o.id < $3)
     ORDER BY o.id DESC LIMIT $4
"""


async def listing(
    conn: Conn,
    state: State | None,
    payment: Payment | None,
    before: OrderId | None,
    page_max: int,
) -> list[Order]:
    return many(Order, await conn.fetch(LISTING, state, payment, before, page_max))


# Sale by sale, by the index that makes a key unique: one by member would cost every new order.
OF_MEMBER = """ -- -> Order
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state,
           payment, reason, amount_minor, currency, follows::text, placed_at, expires_at, version,
           sku_id, quantity, price_minor, seller_id, commission_bps
      FROM unnest($2::bigint[]) AS sale (number)
     CROSS JOIN LATERAL (SELECT * FROM orders.orders
                          WHERE sale_id = number AND member_id = $1
                            AND ($3::uuid IS NULL OR id < $3)
                          ORDER BY id DESC LIMIT $4) o
      JOIN orders.lines ON order_id = o.id AND line_no = 1
     ORDER BY o.id DESC LIMIT $4
"""


async def of_member(
    conn: Conn, member_id: int, sale_ids: Sequence[int], before: OrderId | None, page_max: int
) -> list[Order]:
    return many(Order, await conn.fetch(OF_MEMBER, member_id, sale_ids, before, page_max))


WRITTEN_IN = """ -- -> Written
    SELECT o.id::text, member_id, idempotency_key, epoch, key_id,
           state NOT IN ('cancelled', 'rejected') AS live, sku_id, quantity
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE bucket = $1 AND o.id > $2
     ORDER BY o.id LIMIT $3
"""


async def written_in(conn: Conn, bucket: int, after: OrderId, page_max: int) -> list[Written]:
    return many(Written, await conn.fetch(WRITTEN_IN, bucket, after, page_max))
