"""Count stock, and let a second person decide where a difference is worth much."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api import auth, wiring
from api.admin.changes import Changes
from api.admin.stock import LINES_MAX, UNITS_MAX, Codes, Reference, codes_of, place_of, sku_of
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import catalogue, inventory
from core.flows import count_stock
from core.kit import db, ids
from core.kit.states import IllegalMove
from core.settings import Settings


class CountedLine(Body, frozen=True):
    """How many good units stand there, whoever they are kept for."""

    sku_id: str
    counted: Annotated[int, msgspec.Meta(ge=0, le=UNITS_MAX)]


class NewCounts(Body, frozen=True):
    """Done once for each `reference`: a repeat changes nothing."""

    reference: Reference
    place_id: str
    lines: Annotated[list[CountedLine], msgspec.Meta(min_length=1, max_length=LINES_MAX)]


class Count(msgspec.Struct, frozen=True):
    """`expected` was on hand; `value` is the difference's, in minor units of `currency`."""

    count_id: str
    reference: str
    sku_id: str
    sku_code: str
    place_id: str
    state: str
    expected: int
    counted: int
    value: int
    currency: str
    needs_second: bool
    counted_by: str
    counted_at: datetime
    decided_by: str | None
    decided_at: datetime | None


class Counts(msgspec.Struct, frozen=True):
    items: list[Count]


class CountsPage(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Count]
    cursor: str | None


@post(
    "",
    permission="stock:count",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        inventory.NoSuchPlace,
        inventory.CountPending,
        inventory.ReferenceReused,
    ),
)
async def add_counts(
    data: JSONBody[NewCounts],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
    settings: NamedDependency[Settings],
) -> Counts:
    """Write down what was counted. A difference applies at once, or waits for a decision."""
    counted = {sku_of(line.sku_id): line.counted for line in data.lines}
    if len(counted) < len(data.lines):
        raise InvalidValue("A SKU stands here twice.")
    found = await count_stock.count_stock(
        pool,
        place_id=place_of(data.place_id),
        counted=counted,
        value_max=wiring.count_value_max(settings),
        reference=data.reference,
        by=changes.author.by,
        author=changes.author,
    )
    async with db.reading(pool) as conn:
        return Counts(await shown_counts(conn, found))


@get("", permission="stock:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_counts(
    pool: NamedDependency[db.Pool], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> CountsPage:
    async with db.reading(pool) as conn:
        found = await inventory.counts(conn, before=after(cursor), page_max=limit)
        items = await shown_counts(conn, found)
    return CountsPage(items, items[-1].count_id if len(items) == limit else None)


@post(
    "/{count_id:str}/approve",
    permission="stock:approve",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        inventory.NoSuchCount,
        IllegalMove,
        inventory.OutOfStock,
        inventory.SecondPersonNeeded,
    ),
)
async def approve_count(count_id: FromPath[str], changes: NamedDependency[Changes]) -> Count:
    """Let a difference change the stock. Who counted cannot, where it is worth much."""
    wanted, by = count_of(count_id), changes.author.by
    async with changes.of("count", wanted, kept) as change:
        await inventory.approve_count(change.conn, count_id=wanted, by=by)
    return change.after


@post(
    "/{count_id:str}/reject",
    permission="stock:approve",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, inventory.NoSuchCount, IllegalMove),
)
async def reject_count(count_id: FromPath[str], changes: NamedDependency[Changes]) -> Count:
    """Forget a difference, so that somebody counts again."""
    wanted, by = count_of(count_id), changes.author.by
    async with changes.of("count", wanted, kept) as change:
        await inventory.reject_count(change.conn, count_id=wanted, by=by)
    return change.after


async def kept(conn: db.Conn, count_id: inventory.CountId) -> Count:
    found = await inventory.hold_count(conn, count_id=count_id)
    return shown(found, await codes_of(conn, [found.sku_id]))


async def shown_counts(conn: db.Conn, found: Sequence[inventory.Count]) -> list[Count]:
    codes = await codes_of(conn, (count.sku_id for count in found))
    return [shown(count, codes) for count in found]


def shown(count: inventory.Count, codes: Codes) -> Count:
    return Count(
        count_id=str(count.id),
        reference=count.reference,
        sku_id=str(count.sku_id),
        sku_code=codes[count.sku_id],
        place_id=str(count.place_id),
        state=count.state,
        expected=count.expected,
        counted=count.counted,
        value=count.value_minor,
        currency=count.currency,
        needs_second=count.needs_second,
        counted_by=count.counted_by,
        counted_at=count.counted_at,
        decided_by=count.decided_by,
        decided_at=count.decided_at,
    )


def count_of(text: str) -> inventory.CountId:
    count_id = ids.parse(text)
    if count_id is None:
        raise inventory.NoSuchCount
    return inventory.CountId(count_id)


routes = Router(
    "/counts",
    route_handlers=[add_counts, list_counts, approve_count, reject_count],
    tags=["inventory"],
)
