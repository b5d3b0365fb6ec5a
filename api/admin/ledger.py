"""The ledger: what stands in every account, every entry that made it so, and whose the money is."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api import auth
from api.admin.changes import Changes
from api.admin.stock import Reference as BodyReference
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import ledger
from core.kit import db, ids

NAME_MAX = 128
LINES_MAX = 1_000
AMOUNT_MAX = 2**53

AccountName = Annotated[str, QueryParameter(max_length=NAME_MAX, description="As in the chart.")]
Owner = Annotated[
    str, QueryParameter(max_length=NAME_MAX, description="Whose it is: an order's id, a channel.")
]
Currency = Annotated[str, QueryParameter(pattern=r"^[A-Z]{3}$(?!\n)", description="ISO 4217.")]
Reference = Annotated[
    str, QueryParameter(max_length=NAME_MAX, description="What the entries are about.")
]


class Balance(msgspec.Struct, frozen=True):
    """`amount` is on the account's normal side, in minor units of `currency`; below zero it is on
    the other one. `owner` is empty where the accounts of a kind are added up.
    """

    account: str
    name: dict[str, str]
    normal: str
    owner: str
    currency: str
    amount: int


class TrialBalance(msgspec.Struct, frozen=True):
    """Per currency, what is on debit sides is what is on credit sides."""

    items: list[Balance]


class AccountLine(msgspec.Struct, frozen=True):
    """A debit is positive, a credit negative."""

    entry_id: str
    kind: str
    reference: str
    amount: int
    posted_at: datetime


class AccountPage(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[AccountLine]
    cursor: str | None


class Posting(msgspec.Struct, frozen=True):
    """A debit is positive, a credit negative; an entry's postings sum to zero."""

    account: str
    owner: str
    currency: str
    amount: int


class Entry(msgspec.Struct, frozen=True):
    entry_id: str
    kind: str
    reference: str
    posted_at: datetime
    postings: list[Posting]


class Entries(msgspec.Struct, frozen=True):
    items: list[Entry]


class Share(msgspec.Struct, frozen=True):
    """`returned` of its `amount` was refunded or charged back, and so much of its commission."""

    line_no: int
    account: str
    owner: str
    amount: int
    commission: int
    returned: int


class Escrow(msgspec.Struct, frozen=True):
    """The money of an order: `held`, or `released` to whom it belongs. Amounts in minor units."""

    order_id: str
    channel: str
    currency: str
    state: str
    held_at: datetime
    shares: list[Share]


class ReturnedLine(Body, frozen=True):
    line_no: Annotated[int, msgspec.Meta(ge=1, le=LINES_MAX)]
    amount: Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_MAX)]


class NewChargeback(Body, frozen=True):
    """How much of each line a buyer's bank claims back. Done once for each `reference`.

    `lost` is claimed over all that the lines have left: the platform bears it.
    """

    reference: BodyReference
    lines: Annotated[list[ReturnedLine], msgspec.Meta(max_length=LINES_MAX)]
    lost: Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)] = 0


class NewTerms(Body, frozen=True):
    """`commission_bps` is in hundredths of a percent: 500 is 5 %."""

    commission_bps: Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class Terms(msgspec.Struct, frozen=True):
    seller_id: str
    commission_bps: int


@get("/trial-balance", permission="ledger:read", responses=refuses(*auth.SIGNED_IN))
async def trial_balance(pool: NamedDependency[db.Pool]) -> TrialBalance:
    """List every account's balance, at one instant."""
    async with db.reading(pool) as conn:
        found = await ledger.trial_balance(conn)
    return TrialBalance([shown_balance(one) for one in found])


@get(
    "/postings",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, InvalidValue, ledger.NoSuchAccount),
)
async def list_postings(
    pool: NamedDependency[db.Pool],
    account: AccountName,
    currency: Currency,
    owner: Owner = "",
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> AccountPage:
    """List the postings of one account."""
    before = after(cursor)
    async with db.reading(pool) as conn:
        found = await ledger.account(
            conn,
            account=account,
            owner=insist_on_text(owner, "owner"),
            currency=currency,
            before=None if before is None else ledger.EntryId(before),
            page_max=limit,
        )
    return shown_lines(found, limit)


@get("/entries", permission="ledger:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_entries(pool: NamedDependency[db.Pool], reference: Reference) -> Entries:
    """List what stands in the journal about a payment, an order, a payout; oldest first."""
    async with db.snapshot(pool) as conn:
        found = await ledger.entries(conn, reference=insist_on_text(reference, "reference"))
        return Entries([shown_entry(*await ledger.find(conn, entry_id=one.id)) for one in found])


@get(
    "/entries/{entry_id:str}",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, ledger.NoSuchEntry),
)
async def find_entry(entry_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Entry:
    number = ids.parse(entry_id)
    if number is None:
        raise ledger.NoSuchEntry
    async with db.snapshot(pool) as conn:
        return shown_entry(*await ledger.find(conn, entry_id=ledger.EntryId(number)))


@get(
    "/orders/{order_id:str}",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, ledger.NoSuchHold),
)
async def find_escrow(order_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Escrow:
    """Show what is held for an order, and whose it is."""
    async with db.snapshot(pool) as conn:
        return await shown_escrow(conn, order_of(order_id))


@post(
    "/orders/{order_id:str}/release",
    permission="ledger:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, ledger.NoSuchHold),
)
async def release(order_id: FromPath[str], changes: NamedDependency[Changes]) -> Escrow:
    """Say that an order is done: its money goes to whom it belongs. Again changes nothing."""
    wanted = order_of(order_id)
    async with changes.of("escrow", wanted, shown_escrow) as change:
        await ledger.release(change.conn, order_id=wanted)
    return change.after


@post(
    "/orders/{order_id:str}/chargebacks",
    permission="ledger:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        ledger.NoSuchHold,
        ledger.MoreThanIsLeft,
        ledger.ReferenceReused,
    ),
)
async def charge_back(
    order_id: FromPath[str], data: JSONBody[NewChargeback], changes: NamedDependency[Changes]
) -> Escrow:
    """A buyer's bank claims money back: out of what is held, or from those who got it."""
    lines = {line.line_no: line.amount for line in data.lines}
    if len(lines) < len(data.lines):
        raise InvalidValue("A line stands here twice.")
    wanted = order_of(order_id)
    async with changes.of("escrow", wanted, shown_escrow) as change:
        await ledger.charge_back(
            change.conn,
            reference=data.reference,
            order_id=wanted,
            lines=lines,
            lost_minor=data.lost,
        )
    return change.after


@get(
    "/sellers/{seller_id:str}/terms",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, InvalidValue),
)
async def find_terms(seller_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Terms:
    """Show what the platform takes of what a seller sells."""
    number = seller_of(seller_id)
    async with db.reading(pool) as conn:
        return await shown_terms(conn, number)


@post(
    "/sellers/{seller_id:str}/terms",
    permission="ledger:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, *READS_BODY),
)
async def set_terms(
    seller_id: FromPath[str], data: JSONBody[NewTerms], changes: NamedDependency[Changes]
) -> Terms:
    """Agree on what the platform takes from now on. What is sold keeps the rate it was sold at."""
    number = seller_of(seller_id)
    async with changes.of("seller terms", number, shown_terms) as change:
        await ledger.agree(change.conn, seller_id=number, commission_bps=data.commission_bps)
    return change.after


def shown_lines(found: list[ledger.AccountLine], limit: int) -> AccountPage:
    items = [
        AccountLine(str(one.entry_id), one.kind, one.reference, one.amount_minor, one.posted_at)
        for one in found
    ]
    return AccountPage(items, items[-1].entry_id if len(items) == limit else None)


async def shown_escrow(conn: db.Conn, order_id: str) -> Escrow:
    hold, shares = await ledger.find_hold(conn, order_id=order_id)
    return Escrow(
        order_id=hold.order_id,
        channel=hold.channel,
        currency=hold.currency,
        state=hold.state,
        held_at=hold.held_at,
        shares=[
            Share(
                line_no=one.line_no,
                account=one.account,
                owner=one.owner,
                amount=one.amount_minor,
                commission=one.commission_minor,
                returned=one.returned_minor,
            )
            for one in shares
        ],
    )


async def shown_terms(conn: db.Conn, seller_id: ledger.SellerId) -> Terms:
    found = await ledger.seller(conn, seller_id=seller_id)
    return Terms(str(found.id), found.commission_bps)


def order_of(text: str) -> str:
    """What no text column can hold names nothing."""
    if "\0" in text:
        raise ledger.NoSuchHold
    return text


def seller_of(text: str) -> ledger.SellerId:
    number = ids.parse(text)
    if number is None:
        raise InvalidValue(errors=[{"parameter": "seller_id", "detail": "This is no id."}])
    return ledger.SellerId(number)


def shown_balance(balance: ledger.Balance) -> Balance:
    heading = ledger.CHART[ledger.Account(balance.account)]
    sign = 1 if heading.normal is ledger.Normal.DEBIT else -1
    return Balance(
        account=balance.account,
        name=heading.name,
        normal=heading.normal.value,
        owner=balance.owner,
        currency=balance.currency,
        amount=sign * balance.amount_minor,
    )


def shown_entry(entry: ledger.Entry, postings: list[ledger.Posting]) -> Entry:
    return Entry(
        entry_id=str(entry.id),
        kind=entry.kind,
        reference=entry.reference,
        posted_at=entry.posted_at,
        postings=[Posting(p.account, p.owner, p.currency, p.amount_minor) for p in postings],
    )


def insist_on_text(text: str, parameter: str) -> str:
    """What no text column can hold names nothing."""
    if "\0" in text:
        raise InvalidValue(errors=[{"parameter": parameter, "detail": "It holds U+0000."}])
    return text


routes = Router(
    "/ledger",
    route_handlers=[
        trial_balance,
        list_postings,
        list_entries,
        find_entry,
        find_escrow,
        release,
        charge_back,
        find_terms,
        set_terms,
    ],
    tags=["ledger"],
)
