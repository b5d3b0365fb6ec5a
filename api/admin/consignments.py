"""Send what was bought: which consignments there are, pack them anew, let them leave and arrive."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api import auth
from api.admin.changes import Changes
from api.admin.stock import Codes, Units, codes_of
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import fulfilment, inventory, payments
from core.flows import send_consignments
from core.kit import db, ids
from core.kit.states import IllegalMove

LINES_MAX = 1_000
DAYS_DEFAULT = 7
DAYS_MAX = 90

State = Annotated[
    fulfilment.State | None, QueryParameter(name="state", description="How far they are.")
]
Where = Annotated[
    str | None, QueryParameter(name="place_id", max_length=20, description="Who sends them.")
]
Days = Annotated[int, QueryParameter(ge=1, le=DAYS_MAX, description="Of so many days until now.")]
Printed = Annotated[str, msgspec.Meta(pattern=r"^[!-~](?:[ -~]{0,62}[!-~])?$(?!\n)")]


class Leaving(Body, frozen=True):
    """Units of an order's line."""

    order_id: str
    line_no: Annotated[int, msgspec.Meta(ge=1, le=32_767)]
    quantity: Units


class Split(Body, frozen=True):
    """What goes into a consignment of its own; something has to stay."""

    lines: Annotated[list[Leaving], msgspec.Meta(min_length=1, max_length=LINES_MAX)]


class Merge(Body, frozen=True):
    """All go into the first one: of one member, address, place, seller, currency and state."""

    consignment_ids: Annotated[
        list[str], msgspec.Meta(min_length=1, max_length=fulfilment.MERGED_MAX)
    ]


class Parcel(Body, frozen=True):
    """Who carries it, and the number it is followed by: printable ASCII, 64 at the most."""

    carrier: Printed
    tracking: Printed


class Line(msgspec.Struct, frozen=True):
    """Units of an order's line with their share of its amounts, in minor units."""

    order_id: str
    line_no: int
    sku_id: str
    sku_code: str
    quantity: int
    goods: int
    discount: int
    tax: int
    shipping: int


class Consignment(msgspec.Struct, frozen=True):
    """What one place sends to one address for one seller. One that was merged is empty."""

    consignment_id: str
    state: str
    place_id: str
    seller_id: str
    member_id: str
    currency: str
    carrier: str | None
    tracking: str | None
    merged_into: str | None
    planned_at: datetime
    allocated_at: datetime | None
    shipped_at: datetime | None
    shipped_by: str | None
    delivered_at: datetime | None
    delivered_by: str | None
    cancelled_at: datetime | None
    lines: list[Line]


class Consignments(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Consignment]
    cursor: str | None


class Halves(msgspec.Struct, frozen=True):
    stays: Consignment
    leaves: Consignment


class Times(msgspec.Struct, frozen=True):
    """In seconds, rounded up by 4 % at most: half of the `orders` took no longer than `p50`, and so
    on; null for none.
    """

    orders: int
    p50: float | None
    p90: float | None
    p99: float | None


class LeadTimes(msgspec.Struct, frozen=True):
    """From the payment until an order's last consignment left, and until it was there.

    `waiting` orders are paid and have not left; the first one waits for `oldest` seconds.
    """

    days: int
    to_shipped: Times
    to_delivered: Times
    waiting: int
    oldest: float


@get("", permission="fulfilment:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_all(
    pool: NamedDependency[db.Pool],
    wanted: State = None,
    where: Where = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Consignments:
    """List consignments by how far they are, and by the place that sends them."""
    place_id = None if where is None else place_of(where)
    async with db.snapshot(pool) as conn:
        found = await fulfilment.listing(
            conn, state=wanted, place_id=place_id, before=after(cursor), page_max=limit
        )
        items = await shown(conn, found)
    return Consignments(items, items[-1].consignment_id if len(items) == limit else None)


@get("/lead-times", permission="fulfilment:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def lead_times(pool: NamedDependency[db.Pool], days: Days = DAYS_DEFAULT) -> LeadTimes:
    """Tell how long orders took that left, or arrived, today (UTC) or in some days before."""
    async with db.snapshot(pool) as conn:
        found = await fulfilment.lead_times(conn, days=days)
    return LeadTimes(
        days=days,
        to_shipped=times(found.to_shipped),
        to_delivered=times(found.to_delivered),
        waiting=found.waiting.orders,
        oldest=found.waiting.oldest_s,
    )


@get(
    "/{consignment_id:str}",
    permission="fulfilment:read",
    responses=refuses(*auth.SIGNED_IN, fulfilment.NoSuchConsignment),
)
async def find(consignment_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Consignment:
    async with db.snapshot(pool) as conn:
        found = await fulfilment.find(conn, consignment_id=consignment_of(consignment_id))
        (told,) = await shown(conn, [found])
    return told


@post(
    "/{consignment_id:str}/split",
    permission="fulfilment:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        fulfilment.NoSuchConsignment,
        fulfilment.ImpossibleSplit,
        IllegalMove,
    ),
)
async def split(
    consignment_id: FromPath[str],
    data: JSONBody[Split],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
) -> Halves:
    """Put some units of what has not left into a consignment of their own."""
    leaving = {fulfilment.Spot(one.order_id, one.line_no): one.quantity for one in data.lines}
    if len(leaving) < len(data.lines):
        detail = "A line stands here twice."
        raise InvalidValue(errors=[{"pointer": "/lines", "detail": detail}])
    halves = await send_consignments.split_consignment(
        pool,
        consignment_id=consignment_of(consignment_id),
        leaving=leaving,
        author=changes.author,
    )
    async with db.snapshot(pool) as conn:
        return Halves(*await shown(conn, halves))


@post(
    "/merge",
    permission="fulfilment:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        fulfilment.NoSuchConsignment,
        fulfilment.ImpossibleMerge,
        IllegalMove,
    ),
)
async def merge(
    data: JSONBody[Merge],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
) -> Consignment:
    """Put consignments that have not left into one, those of different orders too."""
    merged = await send_consignments.merge_consignments(
        pool, ids=[consignment_of(one) for one in data.consignment_ids], author=changes.author
    )
    return await told_of(pool, merged)


@post(
    "/{consignment_id:str}/ship",
    permission="fulfilment:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        fulfilment.NoSuchConsignment,
        IllegalMove,
        inventory.NotKept,
        payments.NotCaptured,
        payments.ChannelUnavailable,
    ),
)
async def ship(
    consignment_id: FromPath[str],
    data: JSONBody[Parcel],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
    channels: NamedDependency[payments.Channels],
) -> Consignment:
    """Let it leave: its units are not on hand any more. The same parcel again changes nothing.

    Money that is held for it is taken first; where that fails, it stays, and must not be sent.
    """
    shipped = await send_consignments.ship_consignment(
        pool,
        channels,
        consignment_id=consignment_of(consignment_id),
        parcel=fulfilment.Parcel(data.carrier, data.tracking),
        by=changes.author.by,
        author=changes.author,
    )
    return await told_of(pool, shipped)


@post(
    "/{consignment_id:str}/deliver",
    permission="fulfilment:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, fulfilment.NoSuchConsignment, IllegalMove),
)
async def deliver(
    consignment_id: FromPath[str],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
) -> Consignment:
    """Note that it is at its address. Again changes nothing."""
    delivered = await send_consignments.deliver_consignment(
        pool,
        consignment_id=consignment_of(consignment_id),
        by=changes.author.by,
        author=changes.author,
    )
    return await told_of(pool, delivered)


async def told_of(pool: db.Pool, loaded: fulfilment.Loaded) -> Consignment:
    async with db.snapshot(pool) as conn:
        (told,) = await shown(conn, [loaded])
    return told


async def shown(conn: db.Conn, every: Sequence[fulfilment.Loaded]) -> list[Consignment]:
    codes = await codes_of(conn, {line.sku_id for one in every for line in one.lines})
    return [told(one.consignment, one.lines, codes) for one in every]


def told(
    one: fulfilment.Consignment, lines: Iterable[fulfilment.Line], codes: Codes
) -> Consignment:
    return Consignment(
        consignment_id=str(one.id),
        state=one.state,
        place_id=str(one.place_id),
        seller_id=str(one.seller_id),
        member_id=str(one.member_id),
        currency=one.currency,
        carrier=one.carrier,
        tracking=one.tracking,
        merged_into=None if one.merged_into is None else str(one.merged_into),
        planned_at=one.planned_at,
        allocated_at=one.allocated_at,
        shipped_at=one.shipped_at,
        shipped_by=one.shipped_by,
        delivered_at=one.delivered_at,
        delivered_by=one.delivered_by,
        cancelled_at=one.cancelled_at,
        lines=[line_of(line, codes) for line in lines],
    )


def line_of(line: fulfilment.Line, codes: Codes) -> Line:
    return Line(
        order_id=line.order_id,
        line_no=line.line_no,
        sku_id=str(line.sku_id),
        sku_code=codes[line.sku_id],
        quantity=line.quantity,
        goods=line.goods_minor,
        discount=line.discount_minor,
        tax=line.tax_minor,
        shipping=line.shipping_minor,
    )


def times(found: fulfilment.LeadTimes) -> Times:
    return Times(found.orders, found.p50_s, found.p90_s, found.p99_s)


def consignment_of(text: str) -> fulfilment.ConsignmentId:
    consignment_id = ids.parse(text)
    if consignment_id is None:
        raise fulfilment.NoSuchConsignment(consignment_id=text)
    return fulfilment.ConsignmentId(consignment_id)


def place_of(text: str) -> int:
    place_id = ids.parse(text)
    if place_id is None:
        raise InvalidValue(errors=[{"parameter": "place_id", "detail": "This is no place's id."}])
    return place_id


routes = Router(
    "/consignments",
    route_handlers=[list_all, lead_times, find, split, merge, ship, deliver],
    tags=["fulfilment"],
)
