"""`sluice catalogue`: goods in and out as sheets."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import rich_click as click
from rich.console import Console
from rich.table import Table

from api import logs, texts
from api import sheets as told
from api.cli.clients import author, with_pool
from core import sheets
from core.flows.export_goods import export_goods, write_template
from core.flows.import_goods import PART_BYTES, receive_goods
from core.jobs.importer import REST_S, Importer
from core.jobs.role import Role, perform
from core.kit import db

LOOK_S = 0.1
SAY_S = 2.0
SHOWN_MAX = 20
ROLE = "importer"

Found = TypeVar("Found")


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


@click.group("catalogue")
def command() -> None:
    """Take goods in and out as CSV or XLSX sheets, a row a SKU."""


@command.command("import")
@click.option("--dry-run", is_flag=True, help="Judge every row, and change nothing.")
@click.option(
    "--report",
    "report_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every refused row with its line and reason to this CSV file.",
)
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_(path: Path, dry_run: bool, report_path: Path | None) -> int:
    """Make and change goods as the sheet PATH says. Fails unless every row was taken.

    Stopped, even by force, it goes on where it was: give the same command again, or let `sluice
    work` do it. A sheet that was taken before changes nothing the second time.
    """
    form = form_of(path)
    noted_by = author("catalogue:import")
    logs.configure()

    async def work(pool: db.Pool) -> sheets.Import:
        found = await receive_goods(
            pool,
            parts_of(path),
            name=path.name,
            form=form,
            is_trial=dry_run,
            by=noted_by.by,
            author=noted_by,
        )
        found = await work_off(pool, found)
        if report_path is not None:
            with report_path.open("wb") as file:
                async for part in told.report(pool, found.id):
                    file.write(part)
        elif found.refused:
            await show_refused(pool, found)
        return found

    found = with_pool(work)
    if found.problem:
        raise click.ClickException(f"{path.name}: {found.problem['detail']}")
    return 0 if found.state == sheets.State.DONE and not found.refused else 1


@command.command("export")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def export(path: Path) -> None:
    """Write all goods but those that are archived to the sheet PATH (.csv or .xlsx)."""
    form = form_of(path)
    said = Saying()

    async def work(pool: db.Pool, file: BinaryIO) -> int:
        rows = 0
        async for rows in export_goods(pool, file, form=form):
            said.now_and_then(f"{rows:,} SKUs")
        return rows

    rows = written(path, work)
    say(f"{path.name}: {rows:,} SKUs")


@command.command("template")
@click.option(
    "--language", type=click.Choice(("en", "zh")), default="en", help="Of the explanations."
)
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
def template(path: Path | None, language: texts.Language) -> None:
    """Explain the columns; or write a sheet PATH without rows, with the columns of this shop."""
    if path is None:
        table = Table("column", "holds")
        for name, (english, chinese) in told.COLUMNS.items():
            table.add_row(name, chinese if language == "zh" else english)
        Console().print(table)
        return
    form = form_of(path)
    written(path, lambda pool, file: write_template(pool, file, form=form))


def form_of(path: Path) -> sheets.Format:
    match path.suffix.lower():
        case ".csv":
            return "csv"
        case ".xlsx":
            return "xlsx"
    raise click.UsageError(f"{path.name}: a sheet ends in .csv or .xlsx")


def written(path: Path, work: Callable[[db.Pool, BinaryIO], Coroutine[Any, Any, Found]]) -> Found:
    """Write a file beside PATH and put it there when it is whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w+b") as file:
            found = with_pool(lambda pool: work(pool, file))
        beside.replace(path)
        return found
    finally:
        beside.unlink(missing_ok=True)


async def parts_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while part := await asyncio.to_thread(file.read, PART_BYTES):
            yield part


async def work_off(pool: db.Pool, found: sheets.Import) -> sheets.Import:
    """Play the importer until a file is done, or watch who plays it already."""
    holder = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
    role = Role(ROLE, Importer(pool).step, REST_S)
    player = asyncio.create_task(perform(pool, [role], holder=holder))
    said = Saying()
    try:
        while not found.ended_at:
            await asyncio.sleep(LOOK_S)
            async with db.reading(pool) as conn:
                found = await sheets.find(conn, import_id=found.id)
            said.now_and_then(progress(found))
        say(progress(found))
        return found
    finally:
        player.cancel()
        with suppress(asyncio.CancelledError):
            await player


async def show_refused(pool: db.Pool, found: sheets.Import) -> None:
    async with db.reading(pool) as conn:
        refused = await sheets.report(conn, import_id=found.id, after_line=0, page_max=SHOWN_MAX)
    table = Table(*told.REPORT_HEADER)
    for row in told.report_rows(refused):
        table.add_row(*row)
    Console(stderr=True).print(table)
    if found.refused > len(refused):
        say(f"{found.refused - len(refused):,} more: --report FILE writes all of them")


class Saying:
    """Says how far it is, but not all the time."""

    def __init__(self) -> None:
        self._next = 0.0

    def now_and_then(self, what: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SAY_S
            say(what)


def progress(found: sheets.Import) -> str:
    decided = found.made + found.changed + found.same + found.refused
    trial = " (dry run)" if found.is_trial else ""
    return (
        f"{found.name}: {found.state}{trial}, {found.read:,} rows read, {decided:,} decided: "
        f"{found.made:,} made, {found.changed:,} changed, {found.same:,} same, "
        f"{found.refused:,} refused"
    )
