from collections.abc import Sequence
from datetime import datetime

from core.kit.db import Conn, many, one
from core.kit.tail import Stretch

from .model import (
    Advanced,
    Allotment,
    Audit,
    Bucket,
    BucketNumber,
    Cursor,
    DeadLetter,
    Epoch,
    Item,
    Milestone,
    NewTransfer,
    Sale,
    SaleId,
    Transfer,
)

INSERT = """
    INSERT INTO sales.sales (name, state, starts_at, ends_at, hold_s, shadow, bucket_count)
    VALUES ($1, 'planned', $2, $3, $4, $5, $6) RETURNING id
"""


async def insert(
    conn: Conn,
    name: str,
    starts_at: datetime,
    ends_at: datetime,
    hold_s: int,
    shadow: bool,
    bucket_count: int,
) -> SaleId:
    return await conn.fetchval(INSERT, name, starts_at, ends_at, hold_s, shadow, bucket_count)


INSERT_ITEMS = """
    INSERT INTO sales.items (sale_id, sku_id, price_minor, currency, member_limit, quota,
                             seller_id, commission_bps)
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::int[], $6::bigint[],
                             $7::bigint[], $8::smallint[])
"""


async def insert_items(conn: Conn, sale_id: SaleId, items: Sequence[Item]) -> None:
    await conn.execute(
        INSERT_ITEMS,
        sale_id,
        [item.sku_id for item in items],
        [item.price_minor for item in items],
        [item.currency for item in items],
        [item.member_limit for item in items],
        [item.quota for item in items],
        [item.seller_id for item in items],
        [item.commission_bps for item in items],
    )


FIND = """ -- -> Sale
    SELECT id, name, state, starts_at, ends_at, hold_s, shadow, bucket_count, settled_at
      FROM sales.sales WHERE id = $1
"""


async def find(conn: Conn, sale_id: SaleId) -> Sale | None:
    return one(Sale, await conn.fetchrow(FIND, sale_id))


LISTING = """ -- -> Sale
    SELECT id, name, state, starts_at, ends_at, hold_s, shadow, bucket_count, settled_at
      FROM sales.sales WHERE NOT shadow AND ($1::bigint IS NULL OR id < $1)
     ORDER BY id DESC LIMIT $2
"""


async def listing(conn: Conn, before: SaleId | None, page_max: int) -> list[Sale]:
    return many(Sale, await conn.fetch(LISTING, before, page_max))


ITEMS = """ -- -> Item
    SELECT sale_id, sku_id, price_minor, currency, member_limit, quota, seller_id, commission_bps
      FROM sales.items WHERE sale_id = $1 ORDER BY sku_id
"""


async def items(conn: Conn, sale_id: SaleId) -> list[Item]:
    return many(Item, await conn.fetch(ITEMS, sale_id))


# Names the state we read, so a racing mover makes this match nothing.
MOVE = """
    WITH moved AS (
        UPDATE sales.sales SET state = $3 WHERE id = $1 AND state = $2 RETURNING id
    )
    INSERT INTO sales.milestones (sale_id, kind) SELECT id, $3 FROM moved RETURNING true
"""


async def move(conn: Conn, sale_id: SaleId, source: str, target: str) -> bool:
    return await conn.fetchval(MOVE, sale_id, source, target) or False


OPEN_DUE = """
    WITH opened AS (
        UPDATE sales.sales SET state = 'open'
         WHERE state = 'armed' AND starts_at <= now() AND ends_at > now()
     RETURNING id
    )
    INSERT INTO sales.milestones (sale_id, kind) SELECT id, 'open' FROM opened RETURNING sale_id
"""


async def open_due(conn: Conn) -> list[SaleId]:
    return [row["sale_id"] for row in await conn.fetch(OPEN_DUE)]


# A sale that was settled a moment ago may have sold its last unit right before.
NOTE_SOLD_OUT = """
    INSERT INTO sales.milestones (sale_id, kind)
    SELECT s.id, 'sold_out' FROM sales.sales s
     WHERE state IN ('open', 'paused', 'closed')
       AND (settled_at IS NULL OR settled_at > now() - interval '1 minute')
       AND NOT EXISTS (SELECT FROM sales.milestones WHERE sale_id = s.id AND kind = 'sold_out')
       AND NOT EXISTS (
           SELECT FROM sales.items i
            WHERE i.sale_id = s.id
              AND i.quota > (SELECT coalesce(sum(sold + dead), 0)
                               FROM sales.allotments a JOIN sales.buckets b ON b.number = bucket
                              WHERE b.sale_id = s.id AND a.sku_id = i.sku_id))
    ON CONFLICT DO NOTHING
 RETURNING sale_id
"""


async def note_sold_out(conn: Conn) -> list[SaleId]:
    return [row["sale_id"] for row in await conn.fetch(NOTE_SOLD_OUT)]


MILESTONES = """ -- -> Milestone
    SELECT xact, m.id, sale_id, name, kind, reached_at
      FROM sales.milestones m JOIN sales.sales s ON s.id = sale_id
     WHERE xact >= $1 AND xact < $2 AND reached_at >= $3 AND NOT shadow
     ORDER BY xact FETCH FIRST $4 ROWS WITH TIES
"""


async def milestones(conn: Conn, stretch: Stretch, page_max: int) -> list[Milestone]:
    where = (stretch.reached, stretch.horizon, stretch.since)
    return many(Milestone, await conn.fetch(MILESTONES, *where, page_max))


DUE_TO_CLOSE = """ -- -> Sale
    SELECT id, name, state, starts_at, ends_at, hold_s, shadow, bucket_count, settled_at
      FROM sales.sales WHERE state IN ('armed', 'open', 'paused') AND ends_at <= now()
"""


async def due_to_close(conn: Conn) -> list[Sale]:
    return many(Sale, await conn.fetch(DUE_TO_CLOSE))


INSERT_BUCKET = """
    INSERT INTO sales.buckets (sale_id, position, epoch, token)
    VALUES ($1, $2, 1, replace(gen_random_uuid()::text, '-', '')) RETURNING number
"""


async def insert_bucket(conn: Conn, sale_id: SaleId, position: int) -> BucketNumber:
    return await conn.fetchval(INSERT_BUCKET, sale_id, position)


# Equal shares. Which buckets get one unit of the remainder turns with the SKU, so that the first
# bucket is not the one that always has more.
ALLOT = """
    INSERT INTO sales.allotments (bucket, sku_id, quota)
    SELECT b.number, sku_id,
           quota / bucket_count
           + CASE WHEN (b.position + sku_id) % bucket_count < quota % bucket_count
                  THEN 1 ELSE 0 END
      FROM sales.items
      JOIN sales.sales s ON s.id = sale_id
      JOIN sales.buckets b USING (sale_id)
     WHERE sale_id = $1
"""


async def allot(conn: Conn, sale_id: SaleId) -> None:
    await conn.execute(ALLOT, sale_id)


BUCKET = """ -- -> Bucket
    SELECT number, sale_id, position, epoch, token, run_id, fence_reason, seen
      FROM sales.buckets WHERE number = $1
"""


async def bucket(conn: Conn, number: int) -> Bucket | None:
    return one(Bucket, await conn.fetchrow(BUCKET, number))


WATCHED = """ -- -> Sale
    SELECT id, name, state, starts_at, ends_at, hold_s, shadow, bucket_count, settled_at
      FROM sales.sales WHERE state IN ('armed', 'open', 'paused', 'closed') ORDER BY id
"""


async def watched(conn: Conn) -> list[Sale]:
    return many(Sale, await conn.fetch(WATCHED))


BUCKETS = """ -- -> Bucket
    SELECT number, sale_id, position, epoch, token, run_id, fence_reason, seen
      FROM sales.buckets WHERE sale_id = $1 ORDER BY position
"""


async def buckets(conn: Conn, sale_id: SaleId) -> list[Bucket]:
    return many(Bucket, await conn.fetch(BUCKETS, sale_id))


LIVE_BUCKETS = """ -- -> Bucket
    SELECT number, sale_id, position, epoch, token, run_id, fence_reason, seen
      FROM sales.buckets JOIN sales.sales ON sales.id = sale_id
     WHERE state IN ('armed', 'open', 'paused', 'closed') ORDER BY number
"""


async def live_buckets(conn: Conn) -> list[Bucket]:
    return many(Bucket, await conn.fetch(LIVE_BUCKETS))


# A settled sale has nothing left to drain.
UNSETTLED_BUCKETS = """ -- -> Bucket
    SELECT number, sale_id, position, epoch, token, run_id, fence_reason, seen
      FROM sales.buckets JOIN sales.sales ON sales.id = sale_id
     WHERE state IN ('armed', 'open', 'paused', 'closed') AND settled_at IS NULL ORDER BY number
"""


async def unsettled_buckets(conn: Conn) -> list[Bucket]:
    return many(Bucket, await conn.fetch(UNSETTLED_BUCKETS))


HOLD_SHARED = """ -- -> Bucket
    SELECT number, sale_id, position, epoch, token, run_id, fence_reason, seen
      FROM sales.buckets WHERE number = $1 FOR SHARE
"""


async def hold_shared(conn: Conn, number: int) -> Bucket | None:
    return one(Bucket, await conn.fetchrow(HOLD_SHARED, number))


HOLD_ALONE = """ -- -> Bucket
    SELECT number, sale_id, position, epoch, token, run_id, fence_reason, seen
      FROM sales.buckets WHERE number = $1 FOR UPDATE
"""


async def hold_alone(conn: Conn, number: int) -> Bucket | None:
    return one(Bucket, await conn.fetchrow(HOLD_ALONE, number))


# A rebuild fences its bucket first, then holds it alone for as long as the loading takes.
BEING_REBUILT = """
    WITH free AS (
        SELECT number FROM sales.buckets WHERE fence_reason IS NOT NULL FOR SHARE SKIP LOCKED
    )
    SELECT number FROM sales.buckets WHERE fence_reason IS NOT NULL
    EXCEPT SELECT number FROM free
"""


async def being_rebuilt(conn: Conn) -> list[BucketNumber]:
    return [row["number"] for row in await conn.fetch(BEING_REBUILT)]


IS_SETTLED = "SELECT settled_at IS NOT NULL FROM sales.sales WHERE id = $1"


async def is_settled(conn: Conn, sale_id: SaleId) -> bool:
    return await conn.fetchval(IS_SETTLED, sale_id) or False


# Rows are locked in one order, so two batches that meet never wait for each other in a ring.
BOOK = """
    WITH wanted AS (
        SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                             $6::bigint[], $7::bigint[])
          AS t (bucket, sku_id, sold, released, dead, returned, transferred)
    ), held AS (
        SELECT a.bucket, a.sku_id FROM sales.allotments a JOIN wanted USING (bucket, sku_id)
         ORDER BY a.bucket, a.sku_id FOR UPDATE OF a
    )
    UPDATE sales.allotments a
       SET sold = a.sold + wanted.sold, released = a.released + wanted.released,
           dead = a.dead + wanted.dead, returned = a.returned + wanted.returned,
           quota = a.quota + wanted.transferred,
           transferred = a.transferred + wanted.transferred
      FROM wanted JOIN held USING (bucket, sku_id)
     WHERE a.bucket = wanted.bucket AND a.sku_id = wanted.sku_id
"""


async def book(conn: Conn, rows: Sequence[tuple[int, ...]]) -> int:
    """Returns how many allotments changed."""
    if not rows:
        return 0
    status = await conn.execute(BOOK, *map(list, zip(*rows, strict=True)))
    return int(status.rpartition(" ")[2])


ALLOTMENTS = """ -- -> Allotment
    SELECT bucket, sku_id, quota, sold, released, dead, returned, transferred
      FROM sales.allotments WHERE bucket = ANY($1::int[]) ORDER BY bucket, sku_id
"""


async def allotments(conn: Conn, numbers: Sequence[int]) -> list[Allotment]:
    return many(Allotment, await conn.fetch(ALLOTMENTS, numbers))


CURSORS = """ -- -> Cursor
    SELECT epoch, position, written FROM sales.cursors WHERE bucket = $1
"""


async def cursors(conn: Conn, bucket: int) -> dict[int, Cursor]:
    return {found.epoch: found for found in many(Cursor, await conn.fetch(CURSORS, bucket))}


EPOCHS = """ -- -> Epoch
    SELECT bucket, c.epoch, c.position
      FROM sales.cursors c JOIN sales.buckets b ON number = bucket
      JOIN sales.sales s ON s.id = sale_id
     WHERE s.state IN ('armed', 'open', 'paused', 'closed') AND NOT shadow ORDER BY bucket, c.epoch
"""


async def epochs(conn: Conn) -> list[Epoch]:
    return many(Epoch, await conn.fetch(EPOCHS))


SHADOWS = "SELECT id FROM sales.sales WHERE shadow"


async def shadows(conn: Conn) -> set[SaleId]:
    return {row["id"] for row in await conn.fetch(SHADOWS)}


INSERT_CURSOR = "INSERT INTO sales.cursors (bucket, epoch, position) VALUES ($1, $2, $3)"


async def insert_cursor(conn: Conn, bucket: int, epoch: int, position: str) -> None:
    await conn.execute(INSERT_CURSOR, bucket, epoch, position)


# No row means that another writer went on: whoever reads this drops its batch.
# The bucket's row is held before the cursor's is touched, as by whoever recomputes the books.
ADVANCE = """ -- -> Advanced
    WITH held AS (SELECT number FROM sales.buckets WHERE number = $1 FOR SHARE)
    UPDATE sales.cursors SET position = $4, written = written + $5
      FROM held
     WHERE bucket = held.number AND cursors.epoch = $2 AND position = $3 AND NOT ended
 RETURNING cursors.epoch, position, written, now() AS at
"""


async def advance(
    conn: Conn, bucket: int, epoch: int, source: str, target: str, claims: int
) -> Advanced | None:
    return one(Advanced, await conn.fetchrow(ADVANCE, bucket, epoch, source, target, claims))


END_CURSOR = "UPDATE sales.cursors SET ended = true WHERE bucket = $1 AND epoch = $2"


async def end_cursor(conn: Conn, bucket: int, epoch: int) -> None:
    await conn.execute(END_CURSOR, bucket, epoch)


BEGIN_EPOCH = """
    UPDATE sales.buckets
       SET epoch = $2, token = replace(gen_random_uuid()::text, '-', ''), run_id = NULL,
           seen = '0-0'
     WHERE number = $1
"""


async def begin_epoch(conn: Conn, number: int, epoch: int) -> None:
    await conn.execute(BEGIN_EPOCH, number, epoch)


FORGET_EPOCH = "UPDATE sales.allotments SET released = 0, transferred = 0 WHERE bucket = $1"


async def forget_epoch(conn: Conn, number: int) -> None:
    await conn.execute(FORGET_EPOCH, number)


ADMIT = "UPDATE sales.buckets SET run_id = $2, fence_reason = NULL WHERE number = $1"


async def admit(conn: Conn, number: int, run_id: str) -> None:
    await conn.execute(ADMIT, number, run_id)


FENCE = """
    UPDATE sales.buckets SET run_id = NULL, fence_reason = $2
     WHERE number = $1 AND fence_reason IS NULL RETURNING true
"""


async def fence(conn: Conn, number: int, reason: str) -> bool:
    return await conn.fetchval(FENCE, number, reason) or False


RETURN_UNSOLD = """
    UPDATE sales.allotments a SET returned = quota - sold - dead, released = 0
      FROM sales.buckets b WHERE b.number = a.bucket AND b.sale_id = $1
 RETURNING a.sku_id, a.returned
"""


async def return_unsold(conn: Conn, sale_id: SaleId) -> dict[int, int]:
    units: dict[int, int] = {}
    for row in await conn.fetch(RETURN_UNSOLD, sale_id):
        units[row["sku_id"]] = units.get(row["sku_id"], 0) + row["returned"]
    return {sku_id: quantity for sku_id, quantity in units.items() if quantity}


SETTLED_BEFORE = """
    SELECT settled_at <= now() - make_interval(secs => $2) FROM sales.sales WHERE id = $1
"""


async def settled_before(conn: Conn, sale_id: SaleId, age_s: int) -> bool:
    return await conn.fetchval(SETTLED_BEFORE, sale_id, age_s) or False


# Positions are compared as the pair of numbers they are.
WITNESS = """
    UPDATE sales.buckets SET seen = $3
     WHERE number = $1 AND epoch = $2
       AND string_to_array(seen, '-')::bigint[] < string_to_array($3, '-')::bigint[]
"""


async def witness(conn: Conn, bucket: int, epoch: int, position: str) -> None:
    await conn.execute(WITNESS, bucket, epoch, position)


SETTLE = """
    UPDATE sales.sales SET settled_at = now()
     WHERE id = $1 AND state = 'closed' AND settled_at IS NULL RETURNING true
"""


async def settle(conn: Conn, sale_id: SaleId) -> bool:
    return await conn.fetchval(SETTLE, sale_id) or False


BURY = """
    INSERT INTO sales.dead_letters
           (bucket, epoch, position, record, reason, sku_id, member_id, quantity)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""


async def bury(
    conn: Conn,
    bucket: int,
    epoch: int,
    position: str,
    record: bytes,
    reason: str,
    sku_id: int | None,
    member_id: int | None,
    quantity: int,
) -> None:
    await conn.execute(BURY, bucket, epoch, position, record, reason, sku_id, member_id, quantity)


DEAD_LETTERS = """ -- -> DeadLetter
    SELECT id, bucket, epoch, position, record, reason, sku_id, member_id, quantity, found_at,
           decision
      FROM sales.dead_letters WHERE decided_at IS NULL ORDER BY id LIMIT $1
"""


async def dead_letters(conn: Conn, page_max: int) -> list[DeadLetter]:
    return many(DeadLetter, await conn.fetch(DEAD_LETTERS, page_max))


DEAD_LETTER_AT = """ -- -> DeadLetter
    SELECT id, bucket, epoch, position, record, reason, sku_id, member_id, quantity, found_at,
           decision
      FROM sales.dead_letters WHERE bucket = $1 AND epoch = $2 AND position = $3
"""


async def dead_letter_at(conn: Conn, bucket: int, epoch: int, position: str) -> DeadLetter | None:
    return one(DeadLetter, await conn.fetchrow(DEAD_LETTER_AT, bucket, epoch, position))


DECIDE = """ -- -> DeadLetter
    UPDATE sales.dead_letters SET decided_at = now(), decision = $2
     WHERE id = $1 AND decided_at IS NULL
 RETURNING id, bucket, epoch, position, record, reason, sku_id, member_id, quantity, found_at,
           decision
"""


async def decide(conn: Conn, letter_id: int, decision: str) -> DeadLetter | None:
    return one(DeadLetter, await conn.fetchrow(DECIDE, letter_id, decision))


PLAN_TRANSFERS = """
    INSERT INTO sales.transfers (sale_id, sku_id, source, target, units_max, source_stamp, state)
    SELECT *, 'planned' FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::int[], $5::bigint[],
                                    $6::text[])
    ON CONFLICT DO NOTHING
"""


async def plan_transfers(conn: Conn, wanted: Sequence[NewTransfer]) -> None:
    fields = NewTransfer.__struct_fields__
    await conn.execute(
        PLAN_TRANSFERS, *([getattr(one, field) for one in wanted] for field in fields)
    )


ON_THEIR_WAY = """
    SELECT DISTINCT sale_id, sku_id FROM sales.transfers WHERE state IN ('planned', 'crossed')
"""


async def on_their_way(conn: Conn) -> set[tuple[int, int]]:
    return {(row["sale_id"], row["sku_id"]) for row in await conn.fetch(ON_THEIR_WAY)}


# Several workers say what waits with them; the most that one of them said lately stands. Rows are
# locked in one order, so that two who say it at once never wait for each other in a ring.
WANT = """
    INSERT INTO sales.wants AS known (bucket, sku_id, units)
    SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS t (bucket, sku_id, units)
     ORDER BY bucket, sku_id
    ON CONFLICT (bucket, sku_id) DO UPDATE
       SET wanted_at = now(),
           units = CASE WHEN known.wanted_at > now() - make_interval(secs => $4)
                        THEN greatest(known.units, excluded.units) ELSE excluded.units END
"""


async def want(conn: Conn, wanted: Sequence[tuple[int, int, int]], fresh_s: float) -> None:
    await conn.execute(WANT, *map(list, zip(*wanted, strict=True)), fresh_s)


WANTED = """
    SELECT bucket, sku_id, units FROM sales.wants
     WHERE wanted_at > now() - make_interval(secs => $1)
"""


async def wanted(conn: Conn, fresh_s: float) -> dict[tuple[int, int], int]:
    rows = await conn.fetch(WANTED, fresh_s)
    return {(row["bucket"], row["sku_id"]): row["units"] for row in rows}


OPEN_TRANSFERS = """ -- -> Transfer
    SELECT id, sale_id, sku_id, source, target, units_max, state, source_stamp, target_stamp, units
      FROM sales.transfers WHERE state IN ('planned', 'crossed') ORDER BY id LIMIT $1
"""


async def open_transfers(conn: Conn, page_max: int) -> list[Transfer]:
    return many(Transfer, await conn.fetch(OPEN_TRANSFERS, page_max))


# Names the state we read, so a racing carrier makes this match nothing.
MOVE_TRANSFER = """ -- -> Transfer
    UPDATE sales.transfers SET state = $3, units = $4, target_stamp = $5
     WHERE id = $1 AND state = $2
 RETURNING id, sale_id, sku_id, source, target, units_max, state, source_stamp, target_stamp, units
"""


async def move_transfer(
    conn: Conn, transfer_id: int, source: str, target: str, units: int, target_stamp: str
) -> Transfer | None:
    row = await conn.fetchrow(MOVE_TRANSFER, transfer_id, source, target, units, target_stamp)
    return one(Transfer, row)


TRANSFERS_KNOWN = """
    SELECT id FROM sales.transfers
     WHERE source = $1 AND source_stamp = $2 AND state IN ('crossed', 'arrived')
     UNION ALL
    SELECT id FROM sales.transfers WHERE target = $1 AND target_stamp = $2 AND state = 'arrived'
"""


async def transfers_known(conn: Conn, bucket: int, stamp: str) -> set[int]:
    return {row["id"] for row in await conn.fetch(TRANSFERS_KNOWN, bucket, stamp)}


RECORD_AUDIT = """
    INSERT INTO sales.audits (sale_id, drift, backlog, problem) VALUES ($1, $2, $3, $4)
    ON CONFLICT (sale_id) DO UPDATE
       SET audited_at = now(), drift = excluded.drift, backlog = excluded.backlog,
           problem = excluded.problem
"""


async def record_audit(
    conn: Conn, sale_id: SaleId, drift: int, backlog: int, problem: str | None
) -> None:
    await conn.execute(RECORD_AUDIT, sale_id, drift, backlog, problem)


AUDITS = """ -- -> Audit
    SELECT sale_id, extract(epoch FROM now() - audited_at)::float8 AS age_s, drift, backlog, problem
      FROM sales.audits JOIN sales.sales ON id = sale_id WHERE state <> 'retired'
"""


async def audits(conn: Conn) -> list[Audit]:
    return many(Audit, await conn.fetch(AUDITS))
