"""`sluice sale`: run sales."""

import re
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from api.cli.clients import author, sale_id, with_clients
from core import sales
from core.flows import plan_sale, retire_sale, run_sale
from core.kit import db
from hotpath.nodes import Redis

LIST_MAX = 100
ITEM = re.compile(r"([1-9][0-9]{0,17}):([0-9]{1,13}):([0-9]{1,13}):([0-9]{1,7})", re.ASCII)

Move = Callable[..., Coroutine[Any, Any, sales.Sale]]


class Item(click.ParamType[plan_sale.PlannedItem]):
    name = "SKU:QUOTA:PRICE:LIMIT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> plan_sale.PlannedItem:
        found = ITEM.fullmatch(str(value))
        if found is None:
            self.fail(
                f"{value!r} is not {self.name}, all numbers; PRICE in minor units", param, ctx
            )
        try:
            return msgspec.convert(
                dict(
                    zip(
                        plan_sale.PlannedItem.__struct_fields__,
                        map(int, found.groups()),
                        strict=True,
                    )
                ),
                plan_sale.PlannedItem,
            )
        except msgspec.ValidationError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType[datetime]):
    name = "TIME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-11T20:00:00Z", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


@click.group("sale")
def command() -> None:
    """Plan, arm, pause, resume, close and retire sales."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def listing(as_json: bool) -> None:
    """List the latest sales, newest first."""

    async def read(pool: db.Pool, _: Redis) -> list[sales.Sale]:
        async with db.reading(pool) as conn:
            return await sales.listing(conn, before=None, page_max=LIST_MAX)

    found = with_clients(read)
    if as_json:
        for sale in found:
            print(msgspec.json.encode(sale).decode())
        return
    table = Table("sale", "name", "state", "starts at", "ends at", "settled")
    for sale in found:
        settled = "yes" if sale.settled_at else "no"
        table.add_row(
            str(sale.id), sale.name, sale.state, when(sale.starts_at), when(sale.ends_at), settled
        )
    Console().print(table)


@command.command("plan")
@click.option("--name", required=True, help="What the operators call it.")
@click.option("--starts-at", type=Moment(), required=True, help="UTC where it names no zone.")
@click.option("--ends-at", type=Moment(), required=True, help="When it closes by itself.")
@click.option(
    "--item",
    "items",
    type=Item(),
    multiple=True,
    required=True,
    help="May be given several times; PRICE in minor units.",
)
@click.option(
    "--hold-s",
    type=click.IntRange(1, 604_800),
    default=plan_sale.HOLD_S,
    show_default=True,
    help="How long an unpaid order keeps its units.",
)
@click.option(
    "--buckets",
    type=click.IntRange(1, plan_sale.BUCKETS_MAX),
    default=1,
    show_default=True,
    help="In how many parts claims are decided side by side; more than 1 for a Redis Cluster.",
)
def plan(
    name: str,
    starts_at: datetime,
    ends_at: datetime,
    items: tuple[plan_sale.PlannedItem, ...],
    hold_s: int,
    buckets: int,
) -> None:
    """Write a sale down and print its id. It draws no stock before it is armed."""
    by = author("sales:plan")

    async def work(pool: db.Pool, _: Redis) -> sales.Sale:
        return await plan_sale.plan_sale(
            pool,
            name=name,
            starts_at=starts_at,
            ends_at=ends_at,
            items=items,
            hold_s=hold_s,
            bucket_count=buckets,
            author=by,
        )

    print(with_clients(work).id)


def mover(name: str, flow: Move, what: str) -> None:
    """Add the verb that takes a sale through one flow."""

    @command.command(name, help=what)
    @click.argument("sale")
    def verb(sale: str) -> None:
        by = author("sales:run")

        async def work(pool: db.Pool, redis: Redis) -> sales.Sale:
            return await flow(pool, redis, sale_id=sale_id(sale), author=by)

        moved = with_clients(work)
        print(f"sale {moved.id} is {moved.state}")


mover("arm", run_sale.arm_sale, "Draw SALE's quota from stock; it opens at its time.")
mover("pause", run_sale.pause_sale, "Take no claims of SALE until it is resumed.")
mover("resume", run_sale.resume_sale, "Let a paused SALE go on.")
mover("close", run_sale.close_sale, "End SALE for good; what was not sold goes back to stock.")
mover(
    "retire",
    retire_sale.retire_sale,
    "Delete a closed, drained, audited SALE's Redis keys; Postgres answers its repeats.",
)


def when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
