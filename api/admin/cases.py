"""See to what buyers ask for: agree or refuse, take the goods in, refund or replace them."""

import time
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from uuid_utils import uuid7

from api import auth
from api.admin.changes import Changes
from api.admin.stock import place_of
from api.cases import Case, case_of, shown, shown_case
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from api.shop.cases import AMOUNT_MAX, Reason
from core import aftersale, inventory, payments
from core.flows import after_sale
from core.kit import db
from core.kit.states import IllegalMove
from hotpath.receipts import Keyring

State = Annotated[
    aftersale.State | None, QueryParameter(name="state", description="How far a case is.")
]


class CasesPage(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Case]
    cursor: str | None


class Answer(Body, frozen=True):
    """What its buyer is told."""

    answer: Reason


class Arrival(Body, frozen=True):
    """Where the goods came back to, and what somebody found who looked at them."""

    place_id: str
    condition: aftersale.Condition


class NewRefund(Body, frozen=True):
    """Without an `amount`, what the units come to; of a claim, what was asked for."""

    amount: Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_MAX)] | None = None


@get("", permission="orders:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_all(
    pool: NamedDependency[db.Pool],
    wanted: State = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> CasesPage:
    """List what buyers ask for."""
    last = after(cursor)
    before = None if last is None else aftersale.CaseId(last)
    async with db.reading(pool) as conn:
        found = await aftersale.listing(conn, state=wanted, before=before, page_max=limit)
    items = [shown(one) for one in found]
    return CasesPage(items, items[-1].case_id if len(items) == limit else None)


@get(
    "/{case_id:str}",
    permission="orders:read",
    responses=refuses(*auth.SIGNED_IN, aftersale.NoSuchCase),
)
async def find(case_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Case:
    async with db.reading(pool) as conn:
        return await shown_case(conn, case_of(case_id))


@post(
    "/{case_id:str}/agree",
    permission="orders:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        aftersale.NoSuchCase,
        aftersale.WrongKind,
        IllegalMove,
    ),
)
async def agree(
    case_id: FromPath[str], data: JSONBody[Answer], changes: NamedDependency[Changes]
) -> Case:
    """Let the goods come back. A claim is agreed to by its refund."""
    wanted = case_of(case_id)
    async with changes.of("case", wanted, shown_case) as change:
        case = await aftersale.find(change.conn, case_id=wanted)
        await aftersale.agree(change.conn, case, answer=data.answer)
    return change.after


@post(
    "/{case_id:str}/receive",
    permission="stock:move",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        aftersale.NoSuchCase,
        inventory.NoSuchPlace,
        IllegalMove,
    ),
)
async def receive(
    case_id: FromPath[str], data: JSONBody[Arrival], changes: NamedDependency[Changes]
) -> Case:
    """Take goods in that came back: good ones are for sale again, damaged ones are set aside."""
    wanted = case_of(case_id)
    async with changes.of("case", wanted, shown_case) as change:
        case = await aftersale.find(change.conn, case_id=wanted)
        await after_sale.receive(
            change.conn,
            case,
            place_id=place_of(data.place_id),
            condition=data.condition,
            by=changes.author.by,
        )
    return change.after


@post(
    "/{case_id:str}/refund",
    permission="orders:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        aftersale.NoSuchCase,
        aftersale.WrongKind,
        aftersale.MoreThanWasPaid,
        payments.NotRefundable,
        IllegalMove,
    ),
)
async def refund(
    case_id: FromPath[str], data: JSONBody[NewRefund], changes: NamedDependency[Changes]
) -> Case:
    """Owe the buyer the money, by the way it came: when the goods are back, or of a claim.

    Goods of which no money is left to go back end their case without a refund.
    """
    wanted = case_of(case_id)
    async with changes.of("case", wanted, shown_case) as change:
        case = await aftersale.find(change.conn, case_id=wanted)
        refund_id = payments.RefundId(str(uuid7()))
        await after_sale.refund(change.conn, case, refund_id=refund_id, amount_minor=data.amount)
    return change.after


@post(
    "/{case_id:str}/replace",
    permission="orders:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        aftersale.NoSuchCase,
        aftersale.WrongKind,
        inventory.OutOfStock,
        IllegalMove,
    ),
)
async def replace(
    case_id: FromPath[str],
    changes: NamedDependency[Changes],
    keyring: NamedDependency[Keyring],
) -> Case:
    """Send other units for those that came back, by an order that costs nothing."""
    wanted = case_of(case_id)
    async with changes.of("case", wanted, shown_case) as change:
        case = await aftersale.find(change.conn, case_id=wanted)
        at_ms = time.time_ns() // 1_000_000
        await after_sale.replace(change.conn, keyring, case, key=str(uuid7()), at_ms=at_ms)
    return change.after


@post(
    "/{case_id:str}/refuse",
    permission="orders:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        aftersale.NoSuchCase,
        IllegalMove,
    ),
)
async def refuse(
    case_id: FromPath[str], data: JSONBody[Answer], changes: NamedDependency[Changes]
) -> Case:
    """Say no, and why."""
    wanted = case_of(case_id)
    async with changes.of("case", wanted, shown_case) as change:
        case = await aftersale.find(change.conn, case_id=wanted)
        await after_sale.refuse(change.conn, case, answer=data.answer)
    return change.after


routes = Router(
    "/cases",
    route_handlers=[list_all, find, agree, receive, refund, replace, refuse],
    tags=["after-sale"],
)
