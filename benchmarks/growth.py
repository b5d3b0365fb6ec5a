"""What does an order cost with more API workers, Redis nodes, and orders in the table already?

    python -m benchmarks.growth workers [--workers 1,2] [--orders 10000] [--rounds 3] [--write]
    python -m benchmarks.growth nodes [--buckets 6] [--orders 10000] [--rounds 3] [--write]
    python -m benchmarks.growth table [--millions 0,1] [--orders 10000] [--rounds 3] [--write]

`workers`: the whole path under load, until all is written down. `nodes`: the same with one plain
Redis, a cluster of one, and one of three among which the sale's buckets are dealt out. `table`: the
background roles are held back while claims are accepted, so that batches are full, and measured
from when they go on.
The orders that were there before are copies of a real one, in a hundred thousand orders a sale, or
with --in-sale all in the sale that is measured, among its members. Ten million (--millions 0,10)
take ten seconds of CPU a million to make, and about 7 GB with their log. Rounds are interleaved;
medians; CPU in microseconds an order.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import asyncpg
import msgspec
import uvloop

from benchmarks import load, shop
from core.embedded.masters import Masters
from hotpath.nodes import Redis, connect

WARM_UP = 1_000
MILLIONS_MAX = 20
MILLION = 1_000_000
FILL_S_MAX = 1_800.0
SETTLE_S = 1.0
# CPU is counted here: nobody is turned away because the machine is crowded.
WAIT_MAX_MS = 1_500
GOAL_TABLE = 1.15
COLUMNS = """
    SELECT column_name FROM information_schema.columns
     WHERE table_schema = 'orders' AND table_name = $1 ORDER BY ordinal_position
"""
SIZE = "SELECT pg_database_size(current_database())"
ID = "lpad(to_hex(n), 32, '0')::uuid"
COPIED_ORDER = {
    "id": ID,
    "member_id": f"(n + 1000000000) * {shop.SCATTER} % {shop.MEMBERS_MAX}",
    "idempotency_key": "'key-' || md5(n::text)",
    "position": "n || '-0'",
    "payment": "'paid'",
}
OTHER_SALE = {"sale_id": "1000000 + n / 100000", "bucket": "1000000 + n / 100000"}
COPIED_LINE = {"order_id": ID}


class Side(msgspec.Struct):
    """A shop with its doors open. `sold` counts what its Postgres has to have."""

    name: str
    port: int
    pids: dict[str, int]
    path: bytes
    sku_id: int
    redis: Redis
    conn: asyncpg.Connection
    sold: int = 0


class Row(msgspec.Struct):
    side: str
    orders_per_s: float
    orders_per_fsync: float
    cpu_us: dict[str, float]


@contextlib.asynccontextmanager
async def side(
    name: str, *, workers: int = 1, masters: int = 0, buckets: int = 1
) -> AsyncIterator[Side]:
    async with (
        shop.opened(masters=masters) as ours,
        connect(ours.redis_url, timeout_s=shop.REDIS_S_MAX) as redis,
    ):
        conn = await asyncpg.connect(ours.url, command_timeout=FILL_S_MAX)
        try:
            if ours.masters:
                deal_out(ours.masters, buckets)
            patient = {"SLUICE_CLAIM_WAIT_MAX_MS": WAIT_MAX_MS}
            port, api = ours.serve(SLUICE_WORKERS=workers, **patient)
            pids = {"api": api}
            pids |= {f"redis {n}" if n > 1 else "redis": r.pid for n, r in enumerate(ours.nodes, 1)}
            pids |= {"writer": ours.work(), "postgres": ours.postgres.pid}
            await shop.ready([port])
            sale_ids, (sku_id,) = await shop.open_sales(ours, {"": shop.Plan(buckets=buckets)})
            path = b"/v1/sales/%d/orders" % sale_ids[""]
            yield Side(name, port, pids, path, sku_id, redis, conn)
        finally:
            await conn.close()


def deal_out(masters: Masters, buckets: int) -> None:
    """The first sale's buckets, to each node in turn: their slots alone fall as they like."""
    for bucket in range(1, buckets + 1):
        target = masters.servers[bucket % len(masters.servers)]
        if masters.owner(bucket) is not target:
            masters.move(bucket, target)
    masters.wait_until_agreed()


@contextlib.contextmanager
def held_back(one: Side) -> Iterator[None]:
    """Nobody writes orders down meanwhile, nor asks Postgres for more."""
    os.kill(one.pids["writer"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(one.pids["writer"], signal.SIGCONT)


async def accept(one: Side, orders: int, connections: int) -> None:
    requests = shop.claims(one.path, [one.sku_id], orders)
    heard = await load.run(one.port, requests, connections=connections)
    assert heard.statuses == {b"202": orders}, (one.name, heard.statuses)
    one.sold += orders


async def all_the_way(one: Side, orders: int, connections: int) -> Row:
    calls = await shop.script_calls(one.redis)
    meter, began = shop.Meter(one.pids), time.perf_counter()
    await accept(one, orders, connections)
    calls = await shop.script_calls(one.redis) - calls
    await shop.written(one.conn, one.sold)
    took_s = time.perf_counter() - began
    return Row(one.name, orders / took_s, orders / calls, meter.us_per(orders))


async def from_the_stream(one: Side, orders: int, connections: int) -> Row:
    with held_back(one):
        calls = await shop.script_calls(one.redis)
        await accept(one, orders, connections)
        calls = await shop.script_calls(one.redis) - calls
        pids = {name: one.pids[name] for name in ("writer", "postgres")}
        meter, began = shop.Meter(pids), time.perf_counter()
    await shop.written(one.conn, one.sold)
    took_s = time.perf_counter() - began
    return Row(one.name, orders / took_s, orders / calls, meter.us_per(orders))


async def fill(one: Side, millions: int, *, in_sale: bool) -> None:
    """Copies of the first order, whatever columns it has by now.

    With the indexes there: to build them afterwards costs Postgres more.
    """
    await all_the_way(one, 1, 1)
    began = time.perf_counter()
    order = COPIED_ORDER | ({} if in_sale else OTHER_SALE)
    for number in range(millions):
        numbers = (number * MILLION, (number + 1) * MILLION - 1)
        for table, told in (("orders", order), ("lines", COPIED_LINE)):
            names = [row["column_name"] for row in await one.conn.fetch(COLUMNS, table)]
            values = ", ".join(told.get(name, name) for name in names)
            first = "order_id" if table == "lines" else "id"
            await one.conn.execute(
                f"INSERT INTO orders.{table} ({', '.join(names)}) SELECT {values} FROM"
                f" (SELECT * FROM orders.{table} ORDER BY {first} DESC LIMIT 1) one,"
                " generate_series($1::bigint, $2::bigint) n",
                *numbers,
            )
        took_s, gb = time.perf_counter() - began, await one.conn.fetchval(SIZE) / 1e9
        print(f"{one.name}: {number + 1} made in {took_s:.0f} s, {gb:.1f} GB", flush=True)
    for each in ("VACUUM ANALYZE orders.orders", "VACUUM ANALYZE orders.lines", "CHECKPOINT"):
        await one.conn.execute(each)


async def workers(asked: argparse.Namespace) -> list[Row]:
    async with contextlib.AsyncExitStack() as stack:
        opened = {
            count: await stack.enter_async_context(side(f"{count} API", workers=count))
            for count in numbers(asked.workers)
        }
        return await rounds(list(opened.values()), all_the_way, asked)


async def nodes(asked: argparse.Namespace) -> list[Row]:
    many = asked.buckets
    wanted = {
        "1 node": {},
        "cluster of 1": {"masters": 1},
        f"of 1, {many} buckets": {"masters": 1, "buckets": many},
        f"of 3, {many} buckets": {"masters": 3, "buckets": many},
    }
    async with contextlib.AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(side(name, **more)) for name, more in wanted.items()
        ]
        return await rounds(sides, all_the_way, asked)


async def table(asked: argparse.Namespace) -> list[Row]:
    async with contextlib.AsyncExitStack() as stack:
        sides = []
        for count in numbers(asked.millions):
            assert count <= MILLIONS_MAX
            sides.append(await stack.enter_async_context(side(f"{count} million")))
            async with asyncio.timeout(FILL_S_MAX):
                await fill(sides[-1], count, in_sale=asked.in_sale)
        return await rounds(sides, from_the_stream, asked)


def numbers(listed: str) -> list[int]:
    return [int(part) for part in listed.split(",")]


async def rounds(sides: Sequence[Side], measure, asked: argparse.Namespace) -> list[Row]:
    """While one is measured, the background roles of the others stand still."""
    found = []
    for number in range(asked.rounds + 1):
        for one in sides:
            with contextlib.ExitStack() as others:
                for other in sides:
                    if other is not one:
                        others.enter_context(held_back(other))
                await asyncio.sleep(SETTLE_S)
                orders = min(asked.orders, shop.REQUESTS_MAX) if number else WARM_UP
                row = await measure(one, orders, asked.connections)
                found += [row] if number else []
    return found


def summary(rows: list[Row]) -> list[dict[str, object]]:
    found = []
    for name in dict.fromkeys(row.side for row in rows):
        mine = [row for row in rows if row.side == name]
        told = {
            field: round(statistics.median(getattr(row, field) for row in mine), 1)
            for field in ("orders_per_s", "orders_per_fsync")
        }
        cpu_us = {
            part: round(statistics.median(row.cpu_us[part] for row in mine), 1)
            for part in mine[0].cpu_us
        }
        found.append(
            {
                "side": name,
                **told,
                "cpu_us": cpu_us,
                "cpu_us_in_all": round(sum(cpu_us.values()), 1),
            }
        )
    for one in found:
        one["ratio"] = round(one["cpu_us_in_all"] / found[0]["cpu_us_in_all"], 3)
    return found


QUESTIONS = {"workers": workers, "nodes": nodes, "table": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=QUESTIONS)
    parser.add_argument("--workers", default="1,2", help="API processes, by side")
    parser.add_argument("--buckets", type=int, default=6, help="of the sale, on many nodes")
    parser.add_argument("--millions", default="0,1", help="orders there before, by side")
    parser.add_argument("--in-sale", action="store_true", help="in the sale that is measured")
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=512)
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    rows = uvloop.run(QUESTIONS[asked.what](asked))
    told = summary(rows)
    print(f"{'':12}{'orders/s':>10}{'a fsync':>9}{'cpu us':>8}{'ratio':>7}  of which")
    for one in told:
        parts = ", ".join(f"{part} {us}" for part, us in one["cpu_us"].items())
        print(
            f"{one['side']:12}{one['orders_per_s']:>10,.0f}{one['orders_per_fsync']:>9.0f}"
            f"{one['cpu_us_in_all']:>8}{one['ratio']:>7}  {parts}"
        )
    if asked.what == "table":
        print(f"goal: ratio of ten million <= {GOAL_TABLE}")
    if asked.write:
        found = {"medians": told, "goals": {"table": GOAL_TABLE}, "rounds": rows}
        shop.keep(f"growth-{asked.what}", found)


if __name__ == "__main__":
    main()
