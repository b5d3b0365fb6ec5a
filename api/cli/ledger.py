"""`sluice ledger`: prove the books, settle with the sellers, pay them."""

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from api import wiring
from api.cli import context
from api.cli.clients import with_pool
from core import ledger
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.flows.pay_out import pay_out
from core.flows.settle_sellers import settle_sellers
from core.kit import db, money


@click.group("ledger")
def command() -> None:
    """Prove the ledger, read its balances, settle with the sellers and pay them."""


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

    A run that was stopped goes on. Orders that were held for SLUICE_ESCROW_DAYS are released first.
    """
    days = context.settings().escrow_days
    run = with_pool(lambda pool: settle_sellers(pool, reference=reference, escrow_days=days))
    print(f"run {run.id}, {run.state}")


@command.command("payout")
def payout() -> int:
    """Ask the bank for every open payout. Fails while one's outcome is not known."""
    bank = wiring.bank(context.settings())
    states = with_pool(lambda pool: pay_out(pool, bank))
    for state, count in sorted(states.items()):
        print(f"{count} {state}")
    return 1 if states["unknown"] else 0
