"""What has to hold by each of the three providers, over HTTP.

One that is killed, frozen, or talks nonsense loses no order and takes no money twice; its buyer
sees what happens, and it heals by itself. One that tells much while the shop sells is answered.
"""

import asyncio
import contextlib
import itertools
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest
import redis as redis_sync
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api import auth
from api.alipay_sandbox.signature import Signer
from api.paypal_sandbox.certificates import establish
from core import embedded, payments
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.kit import db
from hotpath.nodes import Redis
from tests.api.test_alipay import AlipayTown, AlipayVisit
from tests.api.test_payments import (
    TOKEN_SECRET,
    Program,
    Town,
    Visit,
    admin,
    environment_of,
    flipped,
    message,
    signed,
    until,
)
from tests.api.test_paypal import CLIENT, HOOK, SECRET, PayPalVisit, event
from tests.api.test_paypal import Town as PayPalTown
from tests.scenarios.tunnels import WAYS, Behind, Tunnel

FORM = "application/x-www-form-urlencoded; charset=utf-8"
CHANNELS = ("sandbox", "alipay", "paypal")
BUYER = 7
# Payments that are told of, each so often, so many at once; buyers who claim at the same time.
TOLD, TIMES, HANDS, BUYERS = 24, 5, 4, 6
ANSWERED_S_MAX = 5.0
# What a provider's own file says of a payment: kind and amount of each movement.
BOOKS = {
    "sandbox": "SELECT kind, amount FROM movements WHERE reference = :id ORDER BY id",
    "alipay": "SELECT CASE WHEN amount > 0 THEN 'capture' ELSE 'refund' END, abs(amount)"
    " FROM moves WHERE out_trade_no = :hex ORDER BY id",
    "paypal": "SELECT 'capture', amount FROM captures WHERE custom_id = :id UNION ALL"
    " SELECT 'refund', r.amount FROM refunds r JOIN captures c ON c.id = capture_id"
    " WHERE c.custom_id = :id",
}


def staff_token() -> str:
    return auth.issue(TOKEN_SECRET, subject="bea", role="admin", now_s=int(time.time()), ttl_s=600)


class Outskirts(msgspec.Struct):
    """A shop whose providers are reached through tunnels. `ports` are those of the tunnels."""

    shop_url: str
    database_url: str
    redis_url: str
    home: Path
    ports: dict[str, int]
    programs: dict[str, Behind]
    worker: Program

    def url(self, channel: str) -> str:
        return f"http://127.0.0.1:{self.ports[channel]}"


@pytest.fixture(scope="module")
def outskirts(postgres, template, redis_server, tmp_path_factory) -> Iterator[Outskirts]:
    name = f"t_{uuid4().hex}"
    asyncio.run(admin(postgres, f"CREATE DATABASE {name} TEMPLATE {template}"))
    with redis_sync.Redis.from_url(redis_server.url) as client:
        client.flushall()
    home = tmp_path_factory.mktemp("home")
    embedded.alipay_keys(home)
    port, *rest = (embedded.free_port() for _ in range(7))
    ports = dict(zip(CHANNELS, rest, strict=False))
    urls = {channel: f"http://127.0.0.1:{ports[channel]}" for channel in CHANNELS}
    at = (urls["sandbox"], postgres.url_of(name), redis_server.url)
    environment = environment_of(home, port, *at) | {
        # All buyers of a test come from one address.
        "SLUICE_RISK_ALLOW": "127.0.0.1",
        "SLUICE_ALIPAY_GATEWAY": f"{urls['alipay']}/gateway.do",
        "SLUICE_PAYPAL_URL": urls["paypal"],
        "SLUICE_PAYPAL_CLIENT_ID": CLIENT,
        "SLUICE_PAYPAL_SECRET": SECRET,
        "SLUICE_PAYPAL_WEBHOOK_ID": HOOK,
        "SLUICE_PAYPAL_CA": str(establish(home / "paypal")),
    }
    shop_url = f"http://127.0.0.1:{port}"
    programs = {c: Behind(c, environment, p) for c, p in zip(CHANNELS, rest[3:], strict=True)}
    serve = Program("serve", environment, f"{shop_url}/health/live")
    worker = Program("work", environment, None)
    yield Outskirts(shop_url, *at[1:], home, ports, programs, worker)
    for program in (serve, worker, *programs.values()):
        program.stop()
    asyncio.run(admin(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


class Walk:
    """One buyer's way through a shop whose provider is not always there."""

    def __init__(self, outskirts: Outskirts, channel: str, tunnel: Tunnel, visit: Visit) -> None:
        self.outskirts, self.channel, self.tunnel, self.visit = outskirts, channel, tunnel, visit

    async def start(self, order_id) -> httpx.Response:
        return await self.visit.start(order_id, BUYER, {"channel": self.channel})

    async def click(self, payment) -> None:
        """The buyer pays there, and comes back."""
        url = payment["pay_url"]
        if self.channel == "alipay":
            url = await self.visit.opened(payment)
        choice = "approve" if self.channel == "paypal" else "pay"
        answer = await self.visit.http.post(url, data={"choice": choice})
        assert answer.status_code == 303, answer.text
        self.way_back = answer.headers["location"]

    async def come_back(self) -> None:
        answer = await self.visit.http.get(self.way_back, follow_redirects=True)
        assert answer.status_code == 200, answer.text

    async def notice(self, payment) -> tuple[bytes, dict[str, str]]:
        """What the provider tells once it has the money, as it signs it."""
        match self.channel:
            case "alipay":
                return self.visit.notice(payment), {"Content-Type": FORM}
            case "paypal":
                body = event(payment)
                return body, await self.visit.signed(body)
        body = message(payment)
        return body, signed(body)

    async def tell(self, body, headers) -> tuple[int, float]:
        """The answer's status, and how long it took."""
        began = time.monotonic()
        where = f"/v1/webhooks/{self.channel}"
        answer = await self.visit.http.post(where, content=body, headers=headers)
        return answer.status_code, time.monotonic() - began

    @contextlib.asynccontextmanager
    async def selling(self):
        """Meanwhile the shop sells what it can; gives how many units it has sold so far."""
        sale = await self.visit.sale(quota=100_000)
        sku_id = await self.visit.pool.fetchval(
            "SELECT sku_id FROM sales.items WHERE sale_id = $1", sale.id
        )
        await self.visit.buy(sale, 10**6)
        sold, members = [], itertools.count(10**6 + 1)

        async def buy():
            for member in members:
                answer = await self.visit.http.post(
                    f"/v1/sales/{sale.id}/orders",
                    json={"sku_id": str(sku_id), "quantity": 1},
                    headers={**self.visit.as_member(member), "Idempotency-Key": "k"},
                )
                sold.append(answer.status_code)

        async with asyncio.TaskGroup() as group:
            buyers = [group.create_task(buy()) for _ in range(BUYERS)]
            try:
                yield sold
            finally:
                for buyer in buyers:
                    buyer.cancel()

    @contextlib.asynccontextmanager
    async def trouble(self, how):
        """Until it ends nobody gets an answer that is worth anything."""
        program = self.outskirts.programs[self.channel]
        ways = [*WAYS, "flipped"] if self.channel == "alipay" else WAYS
        match how:
            case "killed":
                program.kill()
            case "frozen":
                program.process.send_signal(signal.SIGSTOP)
            case "mad":
                self.tunnel.spoil(ways)
        try:
            yield len(ways) if how == "mad" else 1
        finally:
            self.tunnel.ways = None
            if how == "killed":
                program.start()
            program.process.send_signal(signal.SIGCONT)

    async def look(self, payment_id) -> None:
        """The reconciler's time has come, and it has asked."""
        pool = self.visit.pool
        await pool.execute(
            "UPDATE payments.payments SET look_at = now() WHERE id = $1 AND look_at > now()",
            payment_id,
        )
        await until(
            lambda: pool.fetchval(
                "SELECT look_at <= now() FROM payments.payments WHERE id = $1", payment_id
            ),
            lambda is_due: not is_due,
        )

    async def refund_is_asked_for(self, times) -> None:
        for _ in range(times):
            asked = self.tunnel.asked
            await self.hurry()
            await until(self.questions, lambda now, asked=asked: now > asked)

    async def questions(self) -> int:
        return self.tunnel.asked

    async def hurry(self) -> None:
        await self.visit.pool.execute("UPDATE kit.outbox SET due_at = now()")

    async def refunds(self, order_id):
        async with db.reading(self.visit.pool) as conn:
            return await payments.refunds(conn, order_id=order_id)

    def books(self, payment_id) -> list[tuple[str, int]]:
        path = self.outskirts.home / f"{self.channel}.db"
        with contextlib.closing(sqlite3.connect(path)) as conn:
            names = {"id": payment_id, "hex": payment_id.replace("-", "")}
            return conn.execute(BOOKS[self.channel], names).fetchall()


@pytest.fixture
async def walk(outskirts, request):
    channel = request.param
    url, shop_url = outskirts.url(channel), outskirts.shop_url
    known = (outskirts.database_url, outskirts.redis_url, outskirts.worker)
    program = outskirts.programs[channel]
    async with (
        Tunnel(program.port).at(outskirts.ports[channel]) as tunnel,
        httpx.AsyncClient(base_url=shop_url, timeout=30) as http,
        db.create_pool(outskirts.database_url, size_max=4) as pool,
        Redis.from_url(outskirts.redis_url, retry=Retry(NoBackoff(), 0)) as redis,
    ):
        match channel:
            case "alipay":
                keys = embedded.alipay_keys(outskirts.home)
                signer = Signer(keys.gateway, embedded.public_key(keys.app))
                town = AlipayTown(shop_url, url, *known, program, keys, signer)
                visit = AlipayVisit(town, http, pool, redis)
            case "paypal":
                visit = PayPalVisit(
                    PayPalTown(shop_url, url, "", *known, program), http, pool, redis
                )
            case _:
                visit = Visit(Town(shop_url, url, *known, program), http, pool, redis)
        # Nobody is told of money: the shop has to find it.
        await visit.behave(drop_first=24)
        yield Walk(outskirts, channel, tunnel, visit)


@pytest.mark.parametrize("how", ["killed", "frozen", "mad"])
@pytest.mark.parametrize("walk", CHANNELS, indirect=True)
async def test_with_a_provider_in_trouble_all_comes_out_even_and_heals_by_itself(walk, how):
    visit = walk.visit
    order_id = await visit.buy(await visit.sale(), BUYER)
    await visit.becomes(order_id, BUYER, "pending_payment")

    async with walk.trouble(how) as times:
        for _ in range(times):
            told = await walk.start(order_id)
            if walk.channel == "alipay":
                assert told.status_code == 201, "its page is an address: nobody is asked for it"
                break
            assert told.status_code == 503, told.text
            assert told.json()["type"].endswith("/channel-unavailable")
            assert int(told.headers["retry-after"]) >= 1
        assert (await visit.order(order_id, BUYER))["state"] == "pending_payment"
    answer = await walk.start(order_id)
    assert answer.status_code == 201, answer.text
    payment = answer.json()
    await walk.click(payment)

    async with walk.trouble(how) as times:
        await walk.come_back()
        for _ in range(times):
            await walk.look(payment["payment_id"])
        assert (await visit.order(order_id, BUYER))["state"] == "pending_payment"
    await walk.look(payment["payment_id"])
    paid = await visit.becomes(order_id, BUYER, "paid")

    async with walk.trouble(how) as times:
        headers = {"Authorization": f"Bearer {staff_token()}"}
        told = await visit.http.post(f"/v1/admin/orders/{order_id}/cancel", headers=headers)
        assert told.status_code == 200, told.text
        await walk.refund_is_asked_for(times)
        assert (await visit.order(order_id, BUYER))["state"] == "cancelled"
        assert [one.state for one in await walk.refunds(order_id)] == ["owed"]
    await walk.hurry()
    await until(
        lambda: walk.refunds(order_id), lambda found: [one.state for one in found] == ["paid"]
    )
    assert walk.books(payment["payment_id"]) == [
        ("capture", paid["amount"]),
        ("refund", paid["amount"]),
    ]
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


@pytest.mark.parametrize("walk", CHANNELS, indirect=True)
async def test_what_a_provider_tells_while_the_shop_sells_is_answered_in_time_and_counts_once(walk):
    """Each of them often, in any order, with a forged one among them."""
    visit, sale = walk.visit, await walk.visit.sale()
    started = [await visit.started(sale, member) for member in range(1, TOLD + 1)]
    notices, genuine = [], []
    for payment in started:
        await walk.click(payment)
        body, headers = await walk.notice(payment)
        genuine += [(body, headers)] * TIMES
        forged = flipped(body, 8 * body.index(payment["payment_id"][:8].encode()))
        notices.append((forged, headers))
    notices += genuine
    random.shuffle(notices)
    hands = asyncio.Semaphore(HANDS)

    async def tell(body, headers):
        async with hands:
            return (body, headers) in genuine, *await walk.tell(body, headers)

    async with walk.selling() as sold:
        answers = await asyncio.gather(*(tell(*notice) for notice in notices))
        for member, payment in enumerate(started, 1):
            await visit.becomes(payment["order_id"], member, "paid")
    for is_genuine, status, _ in answers:
        assert (status == 200) is is_genuine, (status, is_genuine)
    slowest_s = max(took_s for *_, took_s in answers)
    print(f"{walk.channel}: {len(answers)} notices beside {len(sold)} claims: {slowest_s:.2f} s")
    assert slowest_s < ANSWERED_S_MAX
    assert set(sold) <= {202, 503}, "busy at most"
    assert sold.count(202) >= BUYERS
    for payment in started:
        assert walk.books(payment["payment_id"]) == [("capture", payment["amount"])]
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])
