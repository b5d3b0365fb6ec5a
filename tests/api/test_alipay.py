"""Paying by Alipay over HTTP: shop, worker and the Alipay we play are processes on real ports."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import get_args
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import httpx
import msgspec
import pytest
import redis as redis_sync
from alipay.aop.api.AlipayClientConfig import AlipayClientConfig
from alipay.aop.api.DefaultAlipayClient import DefaultAlipayClient
from alipay.aop.api.domain.AlipayDataDataserviceBillDownloadurlQueryModel import (
    AlipayDataDataserviceBillDownloadurlQueryModel,
)
from alipay.aop.api.exception.Exception import ResponseException
from alipay.aop.api.request.AlipayDataDataserviceBillDownloadurlQueryRequest import (
    AlipayDataDataserviceBillDownloadurlQueryRequest,
)
from alipay.aop.api.request.AlipayTradeCloseRequest import AlipayTradeCloseRequest
from alipay.aop.api.request.AlipayTradeFastpayRefundQueryRequest import (
    AlipayTradeFastpayRefundQueryRequest,
)
from alipay.aop.api.request.AlipayTradePagePayRequest import AlipayTradePagePayRequest
from alipay.aop.api.request.AlipayTradeQueryRequest import AlipayTradeQueryRequest
from alipay.aop.api.request.AlipayTradeRefundRequest import AlipayTradeRefundRequest
from alipay.aop.api.response.AlipayDataDataserviceBillDownloadurlQueryResponse import (
    AlipayDataDataserviceBillDownloadurlQueryResponse,
)
from alipay.aop.api.util import WebUtils
from alipay.aop.api.util.SignatureUtils import get_sign_content, sign_with_rsa2, verify_with_rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.alipay_sandbox import clock
from api.alipay_sandbox.model import Spoilt
from api.alipay_sandbox.signature import Signer, joined
from api.cli.context import PLAYED_APP_ID, PLAYED_SELLER_ID, played_app
from core import embedded, ledger, payments, reconciliation
from core.flows import book_payment
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.flows.check_statement import fetch_statement
from core.kit import db
from core.payments import alipay_bills
from hotpath.nodes import Redis
from tests.api.test_payments import (
    PRICE,
    Program,
    Town,
    Visit,
    admin,
    environment_of,
    flipped,
    until,
)
from tests.patience import PATIENCE_S

BUYERS, MANY = 10, 60
ANSWERED_S_MAX = 5.0


class AlipayTown(Town):
    """The same town with another provider. Its keys are those of its SLUICE_HOME."""

    keys: embedded.AlipayKeys
    signer: Signer


@pytest.fixture(scope="module")
def town(postgres, template, redis_server, tmp_path_factory) -> Iterator[AlipayTown]:
    name = f"t_{uuid4().hex}"
    asyncio.run(admin(postgres, f"CREATE DATABASE {name} TEMPLATE {template}"))
    with redis_sync.Redis.from_url(redis_server.url) as client:
        client.flushall()
    port, alipay_port = embedded.free_port(), embedded.free_port()
    urls = [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{alipay_port}"]
    home = tmp_path_factory.mktemp("home")
    keys = embedded.alipay_keys(home)
    signer = Signer(keys.gateway, embedded.public_key(keys.app))
    environment = {
        **environment_of(home, port, "", postgres.url_of(name), redis_server.url),
        "SLUICE_ALIPAY_GATEWAY": f"{urls[1]}/gateway.do",
    }
    programs = [
        Program("alipay", environment, f"{urls[1]}/health/live"),
        Program("serve", environment, f"{urls[0]}/health/live"),
        Program("work", environment, None),
    ]
    yield AlipayTown(
        *urls, postgres.url_of(name), redis_server.url, programs[2], programs[0], keys, signer
    )
    for program in programs:
        program.stop()
    asyncio.run(admin(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


class AlipayVisit(Visit):
    """A visit whose buyer pays by Alipay. The clicks are those of a browser."""

    async def start(self, order_id: str, member: int, body=None) -> httpx.Response:
        return await super().start(order_id, member, body or {"channel": "alipay"})

    async def opened(self, payment: dict[str, str]) -> str:
        """The address of the page that Alipay shows."""
        answer = await self.http.get(payment["pay_url"])
        assert answer.status_code == 302, answer.text
        return self.town.sandbox_url + answer.headers["location"]

    async def click(self, payment: dict[str, str], choice="pay") -> httpx.Response:
        answer = await self.http.post(await self.opened(payment), data={"choice": choice})
        assert answer.status_code == 303, answer.text
        return answer

    async def behave(self, **said) -> None:
        answer = await self.http.put(f"{self.town.sandbox_url}/behaviour", json=said)
        assert answer.status_code == 200, answer.text

    async def look_now(self) -> None:
        """Let the reconciler's time come."""
        await self.pool.execute(
            "UPDATE payments.payments SET look_at = now() WHERE look_at > now()"
        )

    async def with_alipay(self) -> int:
        """What the ledger says that Alipay holds for us."""
        return await self.pool.fetchval(
            "SELECT coalesce(sum(amount_minor), 0) FROM ledger.postings"
            " WHERE account = 'provider_clearing' AND owner = 'alipay'"
        )

    def client(self) -> payments.AlipayClient:
        """The shop's own client, as the shop has it."""
        settings = played_app(self.town.keys)
        keys = payments.Keys(
            private_key=settings["alipay_private_key"],
            their_public_key=settings["alipay_public_key"],
        )
        return payments.AlipayClient(
            self.http,
            keys=keys,
            app_id=PLAYED_APP_ID,
            seller_id=PLAYED_SELLER_ID,
            gateway=f"{self.town.sandbox_url}/gateway.do",
            product="page",
            shop_url=self.town.shop_url,
            clock=time.time,
        )

    async def give_back(self, payment: dict[str, str], amount: int) -> str:
        """Owe so much of it, and wait until it has gone."""
        refund_id = payments.RefundId(str(uuid4()))
        async with db.transaction(self.pool) as conn:
            kept = await payments.hold_kept(conn, order_id=payment["order_id"])
            await book_payment.owe(
                conn, kept, refund_id=refund_id, lines={1: amount}, reason="test"
            )

        async def refund():
            async with db.reading(self.pool) as conn:
                return await payments.find_refund(conn, refund_id=refund_id)

        await until(refund, lambda found: found.state == "paid")
        return refund_id

    async def withdraw(self, amount: str) -> None:
        where = f"{self.town.sandbox_url}/withdrawals"
        assert (await self.http.post(where, data={"amount": amount})).status_code == 201

    def notice(self, payment: dict[str, str], **changed) -> bytes:
        """What Alipay would say, signed as it signs."""
        fields = {
            "notify_id": uuid4().hex,
            "app_id": PLAYED_APP_ID,
            "seller_id": PLAYED_SELLER_ID,
            "out_trade_no": payment["payment_id"].replace("-", ""),
            "trade_no": f"2026{uuid4().int % 10**24:024}",
            "trade_status": "TRADE_SUCCESS",
            "total_amount": "50.00",
            **changed,
        }
        claimed = self.town.signer.sign(joined(fields))
        return urlencode({**fields, "sign_type": "RSA2", "sign": claimed}).encode()

    async def tell(self, body: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        return await self.http.post("/v1/webhooks/alipay", content=body, headers=headers)


def pkcs1(private_key: str) -> str:
    """The form in which the vendor's code wants it."""
    key = load_pem_private_key(private_key.encode(), None)
    form = (Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return key.private_bytes(*form).decode()


@pytest.fixture
async def visit(town):
    async with (
        httpx.AsyncClient(base_url=town.shop_url, timeout=PATIENCE_S) as http,
        db.create_pool(town.database_url, size_max=4) as pool,
        Redis.from_url(town.redis_url, retry=Retry(NoBackoff(), 0)) as redis,
    ):
        visit = AlipayVisit(town, http, pool, redis)
        await visit.behave()
        yield visit


async def test_a_buyer_pays_by_alipay(visit):
    payment = await visit.started(await visit.sale(), 7)
    again = await visit.start(payment["order_id"], 7)
    assert (again.status_code, again.json()) == (201, payment)
    page = await visit.http.get(await visit.opened(payment), headers={"Accept-Language": "zh"})
    for word in ("支付宝", "CNY 50.00", "拒绝支付", payment["order_id"]):
        assert word in page.text
    back = urlsplit((await visit.click(payment)).headers["location"])
    told = dict(parse_qsl(back.query))
    assert f"{back.scheme}://{back.netloc}" == visit.town.shop_url
    assert (told["order"], told["total_amount"]) == (payment["order_id"], "50.00")
    await visit.click(payment)  # a double click
    await visit.becomes(payment["order_id"], 7, "paid")
    kept = await visit.payment(payment["payment_id"])
    assert (kept.state, kept.captured_minor, kept.capture_ref) == (
        "captured",
        PRICE,
        told["trade_no"],
    )
    refused = await visit.start(payment["order_id"], 7)
    assert (refused.status_code, refused.json()["state"]) == (409, "paid")


async def test_what_was_paid_goes_back_in_parts_and_then_whole_to_the_cent(visit):
    before = await visit.with_alipay()
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment)
    await visit.becomes(payment["order_id"], 7, "paid")
    assert await visit.with_alipay() == before + PRICE
    parts = [1, 1_999, 2_500, 500]
    for amount in parts:
        refund_id = payments.RefundId(str(uuid4()))
        async with db.transaction(visit.pool) as conn:
            kept = await payments.hold_kept(conn, order_id=payment["order_id"])
            await book_payment.owe(
                conn, kept, refund_id=refund_id, lines={1: amount}, reason="test"
            )
    async with db.transaction(visit.pool) as conn:
        with pytest.raises(payments.NotRefundable):
            await book_payment.owe(
                conn, kept, refund_id=payments.RefundId(str(uuid4())), lines={1: 1}, reason="test"
            )

    async def refunds():
        async with db.reading(visit.pool) as conn:
            return await payments.refunds(conn, order_id=payment["order_id"])

    sent = await until(refunds, lambda found: all(one.state == "paid" for one in found))
    assert [refund.amount_minor for refund in sent] == parts
    client, kept = visit.client(), await visit.payment(payment["payment_id"])
    for refund in sent:
        assert await client.is_refunded(kept, refund_id=refund.id)
        assert await client.refund(
            kept, refund_id=refund.id, amount_minor=refund.amount_minor, reason="again"
        )
    with pytest.raises(payments.ProviderRefused):
        await client.refund(kept, refund_id=str(uuid4()), amount_minor=1, reason="more")
    assert kept.refunded_minor == PRICE
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])
    assert await visit.with_alipay() == before


async def test_messages_that_come_late_twice_and_out_of_order_count_once(visit):
    await visit.behave(duplicate=1, shuffle_s=1.5, drop_first=1, seed=5)
    sale = await visit.sale()
    started = [await visit.started(sale, member) for member in range(1, 9)]
    for payment in started:
        await visit.click(payment)
    for member, payment in enumerate(started, 1):
        await visit.becomes(payment["order_id"], member, "paid")
    heard = await visit.pool.fetchval(
        "SELECT count(*) FROM payments.events WHERE payment_id = ANY($1::uuid[])",
        [payment["payment_id"] for payment in started],
    )
    assert heard >= len(started)
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


async def test_money_whose_message_never_comes_is_found(visit):
    await visit.behave(drop_first=24)
    payment = await visit.started(await visit.sale(), 7)
    await visit.look_now()  # before there is a trade
    await visit.click(payment)
    assert (await visit.payment(payment["payment_id"])).state == "started"
    await visit.look_now()
    await visit.becomes(payment["order_id"], 7, "paid")


@pytest.mark.parametrize(
    "said",
    [
        {"down": True},
        {"slow_s": 30},
        *(
            {"nonsense": how}
            for how in ("html", "half", "unsigned", "other key", "flipped", "endless")
        ),
    ],
    ids=str,
)
async def test_an_answer_that_is_no_answer_tells_nothing_and_heals(visit, said):
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment)
    await visit.becomes(payment["order_id"], 7, "paid")
    client, kept = visit.client(), await visit.payment(payment["payment_id"])
    await visit.behave(**said)
    facts = {"refund_id": str(uuid4()), "amount_minor": 1, "reason": "test"}
    began = time.monotonic()
    asked = [
        client.look(kept),
        client.close(kept),
        client.refund(kept, **facts),
        client.is_refunded(kept, refund_id=facts["refund_id"]),
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert time.monotonic() - began < 10
    assert [type(answer) for answer in answers] == [payments.ChannelUnavailable] * 4, answers
    await visit.behave()
    assert (await client.look(kept)).kind == "payment.captured"
    assert (await client.close(kept)).kind == "payment.captured"
    # Whether the first one was done, nobody could tell; done again, it is done once.
    assert await client.refund(kept, **facts)
    trade = await gateway(visit, AlipayTradeQueryRequest, out_trade_no=kept.provider_ref)
    assert trade["trade_status"] == "TRADE_SUCCESS"
    with pytest.raises(payments.ProviderRefused):
        await client.refund(kept, refund_id=str(uuid4()), amount_minor=PRICE, reason="test")
    assert await client.refund(kept, refund_id=str(uuid4()), amount_minor=PRICE - 1, reason="test")


async def test_a_notification_forged_in_any_bit_changes_nothing(visit):
    payment = await visit.started(await visit.sale(), 7)
    body = visit.notice(payment)
    hands = asyncio.Semaphore(16)

    async def tell(bit):
        async with hands:
            return bit, await visit.tell(flipped(body, bit))

    # What says the same as before counts, so these are told after the genuine one.
    client = visit.client()
    genuine = client.hear(body)
    refused = [b for b in range(8 * len(body)) if not is_heard(client, flipped(body, b), genuine)]
    for bit, answer in await asyncio.gather(*map(tell, refused[::7])):
        assert answer.status_code in {401, 404, 422}, (bit, answer.text)
        assert answer.text != "success"
    assert (await visit.payment(payment["payment_id"])).state == "started"
    assert (await visit.tell(body)).text == "success"
    same = sorted(set(range(8 * len(body))) - set(refused))
    for bit, answer in await asyncio.gather(*map(tell, same)):
        assert (answer.status_code, answer.text) == (200, "success"), bit
    assert (
        await visit.pool.fetchval(
            "SELECT count(*) FROM payments.events WHERE payment_id = $1::uuid",
            payment["payment_id"],
        )
        == 1
    )
    await visit.becomes(payment["order_id"], 7, "paid")


def is_heard(client, body, genuine) -> bool:
    try:
        return client.hear(body) == genuine
    except payments.Forged:
        return False


async def test_of_all_that_is_wrong_nothing_takes_effect_and_each_genuine_one_counts_once(visit):
    payment = await visit.started(await visit.sale(), 7)
    stranger = pkcs1(visit.town.keys.app)  # a key, and not Alipay's
    fields = dict(parse_qsl(visit.notice(payment).decode()))
    bare = {name: v for name, v in fields.items() if name not in {"sign", "sign_type"}}
    forged = sign_with_rsa2(stranger, get_sign_content(bare), "utf-8")
    for body, status in (
        (b"", 401),
        (urlencode({**fields, "sign": forged}).encode(), 401),
        (urlencode({**fields, "total_amount": "50.01"}).encode(), 401),
        (visit.notice(payment, app_id="2021000000000002"), 404),
        (visit.notice(payment, seller_id="2088000000000002"), 404),
        (visit.notice({"payment_id": str(uuid4())}), 404),
        (visit.notice(payment, total_amount="50"[:1] + "x"), 422),
        (b"x" * 65_537, 413),
    ):
        answer = await visit.tell(body)
        assert answer.status_code == status, (body[:80], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await visit.payment(payment["payment_id"])).state == "started"
    closed = visit.notice(payment, trade_status="TRADE_CLOSED")
    waiting = visit.notice(payment, trade_status="WAIT_BUYER_PAY")
    genuine = visit.notice(payment)
    finished = visit.notice(payment, trade_status="TRADE_FINISHED")
    told = [closed, waiting, genuine, finished] * 5
    for answer in await asyncio.gather(*map(visit.tell, told)):
        assert (answer.status_code, answer.text) == (200, "success")
    await visit.becomes(payment["order_id"], 7, "paid")
    assert (await visit.payment(payment["payment_id"])).state == "captured"
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


@pytest.mark.parametrize("more", [-1, 1])
async def test_an_amount_off_by_a_fen_buys_nothing_and_goes_back(visit, more):
    await visit.behave(amount_off=more)
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment)
    refunded = await visit.payment_becomes(payment["payment_id"], "refunded")
    assert (refunded.reason, refunded.captured_minor) == ("amount", PRICE + more)
    assert (await visit.order(payment["order_id"], 7))["state"] == "pending_payment"
    trade = await gateway(visit, AlipayTradeQueryRequest, out_trade_no=refunded.provider_ref)
    assert trade["trade_status"] == "TRADE_CLOSED"


async def test_many_notifications_at_once_are_answered_in_time(visit):
    sale = await visit.sale()
    started = [await visit.started(sale, member) for member in range(1, BUYERS + 1)]
    bodies = [
        visit.notice(started[number % BUYERS], notify_id=f"n{number % (MANY // 2)}")
        for number in range(MANY)
    ]

    async def tell(body):
        began = time.monotonic()
        answer = await visit.tell(body)
        return answer.text, time.monotonic() - began

    answers = await asyncio.gather(*map(tell, bodies))
    assert {text for text, _ in answers} == {"success"}
    slowest_s = max(took_s for _, took_s in answers)
    print(f"{MANY} notifications at once: the slowest was answered after {slowest_s:.2f} s")
    assert slowest_s < ANSWERED_S_MAX
    for member, payment in enumerate(started, 1):
        await visit.becomes(payment["order_id"], member, "paid")
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


async def test_what_nobody_pays_is_closed_when_its_order_expires(visit):
    payment = await visit.started(await visit.sale(hold_s=3), 7)
    page = await visit.opened(payment)
    ended = await visit.becomes(payment["order_id"], 7, "cancelled")
    assert ended["reason"] == "expired"
    await visit.payment_becomes(payment["payment_id"], "failed")
    assert "closed" in (await visit.http.get(page, headers={"Accept-Language": "en"})).text
    await visit.click(payment)  # too late
    trade = await gateway(
        visit, AlipayTradeQueryRequest, out_trade_no=payment["payment_id"].replace("-", "")
    )
    assert trade["trade_status"] == "TRADE_CLOSED"
    assert (await visit.payment(payment["payment_id"])).state == "failed"


async def test_a_member_who_cancels_has_the_trade_closed_at_once(visit):
    payment = await visit.started(await visit.sale(), 7)
    page = await visit.opened(payment)
    where = f"/v1/orders/{payment['order_id']}/cancel"
    assert (await visit.http.post(where, headers=visit.as_member(7))).status_code == 200
    closed = await visit.payment_becomes(payment["payment_id"], "failed")
    assert closed.reason == "closed"
    assert "closed" in (await visit.http.get(page, headers={"Accept-Language": "en"})).text


# --- the statement of a day


async def test_the_bills_of_a_day_are_held_against_our_books_line_by_line(visit):
    await visit.behave(fee_bps=60, writes_today=True)
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment)
    await visit.becomes(payment["order_id"], 7, "paid")
    refund_id = await visit.give_back(payment, 1_250)
    await visit.withdraw("12.50")
    client, today = visit.client(), clock.today()
    told = await client.statement(today)
    ours = {refund_id, payment["payment_id"]}
    assert {(m.kind, m.amount_minor) for m in told if m.reference in ours} == {
        ("capture", PRICE),
        ("refund", 1_250),
    }
    kinds = [(one.kind, one.amount_minor) for one in told]
    assert ("fee", PRICE * 60 // 10_000) in kinds
    assert ("payout", 1_250) in kinds
    for _ in range(2):
        taken = await fetch_statement(visit.pool, client, channel="alipay", day=today)
    assert (taken.channel, taken.line_count) == ("alipay", len(told))
    async with db.reading(visit.pool) as conn:
        found = await reconciliation.differences(conn, before=None, page_max=1_000)
        balances = await ledger.trial_balance(conn)
    assert not {one.reference for one in found} & ours
    amounts = {(one.account, one.owner): one.amount_minor for one in balances}
    assert amounts["provider_fees", "alipay"] == sum(
        m.amount_minor for m in told if m.kind == "fee"
    )
    assert amounts["bank", ""] == sum(m.amount_minor for m in told if m.kind == "payout")
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


@pytest.mark.parametrize(
    "said",
    [
        *({"bill": what} for what in get_args(Spoilt) if what),
        *({"nonsense": "unsigned"}, {"nonsense": "flipped"}, {"nonsense": "html"}, {"down": True}),
    ],
    ids=str,
)
async def test_a_bill_that_is_none_leaves_the_day_without_a_statement_and_heals(visit, said):
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment)
    client = visit.client()
    await visit.behave(writes_today=True, **said)
    with pytest.raises(payments.ChannelUnavailable) as refused:
        await client.statement(clock.today())
    if "bill" in said:
        assert str(refused.value).startswith("Alipay's bill: ")
    await visit.behave(writes_today=True)
    told = await client.statement(clock.today())
    assert ("capture", payment["payment_id"]) in {(one.kind, one.reference) for one in told}


async def test_a_day_that_is_not_written_yet_waits_and_one_without_business_is_empty(visit):
    client = visit.client()
    for days in (0, 1):
        with pytest.raises(payments.ChannelUnavailable, match="not written"):
            await client.statement(clock.today() - timedelta(days=days))
    assert await client.statement(clock.today() - timedelta(days=2)) == []


# --- the vendor's own client, against the Alipay we play


def vendor(visit, **changed) -> DefaultAlipayClient:
    config = AlipayClientConfig()
    config.server_url = f"{visit.town.sandbox_url}/gateway.do"
    config.app_id = PLAYED_APP_ID
    config.app_private_key = pkcs1(visit.town.keys.app)
    config.alipay_public_key = embedded.public_key(visit.town.keys.gateway)
    config.timeout = 5
    for name, value in changed.items():
        setattr(config, name, value)
    return DefaultAlipayClient(config)


@pytest.fixture(autouse=True)
def reach_any_port(monkeypatch):
    """The vendor's code connects to port 80 and no other."""
    import http.client

    def connect(url, query_string, timeout):
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=timeout)
        return f"{where.path}?{query_string}", connection

    monkeypatch.setattr(WebUtils, "get_http_connection", connect)


async def gateway(visit, request, client=None, **content):
    """Ask as the vendor's code does: it signs, and verifies the answer's signature."""
    asked = request()
    asked.biz_content = content
    client = client or vendor(visit)
    return msgspec.json.decode(await asyncio.to_thread(client.execute, asked))


async def test_the_vendors_own_client_pays_asks_refunds_and_closes(visit):
    asked = AlipayTradePagePayRequest()
    number = uuid4().hex
    trade = {"out_trade_no": number, "total_amount": "12.34", "subject": "茶 & tea"}
    asked.biz_content = {**trade, "product_code": "FAST_INSTANT_TRADE_PAY"}
    asked.notify_url = f"{visit.town.shop_url}/v1/webhooks/alipay"
    asked.return_url = visit.town.shop_url
    named = {"out_trade_no": number}
    unknown = await gateway(visit, AlipayTradeQueryRequest, **named)
    assert (unknown["code"], unknown["sub_code"]) == ("40004", "ACQ.TRADE_NOT_EXIST")
    url = vendor(visit).page_execute(asked, http_method="GET")
    await visit.click({"pay_url": url}, "decline")
    waiting = await gateway(visit, AlipayTradeQueryRequest, **named)
    assert (waiting["trade_status"], waiting["total_amount"]) == ("WAIT_BUYER_PAY", "12.34")
    await visit.click({"pay_url": url})
    paid = await gateway(visit, AlipayTradeQueryRequest, **named)
    assert paid["trade_status"] == "TRADE_SUCCESS"
    refund = {**named, "refund_amount": "2.34", "out_request_no": "r1", "refund_reason": "一"}
    changes = [
        (await gateway(visit, AlipayTradeRefundRequest, **refund))["fund_change"] for _ in "ab"
    ]
    assert changes == ["Y", "N"]
    found = await gateway(visit, AlipayTradeFastpayRefundQueryRequest, **named, out_request_no="r1")
    assert (found["refund_status"], found["refund_amount"]) == ("REFUND_SUCCESS", "2.34")
    none = await gateway(visit, AlipayTradeFastpayRefundQueryRequest, **named, out_request_no="r2")
    assert (none["code"], none.get("refund_status")) == ("10000", None)
    refused = await gateway(visit, AlipayTradeCloseRequest, **named)
    assert refused["sub_code"] == "ACQ.TRADE_STATUS_ERROR"
    for facts in ({"out_request_no": "r1", "refund_amount": "2.35"}, {"refund_amount": "10.01"}):
        assert (
            await gateway(
                visit, AlipayTradeRefundRequest, **{**refund, "out_request_no": "r3", **facts}
            )
        )["code"] == "40004"
    last = await gateway(
        visit,
        AlipayTradeRefundRequest,
        **{**refund, "out_request_no": "r4", "refund_amount": "10.00"},
    )
    assert last["refund_fee"] == "12.34"
    assert (await gateway(visit, AlipayTradeQueryRequest, **named))[
        "trade_status"
    ] == "TRADE_CLOSED"


async def test_the_vendors_own_client_is_told_where_a_bill_lies_and_fetches_it(visit):
    await visit.behave(writes_today=True)
    payment = await visit.started(await visit.sale(), 7)
    await visit.click(payment)
    asked = AlipayDataDataserviceBillDownloadurlQueryModel()
    asked.bill_type, asked.bill_date = "trade", f"{clock.today()}"
    request = AlipayDataDataserviceBillDownloadurlQueryRequest(asked)
    client = vendor(visit)
    said = await asyncio.to_thread(client.execute, request)
    answer = AlipayDataDataserviceBillDownloadurlQueryResponse()
    answer.parse_response_content(said)
    assert answer.is_success()
    where = dict(parse_qsl(urlsplit(answer.bill_download_url).query))
    assert (where["bizType"], where["userId"]) == ("trade", f"{PLAYED_SELLER_ID}0156")
    raw = (await visit.http.get(answer.bill_download_url)).content
    (found,) = [
        one
        for one in alipay_bills.read(
            raw, alipay_bills.TRADES, day=clock.today(), seller_id=PLAYED_SELLER_ID
        )
        if one.reference == payment["payment_id"]
    ]
    assert (found.kind, found.amount_minor) == ("capture", PRICE)
    asked.bill_date = f"{clock.today() - timedelta(days=9)}"
    answer.parse_response_content(await asyncio.to_thread(client.execute, request))
    assert (answer.code, answer.sub_code) == ("40004", "isp.bill_not_exist")
    stale = answer.bill_download_url + "0"
    assert (await visit.http.get(stale)).status_code == 403


async def test_the_gateway_we_play_serves_only_who_signs(visit):
    stranger = pkcs1(visit.town.keys.gateway)
    for changed, sub_code in (
        ({"app_private_key": stranger}, "isv.invalid-signature"),
        ({"app_id": "2021000000000009"}, "isv.invalid-app-id"),
    ):
        said = await gateway(
            visit, AlipayTradeQueryRequest, vendor(visit, **changed), out_trade_no="17"
        )
        assert (said["code"], said["sub_code"]) == ("40002", sub_code)
    page = AlipayTradePagePayRequest()
    page.biz_content = {
        "out_trade_no": "1",
        "total_amount": "1.00",
        "subject": "s",
        "product_code": "x",
    }
    url = vendor(visit, app_private_key=stranger).page_execute(page, http_method="GET")
    assert (await visit.http.get(url)).status_code == 400
    for path in ("/cashier/nobody", "/cashier/%00"):
        assert (await visit.http.get(visit.town.sandbox_url + path)).status_code == 404
    with pytest.raises(ResponseException):
        await gateway(
            visit,
            AlipayTradeQueryRequest,
            vendor(visit, alipay_public_key=embedded.public_key(visit.town.keys.app)),
            out_trade_no="17",
        )


async def test_the_vendors_code_verifies_what_the_alipay_we_play_notifies(visit):
    """Catch a notification on its way: the vendor's verifier takes it, and so does the shop's."""
    caught: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line[15:])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        await caught.put(await reader.readexactly(size))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nsuccess")
        await writer.drain()
        writer.close()

    await visit.behave(duplicate=0)
    port = embedded.free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        asked = AlipayTradePagePayRequest()
        number = uuid4().hex
        asked.biz_content = {
            "out_trade_no": number,
            "total_amount": "0.01",
            "subject": "茶壶 50% & more=1",
            "product_code": "FAST_INSTANT_TRADE_PAY",
        }
        asked.notify_url, asked.return_url = f"http://127.0.0.1:{port}/n", visit.town.shop_url
        await visit.click({"pay_url": vendor(visit).page_execute(asked, http_method="GET")})
        async with asyncio.timeout(PATIENCE_S):
            body = await caught.get()
    fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
    signed = {name: v for name, v in fields.items() if name not in {"sign", "sign_type"}}
    public = embedded.public_key(visit.town.keys.gateway)
    assert verify_with_rsa(public, get_sign_content(signed).encode(), fields["sign"])
    event = visit.client().hear(body)
    assert (event.kind, event.amount_minor, event.provider_ref) == ("payment.captured", 1, number)
