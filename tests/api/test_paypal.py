"""Paying by PayPal over HTTP: shop, worker and what plays PayPal are real processes."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest
import redis as redis_sync
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.paypal_sandbox.certificates import Notary, establish
from core import catalogue, embedded, inventory, ledger, payments
from core.flows import book_payment
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.flows.check_statement import fetch_statement
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.run_sale import arm_sale
from core.kit import db
from hotpath.nodes import Redis
from tests.api.test_payments import Program, Visit, admin, environment_of, flipped, until
from tests.patience import PATIENCE_S

PRICE = 1_999
CLIENT, SECRET, HOOK = "sluice-test", "p" * 40, "TESTWEBHOOK000001"
ANSWER_S_MAX = 5
AT_ONCE = 32


class Town(msgspec.Struct):
    """A shop with its worker, and the PayPal that it takes payments through."""

    shop_url: str
    paypal_url: str
    ca: str
    database_url: str
    redis_url: str
    worker: Program
    paypal: Program
    sandbox_url: str = ""


@pytest.fixture(scope="module")
def town(postgres, template, redis_server, tmp_path_factory) -> Iterator[Town]:
    name = f"t_{uuid4().hex}"
    asyncio.run(admin(postgres, f"CREATE DATABASE {name} TEMPLATE {template}"))
    with redis_sync.Redis.from_url(redis_server.url) as client:
        client.flushall()
    port, paypal_port, sandbox_port = (embedded.free_port() for _ in range(3))
    urls = [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{paypal_port}"]
    home = tmp_path_factory.mktemp("home")
    ca = establish(home / "paypal")
    away = f"http://127.0.0.1:{sandbox_port}"
    environment = environment_of(home, port, away, postgres.url_of(name), redis_server.url) | {
        "SLUICE_PAYPAL_URL": urls[1],
        "SLUICE_PAYPAL_CLIENT_ID": CLIENT,
        "SLUICE_PAYPAL_SECRET": SECRET,
        "SLUICE_PAYPAL_WEBHOOK_ID": HOOK,
        "SLUICE_PAYPAL_CA": str(ca),
    }
    programs = [
        Program("paypal", environment, f"{urls[1]}/health/live"),
        Program("serve", environment, f"{urls[0]}/health/live"),
        Program("work", environment, None),
    ]
    yield Town(
        *urls, str(ca), postgres.url_of(name), redis_server.url, programs[2], programs[0], away
    )
    for program in programs:
        program.stop()
    asyncio.run(admin(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


class PayPalVisit(Visit):
    """What a test does in the town."""

    token = ""

    async def sale(self, *, currency="USD", price=PRICE, hold_s=900, quota=1_000):
        async with db.transaction(self.pool) as conn:
            _, (sku_id,) = await catalogue.add_product(
                conn, title={"en": "Kettle", "zh": "水壶"}, skus=[(uuid4().hex, price, currency)]
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
            items=[PlannedItem(sku_id, quota, price, 10)],
            hold_s=hold_s,
        )
        return await arm_sale(self.pool, self.redis, sale_id=planned.id)

    async def start(self, order_id, member, body=None):
        return await super().start(order_id, member, body or {"channel": "paypal"})

    async def agree(self, payment, choice="approve", *, comes_back=True):
        """The buyer's click at PayPal, and the way back to the shop."""
        answer = await self.http.post(payment["pay_url"], data={"choice": choice})
        assert answer.status_code == 303, answer.text
        if comes_back:
            back = await self.http.get(answer.headers["location"])
            assert back.status_code == 303, back.text
            assert back.headers["location"] == f"/?order={payment['order_id']}"

    async def paypal(self, method, path, message=None, *, body=None, headers=None):
        """Talk to PayPal as the shop does."""
        if not self.token:
            answer = await self.http.post(
                f"{self.town.paypal_url}/v1/oauth2/token",
                auth=(CLIENT, SECRET),
                data={"grant_type": "client_credentials"},
            )
            self.token = answer.json()["access_token"]
        return await self.http.request(
            method,
            self.town.paypal_url + path,
            json=message,
            content=body,
            headers={"Authorization": f"Bearer {self.token}", **(headers or {})},
        )

    async def behave(self, **said):
        answer = await self.paypal("PUT", "/_behaviour", said)
        assert answer.status_code == 200, answer.text

    async def play(self, subject_id, act):
        answer = await self.paypal("POST", "/_play", {"id": subject_id, "act": act})
        assert answer.status_code == 200, answer.text

    async def statement(self):
        today = {"start_date": "2000-01-01T00:00:00Z", "end_date": "2100-01-01T00:00:00Z"}
        items, page, pages = [], 1, 1
        while page <= pages:
            query = "&".join(f"{k}={v}" for k, v in {**today, "page": page}.items())
            answer = await self.paypal("GET", f"/v1/reporting/transactions?{query}&page_size=100")
            told = answer.json()
            items += [one["transaction_info"] for one in told["transaction_details"]]
            page, pages = page + 1, told["total_pages"]
        return items

    async def moved(self, payment) -> list[tuple[str, str]]:
        """What PayPal's statement has of a payment: code and amount."""
        captured = (await self.payment(payment["payment_id"])).capture_ref
        return [
            (line["transaction_event_code"], line["transaction_amount"]["value"])
            for line in await self.statement()
            if captured and captured in (line["transaction_id"], line.get("paypal_reference_id"))
        ]

    async def sent(self, payment, kind=""):
        """The webhooks about a payment, oldest first."""
        found = (await self.paypal("GET", "/_sent")).json()[::-1]
        captured = (await self.payment(payment["payment_id"])).capture_ref
        names = [name for name in (payment["payment_id"], captured) if name]
        return [
            one
            for one in found
            if kind in one["body"] and any(name in one["body"] for name in names)
        ]

    async def signed(self, body: bytes) -> dict[str, str]:
        return (await self.paypal("POST", "/_sign", body=body)).json()

    async def webhook(self, body, headers):
        return await self.http.post("/v1/webhooks/paypal", content=body, headers=headers)

    async def paid(self, sale=None, member=7, *, amount=PRICE):
        """An order that was paid by PayPal, as its payment began."""
        payment = await self.started(sale or await self.sale(), member)
        assert payment["amount"] == amount
        await self.agree(payment)
        await self.becomes(payment["order_id"], member, "paid")
        return payment

    async def refund(self, payment, amount) -> str:
        """Owe so much of an order's only line back; give the refund's id."""
        refund_id = payments.RefundId(str(uuid4()))
        async with db.transaction(self.pool) as conn:
            kept = await payments.hold_kept(conn, order_id=payment["order_id"])
            await book_payment.owe(
                conn, kept, refund_id=refund_id, lines={1: amount}, reason="test"
            )
        return refund_id

    async def refund_becomes(self, refund_id, state):
        async def look():
            async with db.reading(self.pool) as conn:
                return await payments.find_refund(conn, refund_id=refund_id)

        return await until(look, lambda found: found.state == state)

    @contextlib.asynccontextmanager
    async def client(self):
        """PayPal as the shop reaches it."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
            yield payments.PayPalClient(
                http,
                url=self.town.paypal_url,
                client_id=CLIENT,
                secret=SECRET,
                shop_url=self.town.shop_url,
                clock=time.monotonic,
            )

    async def escrow(self, payment) -> int:
        """What is left in escrow of a payment's order."""
        async with db.reading(self.pool) as conn:
            _, shares = await ledger.find_hold(conn, order_id=payment["order_id"])
        return sum(share.amount_minor - share.returned_minor for share in shares)

    async def asked(self) -> None:
        """Wait until PayPal was asked for all that it has to be asked for now."""

        async def waiting():
            return await self.pool.fetchval(
                "SELECT count(*) FROM payments.payments WHERE look_at <= now()"
            )

        await until(waiting, lambda count: count == 0)
        await asyncio.sleep(1)  # Nothing shows when the answer is there, if it changes nothing.


def event(payment, **facts) -> bytes:
    """A small webhook that says that a capture is complete."""
    resource = {"id": "X", "custom_id": payment["payment_id"], **facts.pop("resource", {})}
    told = {"id": f"WH-{uuid4()}", "event_type": "PAYMENT.CAPTURE.COMPLETED", **facts}
    return msgspec.json.encode({**told, "resource": resource})


@pytest.fixture
async def visit(town):
    async with (
        httpx.AsyncClient(base_url=town.shop_url, timeout=PATIENCE_S) as http,
        db.create_pool(town.database_url, size_max=4) as pool,
        Redis.from_url(town.redis_url, retry=Retry(NoBackoff(), 0)) as redis,
    ):
        visit = PayPalVisit(town, http, pool, redis)
        await visit.behave()
        yield visit
        await visit.behave()


async def test_a_buyer_approves_and_the_shop_takes_the_money(visit):
    payment = await visit.started(await visit.sale(), 7)
    assert (payment["state"], payment["amount"], payment["currency"]) == ("started", PRICE, "USD")
    assert (await visit.start(payment["order_id"], 7)).json() == payment
    assert await visit.moved(payment) == []
    await visit.agree(payment)
    await visit.agree(payment)  # a double click
    await visit.becomes(payment["order_id"], 7, "paid")
    assert await visit.moved(payment) == [("T0006", "19.99")]
    kept = await visit.payment(payment["payment_id"])
    assert (kept.captured_minor, kept.captured_currency) == (PRICE, "USD")
    assert kept.capture_ref


async def test_the_webhook_alone_is_enough(visit):
    payment = await visit.started(await visit.sale(), 7)
    await visit.agree(payment, comes_back=False)
    await visit.becomes(payment["order_id"], 7, "paid")


async def test_coming_back_alone_is_enough(visit):
    await visit.behave(is_mute=True)
    payment = await visit.started(await visit.sale(), 7)
    await visit.agree(payment)
    await visit.becomes(payment["order_id"], 7, "paid")
    assert await visit.sent(payment) == []


async def test_who_cancels_there_has_paid_nothing_and_may_go_there_again(visit):
    payment = await visit.started(await visit.sale(), 7)
    await visit.agree(payment, "cancel")
    await visit.asked()
    assert (await visit.payment(payment["payment_id"])).state == "started"
    await visit.agree(payment)
    await visit.becomes(payment["order_id"], 7, "paid")


async def test_nobody_comes_back_from_a_payment_that_is_not(visit):
    for payment_id in ("17", str(uuid4()), "%00"):
        answer = await visit.http.get(f"/v1/payments/{payment_id}/back")
        assert answer.status_code == 404, payment_id


async def test_a_bank_that_says_no_is_told_and_another_try_pays(visit):
    await visit.behave(declines=True)
    payment = await visit.started(await visit.sale(), 7)
    await visit.agree(payment)
    failed = await visit.payment_becomes(payment["payment_id"], "failed")
    assert failed.reason == "declined"
    assert (await visit.order(payment["order_id"], 7))["state"] == "pending_payment"
    await visit.behave()
    again = (await visit.start(payment["order_id"], 7)).json()
    assert again["payment_id"] != payment["payment_id"]
    await visit.agree(again)
    await visit.becomes(payment["order_id"], 7, "paid")
    await visit.agree(payment)
    await visit.asked()
    assert await visit.moved(payment) == []


async def test_money_that_paypal_looks_at_first_counts_when_it_is_there(visit):
    await visit.behave(pends=True)
    sale = await visit.sale()
    ends = {"complete": "captured", "deny": "failed"}
    for member, (act, state) in enumerate(ends.items(), 1):
        payment = await visit.started(sale, member)
        await visit.agree(payment)
        (*_, told) = await until(
            lambda payment=payment: visit.sent(payment, "PAYMENT.CAPTURE.PENDING"), bool
        )
        await visit.asked()
        assert (await visit.payment(payment["payment_id"])).state == "started"
        await visit.play(json.loads(told["body"])["resource"]["id"], act)
        await visit.payment_becomes(payment["payment_id"], state)


@pytest.mark.parametrize(
    ("currency", "price", "told"), [("JPY", 1_999, "1999"), ("HUF", 199_900, "1999")]
)
async def test_currencies_without_decimals_are_paid_and_refunded_exactly(
    visit, currency, price, told
):
    sale = await visit.sale(currency=currency, price=price)
    payment = await visit.paid(sale, amount=price)
    refund_id = await visit.refund(payment, price // 1_999)
    await visit.refund_becomes(refund_id, "paid")
    assert await visit.moved(payment) == [("T0006", told), ("T1107", "-1")]


async def test_an_amount_that_paypal_cannot_take_is_refused(visit):
    for currency, price in (("HUF", 199_950), ("KWD", 1_000)):
        order_id = await visit.buy(await visit.sale(currency=currency, price=price), 7)
        await visit.becomes(order_id, 7, "pending_payment")
        answer = await visit.start(order_id, 7)
        assert answer.status_code == 409, answer.text
        assert answer.json()["type"].endswith("/currency-not-taken")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"amount_off": 1}, "amount"),
        ({"amount_off": -1}, "amount"),
        ({"currency": "EUR"}, "currency"),
    ],
)
async def test_another_amount_than_was_asked_comes_back(visit, said, reason):
    await visit.behave(**said)
    payment = await visit.started(await visit.sale(), 7)
    await visit.agree(payment)
    refunded = await visit.payment_becomes(payment["payment_id"], "refunded")
    assert refunded.reason == reason
    assert refunded.captured_minor == PRICE + said.get("amount_off", 0)
    assert (await visit.order(payment["order_id"], 7))["state"] == "pending_payment"
    came, went = await visit.moved(payment)
    assert came[1] == went[1].removeprefix("-")


async def test_webhooks_that_come_twice_and_out_of_order_count_once(visit):
    await visit.behave(duplicate=1, shuffle_s=1.5, drop_first=1, seed=5)
    sale = await visit.sale()
    started = [await visit.started(sale, member) for member in range(1, 6)]
    for payment in started:
        await visit.agree(payment, comes_back=False)
    for member, payment in enumerate(started, 1):
        await visit.becomes(payment["order_id"], member, "paid")
        assert await visit.moved(payment) == [("T0006", "19.99")]
    sent = [one for payment in started for one in await visit.sent(payment)]
    for _ in range(2):
        for one in reversed(sent):
            answer = await visit.webhook(one["body"], one["headers"])
            assert answer.status_code == 200, answer.text
    await visit.asked()
    for payment in started:
        assert (await visit.payment(payment["payment_id"])).state == "captured"
        assert await visit.moved(payment) == [("T0006", "19.99")]
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


async def test_no_bit_of_a_webhook_can_be_changed(visit):
    """Each of them over HTTP; what no HTTP client can send is in the test of the check itself."""
    payment = await visit.started(await visit.sale(), 7)
    body = event(payment)
    headers = await visit.signed(body)
    gate = asyncio.Semaphore(AT_ONCE)

    async def refused(changed, said, bit):
        async with gate:
            answer = await visit.webhook(changed, said)
        # What changed the certificate's address cannot be fetched, or does not come from PayPal.
        assert answer.status_code in (401, 503), (bit, answer.text)
        assert answer.status_code == 401 or said["PayPal-Cert-Url"] != headers["PayPal-Cert-Url"]

    await asyncio.gather(
        *(refused(flipped(body, bit), headers, bit) for bit in range(8 * len(body)))
    )
    for name, value in headers.items():
        if name in {"Content-Type", "PayPal-Auth-Version"}:
            continue
        changes = [flipped(value.encode(), bit) for bit in range(8 * len(value))]
        sendable = [
            c for c in changes if c.isascii() and c.decode().isprintable() and b" " not in c
        ]
        await asyncio.gather(
            *(refused(body, {**headers, name: c.decode()}, (name, c)) for c in sendable)
        )
    assert (await visit.payment(payment["payment_id"])).state == "started"
    assert (
        await visit.pool.fetchval(
            "SELECT count(*) FROM payments.events WHERE payment_id = $1", payment["payment_id"]
        )
        == 0
    )
    for _ in range(2):
        assert (await visit.webhook(body, headers)).status_code == 200
    assert (
        await visit.pool.fetchval(
            "SELECT count(*) FROM payments.events WHERE payment_id = $1", payment["payment_id"]
        )
        == 1
    )


async def test_a_genuine_webhook_that_lies_takes_no_effect(visit):
    """Whoever can forge a CRC32 can write one: PayPal is asked, and knows of no money."""
    payment = await visit.started(await visit.sale(), 7)
    money = {"amount": {"currency_code": "USD", "value": "19.99"}, "status": "COMPLETED"}
    body = event(payment, resource=money)
    assert (await visit.webhook(body, await visit.signed(body))).status_code == 200
    await visit.asked()
    assert (await visit.payment(payment["payment_id"])).state == "started"


async def test_webhooks_that_paypal_did_not_sign_for_us_are_refused(visit, tmp_path):
    payment = await visit.started(await visit.sale(), 7)
    body = event(payment)
    good = await visit.signed(body)
    establish(tmp_path)
    forger = Notary(tmp_path)
    known = (good["PayPal-Transmission-Id"], good["PayPal-Transmission-Time"])
    genuine = Notary(Path(visit.town.ca).parent)
    wrong = {
        "another key": {"PayPal-Transmission-Sig": forger.sign(*known, HOOK, body)},
        "another merchant": {"PayPal-Transmission-Sig": genuine.sign(*known, "OTHER", body)},
        "a certificate from elsewhere": {
            "PayPal-Cert-Url": f"{visit.town.shop_url}/v1/notifications/certs/CERT-1"
        },
        "a certificate from inside": {"PayPal-Cert-Url": "http://169.254.169.254/latest"},
        "a way around": {
            "PayPal-Cert-Url": f"{visit.town.paypal_url}/v1/notifications/certs/../../../_sent"
        },
        "a weaker algorithm": {"PayPal-Auth-Algo": "SHA1withRSA"},
        "no signature": {"PayPal-Transmission-Sig": ""},
    }
    for what, changed in wrong.items():
        answer = await visit.webhook(body, good | changed)
        assert answer.status_code == 401, (what, answer.text)
        assert answer.json()["type"].endswith("/forged")
    for name in good:
        if name.startswith("PayPal-") and name != "PayPal-Auth-Version":
            without = {key: value for key, value in good.items() if key != name}
            assert (await visit.webhook(body, without)).status_code == 401, name
            twice = [*good.items(), (name, good[name])]
            assert (await visit.webhook(body, twice)).status_code == 401, name
    resigned = good | {"PayPal-Transmission-Sig": genuine.sign(*known, HOOK, body)}
    assert (await visit.webhook(body, resigned)).status_code == 200


async def test_what_is_signed_and_still_wrong_is_told_so(visit):
    payment = await visit.started(await visit.sale(), 7)
    for body, status in (
        (b"", 400),
        (b"\xff", 400),
        (b"[" * 60_000, 400),
        (b"[]", 422),
        (event(payment, id=""), 422),
        (event(payment, id="a\0b"), 422),
        (event(payment, event_type=7), 422),
        (event(payment, resource={"custom_id": 7}), 422),
        (event(payment, resource={"custom_id": "17"}), 404),
        (event(payment, resource={"custom_id": str(uuid4())}), 404),
        (event(payment, event_type="PAYMENT.ORDER.PONDERED", resource={"custom_id": "17"}), 200),
        (event(payment, note="x" * 65_536), 413),
    ):
        headers = await visit.signed(body[:65_000])
        answer = await visit.webhook(body, headers)
        assert answer.status_code == status, (body[:80], answer.text)


async def test_webhooks_are_answered_at_once_while_paypal_is_slow(visit):
    payment = await visit.started(await visit.sale(), 7)
    first = event(payment)
    assert (await visit.webhook(first, await visit.signed(first))).status_code == 200
    bodies = [event(payment) for _ in range(50)]
    signed = [await visit.signed(body) for body in bodies]
    await visit.behave(slow_s=30)
    strange = signed[0] | {
        "PayPal-Cert-Url": f"{visit.town.paypal_url}/v1/notifications/certs/CERT-{uuid4()}"
    }

    async def answered(body, headers):
        began = time.monotonic()
        answer = await visit.webhook(body, headers)
        return answer.status_code, time.monotonic() - began

    told = await asyncio.gather(answered(bodies[0], strange), *map(answered, bodies, signed))
    assert [status for status, _ in told] == [503] + [200] * len(bodies)
    assert max(took_s for _, took_s in told) < ANSWER_S_MAX
    print(f"50 webhooks at once, the slowest in {max(s for _, s in told[1:]):.2f} s")
    await visit.behave()
    await visit.asked()
    assert (await visit.payment(payment["payment_id"])).state == "started"


async def test_no_money_is_taken_for_an_order_that_ended(visit):
    payment = await visit.started(await visit.sale(), 7)
    visit.town.worker.process.send_signal(signal.SIGSTOP)
    await visit.agree(payment)
    answer = await visit.http.post(
        f"/v1/orders/{payment['order_id']}/cancel", headers=visit.as_member(7)
    )
    visit.town.worker.process.send_signal(signal.SIGCONT)
    assert answer.status_code == 200, answer.text
    closed = await visit.payment_becomes(payment["payment_id"], "failed")
    assert closed.reason == "closed"
    assert await visit.moved(payment) == []


async def test_who_goes_to_pay_another_way_is_not_charged_here_any_more(visit):
    payment = await visit.started(await visit.sale(), 7)
    other = await visit.start(payment["order_id"], 7, {"channel": "sandbox"})
    assert other.status_code == 503, "the sandbox is away, and its payment is written down"
    closed = await visit.payment_becomes(payment["payment_id"], "failed")
    assert closed.reason == "closed"
    await visit.agree(payment)
    await visit.asked()
    assert await visit.moved(payment) == []
    again = (await visit.start(payment["order_id"], 7)).json()
    assert again["payment_id"] != payment["payment_id"]
    await visit.agree(again)
    await visit.becomes(payment["order_id"], 7, "paid")
    assert await visit.moved(payment) == []


async def test_a_refund_that_paypal_looks_at_first_is_paid_when_it_has_gone(visit):
    payment = await visit.paid()
    await visit.behave(pends=True)
    refund_id = await visit.refund(payment, 500)

    async def pending():
        capture = (await visit.payment(payment["payment_id"])).provider_ref
        order = (await visit.paypal("GET", f"/v2/checkout/orders/{capture}")).json()
        return order["purchase_units"][0]["payments"].get("refunds", [])

    (found,) = await until(pending, bool)
    assert (found["status"], found["custom_id"]) == ("PENDING", refund_id)
    await asyncio.sleep(3)
    assert (await visit.refund_becomes(refund_id, "owed")).paid_at is None
    await visit.play(found["id"], "complete")
    await visit.refund_becomes(refund_id, "paid")
    assert await visit.moved(payment) == [("T0006", "19.99"), ("T1107", "-5.00")]


async def test_staff_cancel_a_paid_order_and_paypal_sends_the_rest_back(visit):
    payment = await visit.paid()
    await visit.refund_becomes(await visit.refund(payment, 500), "paid")
    refund_id = await visit.refund(payment, PRICE - 500)
    await visit.refund_becomes(refund_id, "paid")
    assert await visit.moved(payment) == [
        ("T0006", "19.99"),
        ("T1107", "-5.00"),
        ("T1107", "-14.99"),
    ]
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


async def test_money_that_paypal_gives_back_by_itself_is_a_chargeback_once(visit):
    payment = await visit.paid()
    await visit.refund_becomes(await visit.refund(payment, 999), "paid")
    kept = await visit.payment(payment["payment_id"])
    await visit.behave(duplicate=1)
    await visit.play(kept.capture_ref, "reverse")
    sent = await until(lambda: visit.sent(payment, "PAYMENT.CAPTURE.REVERSED"), bool)
    await until(lambda: visit.escrow(payment), lambda left: left == 0)
    for one in sent:
        assert (await visit.webhook(one["body"], one["headers"])).status_code == 200
    made_up = event(payment, event_type="PAYMENT.CAPTURE.REVERSED", resource={"id": "NOBODY"})
    assert (await visit.webhook(made_up, await visit.signed(made_up))).status_code == 503
    reversal_id = json.loads(sent[0]["body"])["resource"]["id"]
    other = await visit.paid()
    stolen = event(other, event_type="PAYMENT.CAPTURE.REVERSED", resource={"id": reversal_id})
    assert (await visit.webhook(stolen, await visit.signed(stolen))).status_code == 200
    assert await visit.escrow(other) == PRICE
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


async def test_what_is_asked_twice_at_once_is_done_once(visit):
    payment = await visit.started(await visit.sale(), 7)
    async with visit.client() as client:
        known = await visit.payment(payment["payment_id"])
        pages = await asyncio.gather(*(client.checkout(known) for _ in range(5)))
        assert {page.pay_url for page in pages} == {payment["pay_url"]}
        await visit.agree(payment, comes_back=False)
        events = await asyncio.gather(*(client.look(known) for _ in range(5)))
        assert len({event.id for event in events}) == 1
        await visit.becomes(payment["order_id"], 7, "paid")
        known = await visit.payment(payment["payment_id"])
        wanted = {"amount_minor": 500, "reason": "test"}
        wanted["refund_id"] = await visit.refund(payment, 500)  # the worker asks for it as well
        gone = await asyncio.gather(*(client.refund(known, **wanted) for _ in range(5)))
        assert gone == [True] * 5
        await visit.refund_becomes(wanted["refund_id"], "paid")
    assert await visit.moved(payment) == [("T0006", "19.99"), ("T1107", "-5.00")]


async def test_the_statement_of_a_day_is_held_against_our_books_line_by_line(visit):
    payment = await visit.paid()
    refund_id = await visit.refund(payment, 500)
    await visit.refund_becomes(refund_id, "paid")
    await visit.play((await visit.payment(payment["payment_id"])).capture_ref, "reverse")
    await until(lambda: visit.escrow(payment), lambda left: left == 0)
    today = datetime.now(UTC).date()
    async with visit.client() as client:
        with pytest.raises(payments.ChannelUnavailable):
            await client.statement(today)
        await visit.behave(written_s=200_000)
        told = [
            (one.kind, one.amount_minor, one.reference)
            for one in await client.statement(today)
            if one.reference in (payment["payment_id"], refund_id)
        ]
        assert told == [
            ("capture", PRICE, payment["payment_id"]),
            ("refund", 500, refund_id),
            ("chargeback", PRICE - 500, payment["payment_id"]),
        ]
        for _ in range(2):
            taken = await fetch_statement(visit.pool, client, channel="paypal", day=today)
            assert (taken.open_count, taken.channel) == (0, "paypal")
    assert taken.line_count > len(await visit.statement()), "the fees are lines of their own"
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


async def test_paypal_serves_only_who_has_its_token(visit):
    for method, path in (
        ("POST", "/v2/checkout/orders"),
        ("GET", "/v2/checkout/orders/X"),
        ("POST", "/v2/checkout/orders/X/capture"),
        ("POST", "/v2/payments/captures/X/refund"),
        ("GET", "/v1/reporting/transactions?start_date=a&end_date=b"),
        ("PUT", "/_behaviour"),
        ("POST", "/_sign"),
    ):
        answer = await visit.http.request(method, visit.town.paypal_url + path)
        assert answer.status_code == 401, path
    answer = await visit.http.post(
        f"{visit.town.paypal_url}/v1/oauth2/token", auth=(CLIENT, "x" * 40)
    )
    assert answer.status_code == 401
