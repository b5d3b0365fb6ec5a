"""`sluice inventory`: prove what stands where, and count it."""

import csv
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from api import wiring
from api.admin.counts import Count, count_of, shown_counts
from api.admin.stock import LINES_MAX, UNITS_MAX, Audit, shown_audit
from api.cli import context
from api.cli.clients import Work, author, with_pool
from core import catalogue, inventory, staff
from core.flows.count_stock import count_stock
from core.kit import db

LIST_MAX = 100

# Place id -> code.
PlaceCodes = dict[str, str]


@click.group("inventory")
def command() -> None:
    """Prove balances, and count stock."""


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def check(as_json: bool) -> int:
    """Recompute every balance from its rows and compare. Fails unless all are proven."""

    async def look(pool: db.Pool) -> tuple[Audit, PlaceCodes]:
        async with db.reading(pool) as conn:
            return await shown_audit(conn, await inventory.audit(conn)), await place_codes(conn)

    audit, places = with_pool(look)
    if as_json:
        print(msgspec.json.encode(audit).decode())
    elif not audit.drifts:
        print("every balance is proven by its rows")
    else:
        table = Table("SKU", "place", "figure", "shown", "proven")
        for one in audit.drifts:
            figures = (f"{one.shown:,}", f"{one.proven:,}")
            table.add_row(one.sku_code, places[one.place_id], one.figure, *figures)
        Console().print(table)
    return 1 if audit.drifts else 0


@command.group("count")
def count() -> None:
    """Count stock. Where a difference is worth much, a second person decides."""


@count.command("record")
@click.option("--place", required=True, help="The place's code, such as MAIN.")
@click.option("--reference", required=True, help="Names this count; recorded once.")
@click.option("--by", required=True, help="Who counted.")
@click.option(
    "--file",
    "sheet",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A CSV file of SKU,UNITS lines without a header; SKU is a code.",
)
@click.argument("counted", nargs=-1, metavar="[SKU:UNITS]...")
def record(
    place: str, reference: str, by: str, sheet: Path | None, counted: tuple[str, ...]
) -> None:
    """Write down how many good units of each SKU stand in a place, whoever they are kept for.

    SKU is a code, such as KETTLE-1.
    """
    pairs = [tuple(text.split(":")) for text in counted]
    if sheet is not None:
        with sheet.open(newline="", encoding="utf-8") as lines:
            pairs += [tuple(line) for line in csv.reader(lines) if line]
    units = read(pairs)
    value_max = wiring.count_value_max(context.settings())
    noted_by = author("stock:count")

    async def work(pool: db.Pool) -> list[inventory.Count]:
        async with db.reading(pool) as conn:
            places = {one.code: one.id for one in await inventory.places(conn)}
            sku_ids = await catalogue.coded(conn, codes=units)
        if place not in places:
            raise inventory.NoSuchPlace
        return await count_stock(
            pool,
            place_id=places[place],
            counted={sku_ids[code]: number for code, number in units.items()},
            value_max=value_max,
            reference=reference,
            by=by,
            author=noted_by,
        )

    tell(*with_pool(named(work)))


@count.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def listing(as_json: bool) -> None:
    """List the latest counts, newest first."""

    async def work(pool: db.Pool) -> list[inventory.Count]:
        async with db.reading(pool) as conn:
            return await inventory.counts(conn, before=None, page_max=LIST_MAX)

    found, places = with_pool(named(work))
    if not as_json:
        tell(found, places)
        return
    for one in found:
        print(msgspec.json.encode(one).decode())


@count.command("approve")
@click.option("--by", required=True, help="Who decides; not who counted, where it is worth much.")
@click.argument("number", metavar="COUNT")
def approve(number: str, by: str) -> None:
    """Let COUNT's difference change the stock."""
    decide(inventory.approve_count, number, by=by)


@count.command("reject")
@click.option("--by", required=True, help="Who decides.")
@click.argument("number", metavar="COUNT")
def reject(number: str, by: str) -> None:
    """Forget COUNT's difference."""
    decide(inventory.reject_count, number, by=by)


def decide(verb: Callable[..., Awaitable[inventory.Count]], number: str, *, by: str) -> None:
    noted_by = author("stock:approve")

    async def work(pool: db.Pool) -> list[inventory.Count]:
        wanted = count_of(number)
        async with db.transaction(pool) as conn:
            before = await inventory.hold_count(conn, count_id=wanted)
            found = await verb(conn, count_id=wanted, by=by)
            await staff.note(
                conn, noted_by, kind="count", object_id=number, before=before, after=found
            )
            return [found]

    tell(*with_pool(named(work)))


def read(pairs: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """SKU's code -> units. Each SKU stands there once."""
    units: dict[str, int] = {}
    for pair in pairs:
        code, number = map(str.strip, pair if len(pair) == len(("SKU", "UNITS")) else ("", ""))
        if not code or not (number.isascii() and number.isdecimal()) or int(number) > UNITS_MAX:
            raise click.UsageError(f"{':'.join(pair)!r} is not SKU:UNITS")
        if code in units:
            raise click.UsageError(f"{code} stands there twice")
        units[code] = int(number)
    if not 1 <= len(units) <= LINES_MAX:
        raise click.UsageError(f"count between 1 and {LINES_MAX} SKUs")
    return units


async def place_codes(conn: db.Conn) -> PlaceCodes:
    return {str(place.id): place.code for place in await inventory.places(conn)}


def named(work: Work[list[inventory.Count]]) -> Work[tuple[list[Count], PlaceCodes]]:
    """Counts as they are shown, and the codes of the places."""

    async def both(pool: db.Pool) -> tuple[list[Count], PlaceCodes]:
        found = await work(pool)
        async with db.reading(pool) as conn:
            return await shown_counts(conn, found), await place_codes(conn)

    return both


def tell(counts: Iterable[Count], places: PlaceCodes) -> None:
    table = Table("count", "SKU", "place", "expected", "counted", "worth", "state", "by")
    for one in counts:
        worth = f"{one.value:,} {one.currency}"
        state = "waits for another person" if waits(one) else one.state
        who = ", ".join(name for name in (one.counted_by, one.decided_by) if name)
        figures = (f"{one.expected:,}", f"{one.counted:,}", worth)
        table.add_row(one.count_id, one.sku_code, places[one.place_id], *figures, state, who)
    Console().print(table)


def waits(one: Count) -> bool:
    return one.needs_second and one.state == inventory.CountState.PROPOSED
