"""What does a durable order cost after it was accepted: in the writer, in Postgres, in Redis?

    python -m benchmarks.orders [--orders 50000] [--batches 100,1000] [--rounds 3]

Claims are accepted first, with nobody writing; then the order writer drains them. CPU is counted,
not time: of this process (the writer), of every Postgres process, and of Redis. Medians of rounds.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec
import uvloop
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core import embedded, sales
from core.embedded import process
from core.flows.audit_sale import audit_sale
from core.flows.directory import Directory
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.run_sale import arm_sale
from core.flows.stock_products import NewProduct, stock_products
from core.jobs import order_writer
from core.kit import db
from hotpath.claims import Claim
from hotpath.gate import Gate
from hotpath.receipts import Keyring
from hotpath.wire import Wire

ORDERS_MAX = 1_000_000
WAVE = 500
SKUS = 10
TICKS_PER_S = 100


class Row(msgspec.Struct):
    """CPU in microseconds an order."""

    batch: int
    writer_us: float
    postgres_us: float
    redis_us: float
    orders_per_s: float


class Cpu:
    """CPU seconds of this process, of Postgres with all its children, and of Redis."""

    def __init__(self, postgres: embedded.Postgres, redis: embedded.Redis) -> None:
        self.trees = (postgres.pid, redis.pid)

    def read(self) -> tuple[float, float, float]:
        return (time.process_time(), *(sum(map(cpu_of, family(pid))) for pid in self.trees))


def family(pid: int) -> list[int]:
    return [pid, *(each for child in process.children(pid) for each in family(child))]


def cpu_of(pid: int) -> float:
    """Its own CPU and that of children it has already buried."""
    try:
        fields = (process.PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS_PER_S


async def open_sale(pool: db.Pool, redis: Redis, units: int) -> tuple[sales.Sale, list[int]]:
    skus = [(f"SKU-{number}", 9_900, "CNY") for number in range(SKUS)]
    product = NewProduct({"en": "Cup", "zh": "杯子"}, skus)
    sku_ids = await stock_products(pool, products=[product], units=units, reference="benchmark")
    now = datetime.now(UTC)
    sale = await plan_sale(
        pool,
        name="benchmark",
        starts_at=now - timedelta(seconds=1),
        ends_at=now + timedelta(hours=1),
        items=[PlannedItem(sku, units, 9_900, 1_000_000) for sku in sku_ids],
    )
    return await arm_sale(pool, redis, sale_id=sale.id), list(sku_ids)


async def accept(gate: Gate, sale: sales.Sale, skus: list[int], first: int, count: int) -> None:
    for start in range(first, first + count, WAVE):
        await asyncio.gather(
            *(
                gate.ask(Claim(sale.id, 1 + n % 20_000, f"key-{n:032}", skus[n % SKUS], 1))
                for n in range(start, min(start + WAVE, first + count))
            )
        )


async def measure(
    pool: db.Pool, redis: Redis, cpu: Cpu, gate: Gate, args: argparse.Namespace
) -> list[Row]:
    sale, skus = await open_sale(pool, redis, args.orders * args.rounds * len(args.batches))
    await Directory(pool, redis, gate).refresh()
    rows: list[Row] = []
    first = 0
    for _ in range(args.rounds):
        for batch in args.batches:
            await accept(gate, sale, skus, first, args.orders)
            first += args.orders
            rows.append(await drain(pool, redis, cpu, batch, args.orders))
    audit = await audit_sale(pool, redis, sale_id=sale.id)
    assert (audit.drift, sum(item.sold for item in audit.items)) == (0, first)
    return rows


async def drain(pool: db.Pool, redis: Redis, cpu: Cpu, batch: int, orders: int) -> Row:
    order_writer.BATCH_MAX = batch
    writer = order_writer.OrderWriter(pool, redis, Keyring({1: b"k" * 32}))
    before, began = cpu.read(), time.perf_counter()
    while await writer.step():
        pass
    took_s = time.perf_counter() - began
    spent = [1e6 * (b - a) / orders for a, b in zip(before, cpu.read(), strict=True)]
    return Row(batch, *spent, orders / took_s)


async def run(args: argparse.Namespace, folder: Path) -> list[Row]:
    postgres = embedded.Postgres(folder / "postgres", port=embedded.free_port())
    redis_server = embedded.Redis(folder / "redis", port=embedded.free_port())
    postgres.start()
    redis_server.start()
    try:
        conn = await asyncpg.connect(postgres.url)
        await db.migrate(conn)
        await conn.close()
        wire = Wire(redis_server.url)
        wire.start()
        await wire.connected()
        async with (
            db.create_pool(postgres.url, size_max=4) as pool,
            Redis.from_url(redis_server.url, retry=Retry(NoBackoff(), 0)) as redis,
        ):
            gate = Gate(wire, key_id=1, backlog_max=10_000_000)
            rows = await measure(pool, redis, Cpu(postgres, redis_server), gate, args)
        await wire.aclose()
        return rows
    finally:
        redis_server.stop()
        postgres.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=50_000)
    parser.add_argument("--batches", default="100,1000")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    assert 0 < args.orders <= ORDERS_MAX
    args.batches = [int(part) for part in args.batches.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    try:
        rows = uvloop.run(run(args, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("batch  writer us  Postgres us  Redis us  sum us  orders/s")
    for batch in args.batches:
        mine = [row for row in rows if row.batch == batch]
        figures = [
            statistics.median(getattr(row, name) for row in mine)
            for name in ("writer_us", "postgres_us", "redis_us", "orders_per_s")
        ]
        w, p, r, rate = figures
        print(f"{batch:5}  {w:9.1f}  {p:11.1f}  {r:8.1f}  {w + p + r:6.1f}  {rate:8.0f}")


if __name__ == "__main__":
    main()
