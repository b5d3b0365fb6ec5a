"""Accepted claims become orders: batch by batch, each claim exactly once.

A batch is one transaction that begins with a compare-and-set of the bucket's cursor. Whoever finds
the cursor elsewhere drops its batch, so a writer may be stopped, woken or doubled at any instant.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from asyncpg import DataError, IntegrityConstraintViolationError

from core import orders, sales
from core.flows.give_back import book_release
from core.kit import db
from hotpath.claims import DamagedRecord, Record, decode_record
from hotpath.loading import Drained
from hotpath.receipts import Keyring

POISON = (DataError, IntegrityConstraintViolationError, sales.Unaccounted)

Guess: TypeAlias = tuple[int | None, int | None, int]
"Member, SKU and units."
NO_GUESS: Guess = (None, None, 0)


class AnotherWriter(Exception):
    """The cursor has moved on without us."""


class Terms(msgspec.Struct, frozen=True):
    """What a sale says about every order in it; nothing here changes once it is armed."""

    sale_id: sales.SaleId
    hold_s: int
    items: dict[int, sales.Item]


def terms_of(sale: sales.Sale, items: Sequence[sales.Item]) -> Terms:
    return Terms(sale.id, sale.hold_s, {item.sku_id: item for item in items})


async def write_orders(
    pool: db.Pool,
    keyring: Keyring,
    bucket: sales.Bucket,
    terms: Terms,
    entries: Sequence[Drained],
    *,
    cursor: str,
) -> str:
    """Write drained entries down and return the new cursor. Raises AnotherWriter.

    A batch that the database refuses is halved until the one poisonous claim stands alone; that
    one is rejected, and the others lose nothing but the moment it took.
    """
    try:
        return await write_batch(pool, keyring, bucket, terms, entries, cursor=cursor)
    except (*POISON, DamagedRecord) as error:
        if len(entries) == 1:
            return await set_aside(pool, keyring, bucket, terms, entries[0], cursor, error)
    middle = len(entries) // 2
    cursor = await write_orders(pool, keyring, bucket, terms, entries[:middle], cursor=cursor)
    return await write_orders(pool, keyring, bucket, terms, entries[middle:], cursor=cursor)


async def write_batch(
    pool: db.Pool,
    keyring: Keyring,
    bucket: sales.Bucket,
    terms: Terms,
    entries: Sequence[Drained],
    *,
    cursor: str,
) -> str:
    found = [order_of(keyring, bucket, terms, entry) for entry in entries]
    target = entries[-1].position
    async with db.transaction(pool) as conn:
        await go_on(conn, bucket, cursor, target)
        await orders.write(conn, found)
        await sales.book(
            conn, [sales.Entry(bucket.number, o.sku_id, sold=o.quantity) for o in found]
        )
    return target


async def go_on(conn: db.Conn, bucket: sales.Bucket, source: str, target: str) -> None:
    await sales.hold_bucket_shared(conn, number=bucket.number)
    if not await sales.advance(
        conn, bucket=bucket.number, epoch=bucket.epoch, source=source, target=target
    ):
        raise AnotherWriter


def order_of(
    keyring: Keyring, bucket: sales.Bucket, terms: Terms, entry: Drained
) -> orders.NewOrder:
    record = decode_record(entry.record)
    if record.epoch != bucket.epoch:
        raise DamagedRecord("the claim bears another epoch than its stream")
    item = terms.items.get(record.sku_id)
    if item is None:
        raise sales.Unaccounted(f"SKU {record.sku_id} is not part of the sale")
    return new_order(
        keyring, bucket, terms, entry.position, record, item.price_minor, item.currency
    )


def new_order(
    keyring: Keyring,
    bucket: sales.Bucket,
    terms: Terms,
    position: str,
    record: Record,
    price_minor: int,
    currency: str,
) -> orders.NewOrder:
    return orders.NewOrder(
        id=orders.OrderId(
            keyring.order_ids.make(bucket.number, bucket.epoch, position, record.member_id)
        ),
        sale_id=bucket.sale_id,
        bucket=bucket.number,
        member_id=record.member_id,
        idempotency_key=record.key,
        epoch=record.epoch,
        position=position,
        key_id=record.key_id,
        sku_id=record.sku_id,
        quantity=record.quantity,
        price_minor=price_minor,
        currency=currency,
        hold_s=terms.hold_s,
    )


async def set_aside(
    pool: db.Pool,
    keyring: Keyring,
    bucket: sales.Bucket,
    terms: Terms,
    entry: Drained,
    cursor: str,
    error: Exception,
) -> str:
    """One claim that cannot become an order: rejected and given back, or buried if unreadable."""
    try:
        record = decode_record(entry.record)
    except DamagedRecord:
        record = None
    if record is not None and record.sku_id in terms.items and record.epoch == bucket.epoch:
        order = order_of(keyring, bucket, terms, entry)
        try:
            return await reject(pool, bucket, order, entry, cursor, error)
        except POISON as second:
            error = second
    try:
        return await bury(pool, bucket, entry, cursor, error, best_guess(entry.record, terms))
    except POISON:
        # The guess was worse than none: the books cannot hold it.
        return await bury(pool, bucket, entry, cursor, error, NO_GUESS)


async def reject(
    pool: db.Pool,
    bucket: sales.Bucket,
    order: orders.NewOrder,
    entry: Drained,
    cursor: str,
    error: Exception,
) -> str:
    ended = orders.Expired(order.id, order.bucket, order.member_id, order.sku_id, order.quantity)
    async with db.transaction(pool) as conn:
        await go_on(conn, bucket, cursor, entry.position)
        await orders.reject(conn, order, reason=f"poison: {type(error).__name__}")
        await book_release(conn, [ended], was_sold=False)
    return entry.position


async def bury(
    pool: db.Pool,
    bucket: sales.Bucket,
    entry: Drained,
    cursor: str,
    error: Exception,
    guess: Guess,
) -> str:
    member_id, sku_id, quantity = guess
    async with db.transaction(pool) as conn:
        await go_on(conn, bucket, cursor, entry.position)
        await sales.bury(
            conn,
            bucket=bucket.number,
            epoch=bucket.epoch,
            position=entry.position,
            record=entry.record,
            reason=f"{type(error).__name__}: {error}"[:500],
            sku_id=sku_id,
            member_id=member_id,
            quantity=quantity,
        )
        if sku_id is not None:
            await sales.book(conn, [sales.Entry(bucket.number, sku_id, dead=quantity)])
    return entry.position


def best_guess(record: bytes, terms: Terms) -> Guess:
    """Whose and how much a damaged claim seems to be. Only for the books: a person decides."""
    fields = record.split(b",")
    figures = [int(field) for field in fields[2:5] if field.isdigit()]
    if len(figures) < 3 or figures[1] not in terms.items:  # noqa: PLR2004 - member, SKU, quantity
        return NO_GUESS
    member_id, sku_id, quantity = figures
    allotted = terms.items[sku_id].quota
    return (member_id, sku_id, quantity) if 0 < quantity <= allotted else NO_GUESS
