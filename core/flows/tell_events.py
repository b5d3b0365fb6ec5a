"""What happened in the shop becomes messages for whoever wants to be told.

Nothing is written for it where it happens: each source is read on from where the last message came
from. One transaction a page: the messages, and the cursor behind them.
"""

from collections.abc import Collection

from core import inventory, orders, sales, webhooks
from core.flows.read_sources import READERS, Reader, of_movement, of_order
from core.kit import db, tail

PAGE_MAX = 500


async def begin(conn: db.Conn, kinds: Collection[str]) -> None:
    """Let what nobody wanted until now be read from this moment on, for who will want it then."""
    cursors = await webhooks.hold_cursors(conn, kinds=kinds)
    idle = webhooks.idle(cursors, await webhooks.wanted(conn))
    now = await tail.horizon(conn)
    for cursor in idle:
        await webhooks.move_cursor(conn, tail.begin(now), source=cursor.source)
    for cursor in idle:
        if cursor.source == webhooks.Source.SALE_ORDERS:
            await _begin_buckets(conn)
        if cursor.source == webhooks.Source.MOVEMENTS:
            await _begin_movements(conn)


async def wanted_sources(pool: db.Pool) -> list[webhooks.Source]:
    """Those of which somebody wants to be told."""
    async with db.reading(pool) as conn:
        wanted = await webhooks.wanted(conn)
    return [source for source, kinds in webhooks.SOURCES.items() if kinds & wanted]


async def tell_events(pool: db.Pool, source: webhooks.Source) -> bool:
    """Tell the next of one source. Returns whether there are more."""
    kinds = webhooks.SOURCES[source]
    async with db.reading(pool) as conn:
        mark = await inventory.mark(conn) if source == webhooks.Source.MOVEMENTS else None
    async with db.transaction(pool) as conn:
        cursor = await webhooks.hold_cursor(conn, source=source)
        wanted = kinds & await webhooks.wanted(conn)
        if not wanted:
            return False
        if source == webhooks.Source.SALE_ORDERS:
            return await _tell_buckets(conn, wanted)
        if mark is not None:
            return await _tell_movements(conn, cursor, mark)
        return await _tell_on(conn, cursor, wanted, READERS[source])


async def _tell_on(
    conn: db.Conn, cursor: webhooks.Cursor, wanted: Collection[str], read: Reader
) -> bool:
    found, mark, is_full = await tail.read_on(
        conn, cursor.mark, read, moved_at=cursor.moved_at, rows_max=PAGE_MAX
    )
    if found:
        messages = [message for row in found for message in row.messages]
        await webhooks.tell(conn, [one for one in messages if one.kind in wanted])
        await webhooks.move_cursor(conn, mark, source=cursor.source)
    return is_full


async def _begin_buckets(conn: db.Conn) -> None:
    await webhooks.forget_buckets(conn)
    for epoch in await sales.epochs(conn):
        last = await orders.last_in(conn, bucket=epoch.bucket, epoch=epoch.epoch)
        await webhooks.move_bucket(conn, webhooks.BucketCursor(epoch.bucket, epoch.epoch, "", last))


async def _tell_buckets(conn: db.Conn, wanted: Collection[str]) -> bool:
    """Orders of an epoch commit in the order of their ids: each batch moves the epoch's cursor."""
    noted = {(one.bucket, one.epoch): one for one in await webhooks.bucket_cursors(conn)}
    left = PAGE_MAX
    for epoch in await sales.epochs(conn):
        where = (epoch.bucket, epoch.epoch)
        seen = noted.get(where, webhooks.BucketCursor(*where, "0-0", orders.BEFORE_ALL))
        if seen.position == epoch.position:
            continue
        placed = await orders.placed_in(
            conn,
            bucket=epoch.bucket,
            epoch=epoch.epoch,
            after=orders.OrderId(seen.order_id),
            page_max=left,
        )
        await webhooks.tell(conn, [m for m in map(of_order, placed) if m.kind in wanted])
        last = placed[-1].id if placed else seen.order_id
        position = epoch.position if len(placed) < left else seen.position
        await webhooks.move_bucket(conn, webhooks.BucketCursor(*where, position, last))
        left -= len(placed)
        if not left:
            return True
    return False


async def _begin_movements(conn: db.Conn) -> None:
    """What is being written in this very moment may be numbered lower, and is left out."""
    last_id = (await inventory.mark(conn)).last_id
    await _see(conn, last_id, inventory.Mark(last_id, tail.FIRST))


async def _tell_movements(conn: db.Conn, cursor: webhooks.Cursor, now: inventory.Mark) -> bool:
    """Movements bear no transaction: what was seen up to is told once nothing can appear there."""
    seen = inventory.Mark(cursor.seen_id or 0, cursor.seen_xact or 0)
    if seen.xid > now.xid:
        # Restored from a dump: transactions are numbered anew.
        await _see(conn, cursor.reached, now)
        return False
    if not await inventory.is_settled(conn, seen):
        return False
    places = [place.id for place in await inventory.places(conn)]
    found = await inventory.follow(
        conn, place_ids=places, after=cursor.reached, upto=seen.last_id, page_max=PAGE_MAX
    )
    await webhooks.tell(conn, [of_movement(one) for one in found])
    is_full = len(found) == PAGE_MAX
    if is_full:
        await _see(conn, found[-1].id, seen)
    elif found or now.last_id > seen.last_id:
        await _see(conn, max(cursor.reached, seen.last_id), now)
    return is_full


async def _see(conn: db.Conn, reached: int, mark: inventory.Mark) -> None:
    await webhooks.see(
        conn,
        source=webhooks.Source.MOVEMENTS,
        reached=reached,
        seen_id=mark.last_id,
        seen_xact=mark.xid,
    )
