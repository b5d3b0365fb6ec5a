"""What does a claim cost the API process and Redis, against a bare handler of the framework?

    python -m benchmarks.cost [--requests 20000] [--rounds 5] [--connections 256] [--write]

Every door is a process of its own under uvicorn and uvloop. The rounds are interleaved, so that a
slow moment of the machine meets all doors alike. CPU is counted, not time, from the scheduler's
own clock. Medians; the ratio is to `litestar get`. Every member, token and address is new, except
where risk refuses all that comes from one address.
"""

import argparse
import asyncio
import base64
import contextlib
import hmac
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import httpx
import msgspec
import uvloop
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from benchmarks import load
from core import embedded, sales
from core.embedded import process
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.run_sale import arm_sale
from core.flows.stock_products import NewProduct, stock_products
from core.kit import db
from hotpath import parse, routing

ROOT = Path(__file__).parents[1]
SECRET = "a secret of thirty-two bytes, ok?"
UNITS = 100_000_000
BLOCKED = b"203.0.113.9"
REQUESTS_MAX = 200_000
READY_S_MAX = 30.0
WARM_UP = 2_000
# The table counts from the next whole second; every worker looks at the sales four times a second.
TABLE_S = 2.0
KNOWN_S = 1.0
PACKAGES = ("litestar", "uvicorn", "uvloop", "httptools", "msgspec", "hiredis")
LANE = ("--http", "hotpath.lane:Lane")
FIRST_MEMBER = itertools.count(1, REQUESTS_MAX)


class Door(msgspec.Struct):
    """A server to knock at. `sale` names which sale it is asked for, `address` is all buyers'."""

    name: str
    app: tuple[str, ...]
    status: bytes
    sale: str = ""
    address: bytes = b""
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
    Door("route accepting", ("api.app:create_app", "--factory", *LANE), b"202", "open"),
    Door("route sold out", ("api.app:create_app", "--factory", *LANE), b"409", "sold out"),
]


def requests_for(door: Door, sale_ids: dict[str, int], sku_id: int, count: int) -> list[bytes]:
    first = next(FIRST_MEMBER)
    if not door.sale:
        return [b"GET / HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n"] * count
    path = b"/" if "bare" in door.app[0] else b"/v1/sales/%d/orders" % sale_ids[door.sale]
    body = b'{"sku_id":"%d","quantity":1}' % sku_id
    head = (
        b"POST %b HTTP/1.1\r\nHost: shop\r\nUser-Agent: load\r\nAccept: */*\r\n"
        b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n" % (path, len(body))
    )
    now_s = int(time.time())
    return [
        b"%bX-Forwarded-For: %b\r\nAuthorization: Bearer %b\r\nIdempotency-Key: key-%016x\r\n\r\n%b"
        % (head, door.address or address(member), token(member, now_s), member, body)
        for member in range(first, first + count)
    ]


def token(member: int, now_s: int) -> bytes:
    claims = f'{{"sub":"{member}","role":"member","iat":{now_s},"exp":{now_s + 86_400}}}'
    text = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(claims.encode())
    return text + b"." + encode(hmac.digest(SECRET.encode(), text, "sha256"))


def address(member: int) -> bytes:
    return b"10.%d.%d.%d" % (member >> 16 & 255, member >> 8 & 255, member & 255)


def encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def cpu_ns(pid: int) -> int:
    """What every thread of a process has run so far, by the scheduler's clock."""
    tasks = (process.PROC / str(pid) / "task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


async def measure(
    door: Door, redis: embedded.Redis, requests: list[bytes], *, connections: int
) -> Row:
    before = cpu_ns(door.pid), cpu_ns(redis.pid)
    heard = await load.run(door.port, requests, connections=connections)
    after = cpu_ns(door.pid), cpu_ns(redis.pid)
    assert heard.statuses == {door.status: len(requests)}, (door.name, heard.statuses)
    api_us, redis_us = ((b - a) / len(requests) / 1e3 for a, b in zip(before, after, strict=True))
    cuts = statistics.quantiles(heard.latencies_s, n=100)
    rate = len(requests) / heard.seconds
    return Row(door.name, api_us, redis_us, rate, cuts[49] * 1e3, cuts[98] * 1e3)


async def open_sales(url: str, redis_url: str) -> tuple[dict[str, int], int]:
    """One sale with more units than anybody will buy, and one with the last unit gone."""
    async with (
        db.create_pool(url, size_max=2) as pool,
        Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0)) as client,
    ):
        product = NewProduct({"en": "Cup", "zh": "杯子"}, [("CUP", 9_900, "CNY")])
        (sku_id,) = await stock_products(
            pool, products=[product], units=2 * UNITS, reference="benchmark"
        )
        sale_ids = {}
        for name, quota in (("open", UNITS), ("sold out", 1)):
            now = datetime.now(UTC)
            plan = await plan_sale(
                pool,
                name=name,
                starts_at=now,
                ends_at=now + timedelta(days=1),
                items=[PlannedItem(sku_id, quota, 1, 1)],
                hold_s=900,
            )
            armed = await arm_sale(pool, client, sale_id=sales.SaleId(plan.id))
            sale_ids[name] = int(armed.id)
        return sale_ids, int(sku_id)


@contextlib.contextmanager
def serving(settings: dict[str, str]) -> Iterator[None]:
    """Start every door; doors that run the same application share its process."""
    started: dict[tuple[str, ...], tuple[subprocess.Popen[bytes], int]] = {}
    try:
        for door in DOORS:
            if door.app not in started:
                port = embedded.free_port()
                command = [sys.executable, "-m", "uvicorn", *door.app, "--port", str(port)]
                command += ["--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
                env = {**os.environ, **settings, "SLUICE_PORT": str(port)}
                started[door.app] = subprocess.Popen(command, cwd=ROOT, env=env), port
            child, door.port = started[door.app]
            door.pid = child.pid
        yield
    finally:
        for child, _ in started.values():
            child.terminate()
            child.wait()


async def ready() -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(READY_S_MAX):
        for door in DOORS:
            while True:
                try:
                    await client.get(f"http://127.0.0.1:{door.port}/")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
    await asyncio.sleep(TABLE_S)


@contextlib.asynccontextmanager
async def shop() -> AsyncIterator[tuple[embedded.Redis, dict[str, int], int]]:
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    redis = embedded.Redis(folder / "redis", port=embedded.free_port())
    postgres = embedded.Postgres(folder / "postgres", port=embedded.free_port())
    try:
        redis.start()
        postgres.start()
        url = postgres.url_of("postgres")
        async with db.create_pool(url, size_max=2) as pool, pool.acquire() as conn:
            await db.migrate(conn)
        settings = {
            "SLUICE_DATABASE_URL": url,
            "SLUICE_REDIS_URL": redis.url,
            "SLUICE_RISK_DENY": "203.0.113.9",
            "SLUICE_TOKEN_SECRET": SECRET,
            "SLUICE_RECEIPT_KEYS": f"1:{base64.b64encode(b'k' * 32).decode()}",
            "SLUICE_HOME": str(folder),
            "SLUICE_TRUSTED_PROXIES": "127.0.0.0/8",
            "SLUICE_CLAIM_BACKLOG_MAX": "50000000",
        }
        with serving(settings):
            await ready()
            # Later than the table of risk, which then remembers each claim of these sales.
            sale_ids, sku_id = await open_sales(url, redis.url)
            await asyncio.sleep(KNOWN_S)
            yield redis, sale_ids, sku_id
    finally:
        postgres.stop()
        redis.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def rounds(asked: argparse.Namespace) -> list[Row]:
    found = []
    doors = [door for door in DOORS if not asked.only or asked.only in door.name]
    async with shop() as (redis, sale_ids, sku_id):
        await load.run(DOORS[3].port, requests_for(DOORS[3], sale_ids, sku_id, 1), connections=1)
        first = Door("", DOORS[3].app, b"202", "sold out", port=DOORS[3].port)
        await load.run(first.port, requests_for(first, sale_ids, sku_id, 1), connections=1)
        for number in range(asked.rounds + 1):
            for door in doors:
                count = min(asked.requests, REQUESTS_MAX) if number else WARM_UP
                requests = requests_for(door, sale_ids, sku_id, count)
                row = await measure(door, redis, requests, connections=asked.connections)
                found += [row] if number else []
    return found


def summary(rows: list[Row]) -> list[dict[str, object]]:
    found = []
    base = statistics.median(r.api_us for r in rows if r.door == rows[0].door)
    for name in dict.fromkeys(row.door for row in rows):
        mine = [row for row in rows if row.door == name]
        middle = {
            field: round(statistics.median(getattr(row, field) for row in mine), 2)
            for field in Row.__struct_fields__[1:]
        }
        ratios = {"api_ratio": round(statistics.median(r.api_us for r in mine) / base, 3)}
        found.append({"door": name, **middle, **ratios})
    return found


def machine() -> dict[str, object]:
    cpu = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "kernels": {"parse": parse.IMPLEMENTATION, "routing": routing.IMPLEMENTATION},
    }


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
        command = f"python -m benchmarks.cost --requests {asked.requests} --rounds {asked.rounds}"
        command += f" --connections {asked.connections}" + f" --only '{asked.only}'" * bool(
            asked.only
        )
        said = {"command": f"{command} --write", "machine": machine()}
        path = ROOT / "benchmarks" / "results" / "cost.json"
        path.parent.mkdir(exist_ok=True)
        said |= {"medians": told, "rounds": msgspec.to_builtins(rows)}
        path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
