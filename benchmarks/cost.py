"""What does a claim cost the API process and Redis, against a bare handler of the framework?

    python -m benchmarks.cost [--requests 20000] [--rounds 5] [--connections 256] [--write]

Every door is a process of its own under uvicorn and uvloop. The rounds are interleaved, so that a
slow moment of the machine meets all doors alike. CPU is counted, not time, from the scheduler's
own clock. Medians; the ratio is to `litestar post`, which reads JSON and answers it, as a claim
does. Every member, token and address is new, except where risk refuses all of one address.
"""

import argparse
import contextlib
import statistics
from collections.abc import AsyncIterator

import msgspec
import uvloop

from benchmarks import load, shop

BLOCKED = b"203.0.113.9"
WARM_UP = 2_000
BASE = "litestar post"
LANE = ("--http", "hotpath.lane:Lane")


class Door(msgspec.Struct):
    """A server to knock at. `sale` names which sale it is asked for, `address` is all buyers'.

    A slow one gets fewer connections: more would only wait until the gate turns them away.
    """

    name: str
    app: tuple[str, ...]
    status: bytes
    sale: str = ""
    address: bytes = b""
    connections_max: int = 1_000
    port: int = 0
    pid: int = 0


class Row(msgspec.Struct):
    """CPU in microseconds a request; latencies in milliseconds, under full load."""

    door: str
    api_us: float
    redis_us: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float


DOORS = [
    Door("litestar get", ("benchmarks.bare:litestar",), b"200"),
    Door("litestar post", ("benchmarks.bare:litestar",), b"202", "open"),
    Door("asgi", ("benchmarks.bare:asgi",), b"200"),
    Door("lane accepting", ("api.app:create_served", "--factory", *LANE), b"202", "open"),
    Door("lane sold out", ("api.app:create_served", "--factory", *LANE), b"409", "sold out"),
    Door("lane by risk", ("api.app:create_served", "--factory", *LANE), b"403", "open", BLOCKED),
    Door("route accepting", ("api.app:create_app", "--factory", *LANE), b"202", "open", b"", 32),
    Door("route sold out", ("api.app:create_app", "--factory", *LANE), b"409", "sold out", b"", 32),
]


def requests_for(door: Door, sale_ids: dict[str, int], sku_id: int, count: int) -> list[bytes]:
    if not door.sale:
        return [shop.LOOK] * count
    path = b"/" if "bare" in door.app[0] else b"/v1/sales/%d/orders" % sale_ids[door.sale]
    return shop.claims(path, [sku_id], count, address=door.address)


async def measure(door: Door, redis_pid: int, requests: list[bytes], *, connections: int) -> Row:
    meter = shop.Meter({"api": door.pid, "redis": redis_pid})
    connections = min(connections, door.connections_max)
    heard = await load.run(door.port, requests, connections=connections)
    cpu_us = meter.us_per(len(requests))
    assert heard.statuses == {door.status: len(requests)}, (door.name, heard.statuses)
    cuts = statistics.quantiles(heard.latencies_s, n=100)
    rate = len(requests) / heard.seconds
    return Row(door.name, cpu_us["api"], cpu_us["redis"], rate, cuts[49] * 1e3, cuts[98] * 1e3)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[int, dict[str, int], int]]:
    """Start every door; doors that run the same application share its process."""
    async with shop.opened() as ours:
        started: dict[tuple[str, ...], tuple[int, int]] = {}
        for door in DOORS:
            if door.app not in started:
                started[door.app] = ours.uvicorn(*door.app, SLUICE_RISK_DENY=BLOCKED.decode())
            door.port, door.pid = started[door.app]
        await shop.ready([port for port, _ in started.values()])
        plans = {"open": shop.Plan(), "sold out": shop.Plan(quota=1)}
        sale_ids, (sku_id,) = await shop.open_sales(ours, plans)
        yield ours.redis.pid, sale_ids, sku_id


async def rounds(asked: argparse.Namespace) -> list[Row]:
    found = []
    doors = [door for door in DOORS if door.name == BASE or asked.only in door.name]
    async with serving() as (redis_pid, sale_ids, sku_id):
        await load.run(DOORS[3].port, requests_for(DOORS[3], sale_ids, sku_id, 1), connections=1)
        first = Door("", DOORS[3].app, b"202", "sold out", port=DOORS[3].port)
        await load.run(first.port, requests_for(first, sale_ids, sku_id, 1), connections=1)
        for number in range(asked.rounds + 1):
            for door in doors:
                count = min(asked.requests, shop.REQUESTS_MAX) if number else WARM_UP
                requests = requests_for(door, sale_ids, sku_id, count)
                row = await measure(door, redis_pid, requests, connections=asked.connections)
                found += [row] if number else []
    return found


def summary(rows: list[Row]) -> list[dict[str, object]]:
    found = []
    base = statistics.median(r.api_us for r in rows if r.door == BASE)
    for name in dict.fromkeys(row.door for row in rows):
        mine = [row for row in rows if row.door == name]
        middle = {
            field: round(statistics.median(getattr(row, field) for row in mine), 2)
            for field in Row.__struct_fields__[1:]
        }
        ratios = {"api_ratio": round(statistics.median(r.api_us for r in mine) / base, 3)}
        found.append({"door": name, **middle, **ratios})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--only", default="", help="doors whose name holds this")
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    rows = uvloop.run(rounds(asked))
    told = summary(rows)
    print(f"{'door':16}{'api us':>8}{'ratio':>7}{'redis us':>9}{'a second':>10}{'p99 ms':>8}")
    for one in told:
        print(
            f"{one['door']:16}{one['api_us']:>8}{one['api_ratio']:>7}{one['redis_us']:>9}"
            f"{one['requests_per_s']:>10,.0f}{one['p99_ms']:>8}"
        )
    if asked.write:
        shop.keep("cost", {"medians": told, "rounds": rows})


if __name__ == "__main__":
    main()
