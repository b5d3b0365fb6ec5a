"""What happened in the shop becomes messages for whoever wants to be told.

Nothing is written for it where it happens: each source is read on from where the last message came
from. One transaction a page: the messages, and the cursor behind them.
"""

from collections.abc import Awaitable, Callable, Collection

import msgspec

from core import orders, sales, webhooks
from core.kit import db, tail

PAGE_MAX = 500


class Row(msgspec.Struct, frozen=True):
    """What a row tells of: what nobody is told of leaves no message."""

    xact: int
    messages: list[webhooks.Message]


Reader = Callable[[db.Conn, tail.Stretch, int], Awaitable[list[Row]]]


async def begin(conn: db.Conn, kinds: Collection[str]) -> None:
    """Let what nobody wanted until now be read from this moment on, for who will want it then."""
    cursors = await webhooks.hold_cursors(conn, kinds=kinds)
    idle = webhooks.idle(cursors, await webhooks.wanted(conn))
    now = await tail.horizon(conn)
    for cursor in idle:
        await webhooks.move_cursor(conn, tail.begin(now), source=cursor.source)
    if any(cursor.source == webhooks.Source.SALE_ORDERS for cursor in idle):
        await _begin_buckets(conn)


async def tell_events(pool: db.Pool, source: webhooks.Source) -> bool:
    """Tell the next of one source. Returns whether there are more."""
    async with db.transaction(pool) as conn:
        kinds = webhooks.SOURCES[source]
        if not kinds & await webhooks.wanted(conn):
            return False
        cursor = await webhooks.hold_cursor(conn, source=source)
        wanted = kinds & await webhooks.wanted(conn)
        if not wanted:
            return False
        if source == webhooks.Source.SALE_ORDERS:
            return await _tell_buckets(conn, wanted)
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


async def read_order_events(conn: db.Conn, stretch: tail.Stretch, page_max: int) -> list[Row]:
    happened = await orders.happened(conn, stretch, page_max=page_max)
    shadows = await sales.shadows(conn) if happened else set()
    return [Row(one.xact, [] if one.sale_id in shadows else [of_event(one)]) for one in happened]


async def read_ordinary_orders(conn: db.Conn, stretch: tail.Stretch, page_max: int) -> list[Row]:
    agreed = await orders.agreed(conn, stretch, page_max=page_max)
    found = await orders.find_all(conn, order_ids=[one.order_id for one in agreed])
    by_id = {order.id: order for order in found}
    return [Row(one.xact, [of_order(by_id[one.order_id])]) for one in agreed]


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


def of_order(order: orders.Order) -> webhooks.Message:
    sale_id = None if order.sale_id is None else str(order.sale_id)
    told: msgspec.Struct
    if order.state == orders.State.REJECTED:
        told = webhooks.OrderRejected(order.id, sale_id, str(order.member_id), order.reason or "")
    else:
        told = webhooks.OrderPlaced(
            order_id=order.id,
            sale_id=sale_id,
            member_id=str(order.member_id),
            amount=order.amount_minor,
            shipping=order.shipping_minor,
            shipping_tax=order.shipping_tax_minor,
            currency=order.currency,
            placed_at=order.placed_at,
            expires_at=order.expires_at,
            lines=[of_line(line) for line in order.lines],
        )
    return webhooks.message(f"order_{order.id}_0", told, happened_at=order.placed_at)


def of_line(line: orders.Line) -> webhooks.OrderLine:
    return webhooks.OrderLine(
        line_no=line.line_no,
        sku_id=str(line.sku_id),
        seller_id=str(line.seller_id),
        quantity=line.quantity,
        price=line.price_minor,
        discount=line.discount_minor,
        tax=line.tax_minor,
    )


def of_event(happened: orders.Happened) -> webhooks.Message:
    where = (happened.order_id, happened.number)
    told: msgspec.Struct
    match happened.event:
        case orders.Paid(payment_id):
            told = webhooks.OrderPaid(*where, payment_id)
        case orders.Cancelled(reason, refund_id):
            told = webhooks.OrderCancelled(*where, reason, refund_id)
        case orders.Follows(order_id):
            told = webhooks.OrderReplaces(*where, order_id)
        case orders.Shipped(consignment_id, is_last):
            told = webhooks.OrderShipped(*where, consignment_id, is_last)
        case orders.Delivered(consignment_id, is_last):
            told = webhooks.OrderDelivered(*where, consignment_id, is_last)
        case orders.CaseOpened(case_id):
            told = webhooks.AfterSaleOpened(*where, case_id)
        case orders.CaseClosed(case_id, came_to, refund_id, follow_up):
            told = webhooks.AfterSaleClosed(*where, case_id, came_to, refund_id, follow_up)
    return webhooks.message(
        f"order_{happened.order_id}_{happened.number}", told, happened_at=happened.happened_at
    )


READERS: dict[webhooks.Source, Reader] = {
    webhooks.Source.ORDINARY_ORDERS: read_ordinary_orders,
    webhooks.Source.ORDER_EVENTS: read_order_events,
}
