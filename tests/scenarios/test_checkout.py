"""From browsing to a paid order, and a crowd at one shelf, with real processes."""

import asyncio
import contextlib
import time
from collections import Counter
from urllib.parse import quote as quoted
from uuid import uuid4

import httpx
import pytest
import redis as redis_sync

from core import embedded, inventory, ledger
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.kit import db
from tests.api.conftest import SECRET, as_admin, as_member
from tests.api.test_checkout import CHINA, TEXAS, Shopper
from tests.api.test_payments import Program, admin, environment_of, until
from tests.patience import PATIENCE_S

WORKERS = 2


@pytest.fixture(scope="module")
def market(postgres, template, redis_server, tmp_path_factory):
    """Where the shop answers, in two processes, and its database."""
    name = f"t_{uuid4().hex}"
    asyncio.run(admin(postgres, f"CREATE DATABASE {name} TEMPLATE {template}"))
    with redis_sync.Redis.from_url(redis_server.url) as client:
        client.flushall()
    ports = embedded.free_port(), embedded.free_port()
    shop, sandbox = (f"http://127.0.0.1:{port}" for port in ports)
    home, database = tmp_path_factory.mktemp("home"), postgres.url_of(name)
    environment = environment_of(home, ports[0], sandbox, database, redis_server.url)
    environment |= {"SLUICE_TOKEN_SECRET": SECRET, "SLUICE_WORKERS": str(WORKERS)}
    with contextlib.ExitStack() as stack:
        stack.callback(asyncio.run, admin(postgres, f"DROP DATABASE {name} WITH (FORCE)"))
        for verb in ("sandbox", "serve", "work"):
            stack.callback(Program(verb, environment, None).stop)
        for url in (sandbox, shop):
            await_health(url)
        yield shop, database


def await_health(url):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health/live", timeout=5).is_success:
                return
        time.sleep(0.1)
    raise AssertionError(f"{url} never answered")


@pytest.fixture
async def client(market):
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=market[0], timeout=PATIENCE_S, limits=limits) as client:
        yield client


@pytest.fixture
async def books(market):
    """The shop's own database, to look at what nobody is told."""
    async with db.create_pool(market[1], size_max=2) as pool:
        yield pool


@pytest.fixture
def shelve(staff, books):
    """Publish a product with so many units of its one SKU; give the ids of both."""

    async def shelve(en, zh, *, units, **prices):
        product = await staff("POST", "/products", title={"en": en, "zh": zh})
        sku = {"code": f"CODE-{uuid4().hex.upper()}", "currency": "CNY", "prices": prices}
        path = f"/products/{product['product_id']}"
        (made,) = (await staff("POST", f"{path}/skus", skus=[sku]))["skus"]
        await staff("POST", f"{path}/publish")
        async with db.transaction(books) as conn:
            await inventory.receive(
                conn,
                place_id=inventory.MAIN,
                units={int(made["sku_id"]): units},
                reference=f"stock {made['sku_id']}",
                by="test",
            )
        return product["product_id"], made["sku_id"]

    return shelve


async def proven(books):
    assert await audit_ledger(books) == LedgerAudit([], [])
    async with db.snapshot(books) as conn:
        assert await inventory.audit(conn) == []


async def test_a_buyer_browses_fills_a_cart_checks_out_and_pays(client, staff, shelve, books):
    kettle_id, kettle = await shelve("Kettle", "水壶", units=10, CNY=9_900, USD=1_500)
    _, cup = await shelve("Cup", "杯子", units=10, CNY=1_900, USD=333)

    found = (await client.get("/v1/products", params={"q": "水壶"})).json()["items"]
    assert [one["product_id"] for one in found] == [kettle_id]
    (offer,) = (await client.get(f"/v1/products/{kettle_id}/availability")).json()["items"]
    assert (offer["sku_id"], offer["delivery"]["state"]) == (kettle, "in_stock")

    buyer = Shopper(client, 41)
    await buyer.fill((kettle, 2), (cup, 3))
    home = await buyer.live_at(TEXAS)
    quote = await buyer.quote(home, "USD")
    # 6.25 % of each line and of shipping, which no cart below 49 dollars gets for nothing.
    goods, taxes, shipping = (3_000, 999), (188, 62), (599, 37)
    assert [line["amount"] for line in quote["lines"]] == [3_188, 1_061]
    assert [line["tax"] for line in quote["lines"]] == list(taxes)
    assert (quote["shipping"], quote["shipping_tax"]) == shipping
    total = sum(goods) + sum(taxes) + sum(shipping)
    assert quote["total"] == total == 4_885

    placed = (await buyer.check_out(home, quote["quote"], currency="USD")).json()
    assert (placed["amount"], placed["currency"]) == (total, "USD")
    order_id, at_first = placed["order_id"], await now(books)
    paying = await buyer.ask("POST", f"/orders/{order_id}/payments", channel="sandbox")
    assert (paying.json()["amount"], paying.json()["currency"]) == (total, "USD")
    await client.post(paying.json()["pay_url"], data={"choice": "pay"})

    async def mine():
        return (await buyer.ask("GET", f"/orders/{order_id}")).json()

    paid = await until(mine, lambda order: order["state"] == "paid")
    assert {name: paid[name] for name in placed if name != "state"} == {
        name: placed[name] for name in placed if name != "state"
    }
    assert (await buyer.check_out(home, quote["quote"], currency="USD")).json() == placed
    assert [one["order_id"] for one in (await buyer.ask("GET", "/orders")).json()["items"]] == [
        order_id
    ]

    then = await staff("GET", f"/orders/{order_id}/as-of?moment={quoted(at_first)}")
    today = await staff("GET", f"/orders/{order_id}/as-of?moment={quoted(await now(books))}")
    assert (then["state"], today["state"]) == ("pending_payment", "paid")
    log = await staff("GET", f"/orders/{order_id}/log")
    assert (len(log["items"]), log["first_broken"]) == (1, None)
    held = await staff("GET", f"/ledger/orders/{order_id}")
    amounts = Counter()
    for share in held["shares"]:
        amounts[share["account"]] += share["amount"]
    assert amounts == {
        ledger.Account.SELLER_PAYABLE: sum(goods),
        ledger.Account.TAX: sum(taxes) + shipping[1],
        ledger.Account.SHIPPING: shipping[0],
    }
    kept = (await staff("GET", f"/reservations/order:{order_id}"))["lines"]
    # Paid, they are on their way out with no hand.
    units = {o["sku_id"]: o["reserved"] + o["allocated"] + o["shipped"] for o in kept}
    assert units == {kettle: 2, cup: 3}
    await proven(books)


async def now(books):
    return (await books.fetchval("SELECT clock_timestamp()")).isoformat()


async def test_thirty_two_clients_race_for_a_hundred_units_through_two_processes(
    client, shelve, books
):
    _, sku_id = await shelve("Lamp", "灯", units=100, CNY=9_900)
    before = await rows(books)
    refused = Counter()

    async def race(member):
        """Buy one unit after the other until there is none."""
        buyer, bought = Shopper(client, member), []
        home = await buyer.live_at(CHINA)
        while True:
            await buyer.fill((sku_id, 1))
            quote = (await buyer.quote(home))["quote"]
            wanted = {
                "headers": as_member(member) | {"Idempotency-Key": f"k{len(bought)}"},
                "json": {"address_id": home, "currency": "CNY", "quote": quote},
            }
            # Every click comes twice, and may meet another process.
            answers = await asyncio.gather(
                *(client.post("/v1/checkouts", **wanted) for _ in range(2))
            )
            if any(answer.status_code != 201 for answer in answers):
                refused.update(answer.json()["type"].rpartition("/")[2] for answer in answers)
                return bought
            assert answers[0].content == answers[1].content
            bought.append(answers[0].json()["order_id"])

    sold = [one for bought in await asyncio.gather(*map(race, range(1, 33))) for one in bought]
    assert len(set(sold)) == len(sold) == 100
    assert refused == {"out-of-stock": 64}
    after = await rows(books)
    assert {name: after[name] - before[name] for name in after} == dict.fromkeys(after, 100)
    async with db.reading(books) as conn:
        assert await inventory.free(conn, sku_ids=[int(sku_id)]) == {int(sku_id): 0}
    orphans = """
        SELECT count(*) FROM orders.orders o
          FULL JOIN (SELECT DISTINCT order_id FROM orders.lines) l ON order_id = o.id
          FULL JOIN inventory.reservations r ON kept_for = 'order:' || o.id
         WHERE o.id IS NULL OR l.order_id IS NULL OR r.kept_for IS NULL
    """
    assert await books.fetchval(orphans) == 0
    await proven(books)


async def rows(books):
    tables = ("orders.orders", "orders.lines", "orders.agreements")
    return {table: await books.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def test_staff_see_an_order_of_a_cart_among_the_others(client, staff, shelve):
    _, sku_id = await shelve("Vase", "花瓶", units=5, CNY=9_900)
    buyer = Shopper(client, 51)
    await buyer.fill((sku_id, 1))
    home = await buyer.live_at(CHINA)
    placed = (await buyer.check_out(home, (await buyer.quote(home))["quote"])).json()
    (listed,) = (await staff("GET", "/orders?member_id=51"))["items"]
    assert (listed["order_id"], listed["lines"]) == (placed["order_id"], placed["lines"])
    cancelled = await client.post(
        f"/v1/admin/orders/{placed['order_id']}/cancel", headers=as_admin()
    )
    assert cancelled.json()["state"] == "cancelled"
    found = await client.get(f"/v1/orders/{placed['order_id']}", headers=as_member(51))
    assert (found.json()["state"], found.json()["reason"]) == ("cancelled", "staff")
