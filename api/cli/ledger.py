"""`sluice ledger`: prove the books, hold them against providers, settle with the sellers."""

import asyncio
from datetime import date, datetime
from pathlib import Path

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from api import wiring
from api.cli import context
from api.cli.clients import author, with_pool
from core import ledger, reconciliation, staff
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.flows.check_statement import fetch_statement, take_statement
from core.flows.pay_out import pay_out
from core.flows.settle_sellers import settle_sellers
from core.kit import db, money

SHOWN_MAX = 100


@click.group("ledger")
def command() -> None:
    """Prove the ledger, read its balances, hold it against providers, pay the sellers."""


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def check(as_json: bool) -> int:
    """Recompute every entry and balance, and hold every payment against them. Fails on drift."""

    async def look(pool: db.Pool) -> LedgerAudit:
        return await audit_ledger(pool)

    found = with_pool(look)
    if as_json:
        print(msgspec.json.encode(found).decode())
    elif not (found.mismatches or found.drifts):
        print("every entry balances, every balance is proven, every payment has its entries")
    else:
        table = Table("what", "currency", "shown", "proven")
        for drift in found.drifts:
            figures = (f"{drift.shown_minor:,}", f"{drift.proven_minor:,}")
            table.add_row(drift.what, drift.currency, *figures)
        for one in found.mismatches:
            figures = (f"{one.posted_minor:,}", f"{one.wanted_minor:,}")
            table.add_row(f"{one.kind} of {one.reference}", one.currency, *figures)
        Console().print(table)
    return 1 if found.mismatches or found.drifts else 0


@command.command("balances")
def balances() -> None:
    """Print the trial balance."""

    async def look(pool: db.Pool) -> list[ledger.Balance]:
        async with db.reading(pool) as conn:
            return await ledger.trial_balance(conn)

    table = Table("account", "owner", "debit", "credit")
    for one in with_pool(look):
        amount = money.text(abs(one.amount_minor), one.currency)
        sides = (amount, "") if one.amount_minor > 0 else ("", amount)
        table.add_row(one.account, one.owner, *sides)
    Console().print(table)


@command.command("settle")
@click.argument("reference")
def settle(reference: str) -> None:
    """Draw a line under what each seller is owed, and plan the payouts, once for each REFERENCE.

    A run that was stopped goes on. Orders delivered SLUICE_ESCROW_DAYS ago are released first.
    """
    days, by = context.settings().escrow_days, author("ledger:write")

    async def work(pool: db.Pool) -> ledger.Run:
        return await settle_sellers(pool, reference=reference, escrow_days=days, author=by)

    run = with_pool(work)
    print(f"run {run.id}, {run.state}")


@command.command("payout")
def payout() -> int:
    """Ask the bank for every open payout. Fails while one's outcome is not known."""
    bank = wiring.bank(context.settings())
    by = author("ledger:write")
    states = with_pool(lambda pool: pay_out(pool, bank, author=by))
    for state, count in sorted(states.items()):
        print(f"{count} {state}")
    return 1 if states["unknown"] else 0


@command.command("statement")
@click.argument("channel")
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]))
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read it from this CSV file, instead of asking the provider.",
)
def statement(channel: str, day: datetime, path: Path | None) -> int:
    """Hold what a provider says of a DAY against our books, line by line. Fails on a difference.

    CHANNEL is `sandbox`, `alipay` or `paypal`; `sluice work` does it every day by itself.
    """
    by = author("ledger:write")
    found, differences = with_pool(lambda pool: _take(pool, channel, day.date(), path, by))
    print(f"{found.line_count} lines, {found.open_count} differences")
    table = Table("difference", "of", "reference", "there", "here")
    for one in differences:
        amounts = (one.there_minor, one.here_minor)
        figures = [money.text(amount, one.currency) for amount in amounts]
        table.add_row(one.what, one.kind, one.reference or one.line_id, *figures)
    if differences:
        Console().print(table)
    return 1 if found.open_count else 0


async def _take(
    pool: db.Pool, channel: str, day: date, path: Path | None, by: staff.Author
) -> tuple[reconciliation.Statement, list[reconciliation.Difference]]:
    if path is None:
        async with wiring.payment_channels(context.settings()) as channels:
            reporter = channels.reporter(channel)
            found = await fetch_statement(pool, reporter, channel=channel, day=day, author=by)
    else:
        lines = reconciliation.read(await asyncio.to_thread(path.read_bytes))
        async with db.transaction(pool) as conn:
            found = await take_statement(conn, lines, channel=channel, day=day, source="uploaded")
            await staff.note(conn, by, kind="statement", object_id=str(found.id), after=found)
    async with db.reading(pool) as conn:
        differences = await reconciliation.open_in(conn, statement_id=found.id, page_max=SHOWN_MAX)
    return found, differences
