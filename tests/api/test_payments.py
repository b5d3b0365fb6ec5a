"""Paying over HTTP: shop, worker and provider are real processes on real ports."""

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest
import redis as redis_sync
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api import auth
from core import catalogue, embedded, inventory, ledger, payments, reconciliation, sales
from core.flows.check_statement import fetch_statement
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.run_sale import arm_sale
from core.kit import db
from hotpath.nodes import Redis
from tests.patience import PATIENCE_S

PRICE = 5_000
TOKEN_SECRET = "t" * 40
SANDBOX_SECRET = "s" * 40


class Program:
    """One of our own commands as a process of its own."""

    def __init__(self, verb: str, environment: dict[str, str], probe: str | None) -> None:
        self.verb, self.environment, self.probe = verb, environment, probe
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command(), env=self.environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE_S
        while self.probe and time.monotonic() < deadline:
            assert self.process.poll() is None, f"{self.verb} ended by itself"
            try:
                if httpx.get(self.probe, timeout=2).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.05)
        assert not self.probe, f"{self.verb} never answered"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "api.cli", self.verb]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            print("did not stop:", self.verb)


class Town(msgspec.Struct):
    """A shop with its worker, and the provider that it takes payments through."""

    shop_url: str
    sandbox_url: str
    database_url: str
    redis_url: str
    worker: Program
    sandbox: Program


@pytest.fixture(scope="module")
def town(postgres, template, redis_server, tmp_path_factory) -> Iterator[Town]:
    name = f"t_{uuid4().hex}"
    asyncio.run(admin(postgres, f"CREATE DATABASE {name} TEMPLATE {template}"))
    with redis_sync.Redis.from_url(redis_server.url) as client:
        client.flushall()
    port, sandbox_port = embedded.free_port(), embedded.free_port()
    urls = [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}"]
    environment = environment_of(
        tmp_path_factory.mktemp("home"), port, urls[1], postgres.url_of(name), redis_server.url
    )
    programs = [
        Program("sandbox", environment, f"{urls[1]}/health/live"),
        Program("serve", environment, f"{urls[0]}/health/live"),
        Program("work", environment, None),
    ]
    yield Town(*urls, postgres.url_of(name), redis_server.url, programs[2], programs[0])
    for program in programs:
        program.stop()
    asyncio.run(admin(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


async def admin(postgres, statement: str) -> None:
    conn = await asyncpg.connect(postgres.url_of("postgres"))
    await conn.execute(statement)
    await conn.close()


def environment_of(home: Path, port: int, sandbox_url: str, database_url: str, redis_url: str):
    settings = {
        "HOME": str(home),
        "PORT": str(port),
        "SANDBOX_URL": sandbox_url,
        "SANDBOX_SECRET": SANDBOX_SECRET,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TOKEN_SECRET": TOKEN_SECRET,
        "RECEIPT_KEYS": "1:" + base64.b64encode(b"r" * 32).decode(),
    }
    ours = {f"SLUICE_{name}": value for name, value in settings.items()}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return {**plain, **ours}


async def until(look, is_there):
    """Look again and again, for a while."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = await look()
        if is_there(found):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"it never came, but stayed at {found}")


class Visit:
    """What a test does in the town."""

    def __init__(self, town: Town, http: httpx.AsyncClient, pool: db.Pool, redis: Redis) -> None:
        self.town, self.http, self.pool, self.redis = town, http, pool, redis
        self.member = 0

    async def sale(self, *, quota=1_000, limit=10, hold_s=900) -> sales.Sale:
        async with db.transaction(self.pool) as conn:
            _, (sku_id,) = await catalogue.add_product(
                conn, title={"en": "Kettle", "zh": "水壶"}, skus=[(uuid4().hex, PRICE, "CNY")]
            )
            await inventory.receive(
                conn,
                place_id=inventory.MAIN,
                units={sku_id: quota},
                reference=f"stock {sku_id}",
                by="test",
            )
        now = datetime.now(UTC)
        planned = await plan_sale(
            self.pool,
            name="test",
            starts_at=now - timedelta(seconds=1),
            ends_at=now + timedelta(hours=1),
            items=[PlannedItem(sku_id, quota, PRICE, limit)],
            hold_s=hold_s,
        )
        return await arm_sale(self.pool, self.redis, sale_id=planned.id)

    def as_member(self, member: int) -> dict[str, str]:
        token = auth.issue(
            TOKEN_SECRET, subject=str(member), role="member", now_s=int(time.time()), ttl_s=600
        )
        return {"Authorization": f"Bearer {token}"}

    async def buy(self, sale: sales.Sale, member: int, *, key="k") -> str:
        items = await self.pool.fetch("SELECT sku_id FROM sales.items WHERE sale_id = $1", sale.id)
        headers = {**self.as_member(member), "Idempotency-Key": key}
        body = {"sku_id": str(items[0]["sku_id"]), "quantity": 1}
        # A worker hears of a new sale a moment later; units come back a moment after an expiry.
        answer = await until(
            lambda: self.http.post(f"/v1/sales/{sale.id}/orders", json=body, headers=headers),
            lambda answer: answer.status_code == 202,
        )
        return answer.json()["order_id"]

    async def order(self, order_id: str, member: int) -> dict[str, str]:
        answer = await self.http.get(f"/v1/orders/{order_id}", headers=self.as_member(member))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def becomes(self, order_id: str, member: int, state: str) -> dict[str, str]:
        return await until(
            lambda: self.order(order_id, member), lambda found: found["state"] == state
        )

    async def start(self, order_id: str, member: int, body=None) -> httpx.Response:
        return await self.http.post(
            f"/v1/orders/{order_id}/payments",
            json={"channel": "sandbox"} if body is None else body,
            headers=self.as_member(member),
        )

    async def started(self, sale: sales.Sale, member: int) -> dict[str, str]:
        order_id = await self.buy(sale, member)
        await self.becomes(order_id, member, "pending_payment")
        answer = await self.start(order_id, member)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def click(self, payment: dict[str, str], choice="pay") -> httpx.Response:
        answer = await self.http.post(payment["pay_url"], data={"choice": choice})
        assert answer.status_code == 303, answer.text
        return answer

    async def payment(self, payment_id: str) -> payments.Payment:
        async with db.reading(self.pool) as conn:
            return await payments.find(conn, payment_id=payment_id)

    async def payment_becomes(self, payment_id: str, state: str) -> payments.Payment:
        return await until(lambda: self.payment(payment_id), lambda found: found.state == state)

    async def behave(self, **said) -> None:
        answer = await self.signed("PUT", "/v1/behaviour", said)
        assert answer.status_code == 200, answer.text

    async def signed(self, method: str, path: str, message=None) -> httpx.Response:
        """Talk to the provider as the shop does."""
        body = b"" if message is None else msgspec.json.encode(message)
        return await self.http.request(
            method, self.town.sandbox_url + path, content=body, headers=signed(body)
        )

    async def statement(self) -> list[dict[str, object]]:
        items, cursor = [], "0"
        while cursor is not None:
            page = (await self.signed("GET", f"/v1/statement?limit=7&after={cursor}")).json()
            items += page["items"]
            cursor = page["cursor"]
        return items

    async def webhook(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return await self.http.post("/v1/webhooks/sandbox", content=body, headers=headers)


def signed(body: bytes, *, now_s: int | None = None, secret=SANDBOX_SECRET) -> dict[str, str]:
    now_s = int(time.time()) if now_s is None else now_s
    return {"Sluice-Signature": payments.sign(secret.encode(), body, now_s=now_s)}


def message(payment: dict[str, str], **facts) -> bytes:
    told = {
        "event_id": f"evt-{uuid4()}",
        "kind": "payment.captured",
        "checkout_id": "c",
        "reference": payment["payment_id"],
        "amount": payment["amount"],
        "currency": payment["currency"],
    }
    return msgspec.json.encode({**told, **facts})


@pytest.fixture
async def visit(town):
    async with (
        httpx.AsyncClient(base_url=town.shop_url, timeout=PATIENCE_S) as http,
        db.create_pool(town.database_url, size_max=4) as pool,
        Redis.from_url(town.redis_url, retry=Retry(NoBackoff(), 0)) as redis,
    ):
        visit = Visit(town, http, pool, redis)
        await visit.behave()
        yield visit


async def test_a_buyer_pays_on_the_providers_page(visit):
    payment = await visit.started(await visit.sale(), 7)
    assert payment.keys() == {"payment_id", "order_id", "state", "pay_url", "amount", "currency"}
    assert (payment["state"], payment["amount"], payment["currency"]) == ("started", PRICE, "CNY")
    again = await visit.start(payment["order_id"], 7)
    assert (again.status_code, again.json()) == (201, payment)
    back = await visit.click(payment)
    assert back.headers["location"].startswith(visit.town.shop_url)
    assert payment["order_id"] in back.headers["location"]
    await visit.click(payment)  # a double click
    await visit.becomes(payment["order_id"], 7, "paid")
    lines = [m for m in await visit.statement() if m["reference"] == payment["payment_id"]]
    assert [(m["kind"], m["amount"], m["currency"]) for m in lines] == [("capture", PRICE, "CNY")]
    refused = await visit.start(payment["order_id"], 7)
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("/not-payable")
    assert refused.json()["state"] == "paid"


@pytest.mark.parametrize(
    ("path", "accepted", "words"),
    [
        ("", "en-GB,en", ("CNY 50.00", ">Decline<", "Back to the shop", 'lang="en"')),
        ("", "zh-CN,zh;q=0.9", ("CNY 50.00", ">拒绝支付<", "返回商家", 'lang="zh-Hans"')),
        ("?lang=zh", "en", (">拒绝支付<",)),
    ],
)
async def test_the_pay_page_speaks_both_languages(visit, path, accepted, words):
    payment = await visit.started(await visit.sale(), 7)
    page = await visit.http.get(payment["pay_url"] + path, headers={"Accept-Language": accepted})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for word in words:
        assert word in page.text


async def test_who_declines_may_still_pay(visit):
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment, "decline")
    await visit.payment_becomes(payment["payment_id"], "failed")
    assert (await visit.order(payment["order_id"], 7))["state"] == "pending_payment"
    await visit.click(payment)
    await visit.becomes(payment["order_id"], 7, "paid")


async def test_messages_that_come_late_twice_and_out_of_order_count_once(visit):
    await visit.behave(duplicate=1, shuffle_s=1.5, drop_first=1, seed=5)
    sale = await visit.sale()
    started = [await visit.started(sale, member) for member in range(1, 11)]
    for payment in started:
        await visit.click(payment, "decline")
        await visit.click(payment)
    for member, payment in enumerate(started, 1):
        await visit.becomes(payment["order_id"], member, "paid")
    await asyncio.sleep(2.5)
    for payment in started:
        assert (await visit.payment(payment["payment_id"])).state == "captured"
    heard = await visit.pool.fetchval(
        "SELECT count(*) FROM payments.events WHERE payment_id = ANY($1::uuid[])",
        [payment["payment_id"] for payment in started],
    )
    assert heard == 20


async def test_of_two_payments_for_one_order_one_comes_back(visit):
    first = await visit.started(await visit.sale(), 7)
    await visit.click(first, "decline")
    await visit.payment_becomes(first["payment_id"], "failed")
    second = (await visit.start(first["order_id"], 7)).json()
    assert second["payment_id"] != first["payment_id"]
    await visit.click(second)
    await visit.becomes(first["order_id"], 7, "paid")
    await visit.click(first)
    refunded = await visit.payment_becomes(first["payment_id"], "refunded")
    assert refunded.reason == "already-paid"


@pytest.mark.parametrize("more", [-1, 1])
async def test_another_amount_than_was_asked_comes_back(visit, more):
    await visit.behave(amount_off=more)
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment)
    refunded = await visit.payment_becomes(payment["payment_id"], "refunded")
    assert (refunded.reason, refunded.captured_minor) == ("amount", PRICE + more)
    assert (await visit.order(payment["order_id"], 7))["state"] == "pending_payment"


async def test_late_money_buys_a_new_order_that_names_the_first(visit):
    payment = await visit.started(await visit.sale(hold_s=1), 7)
    ended = await visit.becomes(payment["order_id"], 7, "cancelled")
    assert ended["reason"] == "expired"
    await visit.click(payment)
    moved = await until(
        lambda: visit.payment(payment["payment_id"]),
        lambda found: found.order_id != payment["order_id"],
    )
    new = await visit.order(moved.order_id, 7)
    assert (new["state"], new["follows"], new["amount"]) == ("paid", payment["order_id"], PRICE)
    assert (await visit.order(payment["order_id"], 7))["state"] == "cancelled"


async def test_late_money_comes_back_when_nothing_is_left(visit):
    sale = await visit.sale(quota=1, hold_s=3)
    payment = await visit.started(sale, 7)
    await visit.becomes(payment["order_id"], 7, "cancelled")
    other_id = await visit.buy(sale, 8)
    await visit.click(payment)
    refunded = await visit.payment_becomes(payment["payment_id"], "refunded")
    assert refunded.reason == "sold-out"
    lines = [m for m in await visit.statement() if m["reference"] == payment["payment_id"]]
    assert [(m["kind"], m["amount"], m["reason"]) for m in lines] == [
        ("capture", PRICE, None),
        ("refund", PRICE, "sold-out"),
    ]
    assert other_id != payment["order_id"]


async def test_an_order_that_is_only_accepted_says_when_to_come_again(visit):
    sale = await visit.sale()
    visit.town.worker.process.send_signal(signal.SIGSTOP)
    try:
        order_id = await visit.buy(sale, 7)
        answer = await visit.start(order_id, 7)
    finally:
        visit.town.worker.process.send_signal(signal.SIGCONT)
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("/not-yet-written")
    assert int(answer.headers["retry-after"]) >= 1
    await visit.becomes(order_id, 7, "pending_payment")
    assert (await visit.start(order_id, 7)).status_code == 201


async def test_a_provider_killed_before_it_told_us_tells_us_afterwards(visit):
    await visit.behave(delay_s=1)
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment)
    visit.town.sandbox.kill()
    assert (await visit.payment(payment["payment_id"])).state == "started"
    visit.town.sandbox.start()
    await visit.becomes(payment["order_id"], 7, "paid")


async def test_a_message_forged_in_any_bit_is_refused_and_changes_nothing(visit):
    payment = await visit.started(await visit.sale(), 7)
    body = message(payment)
    headers = signed(body)
    (name, said), *_ = headers.items()
    for bit in range(8 * len(body)):
        answer = await visit.webhook(flipped(body, bit), headers)
        assert answer.status_code == 401, (bit, answer.text)
    for bit in range(8 * len(said)):
        changed = flipped(said.encode(), bit)
        if changed.isascii() and changed.decode().isprintable() and b" " not in changed:
            answer = await visit.webhook(body, {name: changed.decode()})
            assert answer.status_code == 401, (bit, answer.text)
    assert answer.json()["type"].endswith("/forged")
    assert (await visit.payment(payment["payment_id"])).state == "started"
    assert (await visit.webhook(body, headers)).status_code == 200
    assert (await visit.webhook(body, headers)).status_code == 200
    await visit.becomes(payment["order_id"], 7, "paid")


def flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


async def test_messages_that_nobody_signed_just_now_are_refused(visit):
    payment = await visit.started(await visit.sale(), 7)
    body = message(payment)
    now_s = int(time.time())
    for headers in (
        {},
        {"Sluice-Signature": ""},
        {"Sluice-Signature": "t=1,v1="},
        signed(body, secret="x" * 40),
        signed(body, secret=""),
        signed(body, now_s=now_s - 310),
        signed(body, now_s=now_s + 310),
        [*signed(body).items(), *signed(body).items()],
    ):
        answer = await visit.webhook(body, headers)
        assert answer.status_code == 401, headers
    assert (await visit.payment(payment["payment_id"])).state == "started"


async def test_what_is_signed_and_still_wrong_is_told_so(visit):
    payment = await visit.started(await visit.sale(), 7)
    for body, status in (
        (b"", 400),
        (b"\xff", 400),
        (b'{"event_id":', 400),
        (b"[" * 60_000, 400),
        (b"[]", 422),
        (message(payment, amount=-1), 422),
        (message(payment, amount=2**70), 422),
        (message(payment, event_id="a\0b"), 422),
        (message(payment, event_id=""), 422),
        (message(payment, currency="cny"), 422),
        (message(payment, reference="17"), 404),
        (message(payment, reference=str(uuid4())), 404),
        (message(payment, note="x" * 65_536), 413),
    ):
        answer = await visit.webhook(body, signed(body))
        assert answer.status_code == status, (body[:80], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_shop_tells_which_ways_to_pay_it_offers(visit):
    answer = await visit.http.get("/v1/payment-channels")
    assert (answer.status_code, answer.json()) == (200, {"items": [{"channel": "sandbox"}]})


async def test_bad_starts_get_their_problem(visit):
    order_id = await visit.buy(await visit.sale(), 7)
    await visit.becomes(order_id, 7, "pending_payment")
    for body, status in (
        ({"channel": "gold"}, 422),
        ({}, 422),
        ({"channel": "sandbox", "more": 1}, 422),
        ([], 422),
    ):
        assert (await visit.start(order_id, 7, body)).status_code == status, body
    answer = await visit.start(order_id, 7, {"channel": "gold"})
    assert answer.json()["type"].endswith("/channel-not-offered")
    assert answer.json()["offered"] == ["sandbox"]
    for foreign_id, member in ((order_id, 8), (str(uuid4()), 7), ("17", 7)):
        answer = await visit.start(foreign_id, member)
        assert answer.status_code == 404
        assert answer.json()["type"].endswith("/no-such-order")
    path = f"/v1/orders/{order_id}/payments"
    assert (await visit.http.post(path, json={"channel": "sandbox"})).status_code == 401


async def test_the_provider_serves_only_who_signs(visit):
    for method, path in (
        ("POST", "/v1/checkouts"),
        ("POST", "/v1/checkouts/look"),
        ("POST", "/v1/checkouts/close"),
        ("POST", "/v1/refunds"),
        ("POST", "/v1/refunds/look"),
        ("PUT", "/v1/behaviour"),
        ("GET", "/v1/statement"),
    ):
        answer = await visit.http.request(method, visit.town.sandbox_url + path)
        assert answer.status_code == 401, path
    for path in ("/pay/nobody", "/pay/%00"):
        assert (await visit.http.get(visit.town.sandbox_url + path)).status_code == 404


async def test_staff_cancel_a_paid_order_and_the_provider_sends_the_money_back(visit):
    payment = await visit.started(await visit.sale(), 7)
    order_id = payment["order_id"]
    await visit.click(payment)
    await visit.becomes(order_id, 7, "paid")
    token = auth.issue(TOKEN_SECRET, subject="bea", role="admin", now_s=int(time.time()), ttl_s=600)
    staff = {"Authorization": f"Bearer {token}"}
    where = f"/v1/admin/orders/{order_id}"
    told = await visit.http.post(f"{where}/cancel", headers=staff)
    assert told.status_code == 200, told.text
    answers = [told.json()[name] for name in ("state", "reason", "payment")]
    assert answers == ["cancelled", "staff", "refunded"]
    assert (await visit.order(order_id, 7))["reason"] == "staff"

    async def refunds():
        return (await visit.http.get(f"{where}/refunds", headers=staff)).json()["items"]

    (refund,) = await until(refunds, lambda found: found[0]["state"] == "paid")
    assert (refund["amount"], refund["currency"], refund["reason"]) == (PRICE, "CNY", "staff")
    mine = [m for m in await visit.statement() if m["reference"] == payment["payment_id"]]
    assert [(m["kind"], m["amount"]) for m in mine] == [("capture", PRICE), ("refund", PRICE)]
    assert (await visit.http.post(f"{where}/cancel", headers=staff)).status_code == 409
    log = (await visit.http.get(f"{where}/log", headers=staff)).json()
    assert [one["event"]["type"] for one in log["items"]] == ["paid", "cancelled"]
    assert log["first_broken"] is None


async def test_the_provider_is_asked_what_became_of_a_payment(visit):
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        client = payments.SandboxClient(
            http,
            url=visit.town.sandbox_url,
            secret=SANDBOX_SECRET.encode(),
            shop_url=visit.town.shop_url,
            clock=time.time,
        )
        assert isinstance(client, payments.Provider)
        sale = await visit.sale()
        paid, left = [await visit.started(sale, member) for member in (7, 8)]
        payment = await visit.payment(paid["payment_id"])
        assert await client.look(payment) is None
        await visit.behave(amount_off=1, drop_first=24)
        await visit.click(paid)
        for event in (await client.look(payment), await client.close(payment)):
            told = (event.kind, event.payment_id, event.amount_minor, event.currency)
            assert told == ("payment.captured", payment.id, PRICE + 1, "CNY")
        facts = {"refund_id": str(uuid4())}
        assert not await client.is_refunded(payment, **facts)
        payment = msgspec.structs.replace(payment, captured_currency="CNY")
        assert await client.refund(payment, **facts, amount_minor=7, reason="test")
        assert await client.is_refunded(payment, **facts)
        other = await visit.payment(left["payment_id"])
        assert (await client.close(other)).kind == "payment.closed"
        assert (await client.look(other)).kind == "payment.closed"
        await visit.click(left)
        assert (await client.look(other)).kind == "payment.closed"


async def test_the_provider_refunds_once_and_never_more_than_came(visit):
    payment = await visit.started(await visit.sale(), 7)
    wanted = {
        "reference": payment["payment_id"],
        "refund_reference": f"r-{uuid4()}",
        "amount": PRICE - 1,
        "currency": "CNY",
        "reason": "test",
    }
    assert (await visit.signed("POST", "/v1/refunds", wanted)).status_code == 409
    await visit.click(payment)
    for _ in range(3):
        assert (await visit.signed("POST", "/v1/refunds", wanted)).status_code == 201
    for facts in ({"amount": 1}, {"refund_reference": "another", "amount": 2}):
        answer = await visit.signed("POST", "/v1/refunds", {**wanted, **facts})
        assert answer.status_code == 409
    lines = [m for m in await visit.statement() if m["reference"] == payment["payment_id"]]
    assert [(m["kind"], m["amount"]) for m in lines] == [
        ("capture", PRICE),
        ("refund", PRICE - 1),
    ]


async def test_a_chargeback_and_a_payout_are_told_and_the_statement_of_the_day_says_the_same(visit):
    await visit.behave(fee_bps=100)
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment)
    await visit.becomes(payment["order_id"], 7, "paid")
    claim = {"reference": payment["payment_id"], "amount": 1_234, "currency": "CNY"}
    claimed = (await visit.signed("POST", "/v1/chargebacks", claim)).json()
    more = {**claim, "amount": PRICE}
    assert (await visit.signed("POST", "/v1/chargebacks", more)).status_code == 409
    facts = {"order_id": payment["order_id"], "reference": claimed["refund_reference"]}

    async def booked():
        async with db.reading(visit.pool) as conn:
            return await ledger.charged_back(conn, **facts)

    assert (await until(booked, bool)).amount_minor == 1_234
    paid_out = (await visit.signed("POST", "/v1/payouts", {"currency": "CNY"})).json()["amount"]
    client = payments.SandboxClient(
        visit.http,
        url=visit.town.sandbox_url,
        secret=SANDBOX_SECRET.encode(),
        shop_url=visit.town.shop_url,
        clock=time.time,
    )
    today = datetime.now(UTC).date()
    for _ in range(2):
        taken = await fetch_statement(visit.pool, client, channel="sandbox", day=today)
        assert taken.line_count == len(await visit.statement())
    async with db.reading(visit.pool) as conn:
        found = await reconciliation.differences(conn, before=None, page_max=100)
        balances = await ledger.trial_balance(conn)
    assert [one for one in found if one.reference == payment["payment_id"]] == []
    amounts = {one.account: one.amount_minor for one in balances}
    fee = PRICE // 100
    assert (amounts["provider_fees"], amounts["bank"]) == (fee, paid_out)
    assert amounts.get("chargebacks", 0) == 0
