"""Compare Redis with Postgres, exactly, without stopping anything.

Postgres is read first, at one instant: everything up to its cursor. Redis is read after it, in one
atomic look, and so are the claims above that cursor, which nobody can change. Hence per SKU

    quota = left + undrained + sold + (released - given back) + dead + (transferred here - there)

holds at every moment, whatever runs meanwhile, and so does, per bucket, that claims accepted are
claims written down and claims undrained. What is missing or too much is drift.
"""

from collections import Counter

import msgspec

from core import sales
from core.flows.find_order import is_above
from core.flows.write_orders import Terms, best_guess, terms_of
from core.kit import db
from hotpath import loading, scripts
from hotpath.claims import DamagedRecord, decode_record
from hotpath.entries import claims_of
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys

LOOKS_MAX = 8
PAGE_MAX = 1_000


class ItemAudit(msgspec.Struct, frozen=True):
    sku_id: int
    quota: int
    sold: int
    in_flight: int
    left: int
    returned: int
    drift: int


class SaleAudit(msgspec.Struct, frozen=True):
    """`in_flight` and `drift` are sums over the items; drift counts both directions as positive.

    Claims that Redis accepted and nobody counts, or the other way round, are drift, too.
    """

    sale_id: int
    state: str
    items: list[ItemAudit]
    in_flight: int
    drift: int
    backlog: int


class CannotAudit(sales.Unavailable):
    """The books cannot be compared right now; the detail says why and what to do."""


class Tally(msgspec.Struct):
    """What one bucket holds of each SKU, from both sides, and how many claims nobody counts."""

    left: Counter[int]
    in_flight: Counter[int]
    backlog: int
    uncounted: int


async def audit_sale(pool: db.Pool, redis: Redis, *, sale_id: sales.SaleId) -> SaleAudit:
    """Raises CannotAudit where Redis is away, fenced off, or too busy to be caught up with."""
    for _ in range(LOOKS_MAX):
        async with db.snapshot(pool) as conn:
            sale = await sales.find(conn, sale_id=sale_id)
            items = await sales.items(conn, sale_id=sale_id)
            books = await sales.books(conn, sale_id=sale_id)
        if sale.settled_at is not None or not books:
            return add_up(sale, items, books, [settled_tally(b) for b in books])
        terms = terms_of(sale, items)
        tallies = [await tally(pool, redis, bucket, terms) for bucket in books]
        known = [each for each in tallies if each is not None]
        if len(known) == len(books):
            return add_up(sale, items, books, known)
    raise CannotAudit(
        "Claims above the cursor are gone from the stream. If this stays,"
        f" run `sluice rebuild {sale_id}`."
    )


def settled_tally(books: sales.BucketBooks) -> Tally:
    """Redis is not asked any more: what it held is returned, sold, or a dead letter."""
    dead = Counter({a.sku_id: a.dead for a in books.allotments})
    return Tally(left=Counter(), in_flight=dead, backlog=0, uncounted=0)


async def tally(
    pool: db.Pool, redis: Redis, books: sales.BucketBooks, terms: Terms
) -> Tally | None:
    """None when the writer trimmed away what this look needed: look again."""
    if books.bucket.fence_reason is not None:
        raise CannotAudit(
            f"The sale is fenced ({books.bucket.fence_reason})."
            f" Run `sluice rebuild {books.bucket.sale_id}`."
        )
    keys = BucketKeys(books.bucket.number)
    redis = await redis.of(books.bucket.number)
    try:
        seen = await scripts.books(redis, keys)
    except scripts.DamagedBooks as damage:
        raise CannotAudit(
            f"Redis' books are damaged ({damage}). Run `sluice rebuild {books.bucket.sale_id}`."
        ) from damage
    if seen.stamp != books.bucket.stamp:
        async with db.reading(pool) as conn:
            now = await sales.bucket(conn, number=books.bucket.number)
        if now.epoch != books.bucket.epoch:
            return None
        raise CannotAudit(
            f"Redis does not carry epoch {books.bucket.epoch} of bucket {books.bucket.number}."
            f" Run `sluice rebuild {books.bucket.sale_id}`."
        )
    if is_above(seen.deleted, books.cursor.position):
        return None
    try:
        undrained, backlog = await count_undrained(redis, books, keys, terms, last=seen.last)
    except loading.EpochMoved:
        return None
    if backlog and is_above((await scripts.books(redis, keys)).deleted, books.cursor.position):
        return None
    return Tally(
        left=Counter(seen.left),
        in_flight=in_flight(books, undrained, seen),
        backlog=backlog,
        uncounted=abs(seen.accepted - books.cursor.written - backlog),
    )


def in_flight(
    books: sales.BucketBooks, undrained: Counter[int], seen: scripts.Books
) -> Counter[int]:
    return Counter(
        {
            a.sku_id: undrained[a.sku_id]
            + (a.released - seen.back.get(a.sku_id, 0))
            + a.dead
            + (a.transferred - seen.transferred.get(a.sku_id, 0))
            for a in books.allotments
        }
    )


async def count_undrained(
    redis: Redis, books: sales.BucketBooks, keys: BucketKeys, terms: Terms, *, last: str
) -> tuple[Counter[int], int]:
    """Units per SKU in the claims above the cursor, and how many claims they are."""
    units: Counter[int] = Counter()
    claims = 0
    after = books.cursor.position
    while is_above(last, after):
        page = await loading.drain(
            redis, keys, stamp=books.bucket.stamp, after=after, claims_max=PAGE_MAX
        )
        if not page:
            break
        for found in (claim for entry in page for claim in claims_of(entry)):
            after = found.position
            if is_above(after, last):
                break
            sku_id, quantity = what_it_holds(found.record, terms)
            units[sku_id] += quantity
            claims += 1
    return units, claims


def what_it_holds(record: bytes, terms: Terms) -> tuple[int, int]:
    """SKU and units of a claim, as the order writer will count it."""
    try:
        claim = decode_record(record)
    except DamagedRecord:
        _, sku_id, quantity = best_guess(record, terms)
        return sku_id or 0, quantity
    return claim.sku_id, claim.quantity


def add_up(
    sale: sales.Sale,
    items: list[sales.Item],
    books: list[sales.BucketBooks],
    tallies: list[Tally],
) -> SaleAudit:
    left: Counter[int] = Counter()
    flying: Counter[int] = Counter()
    for each in tallies:
        left.update(each.left)
        flying.update(each.in_flight)
    sold: Counter[int] = Counter()
    returned: Counter[int] = Counter()
    for allotment in (a for bucket in books for a in bucket.allotments):
        sold[allotment.sku_id] += allotment.sold
        returned[allotment.sku_id] += allotment.returned
    audited = [item_audit(item, sold, flying, left, returned, armed=bool(books)) for item in items]
    return SaleAudit(
        sale_id=sale.id,
        state=sale.state,
        items=audited,
        in_flight=sum(item.in_flight for item in audited),
        drift=sum(abs(item.drift) for item in audited) + sum(each.uncounted for each in tallies),
        backlog=sum(each.backlog for each in tallies),
    )


def item_audit(
    item: sales.Item,
    sold: Counter[int],
    flying: Counter[int],
    left: Counter[int],
    returned: Counter[int],
    *,
    armed: bool,
) -> ItemAudit:
    sku_id = item.sku_id
    held = left[sku_id] if armed else item.quota
    accounted = held + flying[sku_id] + sold[sku_id] + returned[sku_id]
    return ItemAudit(
        sku_id=sku_id,
        quota=item.quota,
        sold=sold[sku_id],
        in_flight=flying[sku_id],
        left=held,
        returned=returned[sku_id],
        drift=item.quota - accounted,
    )
