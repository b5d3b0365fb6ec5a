"""`sluice rebuild`."""

import rich_click as click

from api.cli.clients import author, sale_id, with_clients
from core.flows.rebuild_sale import Rebuilt, rebuild_sale
from core.kit import db
from hotpath.nodes import Redis


@click.command("rebuild")
@click.argument("sale")
def command(sale: str) -> None:
    """Recompute SALE's Redis keys from Postgres, under a new epoch, and open it again.

    What the old Redis still holds is written down first, if it is ours. An order that only a lost
    disk knew is answered `rejected`, `epoch-lost` from then on.
    """
    by = author("sales:run")

    async def work(pool: db.Pool, redis: Redis) -> list[Rebuilt]:
        return await rebuild_sale(pool, redis, sale_id=sale_id(sale), author=by)

    for bucket in with_clients(work):
        print(
            f"bucket {bucket.bucket}: epoch {bucket.ended_epoch} ended at {bucket.ended_at},"
            f" epoch {bucket.epoch} is loaded"
        )
