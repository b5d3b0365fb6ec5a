"""What does a durable order cost after it was accepted: in the writer, in Postgres, in Redis?

    python -m benchmarks.orders [--orders 50000] [--batches 100,1000,4000] [--rounds 3] [--write]

Claims are accepted first, with nobody writing; then the order writer drains them. CPU is counted,
not time: of this process (the writer), of every Postgres process, and of Redis. Medians of rounds.
"""

import argparse
import asyncio
import statistics
import time
from typing import NamedTuple

import msgspec
import uvloop
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from benchmarks import shop
from core import sales
from core.flows.audit_sale import audit_sale
from core.flows.directory import Directory
from core.jobs import order_writer
from core.kit import db
from hotpath.claims import Claim, Kind
from hotpath.gate import Gate
from hotpath.lookout import Lookout
from hotpath.nodes import Redis
from hotpath.receipts import Keyring
from hotpath.wire import Wire

ORDERS_MAX = 1_000_000
WAVE = 500
ACCEPT_S_MAX = 300.0
SKUS = 10


class Asked(NamedTuple):
    orders: int
    batches: list[int]
    rounds: int


class Row(msgspec.Struct):
    """CPU in microseconds an order."""

    batch: int
    writer_us: float
    postgres_us: float
    redis_us: float
    orders_per_s: float


async def accept(
    gate: Gate, sale_id: sales.SaleId, skus: list[int], first: int, count: int, wave: int
) -> None:
    async with asyncio.timeout(ACCEPT_S_MAX):
        for start in range(first, first + count, wave):
            waiting = [
                Claim(sale_id, 1 + n % 20_000, f"key-{n:032}", skus[n % SKUS], 1)
                for n in range(start, min(start + wave, first + count))
            ]
            while waiting:
                told = await asyncio.gather(*map(gate.ask, waiting))
                # A busy gate refuses some: they come again.
                waiting = [
                    claim
                    for claim, verdict in zip(waiting, told, strict=True)
                    if verdict.kind is not Kind.ACCEPTED
                ]


async def measure(ours: shop.Shop, pool: db.Pool, redis: Redis, asked: Asked) -> list[Row]:
    sale_ids, skus = await shop.open_sales(ours, {"": shop.Plan(skus=SKUS, limit=1_000_000)})
    wire = Wire(ours.redis.url)
    wire.start()
    await wire.connected()
    gate = Gate(wire, key_id=1, backlog_max=10_000_000)
    await Directory(pool, gate, Lookout(gate)).refresh()
    sale_id, rows, first = sales.SaleId(sale_ids[""]), [], 0
    for _ in range(asked.rounds):
        for batch in asked.batches:
            # An entry is written whole, so it must not be larger than the batch.
            await accept(gate, sale_id, skus, first, asked.orders, min(batch, WAVE))
            first += asked.orders
            rows.append(await drain(ours, pool, redis, batch, asked.orders))
    audit = await audit_sale(pool, redis, sale_id=sale_id)
    assert (audit.drift, sum(item.sold for item in audit.items)) == (0, first), audit
    await wire.aclose()
    return rows


async def drain(ours: shop.Shop, pool: db.Pool, redis: Redis, batch: int, orders: int) -> Row:
    order_writer.BATCH_MAX = batch
    writer = order_writer.OrderWriter(pool, redis, Keyring({1: b"k" * 32}))
    servers = shop.Meter({"postgres_us": ours.postgres.pid, "redis_us": ours.redis.pid})
    spent_s, began = time.process_time(), time.perf_counter()
    while await writer.step():
        pass
    spent_s, took_s = time.process_time() - spent_s, time.perf_counter() - began
    return Row(
        batch=batch,
        writer_us=1e6 * spent_s / orders,
        orders_per_s=orders / took_s,
        **servers.us_per(orders),
    )


async def run(asked: Asked) -> list[Row]:
    async with (
        shop.opened() as ours,
        db.create_pool(ours.url, size_max=4) as pool,
        Redis.from_url(ours.redis.url, retry=Retry(NoBackoff(), 0)) as redis,
    ):
        return await measure(ours, pool, redis, asked)


def summary(rows: list[Row]) -> list[dict[str, float]]:
    return [
        {
            name: round(statistics.median(getattr(row, name) for row in rows if row.batch == b), 1)
            for name in Row.__struct_fields__
        }
        for b in dict.fromkeys(row.batch for row in rows)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=50_000)
    parser.add_argument("--batches", default="100,1000,4000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    args = parser.parse_args()
    assert 0 < args.orders <= ORDERS_MAX
    batches = [int(part) for part in args.batches.split(",")]
    rows = uvloop.run(run(Asked(args.orders, batches, args.rounds)))
    print("batch  writer us  Postgres us  Redis us  sum us  orders/s")
    for one in summary(rows):
        w, p, r = one["writer_us"], one["postgres_us"], one["redis_us"]
        rate = one["orders_per_s"]
        print(f"{one['batch']:5}  {w:9.1f}  {p:11.1f}  {r:8.1f}  {w + p + r:6.1f}  {rate:8.0f}")
    if args.write:
        shop.keep("orders", {"medians": summary(rows), "rounds": rows})


if __name__ == "__main__":
    main()
