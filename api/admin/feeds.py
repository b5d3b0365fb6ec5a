"""The systems of warehouses and of the books: they tell what happened, and follow the stock."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api import auth, problems, texts, wiring
from api.admin import stock
from api.admin.changes import Changes
from api.admin.consignments import Printed
from api.admin.sheets import FORMATS, NoSheet
from api.admin.stock import LINES_MAX, REFERENCE, UNITS_MAX, Reference, codes_of, place_of
from api.problems import AnyRequest, InvalidValue, refuses
from api.requests import READS_BODY, READS_BYTES, Body, StrictRequest
from api.shapes import CURSOR_MAX, PAGE_DEFAULT, Cursor, Limit, after
from core import feeds, fulfilment, inventory, payments
from core.flows import open_feed as opener
from core.flows.follow_stock import Cursor as Place
from core.flows.follow_stock import follow_levels, follow_movements
from core.flows.hear_feed import Answer, Teller, hear_feed
from core.flows.read_snapshot import BYTES_MAX as SNAPSHOT_BYTES_MAX
from core.flows.read_snapshot import read_snapshot
from core.kit import db, ids
from core.settings import Settings

MESSAGES_MAX = 100
FOLLOWED_DEFAULT = 100
FOLLOWED_MAX = 1_000
SILENT_MAX_S = 30 * 86_400
CODE_MAX = 64
SYSTEM = re.compile(r"[a-z][a-z0-9._-]{0,62}")
PLACE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18})\.([0-9]{1,18}))?", re.ASCII)

Many = Annotated[int, QueryParameter(ge=1, le=FOLLOWED_MAX, description="How many to list.")]
From = Annotated[
    str | None,
    QueryParameter(
        name="after",
        max_length=CURSOR_MAX,
        description="The last answer's `cursor`; all from the beginning where it is left out.",
    ),
]
Where = Annotated[
    str, QueryParameter(name="place_id", max_length=20, description="A place of the caller's.")
]
OfSnapshot = Annotated[
    str, QueryParameter(pattern=REFERENCE, description="It is applied once under this reference.")
]
ToldBefore = Annotated[
    int, QueryParameter(ge=0, le=ids.ID_MAX, description="After so many applied messages.")
]
IsRefused = Annotated[
    bool,
    QueryParameter(name="refused", description="Only what was refused, and has not come right."),
]


class Promise(Body, frozen=True):
    """A system is never silent for longer; null for one that only listens."""

    silent_max_s: Annotated[int, msgspec.Meta(ge=1, le=SILENT_MAX_S)] | None = None


class MessageLine(Body, frozen=True):
    sku_code: Annotated[str, msgspec.Meta(min_length=1, max_length=CODE_MAX)]
    quantity: Annotated[int, msgspec.Meta(ge=-UNITS_MAX, le=UNITS_MAX)]


class NewMessage(Body, frozen=True):
    """Applied once for each `reference`.

    `shipped` names a consignment and its parcel instead of lines, or `kept_for`; `alive` has no
    lines. `snapshot` names all that stands in the place, and `told_before`: how many messages about
    it had been applied when it was taken.
    """

    kind: Literal[
        "alive", "received", "damaged", "mended", "scrapped", "adjusted", "shipped", "snapshot"
    ]
    reference: Reference
    lines: Annotated[list[MessageLine], msgspec.Meta(max_length=LINES_MAX)]
    kept_for: Reference | None = None
    consignment_id: str | None = None
    carrier: Printed | None = None
    tracking: Printed | None = None
    told_before: Annotated[int, msgspec.Meta(ge=0, le=ids.ID_MAX)] | None = None


class NewMessages(Body, frozen=True):
    """About one place, in the order in which it happened."""

    place_id: str
    messages: Annotated[list[NewMessage], msgspec.Meta(min_length=1, max_length=MESSAGES_MAX)]


class Outcome(msgspec.Struct, frozen=True):
    """`problem` says why a message was refused: it left nothing behind, and may be told again.

    `undecided` counts wait for a person, of those that a snapshot or an adjustment led to.
    """

    reference: str
    outcome: Literal["applied", "already_applied", "refused"]
    undecided: int
    snapshot_id: str | None
    problem: dict[str, Any] | None


class Outcomes(msgspec.Struct, frozen=True):
    """`told` messages of the caller's about this place are applied by now."""

    items: list[Outcome]
    told: int


class Feed(msgspec.Struct, frozen=True):
    """`age_s` is how old the system's last word about the place is."""

    system: str
    place_id: str
    silent_max_s: int | None
    heard_at: datetime | None
    age_s: float
    is_silent: bool
    told: int


class Feeds(msgspec.Struct, frozen=True):
    items: list[Feed]


class Message(msgspec.Struct, frozen=True):
    """`refused` names the problem; it is null for what is applied."""

    message_id: str
    system: str
    reference: str
    place_id: str
    kind: str
    refused: str | None
    heard_at: datetime


class Messages(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Message]
    cursor: str | None


class Followed(msgspec.Struct, frozen=True):
    """In order. Nothing ever appears behind `cursor`; where `more` is true, ask again at once."""

    items: list[stock.Movement]
    cursor: str
    more: bool


class Level(msgspec.Struct, frozen=True):
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


class Levels(msgspec.Struct, frozen=True):
    """Each is at least as new as `cursor`. Where `more` is true, ask again at once."""

    items: list[Level]
    cursor: str
    more: bool


class ConsignedLine(msgspec.Struct, frozen=True):
    sku_code: str
    quantity: int


class Consignment(msgspec.Struct, frozen=True):
    """What is to leave in one parcel."""

    consignment_id: str
    place_id: str
    allocated_at: datetime | None
    lines: list[ConsignedLine]


class Consignments(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Consignment]
    cursor: str | None


class Snapshot(msgspec.Struct, frozen=True):
    """Of `skus` that were compared, `differing` were not as the books have them."""

    snapshot_id: str
    system: str
    reference: str
    place_id: str
    skus: int
    differing: int
    compared_at: datetime


class Snapshots(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Snapshot]
    cursor: str | None


class Difference(msgspec.Struct, frozen=True):
    """`expected` is null for a code that nobody knows, `count_id` where nothing was counted."""

    sku_code: str
    expected: int | None
    counted: int
    count_id: str | None


class Report(Snapshot, frozen=True):
    differences: list[Difference]


@get("", permission="feeds:read", responses=refuses(*auth.SIGNED_IN))
async def list_feeds(pool: NamedDependency[db.Pool]) -> Feeds:
    """List which system tells about which place, and how old its last word is."""
    async with db.reading(pool) as conn:
        return Feeds([shown(feed) for feed in await feeds.feeds(conn)])


@post(
    "/{system:str}/places/{place_id:str}",
    permission="feeds:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        inventory.NoSuchPlace,
        feeds.TooManyFeeds,
    ),
)
async def open_feed(
    system: FromPath[str],
    place_id: FromPath[str],
    data: JSONBody[Promise],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
) -> Feed:
    """Let an account of staff tell and hear about a place, or change its promise."""
    if not SYSTEM.fullmatch(system):
        raise InvalidValue("No account has such a name.")
    return shown(
        await opener.open_feed(
            pool,
            system=system,
            place_id=place_of(place_id),
            silent_max_s=data.silent_max_s,
            author=changes.author,
        )
    )


@post(
    "/{system:str}/places/{place_id:str}/close",
    permission="feeds:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, feeds.NoSuchFeed, inventory.NoSuchPlace),
)
async def close_feed(
    system: FromPath[str],
    place_id: FromPath[str],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
) -> Feed:
    """Let an account tell and hear no more about a place. What it told stays."""
    if not SYSTEM.fullmatch(system):
        raise feeds.NoSuchFeed
    return shown(
        await opener.close_feed(
            pool, system=system, place_id=place_of(place_id), author=changes.author
        )
    )


@post(
    "/messages",
    permission="own_stock:tell",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, *READS_BODY, feeds.NoSuchFeed),
)
async def tell(
    data: JSONBody[NewMessages],
    request: AnyRequest,
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
    channels: NamedDependency[payments.Channels],
    settings: NamedDependency[Settings],
) -> Outcomes:
    """Tell what happened in a place. Each message is applied once, and answered by itself."""
    place_id = ids.parse(data.place_id)
    if place_id is None:
        raise feeds.NoSuchFeed
    teller = Teller(
        changes.author.by,
        inventory.PlaceId(place_id),
        wiring.count_value_max(settings),
        changes.author,
    )
    answers, feed = await hear_feed(
        pool, channels, teller, [message_of(one) for one in data.messages]
    )
    language = texts.language(request.headers.get("accept-language", ""))
    return Outcomes([outcome(answer, language) for answer in answers], feed.told)


@post(
    "/snapshots",
    permission="own_stock:tell",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BYTES,
        NoSheet,
        feeds.NoSuchFeed,
        feeds.UnfitMessage,
        feeds.ReferenceReused,
        feeds.MessagesMissing,
        feeds.SnapshotOvertaken,
        feeds.DiffersTooMuch,
        inventory.CountPending,
    ),
)
async def hand_in_snapshot(
    request: StrictRequest,
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
    channels: NamedDependency[payments.Channels],
    settings: NamedDependency[Settings],
    where: Where,
    reference: OfSnapshot,
    told_before: ToldBefore,
) -> Outcome:
    """Hand in a snapshot of many SKUs as a sheet with the columns `sku_code` and `quantity`."""
    form = FORMATS.get(request.content_type[0])
    if form is None:
        raise NoSheet
    place_id = ids.parse(where)
    if place_id is None or place_id not in await places_of(pool, request):
        raise feeds.NoSuchFeed
    lines = await read_snapshot(request.parts(SNAPSHOT_BYTES_MAX), form=form)
    told = feeds.Message(reference, feeds.Kind.SNAPSHOT, lines, told_before=told_before)
    teller = Teller(
        changes.author.by,
        inventory.PlaceId(place_id),
        wiring.count_value_max(settings),
        changes.author,
    )
    (answer,), _ = await hear_feed(pool, channels, teller, [told])
    if answer.refusal is not None:
        raise answer.refusal
    return outcome(answer, "en")


@get("/messages", permission="feeds:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_messages(
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
    is_refused: IsRefused = False,
) -> Messages:
    """List what systems told."""
    async with db.reading(pool) as conn:
        found = await feeds.messages(
            conn, before=after(cursor), page_max=limit, is_refused=is_refused
        )
    items = [
        Message(
            message_id=str(one.id),
            system=one.system,
            reference=one.reference,
            place_id=str(one.place_id),
            kind=one.kind,
            refused=None if one.reason is None else f"/problems/{one.reason}",
            heard_at=one.heard_at,
        )
        for one in found
    ]
    return Messages(items, items[-1].message_id if len(items) == limit else None)


@get(
    "/movements",
    permission="own_stock:read",
    responses=refuses(*auth.SIGNED_IN, feeds.NoSuchFeed, inventory.StillWriting, InvalidValue),
)
async def movements(
    request: AnyRequest,
    pool: NamedDependency[db.Pool],
    since: From = None,
    limit: Many = FOLLOWED_DEFAULT,
) -> Followed:
    """Follow every movement in the places of the caller's feeds, each once and in order."""
    place_ids = await places_of(pool, request)
    reached = Place(0) if since is None else cursor_of(since)
    found = await follow_movements(pool, place_ids, after=reached.movement_id, page_max=limit)
    async with db.reading(pool) as conn:
        codes = await codes_of(conn, {one.sku_id for one in found.movements})
    items = [stock.shown_movement(one, codes) for one in found.movements]
    return Followed(items, shown_cursor(found.cursor), found.is_more)


@get(
    "/levels",
    permission="own_stock:read",
    responses=refuses(*auth.SIGNED_IN, feeds.NoSuchFeed, inventory.StillWriting, InvalidValue),
)
async def levels(
    request: AnyRequest,
    pool: NamedDependency[db.Pool],
    since: From = None,
    limit: Many = FOLLOWED_DEFAULT,
) -> Levels:
    """List what stands in the places of the caller's feeds; from then on, what has changed."""
    place_ids = await places_of(pool, request)
    reached = None if since is None else cursor_of(since)
    found = await follow_levels(pool, place_ids, after=reached, page_max=limit)
    async with db.reading(pool) as conn:
        codes = await codes_of(conn, {one.sku_id for one in found.balances})
    items = [
        Level(
            sku_id=str(one.sku_id),
            sku_code=codes[one.sku_id],
            place_id=str(one.place_id),
            on_hand=one.on_hand,
            reserved=one.reserved,
            allocated=one.allocated,
            free=one.free,
            in_transit=one.in_transit,
            damaged=one.damaged,
        )
        for one in found.balances
    ]
    return Levels(items, shown_cursor(found.cursor), found.is_more)


@get(
    "/wanted",
    permission="own_stock:read",
    responses=refuses(*auth.SIGNED_IN, feeds.NoSuchFeed, InvalidValue),
)
async def wanted(
    request: AnyRequest,
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> stock.Alerts:
    """List what the places of the caller's feeds are low on, and what to send or to buy."""
    place_ids = await places_of(pool, request)
    async with db.snapshot(pool) as conn:
        found = await inventory.alerts(
            conn, after=after(cursor) or 0, page_max=limit, place_ids=place_ids
        )
        proposed = await inventory.propose(conn, found)
        codes = await codes_of(conn, (one.sku_id for one in found))
    items = [stock.shown_proposal(one, codes) for one in proposed]
    return stock.Alerts(items, items[-1].alert_id if len(items) == limit else None)


@get(
    "/consignments",
    permission="own_stock:read",
    responses=refuses(*auth.SIGNED_IN, feeds.NoSuchFeed, InvalidValue),
)
async def consignments(
    request: AnyRequest,
    pool: NamedDependency[db.Pool],
    where: Where,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Consignments:
    """List what is to leave one of the caller's places: its units are allocated there."""
    place_id = ids.parse(where)
    if place_id is None or place_id not in await places_of(pool, request):
        raise feeds.NoSuchFeed
    async with db.snapshot(pool) as conn:
        found = await fulfilment.listing(
            conn,
            state=fulfilment.State.ALLOCATED,
            place_id=place_id,
            before=after(cursor),
            page_max=limit,
        )
        codes = await codes_of(conn, {line.sku_id for _, lines in found for line in lines})
    items = [
        Consignment(
            consignment_id=str(one.id),
            place_id=str(one.place_id),
            allocated_at=one.allocated_at,
            lines=[ConsignedLine(codes[line.sku_id], line.quantity) for line in lines],
        )
        for one, lines in found
    ]
    return Consignments(items, items[-1].consignment_id if len(items) == limit else None)


@get("/snapshots", permission="feeds:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_snapshots(
    pool: NamedDependency[db.Pool], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Snapshots:
    """List what places were said to hold, and how many SKUs differed."""
    async with db.reading(pool) as conn:
        found = await feeds.snapshots(conn, before=after(cursor), page_max=limit)
    items = [Snapshot(**head(one)) for one in found]
    return Snapshots(items, items[-1].snapshot_id if len(items) == limit else None)


@get(
    "/snapshots/{snapshot_id:str}",
    permission="feeds:read",
    responses=refuses(*auth.SIGNED_IN, feeds.NoSuchSnapshot),
)
async def find_snapshot(snapshot_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Report:
    """Show every SKU that differed from the books, and the count that sees to it."""
    number = ids.parse(snapshot_id)
    if number is None:
        raise feeds.NoSuchSnapshot
    async with db.snapshot(pool) as conn:
        found, lines = await feeds.find_snapshot(conn, snapshot_id=feeds.SnapshotId(number))
    return Report(
        **head(found),
        differences=[
            Difference(
                line.sku_code,
                line.expected,
                line.counted,
                None if line.count_id is None else str(line.count_id),
            )
            for line in lines
        ],
    )


async def places_of(pool: db.Pool, request: AnyRequest) -> list[inventory.PlaceId]:
    """Of which places the caller may hear. Raises feeds.NoSuchFeed."""
    async with db.reading(pool) as conn:
        found = await feeds.places_of(conn, system=request.user)
    return [inventory.PlaceId(place_id) for place_id in found]


def message_of(told: NewMessage) -> feeds.Message:
    return feeds.Message(
        reference=told.reference,
        kind=feeds.Kind(told.kind),
        lines=[feeds.Line(line.sku_code, line.quantity) for line in told.lines],
        kept_for=told.kept_for,
        # What cannot be an id names no consignment.
        consignment_id=None if told.consignment_id is None else ids.parse(told.consignment_id) or 0,
        carrier=told.carrier,
        tracking=told.tracking,
        told_before=told.told_before,
    )


def outcome(answer: Answer, language: texts.Language) -> Outcome:
    done: Literal["applied", "already_applied"] = "applied" if answer.is_new else "already_applied"
    return Outcome(
        reference=answer.reference,
        outcome=done if answer.refusal is None else "refused",
        undecided=answer.undecided,
        snapshot_id=None if answer.snapshot_id is None else str(answer.snapshot_id),
        problem=None if answer.refusal is None else problems.tell(answer.refusal).body(language),
    )


def shown(feed: feeds.Feed) -> Feed:
    return Feed(
        system=feed.system,
        place_id=str(feed.place_id),
        silent_max_s=feed.silent_max_s,
        heard_at=feed.heard_at,
        age_s=round(feed.age_s, 3),
        is_silent=feed.is_silent,
        told=feed.told,
    )


def head(snapshot: feeds.Snapshot) -> dict[str, Any]:
    return {
        "snapshot_id": str(snapshot.id),
        "system": snapshot.system,
        "reference": snapshot.reference,
        "place_id": str(snapshot.place_id),
        "skus": snapshot.skus,
        "differing": snapshot.differing,
        "compared_at": snapshot.compared_at,
    }


def cursor_of(text: str) -> Place:
    found = PLACE.fullmatch(text)
    if found is None:
        raise InvalidValue(errors=[{"parameter": "after", "detail": "This is no cursor of ours."}])
    movement_id, sku_id, place_id = (int(part or 0) for part in found.groups())
    is_listing = found[2] is not None
    return Place(movement_id, (sku_id, inventory.PlaceId(place_id)) if is_listing else None)


def shown_cursor(cursor: Place) -> str:
    numbers: Sequence[int] = (cursor.movement_id, *(cursor.shelf or ()))
    return ".".join(map(str, numbers))


routes = Router(
    "/feeds",
    route_handlers=[
        list_feeds,
        open_feed,
        close_feed,
        tell,
        hand_in_snapshot,
        list_messages,
        movements,
        levels,
        wanted,
        consignments,
        list_snapshots,
        find_snapshot,
    ],
    tags=["feeds"],
)
