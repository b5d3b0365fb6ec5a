"""Keep stock: places, what stands in each, what is kept for whom, and who is low."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api import auth
from api.admin.changes import Changes
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import catalogue, inventory
from core.flows import move_stock
from core.flows.reserve_stock import Reserver
from core.kit import db, ids

LINES_MAX = 1_000
UNITS_MAX = 10**9
NAME_MAX = 200

Code = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9][A-Z0-9-]{0,31}$(?!\n)")]
Region = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9-]{0,16}$(?!\n)")]
OF_THE_SHOP = re.compile("sale:[0-9]+|order:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REFERENCE = r"^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$(?!\n)"
Reference = Annotated[str, msgspec.Meta(pattern=REFERENCE)]
Units = Annotated[int, msgspec.Meta(ge=1, le=UNITS_MAX)]
# SKU id -> code.
Codes = Mapping[int, str]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]


class Name(Body, frozen=True):
    en: Text
    zh: Text


class NewPlace(Body, frozen=True):
    """The region of the buyer goes first, then the lowest `rank`. A store serves who names it."""

    code: Code
    kind: Literal["warehouse", "store"]
    name: Name
    region: Region = ""
    rank: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0


class Place(msgspec.Struct, frozen=True):
    place_id: str
    code: str
    kind: str
    name: dict[str, str]
    region: str
    rank: int


class Places(msgspec.Struct, frozen=True):
    items: list[Place]


class Line(Body, frozen=True):
    sku_id: str
    quantity: Units


Lines = Annotated[list[Line], msgspec.Meta(min_length=1, max_length=LINES_MAX)]


class NewMovement(Body, frozen=True):
    """Done once for each kind and `reference`: a repeat changes nothing."""

    kind: Literal["receive", "damage", "mend", "scrap"]
    reference: Reference
    place_id: str
    lines: Lines


class NewReservation(Body, frozen=True):
    """All lines or none, once for each `kept_for`; from `place_id`, or from the warehouses."""

    kept_for: Reference
    lines: Lines
    place_id: str | None = None
    region: Region = ""


class NewStep(Body, frozen=True):
    """What happens to reserved units, once for each kind and `reference`."""

    kind: Literal["release", "allocate", "recall", "ship"]
    reference: Reference
    lines: Lines
    place_id: str | None = None


class SafetyStock(Body, frozen=True):
    place_id: str
    units: Annotated[int, msgspec.Meta(ge=0, le=UNITS_MAX)]


class Balance(msgspec.Struct, frozen=True):
    """on_hand = reserved + allocated + free, and `free` is what may be promised."""

    sku_id: str
    sku_code: str
    place_id: str
    on_hand: int
    reserved: int
    allocated: int
    free: int
    in_transit: int
    damaged: int
    safety_stock: int
    is_low: bool


class Balances(msgspec.Struct, frozen=True):
    items: list[Balance]


class Page(msgspec.Struct, frozen=True):
    """`cursor` is null on the last page."""

    items: list[Balance]
    cursor: str | None


class Movement(msgspec.Struct, frozen=True):
    movement_id: str
    kind: str
    sku_id: str
    sku_code: str
    place_id: str
    quantity: int
    reference: str
    kept_for: str | None
    reason: str | None
    by: str
    moved_at: datetime


class Movements(msgspec.Struct, frozen=True):
    """Oldest first; `cursor` is null on the last page."""

    items: list[Movement]
    cursor: str | None


class KeptLine(msgspec.Struct, frozen=True):
    sku_id: str
    sku_code: str
    place_id: str
    reserved: int
    allocated: int
    shipped: int


class Reservation(msgspec.Struct, frozen=True):
    kept_for: str
    lines: list[KeptLine]


class Gift(msgspec.Struct, frozen=True):
    """Units that a place with plenty could send."""

    source_id: str
    quantity: int


class Alert(msgspec.Struct, frozen=True):
    """`free` is what was left then; `transfers` and `to_buy` would fill it up as things are now."""

    alert_id: str
    sku_id: str
    sku_code: str
    place_id: str
    free: int
    safety_stock: int
    raised_at: datetime
    transfers: list[Gift]
    to_buy: int


class Alerts(msgspec.Struct, frozen=True):
    """Those still open, oldest first; `cursor` is null on the last page."""

    items: list[Alert]
    cursor: str | None


class Drift(msgspec.Struct, frozen=True):
    sku_id: str
    sku_code: str
    place_id: str
    figure: str
    shown: int
    proven: int


class Audit(msgspec.Struct, frozen=True):
    """Empty when every figure is proven by its rows."""

    drifts: list[Drift]


@get("/places", permission="stock:read", responses=refuses(*auth.SIGNED_IN))
async def places(pool: NamedDependency[db.Pool]) -> Places:
    async with db.reading(pool) as conn:
        return Places([shown_place(place) for place in await inventory.places(conn)])


@post(
    "/places",
    permission="stock:place",
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        inventory.PlaceExists,
        inventory.TooManyPlaces,
    ),
)
async def add_place(data: JSONBody[NewPlace], changes: NamedDependency[Changes]) -> Place:
    async with changes.adding("place", kept_place) as change:
        place = await inventory.add_place(
            change.conn,
            code=data.code,
            kind=data.kind,
            name={"en": data.name.en, "zh": data.name.zh},
            region=data.region,
            rank=data.rank,
        )
        change.object_id = place.id
    return change.after


async def kept_place(conn: db.Conn, place_id: inventory.PlaceId) -> Place:
    found = await inventory.places(conn)
    return next(shown_place(place) for place in found if place.id == place_id)


@get(
    "/places/{place_id:str}/stock",
    permission="stock:read",
    responses=refuses(*auth.SIGNED_IN, inventory.NoSuchPlace, InvalidValue),
)
async def stock_of_place(
    place_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Page:
    """List what stands in a place, by SKU."""
    async with db.reading(pool) as conn:
        found = await inventory.stock_of_place(
            conn, place_id=place_of(place_id), after=after(cursor) or 0, page_max=limit
        )
        items = await shown_balances(conn, found)
    return Page(items, items[-1].sku_id if len(items) == limit else None)


@get(
    "/stock/{sku_id:str}",
    permission="stock:read",
    responses=refuses(*auth.SIGNED_IN, catalogue.NoSuchSku),
)
async def stock_of_sku(sku_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Balances:
    """Show a SKU in every place that has ever had it."""
    number = sku_of(sku_id)
    async with db.reading(pool) as conn:
        codes = await codes_of(conn, [number])
        found = await inventory.balances(conn, sku_ids=[number])
    return Balances([shown(balance, codes) for balance in found])


@get(
    "/stock/{sku_id:str}/movements",
    permission="stock:read",
    responses=refuses(*auth.SIGNED_IN, catalogue.NoSuchSku, InvalidValue),
)
async def movements(
    sku_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Movements:
    """List everything that ever changed a SKU's stock."""
    number = sku_of(sku_id)
    async with db.reading(pool) as conn:
        codes = await codes_of(conn, [number])
        found = await inventory.movements(
            conn, sku_id=number, after=after(cursor) or 0, page_max=limit
        )
    items = [shown_movement(one, codes) for one in found]
    return Movements(items, items[-1].movement_id if len(items) == limit else None)


@post(
    "/stock/movements",
    permission="stock:move",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        inventory.NoSuchPlace,
        inventory.OutOfStock,
        inventory.ReferenceReused,
    ),
)
async def move(
    data: JSONBody[NewMovement], changes: NamedDependency[Changes], pool: NamedDependency[db.Pool]
) -> Balances:
    """Receive goods, set damaged ones aside, take them back or throw them away."""
    found = await move_stock.move_stock(
        pool,
        kind=data.kind,
        place_id=place_of(data.place_id),
        units=units_of(data.lines),
        reference=data.reference,
        by=changes.author.by,
        author=changes.author,
    )
    async with db.reading(pool) as conn:
        return Balances(await shown_balances(conn, found))


@post(
    "/stock/{sku_id:str}/safety-stock",
    permission="stock:move",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        inventory.NoSuchPlace,
    ),
)
async def set_safety_stock(
    sku_id: FromPath[str],
    data: JSONBody[SafetyStock],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
) -> Balance:
    """Say at how many free units a place is low on a SKU."""
    found = await move_stock.set_safety_stock(
        pool,
        sku_id=sku_of(sku_id),
        place_id=place_of(data.place_id),
        units=data.units,
        author=changes.author,
    )
    async with db.reading(pool) as conn:
        return shown(found, await codes_of(conn, [found.sku_id]))


@get("/stock/alerts", permission="stock:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def alerts(
    pool: NamedDependency[db.Pool], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Alerts:
    """List where what is free has fallen to the safety stock, and what would fill it up."""
    async with db.snapshot(pool) as conn:
        found = await inventory.alerts(conn, after=after(cursor) or 0, page_max=limit)
        proposed = await inventory.propose(conn, found)
        codes = await codes_of(conn, (one.sku_id for one in found))
    items = [shown_proposal(one, codes) for one in proposed]
    return Alerts(items, items[-1].alert_id if len(items) == limit else None)


@get("/stock/audit", permission="stock:read", responses=refuses(*auth.SIGNED_IN))
async def audit(pool: NamedDependency[db.Pool]) -> Audit:
    """Recompute every balance from its movements, its reservations and what is under way."""
    async with db.reading(pool) as conn:
        return await shown_audit(conn, await inventory.audit(conn))


@post(
    "/reservations",
    permission="stock:reserve",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        catalogue.NotOnSale,
        inventory.NoSuchPlace,
        inventory.NotByHand,
        inventory.OutOfStock,
        inventory.ReferenceReused,
        inventory.TooManyReservations,
    ),
)
async def reserve(
    data: JSONBody[NewReservation],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
    reserver: NamedDependency[Reserver],
) -> Reservation:
    """Keep units for one purpose; a repeat changes nothing."""
    place_id = None if data.place_id is None else place_of(data.place_id)
    units = units_of(data.lines)
    async with db.reading(pool) as conn:
        await codes_of(conn, units)
    await reserver.reserve(
        inventory.Wanted(
            by_hand(data.kept_for),
            units,
            by=changes.author.by,
            place_id=place_id,
            region=data.region,
        ),
        author=changes.author,
    )
    async with db.reading(pool) as conn:
        return await kept(conn, data.kept_for)


@get(
    "/reservations/{kept_for:str}",
    permission="stock:read",
    responses=refuses(*auth.SIGNED_IN, inventory.NoSuchReservation),
)
async def find_reservation(kept_for: FromPath[str], pool: NamedDependency[db.Pool]) -> Reservation:
    async with db.reading(pool) as conn:
        return await kept(conn, purpose_of(kept_for))


STEPS = {
    "release": inventory.release,
    "allocate": inventory.allocate,
    "recall": inventory.recall,
    "ship": inventory.ship,
}


@post(
    "/reservations/{kept_for:str}/steps",
    permission="stock:reserve",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        inventory.NoSuchPlace,
        inventory.NotByHand,
        inventory.NotKept,
        inventory.NoSuchReservation,
        inventory.ReferenceReused,
    ),
)
async def step(
    kept_for: FromPath[str], data: JSONBody[NewStep], changes: NamedDependency[Changes]
) -> Reservation:
    """Let reserved units go, pick them, put them back, or ship what was picked."""
    place_id = None if data.place_id is None else place_of(data.place_id)
    deed = inventory.Deed(
        by_hand(purpose_of(kept_for)),
        units_of(data.lines),
        data.reference,
        by=changes.author.by,
        place_id=place_id,
    )
    async with changes.of("reservation", kept_for, kept) as change:
        await STEPS[data.kind](change.conn, [deed])
    return change.after


async def kept(conn: db.Conn, kept_for: str) -> Reservation:
    found = await inventory.reservations(conn, kept_for=kept_for)
    codes = await codes_of(conn, (line.sku_id for line in found))
    return Reservation(kept_for, [shown_kept(line, codes) for line in found])


def shown_kept(line: inventory.Reservation, codes: Codes) -> KeptLine:
    return KeptLine(
        sku_id=str(line.sku_id),
        sku_code=codes[line.sku_id],
        place_id=str(line.place_id),
        reserved=line.reserved,
        allocated=line.allocated,
        shipped=line.shipped,
    )


def shown_place(place: inventory.Place) -> Place:
    return Place(
        place_id=str(place.id),
        code=place.code,
        kind=place.kind,
        name=place.name,
        region=place.region,
        rank=place.rank,
    )


async def shown_balances(conn: db.Conn, found: Sequence[inventory.Balance]) -> list[Balance]:
    codes = await codes_of(conn, (balance.sku_id for balance in found))
    return [shown(balance, codes) for balance in found]


def shown(balance: inventory.Balance, codes: Codes) -> Balance:
    return Balance(
        sku_id=str(balance.sku_id),
        sku_code=codes[balance.sku_id],
        place_id=str(balance.place_id),
        on_hand=balance.on_hand,
        reserved=balance.reserved,
        allocated=balance.allocated,
        free=balance.free,
        in_transit=balance.in_transit,
        damaged=balance.damaged,
        safety_stock=balance.safety_stock,
        is_low=balance.alerted,
    )


def shown_movement(movement: inventory.Movement, codes: Codes) -> Movement:
    return Movement(
        movement_id=str(movement.id),
        kind=movement.kind,
        sku_id=str(movement.sku_id),
        sku_code=codes[movement.sku_id],
        place_id=str(movement.place_id),
        quantity=movement.quantity,
        reference=movement.reference,
        kept_for=movement.kept_for,
        reason=movement.reason,
        by=movement.by_whom,
        moved_at=movement.moved_at,
    )


def shown_proposal(proposal: inventory.Proposal, codes: Codes) -> Alert:
    alert = proposal.alert
    return Alert(
        alert_id=str(alert.id),
        sku_id=str(alert.sku_id),
        sku_code=codes[alert.sku_id],
        place_id=str(alert.place_id),
        free=alert.free,
        safety_stock=alert.safety_stock,
        raised_at=alert.raised_at,
        transfers=[Gift(str(gift.place_id), gift.quantity) for gift in proposal.transfers],
        to_buy=proposal.to_buy,
    )


async def shown_audit(conn: db.Conn, found: Sequence[inventory.Drift]) -> Audit:
    codes = await codes_of(conn, (one.sku_id for one in found))
    return Audit(
        [
            Drift(str(d.sku_id), codes[d.sku_id], str(d.place_id), d.figure, d.shown, d.proven)
            for d in found
        ]
    )


async def codes_of(conn: db.Conn, sku_ids: Iterable[int]) -> Codes:
    """By which codes people know these SKUs."""
    wanted = {catalogue.SkuId(sku_id) for sku_id in sku_ids}
    found = await catalogue.codes(conn, sku_ids=wanted)
    return {int(sku_id): code for sku_id, code in found.items()}


def units_of(lines: Sequence[Line]) -> dict[int, int]:
    """SKU id -> units. A SKU stands in one line only."""
    units: dict[int, int] = {}
    for number, line in enumerate(lines):
        sku_id = sku_of(line.sku_id)
        if sku_id in units:
            detail = "A SKU stands here twice."
            where = {"pointer": f"/lines/{number}/sku_id", "detail": detail}
            raise InvalidValue(detail, errors=[where])
        units[sku_id] = line.quantity
    return units


def purpose_of(text: str) -> str:
    if not re.search(REFERENCE, text):
        raise inventory.NoSuchReservation
    return text


def by_hand(kept_for: str) -> str:
    """What sales and orders call their own is theirs to move."""
    if OF_THE_SHOP.fullmatch(kept_for):
        raise inventory.NotByHand(kept_for=kept_for)
    return kept_for


def sku_of(text: str) -> int:
    sku_id = ids.parse(text)
    if sku_id is None:
        raise catalogue.NoSuchSku(sku_id=text[:NAME_MAX])
    return sku_id


def place_of(text: str) -> inventory.PlaceId:
    place_id = ids.parse(text)
    if place_id is None:
        raise inventory.NoSuchPlace
    return inventory.PlaceId(place_id)


routes = Router(
    "/",
    route_handlers=[
        places,
        add_place,
        stock_of_place,
        stock_of_sku,
        movements,
        move,
        set_safety_stock,
        alerts,
        audit,
        reserve,
        find_reservation,
        step,
    ],
    tags=["inventory"],
)
