from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from core.kit.db import Conn, many, one
from core.kit.tail import Stretch

from .model import (
    Agreed,
    Agreement,
    Cancelled,
    Event,
    Expired,
    Happened,
    Head,
    Line,
    Logged,
    NewOrder,
    Order,
    OrderId,
    Placed,
    Purchase,
    Standing,
    Written,
)
from .rows import LINE_COLUMNS, ORDER_COLUMNS
from .states import Axes, State


async def in_one_piece(payload: bytes) -> AsyncIterator[bytes]:
    """A source for COPY that needs no thread, as a file would."""
    yield payload


def spell(value: object) -> str:
    """JSON as text: a list of lists is no array of Postgres."""
    return msgspec.json.encode(value).decode()


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


LINES = """ -- -> Line
    SELECT order_id::text, line_no, sku_id, quantity, price_minor,
           coalesce(discount_minor, 0) AS discount_minor, coalesce(tax_minor, 0) AS tax_minor,
           coalesce(included_tax_minor, 0) AS included_tax_minor, seller_id, commission_bps
      FROM orders.lines WHERE order_id = ANY($1::uuid[]) ORDER BY line_no
"""


async def with_lines(conn: Conn, heads: Sequence[Head]) -> list[Order]:
    """Whole orders: an order's lines are written with it, and never change."""
    lines: dict[OrderId, list[Line]] = {head.id: [] for head in heads}
    for line in many(Line, await conn.fetch(LINES, list(lines)) if lines else ()):
        lines[line.order_id].append(line)
    return [Order(**msgspec.structs.asdict(head), lines=tuple(lines[head.id])) for head in heads]


async def with_its_lines(conn: Conn, head: Head | None) -> Order | None:
    return None if head is None else (await with_lines(conn, [head]))[0]


FIND = """ -- -> Head
    SELECT id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state, payment,
           fulfilment, reason, amount_minor, currency,
           coalesce(shipping_minor, 0) AS shipping_minor,
           coalesce(shipping_tax_minor, 0) AS shipping_tax_minor,
           coalesce(shipping_included_tax_minor, 0) AS shipping_included_tax_minor,
           asked, follows::text, placed_at, expires_at, version, open_cases
      FROM orders.orders WHERE id = $1
"""


async def find(conn: Conn, order_id: OrderId) -> Order | None:
    return await with_its_lines(conn, one(Head, await conn.fetchrow(FIND, order_id)))


FIND_BY_KEY = """ -- -> Head
    SELECT id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state, payment,
           fulfilment, reason, amount_minor, currency,
           coalesce(shipping_minor, 0) AS shipping_minor,
           coalesce(shipping_tax_minor, 0) AS shipping_tax_minor,
           coalesce(shipping_included_tax_minor, 0) AS shipping_included_tax_minor,
           asked, follows::text, placed_at, expires_at, version, open_cases
      FROM orders.orders
     WHERE sale_id = $1 AND member_id = $2 AND idempotency_key = $3
"""


async def find_by_key(conn: Conn, sale_id: int, member_id: int, key: str) -> Order | None:
    head = one(Head, await conn.fetchrow(FIND_BY_KEY, sale_id, member_id, key))
    return await with_its_lines(conn, head)


FIND_PLACED = """ -- -> Head
    SELECT id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state, payment,
           fulfilment, reason, amount_minor, currency,
           coalesce(shipping_minor, 0) AS shipping_minor,
           coalesce(shipping_tax_minor, 0) AS shipping_tax_minor,
           coalesce(shipping_included_tax_minor, 0) AS shipping_included_tax_minor,
           asked, follows::text, placed_at, expires_at, version, open_cases
      FROM unnest($1::bigint[], $2::text[]) AS asked_by (member, key)
      JOIN orders.orders ON sale_id IS NULL AND member_id = member AND idempotency_key = key
"""


async def find_placed(conn: Conn, keys: Collection[tuple[int, str]]) -> list[Order]:
    members, texts = [member for member, _ in keys], [key for _, key in keys]
    return await with_lines(conn, many(Head, await conn.fetch(FIND_PLACED, members, texts)))


# In the order of their keys, so that two who place the same orders do not wait in a ring.
PLACE = """ -- -> Placed
    WITH bought AS (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[], $5::bigint[],
                             $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::int[],
                             $11::text[], $12::text[])
            AS b (id, member_id, key, asked, amount_minor, shipping_minor, shipping_tax_minor,
                  shipping_included_tax_minor, currency, hold_s, address, steps)
    ), placed AS (
        INSERT INTO orders.orders (id, member_id, idempotency_key, asked, state, amount_minor,
                                   shipping_minor, shipping_tax_minor,
                                   shipping_included_tax_minor, currency, expires_at)
        SELECT id, member_id, key, asked, $13, amount_minor, shipping_minor, shipping_tax_minor,
               shipping_included_tax_minor, currency, now() + make_interval(secs => hold_s)
          FROM bought ORDER BY member_id, key
            ON CONFLICT (member_id, idempotency_key) WHERE sale_id IS NULL DO NOTHING
     RETURNING id, placed_at, expires_at
    ), agreed AS (
        INSERT INTO orders.agreements (order_id, address, steps)
        SELECT id, address::jsonb, steps::jsonb FROM bought JOIN placed USING (id)
    ), lined AS (
        INSERT INTO orders.lines (order_id, line_no, sku_id, quantity, price_minor,
                                  discount_minor, tax_minor, included_tax_minor, seller_id,
                                  commission_bps)
        SELECT l.* FROM unnest($14::uuid[], $15::smallint[], $16::bigint[], $17::int[],
                               $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[],
                               $22::bigint[], $23::smallint[]) AS l (order_id)
          JOIN placed ON id = order_id
    )
    SELECT id::text, placed_at, expires_at FROM placed
"""


async def place(conn: Conn, purchases: Sequence[Purchase]) -> list[Placed]:
    rows = [
        (
            *(p.id, p.member_id, p.idempotency_key, p.asked, p.amount_minor, p.shipping_minor),
            *(p.shipping_tax_minor, p.shipping_included_tax_minor, p.currency, p.hold_s),
            *(spell(p.agreement.address), spell(p.agreement.steps)),
        )
        for p in purchases
    ]
    lines = [msgspec.structs.astuple(line) for p in purchases for line in p.lines]
    columns = zip(*rows, strict=True)
    found = await conn.fetch(PLACE, *columns, State.OPEN, *zip(*lines, strict=True))
    return many(Placed, found)


AGREEMENT = """ -- -> Agreement
    SELECT address, steps FROM orders.agreements WHERE order_id = $1
"""


async def agreement(conn: Conn, order_id: OrderId) -> Agreement | None:
    return one(Agreement, await conn.fetchrow(AGREEMENT, order_id))


# Names the version we read, so a racing writer makes this match nothing.
APPEND = """
    WITH moved AS (
        UPDATE orders.orders o
           SET state = $4, payment = $5, fulfilment = $6, reason = $7, follows = $8,
               open_cases = $9, version = version + 1,
               head = orders.sealed(coalesce(head, orders.as_placed(o)), version + 1, at, $10)
          FROM clock_timestamp() AS at
         WHERE id = $1 AND version = $2 AND state = $3
     RETURNING id, version, at, head
    )
    INSERT INTO orders.events (order_id, number, happened_at, event, digest)
    SELECT id, version, at, $10, head FROM moved
 RETURNING true
"""


async def append(conn: Conn, order: Order, standing: Standing, event: Event) -> bool:
    said = spell(event)
    seen = (order.id, order.version, order.state)
    return await conn.fetchval(APPEND, *seen, *standing, said) or False


EXPIRE = """ -- -> Expired
    WITH late AS (
        SELECT id FROM orders.orders
         WHERE state = 'open' AND payment = 'unpaid' AND expires_at <= now()
           AND (bucket IS NULL OR bucket <> ALL($2::int[])) AND id <> ALL($4::uuid[])
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
      FROM ended JOIN orders.lines ON order_id = ended.id
"""


async def expire(
    conn: Conn,
    batch_max: int,
    spared: Sequence[int],
    event: Cancelled,
    passed: Collection[OrderId],
) -> list[Expired]:
    said = spell(event)
    return many(Expired, await conn.fetch(EXPIRE, batch_max, spared, said, passed))


# One order for all, so that nobody waits in a ring.
HOLD = """
    SELECT id FROM orders.orders WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""


async def hold(conn: Conn, order_ids: Collection[OrderId]) -> None:
    await conn.execute(HOLD, order_ids)


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


LISTING = """ -- -> Head
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state, payment,
           fulfilment, reason, amount_minor, currency,
           coalesce(shipping_minor, 0) AS shipping_minor,
           coalesce(shipping_tax_minor, 0) AS shipping_tax_minor,
           coalesce(shipping_included_tax_minor, 0) AS shipping_included_tax_minor,
           asked, follows::text, placed_at, expires_at, version, open_cases
      FROM orders.orders o
     WHERE ($1::text IS NULL OR state = $1) AND ($2::text[] IS NULL OR payment = ANY($2))
       AND ($3::text[] IS NULL OR fulfilment = ANY($3))
       AND ($4::boolean IS NULL OR (open_cases > 0) = $4) AND ($5::uuid IS NULL OR o.id < $5)
     ORDER BY o.id DESC LIMIT $6
"""


async def listing(
    conn: Conn, axes: Axes | None, before: OrderId | None, page_max: int
) -> list[Order]:
    found = await conn.fetch(LISTING, *(axes or (None, None, None, None)), before, page_max)
    return await with_lines(conn, many(Head, found))


# By what wants to be paid last: an index by id would grow with every order of a sale, and without
# one the last page reads all orders that were ever paid.
PENDING = """ -- -> Head
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state, payment,
           fulfilment, reason, amount_minor, currency,
           coalesce(shipping_minor, 0) AS shipping_minor,
           coalesce(shipping_tax_minor, 0) AS shipping_tax_minor,
           coalesce(shipping_included_tax_minor, 0) AS shipping_included_tax_minor,
           asked, follows::text, placed_at, expires_at, version, open_cases
      FROM orders.orders o
     WHERE state = 'open' AND payment = 'unpaid'
       AND ($1::uuid IS NULL
            OR (expires_at, o.id) < (SELECT expires_at, id FROM orders.orders WHERE id = $1))
     ORDER BY expires_at DESC, o.id DESC LIMIT $2
"""


async def pending(conn: Conn, before: OrderId | None, page_max: int) -> list[Order]:
    return await with_lines(conn, many(Head, await conn.fetch(PENDING, before, page_max)))


# Ordinary orders, and those of sales sale by sale, by the index that makes a key unique: one by
# member would cost every new order of a sale. Only ids are sorted, however many a member has.
OF_MEMBER = """ -- -> Head
    WITH page AS (
        (SELECT its.id FROM unnest($2::bigint[]) AS sale (number)
          CROSS JOIN LATERAL (SELECT id FROM orders.orders
                               WHERE sale_id = number AND member_id = $1
                                 AND ($3::uuid IS NULL OR id < $3)
                              OFFSET 0) its
          ORDER BY its.id DESC LIMIT $4)
         UNION ALL
        (SELECT id FROM orders.orders
          WHERE sale_id IS NULL AND member_id = $1 AND ($3::uuid IS NULL OR id < $3)
          ORDER BY id DESC LIMIT $4)
         ORDER BY id DESC LIMIT $4
    )
    SELECT o.id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state, payment,
           fulfilment, reason, amount_minor, currency,
           coalesce(shipping_minor, 0) AS shipping_minor,
           coalesce(shipping_tax_minor, 0) AS shipping_tax_minor,
           coalesce(shipping_included_tax_minor, 0) AS shipping_included_tax_minor,
           asked, follows::text, placed_at, expires_at, version, open_cases
      FROM page JOIN orders.orders o USING (id) ORDER BY o.id DESC
"""


async def of_member(
    conn: Conn, member_id: int, sale_ids: Sequence[int], before: OrderId | None, page_max: int
) -> list[Order]:
    found = await conn.fetch(OF_MEMBER, member_id, sale_ids, before, page_max)
    return await with_lines(conn, many(Head, found))


# What stands in a bucket has an epoch and a key id.
WRITTEN_IN = """ -- -> Written
    SELECT o.id::text, member_id, idempotency_key, coalesce(epoch, 0) AS epoch,
           coalesce(key_id, 0) AS key_id, state NOT IN ('cancelled', 'rejected') AS live, sku_id,
           quantity
      FROM orders.orders o JOIN orders.lines ON order_id = o.id AND line_no = 1
     WHERE bucket = $1 AND o.id > $2
     ORDER BY o.id LIMIT $3
"""


async def written_in(conn: Conn, bucket: int, after: OrderId, page_max: int) -> list[Written]:
    return many(Written, await conn.fetch(WRITTEN_IN, bucket, after, page_max))


# WITH TIES: a transaction is read whole, so that the next reading may begin behind it.
HAPPENED = """ -- -> Happened
    SELECT e.xact, order_id::text, sale_id, number, happened_at, event::text AS text
      FROM orders.events e JOIN orders.orders o ON o.id = order_id
     WHERE e.xact >= $1 AND e.xact < $2 AND happened_at >= $3
     ORDER BY e.xact FETCH FIRST $4 ROWS WITH TIES
"""


async def happened(conn: Conn, stretch: Stretch, page_max: int) -> list[Happened]:
    where = (stretch.reached, stretch.horizon, stretch.since)
    return many(Happened, await conn.fetch(HAPPENED, *where, page_max))


AGREED = """ -- -> Agreed
    SELECT xact, order_id::text FROM orders.agreements
     WHERE xact >= $1 AND xact < $2 AND agreed_at >= $3
     ORDER BY xact FETCH FIRST $4 ROWS WITH TIES
"""


async def agreed(conn: Conn, stretch: Stretch, page_max: int) -> list[Agreed]:
    where = (stretch.reached, stretch.horizon, stretch.since)
    return many(Agreed, await conn.fetch(AGREED, *where, page_max))


FIND_ALL = """ -- -> Head
    SELECT id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state, payment,
           fulfilment, reason, amount_minor, currency,
           coalesce(shipping_minor, 0) AS shipping_minor,
           coalesce(shipping_tax_minor, 0) AS shipping_tax_minor,
           coalesce(shipping_included_tax_minor, 0) AS shipping_included_tax_minor,
           asked, follows::text, placed_at, expires_at, version, open_cases
      FROM orders.orders WHERE id = ANY($1::uuid[]) ORDER BY orders.id
"""


async def find_all(conn: Conn, order_ids: Collection[OrderId]) -> list[Order]:
    return await with_lines(conn, many(Head, await conn.fetch(FIND_ALL, order_ids)))


PLACED_IN = """ -- -> Head
    SELECT id::text, sale_id, bucket, member_id, idempotency_key, epoch, key_id, state, payment,
           fulfilment, reason, amount_minor, currency,
           coalesce(shipping_minor, 0) AS shipping_minor,
           coalesce(shipping_tax_minor, 0) AS shipping_tax_minor,
           coalesce(shipping_included_tax_minor, 0) AS shipping_included_tax_minor,
           asked, follows::text, placed_at, expires_at, version, open_cases
      FROM orders.orders
     WHERE bucket = $1 AND epoch = $2 AND id > $3 ORDER BY orders.id LIMIT $4
"""


async def placed_in(
    conn: Conn, bucket: int, epoch: int, after: OrderId, page_max: int
) -> list[Order]:
    where = (bucket, epoch, after)
    return await with_lines(conn, many(Head, await conn.fetch(PLACED_IN, *where, page_max)))


LAST_IN = """
    SELECT id::text FROM orders.orders
     WHERE bucket = $1 AND epoch = $2 ORDER BY orders.id DESC LIMIT 1
"""


async def last_in(conn: Conn, bucket: int, epoch: int) -> OrderId | None:
    return await conn.fetchval(LAST_IN, bucket, epoch)
