"""How far the herald is behind: the age of the oldest event that is not written down for others."""

from datetime import datetime

from core import inventory, orders, sales, webhooks
from core.flows.read_sources import READERS
from core.kit import db, tail


async def behind_s(conn: db.Conn) -> float:
    """Zero where nobody wants to be told, or all is told. Reads a row of each source."""
    wanted = await webhooks.wanted(conn)
    now = await tail.horizon(conn)
    moments = [now.at]
    for cursor in await webhooks.cursors(conn):
        if webhooks.SOURCES[webhooks.Source(cursor.source)] & wanted:
            moments += await _oldest(conn, cursor, now)
    return (now.at - min(moments)).total_seconds()


async def _oldest(conn: db.Conn, cursor: webhooks.Cursor, now: tail.Horizon) -> list[datetime]:
    source = webhooks.Source(cursor.source)
    if source == webhooks.Source.SALE_ORDERS:
        return await _oldest_of_sales(conn)
    if source == webhooks.Source.MOVEMENTS:
        upto = (await inventory.mark(conn)).last_id
        places = [place.id for place in await inventory.places(conn)]
        moved = await inventory.follow(
            conn, place_ids=places, after=cursor.reached, upto=upto, page_max=1
        )
        return [one.moved_at for one in moved]
    stretch = tail.Stretch(cursor.reached, now.xact, cursor.since)
    rows = await READERS[source](conn, stretch, 1)
    return [message.happened_at for row in rows for message in row.messages]


async def _oldest_of_sales(conn: db.Conn) -> list[datetime]:
    noted = {(one.bucket, one.epoch): one for one in await webhooks.bucket_cursors(conn)}
    found: list[datetime] = []
    for epoch in await sales.epochs(conn):
        seen = noted.get((epoch.bucket, epoch.epoch))
        if seen is None or seen.position != epoch.position:
            after = seen.order_id if seen else orders.BEFORE_ALL
            placed = await orders.placed_in(
                conn,
                bucket=epoch.bucket,
                epoch=epoch.epoch,
                after=orders.OrderId(after),
                page_max=1,
            )
            found += [order.placed_at for order in placed]
    return found
