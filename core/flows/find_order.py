"""Read an order wherever it is: in Postgres, still in the stream, or stated as lost with a disk."""

from datetime import datetime

import msgspec
from redis.asyncio import Redis

from core import orders, sales
from core.kit import db
from hotpath import loading
from hotpath.claims import DamagedRecord, decode_record
from hotpath.ids import OrderParts, parts
from hotpath.receipts import Keyring
from hotpath.scripts import BucketKeys


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """What Postgres has not written yet has neither price nor times."""

    order_id: orders.OrderId
    sale_id: int
    sku_id: int | None = None
    quantity: int | None = None
    state: str
    reason: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    placed_at: datetime | None = None
    expires_at: datetime | None = None
    follows: orders.OrderId | None = None


async def find_order(
    pool: db.Pool, redis: Redis, keyring: Keyring, *, order_id: str, member_id: int
) -> OrderView:
    """Raises orders.NoSuchOrder, also for another member's order, and sales.SaleFenced."""
    named = parts(order_id)
    if named is None or not keyring.order_ids.owned_by(order_id, member_id):
        raise orders.NoSuchOrder(order_id=order_id)
    return await trace_order(pool, redis, orders.OrderId(order_id), named, member_id=member_id)


async def trace_order(
    pool: db.Pool, redis: Redis, order_id: orders.OrderId, named: OrderParts, *, member_id: int
) -> OrderView:
    found = await written(pool, order_id, member_id)
    if found is not None:
        return found
    async with db.reading(pool) as conn:
        try:
            bucket = await sales.bucket(conn, number=sales.BucketNumber(named.bucket))
        except sales.NoSuchSale:
            raise orders.NoSuchOrder(order_id=order_id) from None
        cursors = await sales.cursors(conn, bucket=bucket.number)
    if named.epoch < bucket.epoch:
        return lost_with_its_epoch(order_id, named, bucket, cursors)
    accepted = await still_in_stream(redis, order_id, named, bucket, member_id)
    # Between our two looks the writer may have written it down and trimmed the stream.
    found = accepted or await written(pool, order_id, member_id)
    if found is not None:
        return found
    if bucket.fence_reason:
        raise sales.SaleFenced(retry_after_s=5)
    raise orders.NoSuchOrder(order_id=order_id)


async def written(pool: db.Pool, order_id: orders.OrderId, member_id: int) -> OrderView | None:
    try:
        async with db.reading(pool) as conn:
            order = await orders.find(conn, order_id=order_id)
    except orders.NoSuchOrder:
        return None
    return view(order) if order.member_id == member_id else None


async def still_in_stream(
    redis: Redis,
    order_id: orders.OrderId,
    named: OrderParts,
    bucket: sales.Bucket,
    member_id: int,
) -> OrderView | None:
    raw = await loading.entry(redis, BucketKeys(bucket.number), named.position)
    try:
        record = decode_record(raw or b"")
    except DamagedRecord:
        return None
    if (record.member_id, record.epoch) != (member_id, named.epoch):
        return None
    return OrderView(
        order_id=order_id,
        sale_id=bucket.sale_id,
        sku_id=record.sku_id,
        quantity=record.quantity,
        state="accepted",
    )


def lost_with_its_epoch(
    order_id: orders.OrderId, named: OrderParts, bucket: sales.Bucket, cursors: dict[int, str]
) -> OrderView:
    """Above the position where its epoch ended, an accepted order went with Redis' disk."""
    ended_at = cursors.get(named.epoch)
    if ended_at is None or not is_above(named.position, ended_at):
        raise orders.NoSuchOrder(order_id=order_id)
    return OrderView(
        order_id=order_id, sale_id=bucket.sale_id, state=orders.State.REJECTED, reason="epoch-lost"
    )


def view(order: orders.Order) -> OrderView:
    return OrderView(
        order_id=order.id,
        sale_id=order.sale_id,
        sku_id=order.sku_id,
        quantity=order.quantity,
        state=order.state,
        reason=order.reason,
        amount_minor=order.amount_minor,
        currency=order.currency,
        placed_at=order.placed_at,
        expires_at=order.expires_at,
        follows=order.follows,
    )


def is_above(position: str, other: str) -> bool:
    return order_of(position) > order_of(other)


def order_of(position: str) -> tuple[int, int]:
    ms, _, seq = position.partition("-")
    return int(ms), int(seq)
