"""What does a note cost? Eight of staff change prices, each of other SKUs, with and without one.

    python -m benchmarks.notes [--rounds 9] [--count 400]

A note is the last thing in its transaction and holds the log until the commit. Prints the medians
of interleaved rounds, and how fast the log is proven at the end.
"""

import argparse
import asyncio
import statistics
import time

import uvloop

from benchmarks import shop
from core import catalogue, staff
from core.flows.stock_products import stock_products
from core.kit import db
from hotpath.signing import Signer

HANDS = 8
SEALER = staff.Sealer({1: Signer(b"k" * 32)})
AUTHOR = staff.Author(SEALER, "bea", staff.Permission.CATALOGUE_PRICE, "benchmark", "r")


async def change(pool: db.Pool, sku_id: int, price: int, author: staff.Author | None) -> None:
    async with db.transaction(pool) as conn:
        prices = {"CNY": price}
        sku = await catalogue.set_prices(conn, sku_id=catalogue.SkuId(sku_id), prices=prices)
        await staff.note(conn, author, kind="sku", object_id=str(sku_id), after=sku)


async def measure(pool: db.Pool, sku_ids: list[int], count: int, author: staff.Author | None):
    async def work(hand: int) -> None:
        for number in range(count // HANDS):
            await change(pool, sku_ids[hand], number, author)

    began = time.perf_counter()
    await asyncio.gather(*(work(hand) for hand in range(HANDS)))
    return count / (time.perf_counter() - began)


async def main(rounds: int, count: int) -> None:
    sides = {"without a note": None, "with a note": AUTHOR}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    async with shop.opened() as ours, db.create_pool(ours.url, size_max=HANDS) as pool:
        sku_ids = await stock_products(pool, products=shop.cups(HANDS), units=1, reference="b")
        for number in range(rounds + 1):
            for name in sides if number % 2 else reversed(sides):
                rate = await measure(pool, sku_ids, count, sides[name])
                rates[name] += [rate] if number else []
        began = time.perf_counter()
        async with db.snapshot(pool) as conn:
            found = await staff.verify(conn, SEALER)
        assert found.note_id is None
        assert found.checked == count // HANDS * HANDS * (rounds + 1)
        proven = found.checked / (time.perf_counter() - began)
    for name, found_rates in rates.items():
        print(f"{name}: {statistics.median(found_rates):,.0f} changes/s")
    print(f"proven: {proven:,.0f} notes/s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=400)
    asked = parser.parse_args()
    uvloop.run(main(asked.rounds, asked.count))
