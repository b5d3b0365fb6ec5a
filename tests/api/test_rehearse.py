"""`sluice rehearse` against `serve` and `work` as processes: a verdict that passes, and that fails.

A verdict that cannot fail proves nothing, so units are planted in Redis and orders are made up on
the wire, and each time it has to say so.
"""

import asyncio
import base64
import itertools
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest

from api.rehearsal.client import Client, NoAnswer
from api.rehearsal.crowd import Style, address, draw_crowd, poisson
from api.rehearsal.score import percentile
from core import catalogue, embedded, inventory, sales
from core.flows.copy_sale import shadow_sale
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.run_sale import arm_sale
from core.kit import db
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
LOOK_S = 0.15
UNITS = 50
BUYERS = ("--buyers", "300", "--rate", "300", "--connections", "64")


class Shop:
    """One API worker and the background roles on a database and a Redis of the test's own."""

    def __init__(self, home: Path, database_url: str, redis_url: str) -> None:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("SLUICE_")}
        port = embedded.free_port()
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **kept,
            "SLUICE_HOME": str(home),
            "SLUICE_PORT": str(port),
            "SLUICE_DATABASE_URL": database_url,
            "SLUICE_REDIS_URL": redis_url,
            "SLUICE_TRUSTED_PROXIES": "127.0.0.0/8",
            "SLUICE_TOKEN_SECRET": "t" * 32,
            "SLUICE_RECEIPT_KEYS": f"1:{base64.b64encode(b'r' * 32).decode()}",
        }

    def open(self, *words: str, log: Path) -> subprocess.Popen[str]:
        with log.open("w") as out:
            return subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    async def run(self, *words: str) -> tuple[int, str]:
        log = self.home.with_name("said")
        process = self.open(*words, log=log)
        try:
            code = await asyncio.to_thread(process.wait, PATIENCE_S)
        finally:
            process.kill()
        return code, log.read_text()

    async def rehearse(self, sale: sales.Sale, *words: str) -> tuple[int, dict, Path]:
        code, said = await self.run("api.cli", "rehearse", str(sale.id), *BUYERS, *words)
        found = re.search(r"^evidence: (.+)$", said, re.MULTILINE)
        assert found, said
        folder = Path(found[1])
        return code, msgspec.json.decode((folder / "verdict.json").read_bytes()), folder

    async def ready(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(self._answers):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(LOOK_S)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture
async def shop(tmp_path, database_url, redis_url):
    shop = Shop(tmp_path / "home", database_url, redis_url)
    running = [
        shop.open("api.cli", verb, log=tmp_path / f"{verb}.log") for verb in ("serve", "work")
    ]
    try:
        await shop.ready()
        yield shop
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.fixture
async def sale(pool, redis) -> sales.Sale:
    """An open sale: fifty units, two a member."""
    async with db.transaction(pool) as conn:
        _, (sku_id,) = await catalogue.add_product(
            conn, title={"en": "Kettle", "zh": "水壶"}, skus=[("KETTLE", 9_900, "CNY")]
        )
        await inventory.receive(
            conn,
            place_id=inventory.MAIN,
            units={sku_id: UNITS},
            reference=f"stock {sku_id}",
            by="test",
        )
    now = datetime.now(UTC)
    planned = await plan_sale(
        pool,
        name="test",
        starts_at=now,
        ends_at=now + timedelta(hours=1),
        items=[PlannedItem(sku_id, UNITS, 5_000, 2)],
    )
    return await arm_sale(pool, redis, sale_id=planned.id)


def failed(verdict: dict) -> set[str]:
    return {check["name"] for check in verdict["verdict"]["checks"] if not check["passed"]}


async def test_a_rehearsal_sells_a_shadow_out_and_passes_with_its_evidence(shop, sale, pool, redis):
    code, told, folder = await shop.rehearse(sale)
    assert (code, told["passed"], failed(told)) == (0, True, set())
    figures = told["verdict"]["figures"]
    assert (figures["buyers"], figures["quota"], figures["accepted"]) == (300, UNITS, UNITS)
    assert figures["sell_out_s"] > 0
    assert figures["accepted_ms"]["p50"] <= figures["accepted_ms"]["p99"]
    assert figures["refused"]["sale-not-open"] > 0  # the opening itself was rehearsed
    assert {path.name for path in folder.iterdir()} >= {
        *("report.md", "report.zh-CN.md", "verdict.json", "attempts.csv", "left.csv"),
        *("accepted.png", "left.png", "latency.png"),
    }
    assert (folder / "report.md").read_text().startswith(f"# Rehearsal of sale {sale.id}: PASS")
    assert "通过" in (folder / "report.zh-CN.md").read_text()

    async with db.reading(pool) as conn:
        shadow = await sales.find(conn, sale_id=sales.SaleId(int(told["shadow_sale_id"])))
        assert (shadow.state, shadow.shadow) == ("retired", True)
        assert [s.id for s in await sales.listing(conn, before=None, page_max=9)] == [sale.id]
        skus = [item.sku_id for item in await sales.items(conn, sale_id=sale.id)]
        # The real sale took its fifty units from stock; its shadow took none and gave none back.
        assert list((await inventory.free(conn, sku_ids=skus)).values()) == [0]
    left = await redis.hgetall("sluice:{1}:left")
    assert left == {str(skus[0]).encode(): b"50"}


@pytest.mark.parametrize(
    ("planted", "found"), [(-5, {"drift"}), (7, {"drift", "oversold", "rejected"})]
)
async def test_units_planted_in_redis_fail_the_verdict(shop, sale, redis, planted, found):
    async def plant():
        for _ in range(round(PATIENCE_S / LOOK_S)):
            for sku in await redis.hkeys("sluice:{2}:left"):
                await redis.hincrby("sluice:{2}:left", sku, planted)
                return
            await asyncio.sleep(LOOK_S)

    planting = asyncio.create_task(plant())
    code, told, _ = await shop.rehearse(sale)
    await planting
    assert (code, told["passed"]) == (1, False)
    assert failed(told) == found
    figures = {check["name"]: check["found"] for check in told["verdict"]["checks"]}
    assert figures["drift"] == abs(planted)
    # A unit too many is sold, rejected, given back and sold again: more orders than units planted.
    assert figures["oversold"] >= planted


async def test_an_order_that_somebody_made_up_is_lost(shop, sale):
    async with liar(shop.url) as url:
        code, told, _ = await shop.rehearse(sale, "--url", url)
    assert code == 1
    assert "lost" in failed(told)


@asynccontextmanager
async def liar(url: str) -> AsyncIterator[str]:
    """A proxy that makes up the order id in every tenth acceptance."""
    counted = itertools.count()

    async def serve(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                writer.write(await pass_on(reader, head))
        except (EOFError, OSError):
            writer.close()

    async def pass_on(reader, head):
        method, path, *_ = head.decode().split(" ", 2)
        pairs = (line.split(": ", 1) for line in head.decode().splitlines()[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.pop("content-length", "0")))
        for name in ("host", "content-type"):
            headers.pop(name, None)
        answer = await client.ask(method, path, headers=headers, body=body)
        told = answer.body
        if answer.status == 202 and next(counted) % 10 == 0:
            told = re.sub(rb'(?<="order_id":"........-)....', b"beef", told)
        retry = answer.headers.get(b"retry-after", b"1")
        return b"HTTP/1.1 %d -\r\ncontent-length: %d\r\nretry-after: %b\r\n\r\n%b" % (
            *(answer.status, len(told), retry, told),
        )

    async with Client(url, connections_max=100) as client:
        server = await asyncio.start_server(serve, "127.0.0.1", embedded.free_port())
        async with server:
            host, port = server.sockets[0].getsockname()
            yield f"http://{host}:{port}"


async def test_locust_plays_its_scenarios_without_a_fault(shop, sale, tmp_path):
    code, tokens = await shop.run("api.cli", "token", "--members", "140")
    assert code == 0
    (tmp_path / "tokens").write_text(tokens)
    code, said = await shop.run(
        *("locust", "-f", "benchmarks/locustfile.py", "--headless", "--only-summary"),
        *("--host", shop.url, "--sale", str(sale.id), "--tokens", str(tmp_path / "tokens")),
        *("--buyers", "80", "--rate", "60", "--double-clickers", "15", "--retriers", "15"),
        *("--bot-keys", "100", "--seconds", "9"),
    )
    assert code == 0, said
    assert f"accepted {UNITS} different orders" in said
    assert "faults: 0" in said
    for line in ("spike: sold-out", "double click: ", "retry: ", "bot: ", "products", "events"):
        assert line in said, said


async def test_production_is_loaded_only_by_those_who_know(shop, sale):
    shop.environment["SLUICE_ENV"] = "production"
    code, said = await shop.run("api.cli", "rehearse", str(sale.id))
    assert code == 1
    assert said.count("\n") == 1
    assert "--i-know" in said


async def test_another_shop_than_ours_is_found_out_and_the_shadow_is_closed(shop, sale, pool):
    server = await asyncio.start_server(deaf, "127.0.0.1", embedded.free_port())
    async with server:
        host, port = server.sockets[0].getsockname()
        code, said = await shop.run(
            "api.cli", "rehearse", str(sale.id), "--url", f"http://{host}:{port}"
        )
    assert code == 1
    assert "is not the shop" in said
    async with db.reading(pool) as conn:
        assert (await sales.find(conn, sale_id=sales.SaleId(sale.id + 1))).state == "closed"


async def deaf(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    writer.close()


async def test_a_shadow_has_the_same_terms_and_no_more_units_than_asked_for(pool, sale):
    now = datetime.now(UTC)
    terms = {"sale_id": sale.id, "starts_at": now, "ends_at": now + timedelta(minutes=1)}
    shadow = await shadow_sale(pool, **terms, units_max=7)
    async with db.reading(pool) as conn:
        (original,) = await sales.items(conn, sale_id=sale.id)
        (copied,) = await sales.items(conn, sale_id=shadow.id)
    assert copied == msgspec.structs.replace(original, sale_id=shadow.id, quota=7)
    assert shadow.shadow
    with pytest.raises(sales.NoSuchSale):
        await shadow_sale(pool, **{**terms, "sale_id": 999})


async def test_half_an_answer_is_no_answer_and_chunks_are_put_together():
    chunks = b"2\r\nwh\r\n3\r\nole\r\n0\r\n\r\n"
    answers = iter(
        [
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%b" % chunks,
            b"nonsense\r\n\r\n",
        ]
    )

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(answers))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", embedded.free_port())
    host, port = server.sockets[0].getsockname()
    async with server, Client(f"http://{host}:{port}", connections_max=1) as client:
        with pytest.raises(NoAnswer):
            await client.ask("GET", "/", headers={})
        assert (await client.ask("GET", "/", headers={})).body == b"whole"
        with pytest.raises(NoAnswer):
            await client.ask("GET", "/", headers={})


def test_arrivals_come_at_the_rate_and_the_same_seed_brings_the_same_crowd():
    times = list(itertools.islice(poisson(Random(7), rate_per_s=100, ramp_s=2), 5_000))
    assert times == sorted(times)
    # The ramp costs one second's worth: 5,000 arrivals at 100 a second end after 51 s.
    assert 48 < times[-1] < 54
    assert sum(time < 2 for time in times) in range(60, 140)
    terms = {
        "buyers": 500,
        "rate_per_s": 50.0,
        "ramp_s": 2.0,
        "double_clicks": 0.2,
        "bots": 0.1,
        "sku_ids": [1, 2],
        "token_of": str,
    }
    crowd = draw_crowd(Random(7), **terms)
    assert crowd == draw_crowd(Random(7), **terms)
    assert crowd != draw_crowd(Random(8), **terms)
    assert {buyer.style for buyer in crowd} == set(Style)
    assert len({buyer.address for buyer in crowd if buyer.style is Style.BOT}) == 1
    assert len({address(number) for number in range(100_000)}) == 100_000


def test_a_percentile_is_a_value_that_was_seen():
    assert percentile([1, 2, 3, 4], 50) == 2
    assert percentile([1, 2, 3, 4], 99) == 4
    assert percentile([], 99) == 0
