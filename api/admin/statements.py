"""What providers say they moved for us, day by day, and where our books say something else."""

from datetime import date, datetime
from typing import Annotated

import msgspec
import structlog
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api import auth
from api.admin.changes import Changes
from api.openapi import SHEETS
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, READS_BYTES, Body, StrictRequest
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import ledger, payments, reconciliation
from core.flows import check_statement
from core.kit import db, ids
from core.kit.states import IllegalMove

log = structlog.get_logger()

(CSV,) = SHEETS["/v1/admin/statements"]
CHANNEL = r"^[a-z]{1,32}$(?!\n)"
RETRY_AFTER_S = 60
NOTE = r"\A[^\x00-\x1f\x7f]+\Z"

Channel = Annotated[str, QueryParameter(pattern=CHANNEL, description="The provider's channel.")]
Day = Annotated[date, QueryParameter(description="A day as the provider counts it.")]
State = Annotated[
    reconciliation.State | None,
    QueryParameter(name="state", description="How far a difference is."),
]


class Wanted(Body, frozen=True):
    """`day` as the provider counts it; the shop offers the channel."""

    channel: Annotated[str, msgspec.Meta(pattern=CHANNEL)]
    day: date


class Statement(msgspec.Struct, frozen=True):
    """`lines` is how many it has, `open` how many differences wait for somebody."""

    statement_id: str
    channel: str
    day: date
    source: str
    lines: int
    open: int
    checked_at: datetime


class StatementsPage(msgspec.Struct, frozen=True):
    """The one that was told last first; `cursor` is null on the last page."""

    items: list[Statement]
    cursor: str | None


class Difference(msgspec.Struct, frozen=True):
    """`there` is what the provider says, `here` what our books say, in minor units.

    `what` is `missing_here`, `missing_there`, `amount_off`, `day_off` or `double`. `reference` is
    the payment's id, of a refund the refund's; `line_id` is the provider's own.
    """

    difference_id: str
    statement_id: str
    channel: str
    day: date
    what: str
    kind: str
    reference: str
    line_id: str
    there: int
    here: int
    currency: str
    state: str
    note: str | None
    ended_by: str | None
    found_at: datetime
    ended_at: datetime | None


class DifferencesPage(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Difference]
    cursor: str | None


class Resolution(Body, frozen=True):
    """How a difference came about, and what was done."""

    note: Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=NOTE)]


@post(
    "",
    permission="ledger:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BYTES,
        reconciliation.UnreadableStatement,
        ledger.ReferenceReused,
    ),
)
async def upload(
    request: StrictRequest, changes: NamedDependency[Changes], channel: Channel, day: Day
) -> Statement:
    """Hand in a provider's statement of a day, as CSV, and check it. Again changes nothing.

    The columns are id, kind (capture, refund, fee, chargeback, payout), reference, amount in minor
    units, currency, at (RFC 3339).
    """
    if request.content_type[0] != CSV:
        raise InvalidValue("A statement is sent as text/csv.")
    file = b"".join([part async for part in request.parts(reconciliation.FILE_BYTES_MAX)])
    lines = reconciliation.read(file)
    async with changes.adding("statement", shown_statement) as change:
        taken = await check_statement.take_statement(
            change.conn, lines, channel=channel, day=day, source="uploaded"
        )
        change.object_id = taken.id
    return change.after


@post(
    "/fetch",
    permission="ledger:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        payments.ChannelNotOffered,
        payments.ChannelUnavailable,
        reconciliation.UnreadableStatement,
        ledger.ReferenceReused,
    ),
)
async def fetch(
    data: JSONBody[Wanted],
    pool: NamedDependency[db.Pool],
    channels: NamedDependency[payments.Channels],
    changes: NamedDependency[Changes],
) -> Statement:
    """Ask a provider for its statement of a day, and check it. Again changes nothing.

    503 `channel-unavailable` while the provider has not written it yet, or does not answer.
    """
    try:
        taken = await check_statement.fetch_statement(
            pool,
            channels.reporter(data.channel),
            channel=data.channel,
            day=data.day,
            author=changes.author,
        )
    except payments.ProviderRefused as refused:
        log.exception("statement_refused", channel=data.channel, day=f"{data.day}")
        raise payments.ChannelUnavailable(retry_after_s=RETRY_AFTER_S) from refused
    return shown(taken)


@get("", permission="ledger:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_all(
    pool: NamedDependency[db.Pool], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> StatementsPage:
    """List the statements of all providers."""
    before = after(cursor)
    async with db.reading(pool) as conn:
        found = await reconciliation.listing(
            conn,
            before=None if before is None else reconciliation.StatementId(before),
            page_max=limit,
        )
    items = [shown(one) for one in found]
    return StatementsPage(items, items[-1].statement_id if len(items) == limit else None)


@get(
    "/{statement_id:str}",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, reconciliation.NoSuchDayStatement),
)
async def find(statement_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Statement:
    async with db.reading(pool) as conn:
        return await shown_statement(conn, statement_of(statement_id))


@post(
    "/{statement_id:str}/check",
    permission="ledger:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, reconciliation.NoSuchDayStatement),
)
async def check(statement_id: FromPath[str], changes: NamedDependency[Changes]) -> Statement:
    """Hold it against our books once more: what is there by now is no difference any more."""
    wanted = statement_of(statement_id)
    async with changes.of("statement", wanted, shown_statement) as change:
        kept = await reconciliation.find(change.conn, statement_id=wanted)
        await check_statement.check(change.conn, kept)
    return change.after


@get("/differences", permission="ledger:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_differences(
    pool: NamedDependency[db.Pool],
    wanted: State = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> DifferencesPage:
    """List where a provider and our books differ."""
    before = after(cursor)
    async with db.reading(pool) as conn:
        found = await reconciliation.differences(
            conn,
            state=wanted,
            before=None if before is None else reconciliation.DifferenceId(before),
            page_max=limit,
        )
    items = [shown_as_difference(one) for one in found]
    return DifferencesPage(items, items[-1].difference_id if len(items) == limit else None)


@post(
    "/differences/{difference_id:str}/resolve",
    permission="ledger:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        reconciliation.NoSuchDifference,
        IllegalMove,
    ),
)
async def resolve(
    difference_id: FromPath[str], data: JSONBody[Resolution], changes: NamedDependency[Changes]
) -> Difference:
    """Say how a difference came about. It is not told again."""
    number = ids.parse(difference_id)
    if number is None:
        raise reconciliation.NoSuchDifference
    wanted = reconciliation.DifferenceId(number)
    async with changes.of("difference", wanted, shown_difference) as change:
        found = await reconciliation.find_difference(change.conn, difference_id=wanted)
        await reconciliation.resolve(change.conn, found, note=data.note, by=changes.author.by)
    return change.after


async def shown_statement(conn: db.Conn, statement_id: reconciliation.StatementId) -> Statement:
    return shown(await reconciliation.find(conn, statement_id=statement_id))


async def shown_difference(conn: db.Conn, difference_id: reconciliation.DifferenceId) -> Difference:
    found = await reconciliation.find_difference(conn, difference_id=difference_id)
    return shown_as_difference(found)


def shown(one: reconciliation.Statement) -> Statement:
    return Statement(
        statement_id=str(one.id),
        channel=one.channel,
        day=one.day,
        source=one.source,
        lines=one.line_count,
        open=one.open_count,
        checked_at=one.checked_at,
    )


def shown_as_difference(one: reconciliation.Difference) -> Difference:
    return Difference(
        difference_id=str(one.id),
        statement_id=str(one.statement_id),
        channel=one.channel,
        day=one.day,
        what=one.what,
        kind=one.kind,
        reference=one.reference,
        line_id=one.line_id,
        there=one.there_minor,
        here=one.here_minor,
        currency=one.currency,
        state=one.state,
        note=one.note,
        ended_by=one.ended_by,
        found_at=one.found_at,
        ended_at=one.ended_at,
    )


def statement_of(text: str) -> reconciliation.StatementId:
    number = ids.parse(text)
    if number is None:
        raise reconciliation.NoSuchDayStatement
    return reconciliation.StatementId(number)


routes = Router(
    "/statements",
    route_handlers=[upload, fetch, list_all, list_differences, find, check, resolve],
    tags=["ledger"],
)
