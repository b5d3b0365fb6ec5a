from collections.abc import Sequence

from core.kit.db import Conn, many, one

from .model import Before, Difference, Feed, Heard, Message, Snapshot, SnapshotId

OPEN = """
    INSERT INTO feeds.feeds AS old (system, place_id, silent_max_s) VALUES ($1, $2, $3)
    ON CONFLICT (system, place_id) DO UPDATE
       SET silent_max_s = excluded.silent_max_s, closed_at = NULL,
           opened_at = CASE WHEN old.closed_at IS NULL THEN old.opened_at ELSE now() END
"""


async def open_feed(conn: Conn, system: str, place_id: int, silent_max_s: int | None) -> None:
    await conn.execute(OPEN, system, place_id, silent_max_s)


CLOSE = """
    UPDATE feeds.feeds SET closed_at = coalesce(closed_at, now())
     WHERE system = $1 AND place_id = $2
"""


async def close_feed(conn: Conn, system: str, place_id: int) -> None:
    await conn.execute(CLOSE, system, place_id)


FEEDS = """ -- -> Feed
    SELECT system, place_id, silent_max_s, opened_at, closed_at, heard_at, told,
           extract(epoch FROM now() - greatest(heard_at, opened_at))::float8 AS age_s
      FROM feeds.feeds WHERE closed_at IS NULL ORDER BY system, place_id LIMIT $1
"""


async def feeds(conn: Conn, feeds_max: int) -> list[Feed]:
    return many(Feed, await conn.fetch(FEEDS, feeds_max))


OF_SYSTEM = """ -- -> Feed
    SELECT system, place_id, silent_max_s, opened_at, closed_at, heard_at, told,
           extract(epoch FROM now() - greatest(heard_at, opened_at))::float8 AS age_s
      FROM feeds.feeds WHERE system = $1 AND closed_at IS NULL ORDER BY place_id
"""


async def of_system(conn: Conn, system: str) -> list[Feed]:
    return many(Feed, await conn.fetch(OF_SYSTEM, system))


# Messages of one feed are applied one after the other.
HOLD = """ -- -> Feed
    SELECT system, place_id, silent_max_s, opened_at, closed_at, heard_at, told,
           extract(epoch FROM now() - greatest(heard_at, opened_at))::float8 AS age_s
      FROM feeds.feeds WHERE system = $1 AND place_id = $2 FOR UPDATE
"""


async def hold(conn: Conn, system: str, place_id: int) -> Feed | None:
    return one(Feed, await conn.fetchrow(HOLD, system, place_id))


HEAR = """
    UPDATE feeds.feeds SET heard_at = now()
     WHERE system = $1 AND place_id = $2 AND closed_at IS NULL
 RETURNING true
"""


async def hear(conn: Conn, system: str, place_id: int) -> bool:
    return await conn.fetchval(HEAR, system, place_id) or False


COUNT_TOLD = "UPDATE feeds.feeds SET told = told + 1 WHERE system = $1 AND place_id = $2"


async def count_told(conn: Conn, system: str, place_id: int) -> None:
    await conn.execute(COUNT_TOLD, system, place_id)


BEFORE = """ -- -> Before
    SELECT digest, reason FROM feeds.messages WHERE system = $1 AND reference = $2
"""


async def before(conn: Conn, system: str, reference: str) -> Before | None:
    return one(Before, await conn.fetchrow(BEFORE, system, reference))


# What was applied stays as it is; what was refused may come again, as something else too.
WRITE = """
    INSERT INTO feeds.messages AS old (system, reference, place_id, kind, digest, reason)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (system, reference) DO UPDATE
       SET place_id = excluded.place_id, kind = excluded.kind, digest = excluded.digest,
           reason = excluded.reason, heard_at = now()
     WHERE old.reason IS NOT NULL
 RETURNING true
"""


async def write(
    conn: Conn,
    system: str,
    place_id: int,
    message: Message,
    digest: bytes,
    reason: str | None,
) -> bool:
    """False where it was applied before."""
    words = (system, message.reference, place_id, message.kind, digest, reason)
    return await conn.fetchval(WRITE, *words) or False


MESSAGES = """ -- -> Heard
    SELECT id, system, reference, place_id, kind, reason, heard_at FROM feeds.messages
     WHERE id < $1 ORDER BY id DESC LIMIT $2
"""


async def messages(conn: Conn, before: int, page_max: int) -> list[Heard]:
    return many(Heard, await conn.fetch(MESSAGES, before, page_max))


REFUSED = """ -- -> Heard
    SELECT id, system, reference, place_id, kind, reason, heard_at FROM feeds.messages
     WHERE id < $1 AND reason IS NOT NULL ORDER BY id DESC LIMIT $2
"""


async def refused(conn: Conn, before: int, page_max: int) -> list[Heard]:
    return many(Heard, await conn.fetch(REFUSED, before, page_max))


KEEP_SNAPSHOT = """ -- -> Snapshot
    WITH kept AS (
        INSERT INTO feeds.snapshots (system, reference, place_id, skus, differing)
        VALUES ($1, $2, $3, $4, cardinality($5::text[]))
     RETURNING id, system, reference, place_id, skus, differing, compared_at
    ), lines AS (
        INSERT INTO feeds.differences (snapshot_id, sku_code, expected, counted, count_id)
        SELECT id, sku_code, expected, counted, count_id
          FROM kept, unnest($5::text[], $6::bigint[], $7::bigint[], $8::bigint[])
            AS line (sku_code, expected, counted, count_id)
    )
    SELECT id, system, reference, place_id, skus, differing, compared_at FROM kept
"""


async def keep_snapshot(
    conn: Conn,
    system: str,
    reference: str,
    place_id: int,
    skus: int,
    differing: Sequence[Difference],
) -> Snapshot:
    names = Difference.__struct_fields__
    columns = [[getattr(line, name) for line in differing] for name in names]
    row = await conn.fetchrow(KEEP_SNAPSHOT, system, reference, place_id, skus, *columns)
    kept = one(Snapshot, row)
    assert kept is not None
    return kept


SNAPSHOTS = """ -- -> Snapshot
    SELECT id, system, reference, place_id, skus, differing, compared_at FROM feeds.snapshots
     WHERE id < $1 ORDER BY id DESC LIMIT $2
"""


async def snapshots(conn: Conn, before: int, page_max: int) -> list[Snapshot]:
    return many(Snapshot, await conn.fetch(SNAPSHOTS, before, page_max))


FIND_SNAPSHOT = """ -- -> Snapshot
    SELECT id, system, reference, place_id, skus, differing, compared_at FROM feeds.snapshots
     WHERE id = $1
"""


async def find_snapshot(conn: Conn, snapshot_id: SnapshotId) -> Snapshot | None:
    return one(Snapshot, await conn.fetchrow(FIND_SNAPSHOT, snapshot_id))


DIFFERENCES = """ -- -> Difference
    SELECT sku_code, expected, counted, count_id FROM feeds.differences
     WHERE snapshot_id = $1 ORDER BY sku_code
"""


async def differences(conn: Conn, snapshot_id: SnapshotId) -> list[Difference]:
    return many(Difference, await conn.fetch(DIFFERENCES, snapshot_id))
