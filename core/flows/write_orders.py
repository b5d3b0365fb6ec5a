"""Accepted claims become orders: entry by entry of the stream, each claim exactly once.

A batch is one transaction that begins with a compare-and-set of the bucket's cursor. Whoever finds
the cursor elsewhere drops its batch, so a writer may be stopped, woken or doubled at any instant.
The cursor only ever stands at the last claim of an entry.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

import msgspec
from asyncpg import DataError, IntegrityConstraintViolationError

from core import orders, sales
from core.flows.give_back import book_release
from core.kit import db
from hotpath.claims import DamagedRecord, decode_record
from hotpath.entries import Drained, Entry, claims_in, claims_of, entry_of, position_of
from hotpath.ids import OrderIds
from hotpath.receipts import Keyring
from hotpath.records import Packer

POISON = (DataError, IntegrityConstraintViolationError, sales.Unaccounted)

Guess: TypeAlias = tuple[int | None, int | None, int]
"Member, SKU and units."
NO_GUESS: Guess = (None, None, 0)


class AnotherWriter(Exception):
    """The cursor has moved on without us."""


class NotPlain(Exception):
    """Among these claims is one that cannot become an order."""


class Terms(msgspec.Struct, frozen=True):
    """What a sale says about every order in it; nothing here changes once it is armed."""

    sale_id: sales.SaleId
    hold_s: int
    items: dict[int, sales.Item]


class Stream(msgspec.Struct, frozen=True):
    """One epoch of a bucket, with what it takes to make orders of its claims."""

    bucket: sales.Bucket
    terms: Terms
    order_ids: OrderIds
    packer: Packer


def terms_of(sale: sales.Sale, items: Sequence[sales.Item]) -> Terms:
    return Terms(sale.id, sale.hold_s, {item.sku_id: item for item in items})


def stream_of(keyring: Keyring, bucket: sales.Bucket, terms: Terms) -> Stream:
    prices = [
        orders.Price(i.sku_id, i.price_minor, i.currency, i.seller_id, i.commission_bps)
        for i in terms.items.values()
    ]
    packer = orders.packer(keyring.order_ids, prices, bucket=bucket.number, epoch=bucket.epoch)
    return Stream(bucket, terms, keyring.order_ids, packer)


async def write_orders(
    pool: db.Pool, stream: Stream, entries: Sequence[Entry], *, cursor: str
) -> sales.Cursor:
    """Write drained entries down and return the new cursor. Raises AnotherWriter.

    A batch that the database refuses is written entry by entry, and an entry is halved until the
    one poisonous claim stands alone; that one is set aside, and the others lose nothing but the
    moment it took.
    """
    try:
        return await write_batch(pool, stream, entries, cursor, write_claims)
    except (*POISON, NotPlain):
        if len(entries) == 1:
            return await write_batch(pool, stream, entries, cursor, sift_entries)
    for entry in entries:
        reached = await write_orders(pool, stream, [entry], cursor=cursor)
        cursor = reached.position
    return reached


async def write_batch(
    pool: db.Pool,
    stream: Stream,
    entries: Sequence[Entry],
    cursor: str,
    write: Callable[[db.Conn, Stream, Sequence[Entry], datetime], Awaitable[None]],
) -> sales.Cursor:
    sizes = [claims_in(entry) for entry in entries]
    target = position_of(entries[-1], sizes[-1] - 1)
    async with db.transaction(pool) as conn:
        reached = await sales.advance(
            conn, stream.bucket, source=cursor, target=target, claims=sum(sizes)
        )
        if reached is None:
            raise AnotherWriter
        await write(conn, stream, entries, reached.at)
    return reached


async def write_claims(
    conn: db.Conn, stream: Stream, entries: Sequence[Entry], now: datetime
) -> None:
    bucket = stream.bucket
    sold = await orders.write(
        conn,
        stream.packer,
        entries,
        sale_id=bucket.sale_id,
        bucket=bucket.number,
        epoch=bucket.epoch,
        expires_at=now + timedelta(seconds=stream.terms.hold_s),
    )
    if sold is None:
        raise NotPlain
    await sales.book(
        conn, [sales.Entry(bucket.number, sku_id, sold=units) for sku_id, units in sold.items()]
    )


async def sift_entries(
    conn: db.Conn, stream: Stream, entries: Sequence[Entry], now: datetime
) -> None:
    for entry in entries:
        await sift_claims(conn, stream, claims_of(entry), now)


async def sift_claims(
    conn: db.Conn, stream: Stream, found: Sequence[Drained], now: datetime
) -> None:
    """Write what can be written, and set aside each claim that cannot, all or nothing."""
    try:
        async with db.savepoint(conn):
            await write_claims(conn, stream, [entry_of(found)], now)
    except (*POISON, NotPlain) as error:
        if len(found) == 1:
            await set_aside(conn, stream, found[0], error)
            return
        middle = len(found) // 2
        await sift_claims(conn, stream, found[:middle], now)
        await sift_claims(conn, stream, found[middle:], now)


def order_of(stream: Stream, claim: Drained) -> orders.NewOrder:
    """Raises DamagedRecord, or Unaccounted for a claim that is none of this sale's."""
    record = decode_record(claim.record)
    bucket, item = stream.bucket, stream.terms.items.get(record.sku_id)
    if record.epoch != bucket.epoch:
        raise DamagedRecord("the claim bears another epoch than its stream")
    if item is None:
        raise sales.Unaccounted(f"SKU {record.sku_id} is not part of the sale")
    return orders.NewOrder(
        id=orders.OrderId(
            stream.order_ids.make(bucket.number, bucket.epoch, claim.position, record.member_id)
        ),
        sale_id=bucket.sale_id,
        bucket=bucket.number,
        member_id=record.member_id,
        idempotency_key=record.key,
        epoch=record.epoch,
        key_id=record.key_id,
        sku_id=record.sku_id,
        quantity=record.quantity,
        price_minor=item.price_minor,
        currency=item.currency,
        hold_s=stream.terms.hold_s,
    )


async def set_aside(conn: db.Conn, stream: Stream, claim: Drained, error: Exception) -> None:
    """One claim that cannot become an order: rejected and given back, or buried if unreadable."""
    try:
        order = order_of(stream, claim)
    except (DamagedRecord, sales.Unaccounted) as reason:
        error = reason
    else:
        try:
            async with db.savepoint(conn):
                return await reject(conn, order, error)
        except POISON as second:
            error = second
    guess = best_guess(claim.record, stream.terms)
    try:
        async with db.savepoint(conn):
            await bury(conn, stream.bucket, claim, error, guess)
    except POISON:
        # The guess was worse than none: the books cannot hold it.
        await bury(conn, stream.bucket, claim, error, NO_GUESS)


async def reject(conn: db.Conn, order: orders.NewOrder, error: Exception) -> None:
    ended = orders.Expired(order.id, order.bucket, order.member_id, order.sku_id, order.quantity)
    await orders.reject(conn, order, reason=f"poison: {type(error).__name__}")
    await book_release(conn, [ended], was_sold=False)


async def bury(
    conn: db.Conn, bucket: sales.Bucket, claim: Drained, error: Exception, guess: Guess
) -> None:
    member_id, sku_id, quantity = guess
    await sales.bury(
        conn,
        bucket=bucket.number,
        epoch=bucket.epoch,
        position=claim.position,
        record=claim.record,
        reason=f"{type(error).__name__}: {error}"[:500],
        sku_id=sku_id,
        member_id=member_id,
        quantity=quantity,
    )
    if sku_id is not None:
        await sales.book(conn, [sales.Entry(bucket.number, sku_id, dead=quantity)])


def best_guess(record: bytes, terms: Terms) -> Guess:
    """Whose and how much a damaged claim seems to be. Only for the books: a person decides."""
    fields = record.split(b",")
    figures = [int(field) for field in fields[2:5] if field.isdigit()]
    if len(figures) < 3 or figures[1] not in terms.items:  # noqa: PLR2004 - member, SKU, quantity
        return NO_GUESS
    member_id, sku_id, quantity = figures
    allotted = terms.items[sku_id].quota
    return (member_id, sku_id, quantity) if 0 < quantity <= allotted else NO_GUESS
