"""`sluice seed`: a shop to try things out with."""

import asyncio

import rich_click as click

from api.cli import context, demo_shop
from core import catalogue
from core.flows.furnish_shop import furnish_shop
from core.kit import db

POOL_SIZE_MAX = 2
SEED_MAX = 2**31


@click.command("seed")
@click.option(
    "--seed",
    "number",
    type=click.IntRange(0, SEED_MAX),
    default=demo_shop.SEED,
    show_default=True,
    help="The same seed, the same shop.",
)
def command(number: int) -> None:
    """Load a demo shop: 200 products with 1,000 SKUs, twenty million units of each and more.

    Does nothing when it finds any product.
    """
    made = asyncio.run(seed(context.settings("database_url").database_url, number))
    print(f"{made:,} SKUs made" if made else "nothing to do: there are products already")


async def seed(database_url: str, number: int) -> int:
    """Return how many SKUs were made."""
    shop = demo_shop.draw(number)
    async with db.create_pool(database_url, size_max=POOL_SIZE_MAX) as pool:
        try:
            return await furnish_shop(pool, shop, say=print)
        except catalogue.CodeTaken:
            async with db.reading(pool) as conn:
                if await catalogue.count(conn):
                    return 0  # another seed was faster
            raise
