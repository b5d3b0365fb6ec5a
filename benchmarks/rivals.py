"""What does a durable order cost, against the same sale decided in one Postgres transaction?

    python -m benchmarks.rivals [--orders 20000] [--rounds 5] [--connections 256] [--write]

`sluice` is the whole path: API, Redis, the background roles and Postgres, and its clock stops when
the last order stands in Postgres. `statement` is one conditional UPDATE with its INSERTs, `orm` the
row lock through SQLAlchemy; see one_transaction.py. Each has a Postgres of its own with the same
settings and fsync, the same client, one API process and one hot SKU. Beside them a bare handler of
the framework says what the machine is worth. Rounds are interleaved, and `orm` has a quarter of the
orders, which takes it longer than all others together; medians; CPU in microseconds an order, of
each process with all its children.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import AsyncIterator

import asyncpg
import httpx
import msgspec
import uvloop

from benchmarks import load, one_transaction, shop

WARM_UP = 1_000
ORM_SHARE = 4
OURS, ONE_STATEMENT, ORM = "sluice", "statement", "orm"
RIVALS = (ONE_STATEMENT, ORM)
BARE = {"litestar get": b"", "litestar post": b"/"}
GOAL_BARE = 0.33
GOAL_CPU = 15
GOAL_RATE = 10
PARTS = ("api", "redis", "writer", "postgres")


class Party(msgspec.Struct):
    """A shop with its doors open. `sold` counts what its Postgres has to have.

    A bare handler has no Postgres, and where it is only looked at no path either.
    """

    name: str
    port: int
    pids: dict[str, int]
    path: bytes
    sku_id: int = 0
    conn: asyncpg.Connection | None = None
    sold: int = 0


class Row(msgspec.Struct):
    party: str
    orders_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]


@contextlib.asynccontextmanager
async def party(name: str, pool: int) -> AsyncIterator[Party]:
    async with shop.opened() as ours:
        conn = await asyncpg.connect(ours.url)
        try:
            if name == OURS:
                port, pid = ours.serve()
                pids = {"redis": ours.redis.pid, "writer": ours.work()}
            else:
                await conn.execute(one_transaction.HOLDINGS)
                app = f"benchmarks.one_transaction:{name}"
                port, pid = ours.uvicorn(app, BENCHMARK_POOL=pool)
                pids = {}
            await shop.ready([port])
            plans = {"hot": shop.Plan(), "last": shop.Plan(quota=1)}
            sale_ids, (sku_id,) = await shop.open_sales(ours, plans)
            pids |= {"api": pid, "postgres": ours.postgres.pid}
            made = Party(name, port, pids, path_of(sale_ids["hot"]), sku_id, conn)
            await prove(made, path_of(sale_ids["last"]))
            yield made
        finally:
            await conn.close()


@contextlib.asynccontextmanager
async def bare() -> AsyncIterator[list[Party]]:
    async with shop.opened() as ours:
        port, pid = ours.uvicorn("benchmarks.bare:litestar")
        await shop.ready([port])
        yield [Party(name, port, {"api": pid}, path) for name, path in BARE.items()]


def path_of(sale_id: int) -> bytes:
    return b"/v1/sales/%d/orders" % sale_id


async def prove(asked: Party, last: bytes) -> None:
    """Everybody keeps the same promises, or there is nothing to compare."""
    member, other = (shop.token(next(shop.FIRST_MEMBER), int(time.time())) for _ in range(2))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{asked.port}") as client:

        async def buy(path: bytes, token: bytes, key: str) -> httpx.Response:
            who = {"Authorization": f"Bearer {token.decode()}", "Idempotency-Key": key}
            wish = {"sku_id": str(asked.sku_id), "quantity": 1}
            return await client.post(path.decode(), json=wish, headers=who)

        first, again = await buy(asked.path, member, "a"), await buy(asked.path, member, "a")
        assert (first.status_code, again.status_code) == (202, 202), (asked.name, first, again)
        assert first.json()["order_id"] == again.json()["order_id"], asked.name
        beyond = await buy(asked.path, member, "b")
        assert beyond.status_code == 409, (asked.name, beyond)
        told = [(await buy(last, who, "c")).status_code for who in (member, other)]
        assert told == [202, 409], (asked.name, told)
    asked.sold += 2


async def measure(asked: Party, *, orders: int, connections: int) -> Row:
    path = asked.path
    requests = shop.claims(path, [asked.sku_id], orders) if path else [shop.LOOK] * orders
    meter, began = shop.Meter(asked.pids), time.perf_counter()
    heard = await load.run(asked.port, requests, connections=connections)
    assert heard.statuses == {b"202" if path else b"200": orders}, (asked.name, heard.statuses)
    asked.sold += orders
    if asked.conn:
        await shop.written(asked.conn, asked.sold)
    took_s, cpu_us = time.perf_counter() - began, meter.us_per(orders)
    if asked.conn:
        assert await asked.conn.fetchval("SELECT count(*) FROM orders.lines") == asked.sold
    cuts = statistics.quantiles(heard.latencies_s, n=100)
    return Row(asked.name, orders / took_s, cuts[49] * 1e3, cuts[98] * 1e3, cpu_us)


async def rounds(asked: argparse.Namespace) -> list[Row]:
    found = []
    async with contextlib.AsyncExitStack() as stack:
        names = (OURS, *RIVALS)
        parties = [await stack.enter_async_context(party(name, asked.pool)) for name in names]
        parties += await stack.enter_async_context(bare())
        for number in range(asked.rounds + 1):
            for each in parties:
                orders = min(asked.orders, shop.REQUESTS_MAX) if number else WARM_UP
                orders //= ORM_SHARE if each.name == ORM else 1
                row = await measure(each, orders=orders, connections=asked.connections)
                found += [row] if number else []
    return found


def summary(rows: list[Row]) -> list[dict[str, object]]:
    found = []
    for name in dict.fromkeys(row.party for row in rows):
        mine = [row for row in rows if row.party == name]
        told = {
            field: round(statistics.median(getattr(row, field) for row in mine), 2)
            for field in ("orders_per_s", "p50_ms", "p99_ms")
        }
        cpu_us = {
            part: round(statistics.median(row.cpu_us[part] for row in mine), 1)
            for part in PARTS
            if part in mine[0].cpu_us
        }
        found.append(
            {
                "party": name,
                **told,
                "cpu_us": cpu_us,
                "cpu_us_in_all": round(sum(cpu_us.values()), 1),
            }
        )
    return found


def ratios(told: list[dict[str, object]]) -> dict[str, dict[str, float]]:
    """How many times more CPU a rival needs, and less it sells; our share of a bare handler."""
    ours, found = told[0], {}
    for each in told[1:]:
        cpu = each["cpu_us_in_all"] / ours["cpu_us_in_all"]
        rate = ours["orders_per_s"] / each["orders_per_s"]
        bare = {"of_its_cpu": round(1 / cpu, 2)}
        rival = {"times_less_cpu": round(cpu, 2), "times_the_rate": round(rate, 2)}
        found[each["party"]] = bare if each["party"] in BARE else rival
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--pool", type=int, default=one_transaction.POOL, help="of each rival")
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    rows = uvloop.run(rounds(asked))
    told = summary(rows)
    print(f"{'':14}{'orders/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'cpu us':>9}  of which")
    for one in told:
        parts = ", ".join(f"{part} {us}" for part, us in one["cpu_us"].items())
        print(
            f"{one['party']:14}{one['orders_per_s']:>10,.0f}{one['p50_ms']:>9.1f}"
            f"{one['p99_ms']:>9.1f}{one['cpu_us_in_all']:>9}  {parts}"
        )
    for name, ratio in ratios(told).items():
        print(f"against {name}:", ", ".join(f"{what} {value}" for what, value in ratio.items()))
    goals = {
        ONE_STATEMENT: {"times_less_cpu": GOAL_CPU, "times_the_rate": GOAL_RATE},
        "litestar post": {"of_its_cpu": GOAL_BARE},
    }
    print(f"goals: {goals}")
    if asked.write:
        found = {"medians": told, "ratios": ratios(told), "goals": goals, "rounds": rows}
        shop.keep("rivals", found)


if __name__ == "__main__":
    main()
