"""`sluice outbox`: what was to be done, and failed so often that it waits for a person."""

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from api.cli.clients import author, with_pool
from core import staff
from core.kit import db, ids, outbox

LIST_MAX = 1_000


@click.group("outbox")
def command() -> None:
    """See to refunds, paid orders and units on their way back that failed too often."""


@command.command("parked")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def parked(as_json: bool) -> None:
    """List what is not tried any more, oldest first, and why."""

    async def read(pool: db.Pool) -> list[outbox.Parked]:
        async with db.reading(pool) as conn:
            return await outbox.parked(conn, page_max=LIST_MAX)

    found = with_pool(read)
    if as_json:
        for one in found:
            print(msgspec.json.encode(one).decode())
        return
    shown = Table("message", "topic", "about", "since", "error")
    for one in found:
        about = msgspec.json.encode(one.payload).decode()
        shown.add_row(str(one.id), one.topic, about, str(one.parked_at), one.error)
    Console().print(shown)


@command.command("retry")
@click.argument("message", type=click.IntRange(1, ids.ID_MAX), required=False)
@click.option("--all", "is_all", is_flag=True, help="Every one.")
def retry(message: int | None, is_all: bool) -> None:
    """Try MESSAGE anew, once what it failed for is mended."""
    if (message is None) != is_all:
        raise click.UsageError("Name a message, or --all.")
    by = author("orders:write")

    async def work(pool: db.Pool) -> list[int]:
        async with db.transaction(pool) as conn:
            found = await outbox.retry(conn, message)
            notes = [staff.Change(by, "outbox message", str(one)) for one in found]
            await staff.note_all(conn, notes)
            return found

    found = with_pool(work)
    if message is not None and not found:
        raise click.ClickException("No such message is parked.")
    print(f"{len(found)} to be tried anew")
