"""Read the ledger: what stands in every account, and every entry that made it so."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api import auth
from api.problems import InvalidValue, refuses
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import ledger
from core.kit import db, ids

NAME_MAX = 128

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
    items = [
        AccountLine(str(one.entry_id), one.kind, one.reference, one.amount_minor, one.posted_at)
        for one in found
    ]
    return AccountPage(items, items[-1].entry_id if len(items) == limit else None)


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
    "/v1/admin/ledger",
    route_handlers=[trial_balance, list_postings, list_entries, find_entry],
    guards=[auth.needs_permission],
    security=auth.SECURITY,
    tags=["ledger"],
)
