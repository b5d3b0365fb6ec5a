"""Read an order wherever it is: in Postgres, still in the stream, or stated as lost with a disk."""

from datetime import datetime

import msgspec

from core import orders, sales
from core.kit import db
from hotpath import loading, scripts
from hotpath.claims import DamagedRecord, decode_record
from hotpath.ids import OrderParts, is_id, parts
from hotpath.nodes import Redis
from hotpath.receipts import Keyring
from hotpath.scripts import BucketKeys


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """What Postgres has not written yet has neither price nor times, and no lines.

    An ordinary order has no sale; only a sale's order has a SKU of its own, and no shipping.
    """

    order_id: orders.OrderId
    sale_id: int | None = None
    sku_id: int | None = None
    quantity: int | None = None
    lines: tuple[orders.Line, ...] = ()
    shipping_minor: int | None = None
    shipping_tax_minor: int | None = None
    shipping_included_tax_minor: int | None = None
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
    """Raises orders.NoSuchOrder, also for another member's order.

    Raises sales.SaleFenced and sales.Unavailable while nobody can tell what Redis has kept.
    """
    named = parts(order_id)
    if named is None and is_id(order_id):
        return await find_ordinary(pool, orders.OrderId(order_id), member_id)
    if named is None or not keyring.order_ids.owned_by(order_id, member_id):
        raise orders.NoSuchOrder(order_id=order_id)
    return await trace_order(pool, redis, orders.OrderId(order_id), named, member_id=member_id)


async def find_ordinary(pool: db.Pool, order_id: orders.OrderId, member_id: int) -> OrderView:
    found = await written(pool, order_id, member_id)
    if found is None:
        raise orders.NoSuchOrder(order_id=order_id)
    return found


async def trace_order(
    pool: db.Pool, redis: Redis, order_id: orders.OrderId, named: OrderParts, *, member_id: int
) -> OrderView:
    found = await written(pool, order_id, member_id)
    if found is not None:
        return found
    async with db.snapshot(pool) as conn:
        try:
            bucket = await sales.bucket(conn, number=sales.BucketNumber(named.bucket))
        except sales.NoSuchSale:
            raise orders.NoSuchOrder(order_id=order_id) from None
        cursors = await sales.cursors(conn, bucket=bucket.number)
        letter = await sales.dead_letter_at(
            conn, bucket=bucket.number, epoch=named.epoch, position=named.position
        )
    if letter is not None:
        return buried(order_id, bucket, letter)
    cursor = cursors.get(named.epoch)
    if cursor is not None and is_above(named.position, cursor.position):
        found = await above_the_cursor(redis, order_id, named, bucket, member_id)
    else:
        found = None
    # Between our two looks the writer may have written it down.
    found = found or await written(pool, order_id, member_id)
    if found is None:
        raise orders.NoSuchOrder(order_id=order_id)
    return found


async def above_the_cursor(
    redis: Redis, order_id: orders.OrderId, named: OrderParts, bucket: sales.Bucket, member_id: int
) -> OrderView | None:
    """Nobody has written it down: it waits in the stream, was lost with its epoch, or never was."""
    if named.epoch < bucket.epoch:
        return OrderView(
            order_id=order_id,
            sale_id=bucket.sale_id,
            state=orders.Shown.REJECTED,
            reason="epoch-lost",
        )
    async with (await redis.of(bucket.number)).client() as held:
        keys = BucketKeys(bucket.number)
        raw = await loading.record_at(held, keys, named.position)
        if raw is not None:
            return still_in_stream(raw, order_id, named, bucket, member_id)
        if bucket.fence_reason is not None:
            raise sales.SaleFenced(retry_after_s=5)
        if await scripts.process_of(held) != bucket.run_id or (
            await scripts.stamp(held, keys) != bucket.stamp
        ):
            raise sales.Unavailable
    return None


async def written(pool: db.Pool, order_id: orders.OrderId, member_id: int) -> OrderView | None:
    try:
        async with db.reading(pool) as conn:
            order = await orders.find(conn, order_id=order_id)
    except orders.NoSuchOrder:
        return None
    return view(order) if order.member_id == member_id else None


def still_in_stream(
    raw: bytes, order_id: orders.OrderId, named: OrderParts, bucket: sales.Bucket, member_id: int
) -> OrderView | None:
    accepted = OrderView(order_id=order_id, sale_id=bucket.sale_id, state="accepted")
    try:
        record = decode_record(raw)
    except DamagedRecord:
        return accepted
    if (record.member_id, record.epoch) != (member_id, named.epoch):
        return None
    return msgspec.structs.replace(accepted, sku_id=record.sku_id, quantity=record.quantity)


def buried(order_id: orders.OrderId, bucket: sales.Bucket, letter: sales.DeadLetter) -> OrderView:
    """Its id proves that a claim was accepted there; what it said, a person has to decide."""
    if letter.decision is None:
        return OrderView(order_id=order_id, sale_id=bucket.sale_id, state="accepted")
    return OrderView(
        order_id=order_id, sale_id=bucket.sale_id, state=orders.Shown.REJECTED, reason="damaged"
    )


def view(order: orders.Order) -> OrderView:
    is_ordinary = order.sale_id is None
    return OrderView(
        order_id=order.id,
        sale_id=order.sale_id,
        sku_id=None if is_ordinary else order.lines[0].sku_id,
        quantity=None if is_ordinary else order.lines[0].quantity,
        lines=order.lines,
        shipping_minor=order.shipping_minor if is_ordinary else None,
        shipping_tax_minor=order.shipping_tax_minor if is_ordinary else None,
        shipping_included_tax_minor=order.shipping_included_tax_minor if is_ordinary else None,
        state=order.shown,
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
