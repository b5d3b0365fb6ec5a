"""`sluice audit`."""

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from api.admin.sales import Audit, shown_audit
from api.cli.clients import sale_id, with_clients
from core.flows.audit_sale import audit_sale
from core.kit import db
from hotpath.nodes import Redis

FIGURES = ("quota", "sold", "in_flight", "left", "returned", "drift")


@click.command("audit")
@click.argument("sale")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def command(sale: str, as_json: bool) -> int:
    """Compare Redis with Postgres, unit by unit, while SALE runs. Fails unless every drift is 0."""

    async def look(pool: db.Pool, redis: Redis) -> Audit:
        return shown_audit(await audit_sale(pool, redis, sale_id=sale_id(sale)))

    found = with_clients(look)
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        Console().print(table(found))
    return 1 if any(item.drift for item in found.items) else 0


def table(audit: Audit) -> Table:
    shown = Table(
        title=f"Sale {audit.sale_id}, {audit.state}",
        caption="quota = left + in flight + sold + returned, or it drifts",
    )
    shown.add_column("SKU", justify="right")
    for figure in FIGURES:
        shown.add_column(figure.replace("_", " "), justify="right")
    for item in audit.items:
        figures = [f"{getattr(item, figure):,}" for figure in FIGURES]
        shown.add_row(item.sku_id, *figures, style="bold red" if item.drift else None)
    return shown
