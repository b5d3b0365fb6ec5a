"""The application as buyers meet it: in this process, and behind a real uvicorn with the lane."""

import asyncio
import base64
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from api import auth
from api.app import create_app
from core import catalogue, embedded
from core.flows.audit_sale import audit_sale
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.run_sale import arm_sale
from core.flows.stock_products import NewProduct, stock_products
from core.jobs.order_writer import OrderWriter
from core.settings import PREFIX, Settings
from hotpath.receipts import Keyring
from tests.api.doors import door
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
SECRET = "a secret of thirty-two bytes, ok?"
RECEIPT_KEY = b"k" * 32
# Each process looks at the sales four times a second.
KNOWN_S = 0.6


@pytest.fixture
def settings(database_url, redis_url, tmp_path) -> Settings:
    return Settings(
        home=str(tmp_path / "home"),
        database_url=database_url,
        redis_url=redis_url,
        token_secret=SECRET,
        receipt_keys=f"1:{base64.b64encode(RECEIPT_KEY).decode()}",
        sandbox_url=f"http://127.0.0.1:{embedded.free_port()}",  # offered, and away
        port=embedded.free_port(),
        pool_size_max=4,
        trusted_proxies="127.0.0.0/8",
        risk_subjects=1_024,
    )


@pytest.fixture
def keyring() -> Keyring:
    return Keyring({1: RECEIPT_KEY})


@pytest.fixture
async def app(settings):
    app = create_app(settings)
    async with app.lifespan():
        yield app


@pytest.fixture
async def http(app):
    """A client of the application in this process."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield client


@pytest.fixture
async def url(settings):
    """Where `sluice serve` answers, as a process of its own."""
    server = serve(settings)
    try:
        where = f"http://127.0.0.1:{settings.port}"
        await live(where, server)
        yield where
    finally:
        stop(server)


@pytest.fixture
async def far(url):
    """A client of `sluice serve`."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture
async def plain(app):
    """A client of Litestar under uvicorn, without the till: the lane answers nothing by itself."""
    async with door(app, {}) as behind:
        url = f"http://127.0.0.1:{behind.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
            yield client


@pytest.fixture(params=["http", "plain", "far"])
def shop(request):
    """In this process, under uvicorn, or through the lane. A test that asks for it runs thrice."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def sku_ids(pool) -> list[catalogue.SkuId]:
    """Three SKUs with 1,000 units each."""
    skus = [(f"KETTLE-{n}", 9_900, "CNY") for n in range(3)]
    product = NewProduct({"en": "Kettle", "zh": "水壶"}, skus)
    return await stock_products(pool, products=[product], units=1_000, reference="test")


@pytest.fixture
def plan(pool, sku_ids):
    """Plan a sale that is open right now, unless told otherwise."""

    async def plan(*, quota=100, limit=2, starts_in_s=-1, lasts_s=600, hold_s=900, skus=1):
        now = datetime.now(UTC)
        return await plan_sale(
            pool,
            name="Kettles",
            starts_at=now + timedelta(seconds=starts_in_s),
            ends_at=now + timedelta(seconds=starts_in_s + lasts_s),
            items=[PlannedItem(sku, quota, 5_000, limit) for sku in sku_ids[:skus]],
            hold_s=hold_s,
        )

    return plan


@pytest.fixture
async def sale(pool, redis, plan):
    """An open sale of 100 units of the first SKU, two a member."""
    return await arm_sale(pool, redis, sale_id=(await plan()).id)


@pytest.fixture
def buy(sale, sku_ids):
    """Post a claim, with anything about it changed, once the client's server knows the sale."""
    knowing = set()

    async def buy(client, member=7, *, key="k", quantity=1, sku=None, where=None, **more):
        sku_id = str(sku_ids[0]) if sku is None else sku
        more = {"json": {"sku_id": sku_id, "quantity": quantity}} | more
        headers = more.pop("headers", {})
        if client not in knowing:
            await known(client, sale.id)
            knowing.add(client)
        return await client.post(
            f"/v1/sales/{where or sale.id}/orders",
            headers=as_member(member)
            | {"Idempotency-Key": key, "X-Forwarded-For": address_of(member)}
            | headers,
            **more,
        )

    return buy


@pytest.fixture
def books(pool, redis):
    """Audit a sale, and give (left, in flight, sold, returned) of its first item."""

    async def books(sale):
        audit = await audit_sale(pool, redis, sale_id=sale.id)
        assert audit.drift == 0
        (item, *_) = audit.items
        return item.left, item.in_flight, item.sold, item.returned

    return books


@pytest.fixture
def write_orders(pool, redis, keyring):
    """Play the order writer until nothing is left to write."""

    async def write_orders():
        writer = OrderWriter(pool, redis, keyring)
        while await writer.step():
            pass

    return write_orders


async def known(client: httpx.AsyncClient, sale_id: int) -> None:
    """Wait until the server has heard of a sale: it looks four times a second."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            listed = (await client.get("/v1/sales?limit=100")).json()["items"]
            if str(sale_id) in {sale["sale_id"] for sale in listed}:
                return
            await asyncio.sleep(0.02)


def token(subject: str, role: str, *, ttl_s: int = 600, secret: str = SECRET) -> str:
    now_s = int(time.time()) - max(0, -ttl_s)
    return auth.issue(secret, subject=subject, role=role, now_s=now_s, ttl_s=abs(ttl_s))


def address_of(member: int) -> str:
    """Every buyer stands behind the trusted proxy with an address of its own."""
    return f"10.{member >> 16 & 255}.{member >> 8 & 255}.{member & 255}"


def as_member(member: int) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(str(member), 'member')}"}


def as_admin() -> dict[str, str]:
    return {"Authorization": f"Bearer {token('admin', 'admin')}"}


def environment(settings: Settings) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
    told = {PREFIX + n.upper(): str(getattr(settings, n)) for n in settings.__struct_fields__}
    return kept | told


class Served(subprocess.Popen):
    """A server whose log goes to a file: a full pipe would stop it."""

    def __init__(self, *words: str, settings: Settings) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - it lasts as long as the process
        super().__init__(words, cwd=ROOT, env=environment(settings), stderr=self.log)

    def logged(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()


def serve(settings: Settings) -> Served:
    words = (sys.executable, "-W", "error", "-m", "api.cli", "serve")
    return Served(*words, settings=settings)


async def live(url: str, server: Served) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(PATIENCE_S):
        while True:
            assert server.poll() is None, server.logged()
            try:
                if (await client.get(f"{url}/health/live")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


def stop(server: Served) -> str:
    """Stop it politely and return its log, in which nobody ever finds an unhandled exception."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    server.wait(PATIENCE_S)
    log = server.logged()
    server.log.close()
    assert "unhandled exception" not in log, log
    assert "Traceback" not in log, log
    return log


def problem(answer: httpx.Response) -> str:
    """Hold an answer against RFC 9457, and give its slug."""
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == answer.status_code
    assert said["title"]
    assert said["detail"]
    assert ("retry-after" in answer.headers) == ("retry_after_s" in said)
    kind, _, slug = said["type"].rpartition("/")
    assert kind == "/problems"
    return slug
