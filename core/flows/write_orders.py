"""Accepted claims become orders: entry by entry of the stream, each claim exactly once.

A batch is one transaction that begins with a compare-and-set of the bucket's cursor. Whoever finds
the cursor elsewhere drops its batch, so a writer may be stopped, woken or doubled at any instant.
The cursor only ever stands at the last claim of an entry.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from asyncpg import DataError, IntegrityConstraintViolationError

from core import orders, sales
from core.flows.give_back import book_release
from core.kit import db
from hotpath.claims import DamagedRecord, Record, decode_record
from hotpath.entries import Drained, Entry, claims_of
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
    entries: Sequence[Entry],
    *,
    cursor: str,
) -> sales.Cursor:
    """Write drained entries down and return the new cursor. Raises AnotherWriter.

    A batch that the database refuses is written entry by entry, and an entry is halved until the
    one poisonous claim stands alone; that one is set aside, and the others lose nothing but the
    moment it took.
    """
    try:
        return await write_batch(pool, keyring, bucket, terms, entries, cursor, sift=False)
    except (*POISON, DamagedRecord):
        if len(entries) == 1:
            return await write_batch(pool, keyring, bucket, terms, entries, cursor, sift=True)
    for entry in entries:
        reached = await write_orders(pool, keyring, bucket, terms, [entry], cursor=cursor)
        cursor = reached.position
    return reached


async def write_batch(
    pool: db.Pool,
    keyring: Keyring,
    bucket: sales.Bucket,
    terms: Terms,
    entries: Sequence[Entry],
    cursor: str,
    *,
    sift: bool,
) -> sales.Cursor:
    found = [claim for entry in entries for claim in claims_of(entry)]
    async with db.transaction(pool) as conn:
        await sales.hold_bucket_shared(conn, number=bucket.number)
        reached = await sales.advance(
            conn, bucket, source=cursor, target=found[-1].position, claims=len(found)
        )
        if reached is None:
            raise AnotherWriter
        await (sift_claims if sift else write_claims)(conn, keyring, bucket, terms, found)
    return reached


async def write_claims(
    conn: db.Conn, keyring: Keyring, bucket: sales.Bucket, terms: Terms, found: Sequence[Drained]
) -> None:
    new = [order_of(keyring, bucket, terms, claim) for claim in found]
    await orders.write(conn, new)
    await sales.book(conn, [sales.Entry(bucket.number, o.sku_id, sold=o.quantity) for o in new])


async def sift_claims(
    conn: db.Conn, keyring: Keyring, bucket: sales.Bucket, terms: Terms, found: Sequence[Drained]
) -> None:
    """Write what can be written, and set aside each claim that cannot, all or nothing."""
    try:
        async with db.savepoint(conn):
            await write_claims(conn, keyring, bucket, terms, found)
    except (*POISON, DamagedRecord) as error:
        if len(found) == 1:
            await set_aside(conn, keyring, bucket, terms, found[0], error)
            return
        middle = len(found) // 2
        await sift_claims(conn, keyring, bucket, terms, found[:middle])
        await sift_claims(conn, keyring, bucket, terms, found[middle:])


def order_of(
    keyring: Keyring, bucket: sales.Bucket, terms: Terms, claim: Drained
) -> orders.NewOrder:
    record = decode_record(claim.record)
    if record.epoch != bucket.epoch:
        raise DamagedRecord("the claim bears another epoch than its stream")
    item = terms.items.get(record.sku_id)
    if item is None:
        raise sales.Unaccounted(f"SKU {record.sku_id} is not part of the sale")
    return new_order(
        keyring, bucket, terms, claim.position, record, item.price_minor, item.currency
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
    conn: db.Conn,
    keyring: Keyring,
    bucket: sales.Bucket,
    terms: Terms,
    claim: Drained,
    error: Exception,
) -> None:
    """One claim that cannot become an order: rejected and given back, or buried if unreadable."""
    try:
        order = order_of(keyring, bucket, terms, claim)
    except (DamagedRecord, sales.Unaccounted):
        pass
    else:
        try:
            async with db.savepoint(conn):
                return await reject(conn, order, error)
        except POISON as second:
            error = second
    try:
        async with db.savepoint(conn):
            await bury(conn, bucket, claim, error, best_guess(claim.record, terms))
    except POISON:
        # The guess was worse than none: the books cannot hold it.
        await bury(conn, bucket, claim, error, NO_GUESS)


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
