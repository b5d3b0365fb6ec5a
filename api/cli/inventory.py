"""`sluice inventory`: prove what stands where."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
import rich_click as click
import uvloop
from rich.console import Console
from rich.table import Table

from api.admin.stock import shown_audit
from api.cli import context
from core import inventory
from core.kit import db

POOL_SIZE_MAX = 2

Found = TypeVar("Found")


def with_pool(work: Callable[[db.Pool], Coroutine[Any, Any, Found]]) -> Found:
    url = context.settings("database_url").database_url

    async def run() -> Found:
        async with db.create_pool(url, size_max=POOL_SIZE_MAX) as pool:
            return await work(pool)

    return uvloop.run(run())


@click.group("inventory")
def command() -> None:
    """Prove balances."""


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def check(as_json: bool) -> int:
    """Recompute every balance from its rows and compare. Fails unless all are proven."""

    async def look(pool: db.Pool) -> list[inventory.Drift]:
        async with db.reading(pool) as conn:
            return await inventory.audit(conn)

    found = with_pool(look)
    if as_json:
        print(msgspec.json.encode(shown_audit(found)).decode())
    elif not found:
        print("every balance is proven by its rows")
    else:
        shown = Table("SKU", "place", "figure", "shown", "proven")
        for one in found:
            shown.add_row(
                str(one.sku_id), str(one.place_id), one.figure, f"{one.shown:,}", f"{one.proven:,}"
            )
        Console().print(shown)
    return 1 if found else 0
