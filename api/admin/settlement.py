"""Settle with the sellers: draw a line under what each is owed, and pay it out."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api import auth, wiring
from api.admin.changes import Changes
from api.admin.ledger import AccountPage, seller_of, shown_lines
from api.admin.stock import Reference
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import ledger
from core.flows import pay_out, settle_sellers
from core.kit import db, ids
from core.settings import Settings

# Some seconds' work at the most; whoever asked hears how far it came.
STEPS_MAX = 50

State = Annotated[
    ledger.PayoutState | None, QueryParameter(name="state", description="How far they are.")
]


class NewRun(Body, frozen=True):
    """What is settled under a `reference` is settled once."""

    reference: Reference


class Run(msgspec.Struct, frozen=True):
    """A settlement of all sellers: `open` until it has come to the last of them."""

    run_id: str
    reference: str
    state: str
    started_at: datetime
    ended_at: datetime | None


class RunsPage(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Run]
    cursor: str | None


class Statement(msgspec.Struct, frozen=True):
    """opening + moved = closing: what the seller is owed, in minor units; below zero it owes."""

    statement_id: str
    run_id: str
    seller_id: str
    currency: str
    opening: int
    moved: int
    closing: int
    drawn_at: datetime


class StatementsPage(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Statement]
    cursor: str | None


class Payout(msgspec.Struct, frozen=True):
    """`planned`, `sent`, `paid`, or `failed` for a reason, and then owed again."""

    payout_id: str
    run_id: str
    seller_id: str
    currency: str
    amount: int
    state: str
    bank_ref: str | None
    reason: str | None
    planned_at: datetime
    ended_at: datetime | None


class PayoutsPage(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Payout]
    cursor: str | None


@post(
    "/runs",
    permission="ledger:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, *READS_BODY),
)
async def settle(
    data: JSONBody[NewRun],
    pool: NamedDependency[db.Pool],
    settings: NamedDependency[Settings],
    changes: NamedDependency[Changes],
) -> Run:
    """Draw a line under what each seller is owed, and plan the payouts.

    What was delivered SLUICE_ESCROW_DAYS ago is released first. While the answer's `state` is
    `open`, ask again: the run goes on. One that is closed changes nothing.
    """
    run = await settle_sellers.settle_sellers(
        pool,
        reference=data.reference,
        escrow_days=settings.escrow_days,
        steps_max=STEPS_MAX,
        author=changes.author,
    )
    return shown_run(run)


@get("/runs", permission="ledger:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_runs(
    pool: NamedDependency[db.Pool], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> RunsPage:
    """List the settlements."""
    before = after(cursor)
    async with db.reading(pool) as conn:
        found = await ledger.runs(
            conn, before=None if before is None else ledger.RunId(before), page_max=limit
        )
    items = [shown_run(one) for one in found]
    return RunsPage(items, items[-1].run_id if len(items) == limit else None)


@get(
    "/sellers/{seller_id:str}/statements",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, InvalidValue),
)
async def list_statements(
    seller_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> StatementsPage:
    """List what a seller was owed at each settlement in which something had moved."""
    before = after(cursor)
    async with db.reading(pool) as conn:
        found = await ledger.statements(
            conn,
            seller_id=seller_of(seller_id),
            before=None if before is None else ledger.StatementId(before),
            page_max=limit,
        )
    items = [shown_statement(one) for one in found]
    return StatementsPage(items, items[-1].statement_id if len(items) == limit else None)


@get(
    "/statements/{statement_id:str}",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, ledger.NoSuchStatement),
)
async def find_statement(statement_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Statement:
    """Show a seller's statement."""
    async with db.reading(pool) as conn:
        return shown_statement(
            await ledger.statement(conn, statement_id=statement_of(statement_id))
        )


@get(
    "/statements/{statement_id:str}/postings",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, InvalidValue, ledger.NoSuchStatement),
)
async def list_statement_postings(
    statement_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> AccountPage:
    """List what moved in a statement. What is owed to the seller is a credit, below zero."""
    before = after(cursor)
    async with db.reading(pool) as conn:
        statement = await ledger.statement(conn, statement_id=statement_of(statement_id))
        found = await ledger.statement_lines(
            conn,
            statement,
            before=None if before is None else ledger.EntryId(before),
            page_max=limit,
        )
    return shown_lines(found, limit)


@get("/payouts", permission="ledger:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_payouts(
    pool: NamedDependency[db.Pool],
    wanted: State = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> PayoutsPage:
    """List the payouts to all sellers, or those in one state."""
    before = after(cursor)
    async with db.reading(pool) as conn:
        found = await ledger.payouts(
            conn,
            state=wanted,
            before=None if before is None else ledger.PayoutId(before),
            page_max=limit,
        )
    items = [shown_payout(one) for one in found]
    return PayoutsPage(items, items[-1].payout_id if len(items) == limit else None)


@get(
    "/payouts/{payout_id:str}",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, ledger.NoSuchPayout),
)
async def find_payout(payout_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Payout:
    """Show how far a payout is."""
    async with db.reading(pool) as conn:
        return shown_payout(await ledger.find_payout(conn, payout_id=payout_of(payout_id)))


@post(
    "/payouts/{payout_id:str}/send",
    permission="ledger:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, ledger.NoSuchPayout, ledger.NoBank, ledger.BankUnavailable),
)
async def send_payout(
    payout_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    settings: NamedDependency[Settings],
    changes: NamedDependency[Changes],
) -> Payout:
    """Ask the bank for a payout, and tell what came of it.

    Ask again while it is `planned` or `sent`: the bank knows it by its id. One that has ended
    stays as it is.
    """
    sent = await pay_out.send_payout(
        pool,
        wiring.bank(settings),
        payout_id=payout_of(payout_id),
        author=changes.author,
    )
    return shown_payout(sent)


def shown_run(run: ledger.Run) -> Run:
    return Run(str(run.id), run.reference, run.state, run.started_at, run.ended_at)


def shown_statement(statement: ledger.Statement) -> Statement:
    return Statement(
        statement_id=str(statement.id),
        run_id=str(statement.run_id),
        seller_id=str(statement.seller_id),
        currency=statement.currency,
        opening=statement.opening_minor,
        moved=statement.moved_minor,
        closing=statement.closing_minor,
        drawn_at=statement.drawn_at,
    )


def shown_payout(payout: ledger.Payout) -> Payout:
    return Payout(
        payout_id=str(payout.id),
        run_id=str(payout.run_id),
        seller_id=str(payout.seller_id),
        currency=payout.currency,
        amount=payout.amount_minor,
        state=payout.state,
        bank_ref=payout.bank_ref,
        reason=payout.reason,
        planned_at=payout.planned_at,
        ended_at=payout.ended_at,
    )


def statement_of(text: str) -> ledger.StatementId:
    number = ids.parse(text)
    if number is None:
        raise ledger.NoSuchStatement
    return ledger.StatementId(number)


def payout_of(text: str) -> ledger.PayoutId:
    number = ids.parse(text)
    if number is None:
        raise ledger.NoSuchPayout
    return ledger.PayoutId(number)


routes = Router(
    "/ledger",
    route_handlers=[
        settle,
        list_runs,
        list_statements,
        find_statement,
        list_statement_postings,
        list_payouts,
        find_payout,
        send_payout,
    ],
    tags=["ledger"],
)
