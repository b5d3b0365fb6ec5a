"""`sluice deadletter`: claims that nobody can read with certainty."""

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from api import wiring
from api.cli import context
from api.cli.clients import author, with_clients
from core import sales
from core.flows.give_back_dead_letter import give_back_dead_letter
from core.kit import db
from hotpath.nodes import Redis

LIST_MAX = 1_000


@click.group("deadletter")
def command() -> None:
    """Decide what becomes of claims that were damaged on their way."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def listing(as_json: bool) -> None:
    """List the undecided ones, oldest first."""

    async def read(pool: db.Pool, _: Redis) -> list[sales.DeadLetter]:
        async with db.reading(pool) as conn:
            return await sales.dead_letters(conn, page_max=LIST_MAX)

    letters = with_clients(read)
    if as_json:
        for letter in letters:
            print(msgspec.json.encode(letter).decode())
        return
    shown = Table("letter", "bucket", "position", "SKU", "member", "units", "reason", "record")
    for each in letters:
        shown.add_row(
            str(each.id),
            f"{each.bucket} (epoch {each.epoch})",
            each.position,
            str(each.sku_id or "?"),
            str(each.member_id or "?"),
            str(each.quantity),
            each.reason,
            repr(each.record),
        )
    Console().print(shown)


@command.command("give-back")
@click.argument("letter", type=click.IntRange(1))
def give_back(letter: int) -> None:
    """Decide that LETTER was no order: its units go back for sale."""
    settings = context.settings("database_url", "redis_url", "receipt_keys")
    keyring, by = wiring.keyring(settings), author("sales:run")

    async def work(pool: db.Pool, _: Redis) -> sales.DeadLetter:
        return await give_back_dead_letter(pool, keyring, letter_id=letter, author=by)

    decided = with_clients(work, settings)
    print(f"{decided.quantity} units of SKU {decided.sku_id or '?'} given back")
