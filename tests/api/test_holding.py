"""Money that is held until it is taken or let go: what each provider that can do so has to do."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import msgspec
import pytest

from core import embedded, payments
from core.payments import EventKind, Taking
from tests.api.test_payments import SANDBOX_SECRET, Program, environment_of

PRICE = 1_999
SECRET = "p" * 40
only_paypal = pytest.mark.parametrize("provider", ["paypal"], indirect=True)
DECLINES = {"paypal": {"declines": True}, "sandbox": {"refuses_capture": True}}


class Desk(msgspec.Struct):
    """A provider that holds money, and what a test does there besides."""

    channel: str
    url: str
    http: httpx.AsyncClient
    client: payments.Holder
    known: dict[str, str] = {}

    async def payment(self, **facts) -> payments.Payment:
        now, order_id = datetime.now(UTC), str(uuid4())
        optional = ("reason", "captured_minor", "captured_currency", "provider_ref", "pay_url")
        times = ("authorized_until", "captured_at", "refunded_at", "capture_ref")
        plain = dict.fromkeys(optional + times) | {
            "id": str(uuid4()),
            "first_order_id": order_id,
            "order_id": order_id,
            "member_id": 7,
            "channel": self.channel,
            "amount_minor": PRICE,
            "currency": "USD",
            "taking": Taking.AT_DISPATCH,
            "state": "started",
            "started_at": now,
            "expires_at": now + timedelta(minutes=15),
            "refunded_minor": 0,
        }
        started = payments.Payment(**{**plain, **facts})
        checkout = await self.client.checkout(started)
        return msgspec.structs.replace(
            started, provider_ref=checkout.provider_ref, pay_url=checkout.pay_url
        )

    async def approved(self, **facts) -> payments.Payment:
        payment = await self.payment(**facts)
        choice = "approve" if self.channel == "paypal" else "pay"
        answer = await self.http.post(payment.pay_url, data={"choice": choice})
        assert answer.status_code == 303, answer.text
        return payment

    async def held(self) -> payments.Payment:
        """As the shop has it, once it has heard of it."""
        payment = await self.approved()
        told = await self.client.look(payment)
        assert told is not None
        assert told.kind == EventKind.AUTHORIZED
        return msgspec.structs.replace(
            payment, state="authorized", authorized_until=told.authorized_until
        )

    async def behave(self, **said) -> None:
        path, headers = "/v1/behaviour", {}
        body = msgspec.json.encode(said)
        if self.channel == "paypal":
            path, headers = "/_behaviour", await self.token()
        else:
            signature = payments.sign(SANDBOX_SECRET.encode(), body, now_s=int(time.time()))
            headers[payments.SIGNATURE_HEADER] = signature
        answer = await self.http.put(self.url + path, content=body, headers=headers)
        assert answer.status_code == 200, answer.text

    async def token(self) -> dict[str, str]:
        if not self.known:
            answer = await self.http.post(
                f"{self.url}/v1/oauth2/token",
                auth=("sluice-test", SECRET),
                data={"grant_type": "client_credentials"},
            )
            self.known["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self.known

    async def moved(self, payment) -> dict[str, list[dict]]:
        """What PayPal's order has of a payment: authorizations, captures."""
        path = f"/v2/checkout/orders/{payment.provider_ref}"
        order = await self.http.get(self.url + path, headers=await self.token())
        return order.json()["purchase_units"][0]["payments"]

    async def play(self, subject_id: str, act: str) -> None:
        answer = await self.http.post(
            f"{self.url}/_play", json={"id": subject_id, "act": act}, headers=await self.token()
        )
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module", params=["paypal", "sandbox"])
def provider(request, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The shop that it tells of what happened is away."""
    url = f"http://127.0.0.1:{embedded.free_port()}"
    home = tmp_path_factory.mktemp("home")
    environment = environment_of(home, embedded.free_port(), url, "", "") | {
        "SLUICE_PAYPAL_URL": url,
        "SLUICE_PAYPAL_CLIENT_ID": "sluice-test",
        "SLUICE_PAYPAL_SECRET": SECRET,
        "SLUICE_PAYPAL_WEBHOOK_ID": "TESTWEBHOOK000001",
    }
    program = Program(request.param, environment, f"{url}/health/live")
    yield request.param, url
    program.stop()


def client_of(channel, url, http) -> payments.Holder:
    told = {"url": url, "shop_url": "http://127.0.0.1:9", "taking": Taking.AT_DISPATCH}
    if channel == "paypal":
        known = {"client_id": "sluice-test", "secret": SECRET, "clock": time.monotonic}
        return payments.PayPalClient(http, **told, **known)
    return payments.SandboxClient(http, **told, secret=SANDBOX_SECRET.encode(), clock=time.time)


@pytest.fixture
async def desk(provider):
    channel, url = provider
    async with httpx.AsyncClient(trust_env=False, timeout=15) as http:
        desk = Desk(channel, url, http, client_of(channel, url, http))
        await desk.behave()
        yield desk
        await desk.behave()


def told_of(payment, event) -> None:
    assert (event.payment_id, event.channel) == (payment.id, payment.channel)
    assert (event.amount_minor, event.currency) == (PRICE, "USD")


async def test_what_is_held_is_taken_once_and_then_nothing_can_let_it_go(desk):
    payment = await desk.held()
    assert payment.authorized_until > datetime.now(UTC) + timedelta(days=1)
    taken = await asyncio.gather(*(desk.client.capture(payment) for _ in range(4)))
    for event in (*taken, await desk.client.look(payment), await desk.client.void(payment)):
        assert event.kind == EventKind.CAPTURED
        assert event.capture_ref == taken[0].capture_ref
        told_of(payment, event)
    assert (await desk.client.close(payment)).kind == EventKind.CAPTURED


async def test_what_is_let_go_is_never_taken(desk):
    payment = await desk.held()
    gone = await asyncio.gather(*(desk.client.void(payment) for _ in range(4)))
    for event in (*gone, await desk.client.look(payment), await desk.client.capture(payment)):
        assert event.kind == EventKind.VOIDED
        told_of(payment, event)
    assert (await desk.client.close(payment)).kind == EventKind.VOIDED


async def test_of_taking_and_letting_go_at_once_one_happens(desk):
    for _ in range(8):
        payment = await desk.held()
        verbs = (desk.client.capture, desk.client.void, desk.client.capture, desk.client.void)
        told = await asyncio.gather(*(verb(payment) for verb in verbs))
        assert len({event.kind for event in told}) == 1
        assert (await desk.client.look(payment)).kind == told[0].kind


async def test_closing_lets_go_what_nobody_had_heard_is_held(desk):
    payment = await desk.held()
    unheard = msgspec.structs.replace(payment, state="started", authorized_until=None)
    assert (await desk.client.close(unheard)).kind == EventKind.VOIDED
    assert (await desk.client.close(unheard)).kind == EventKind.VOIDED
    assert (await desk.client.close(await desk.payment())).kind == EventKind.CLOSED


async def test_what_is_not_held_any_more_is_told_when_it_is_to_be_taken(desk):
    await desk.behave(held_s=0.2)
    payment = await desk.held()
    await asyncio.sleep(0.3)
    for verb in (desk.client.capture, desk.client.look, desk.client.void):
        assert (await verb(payment)).kind == EventKind.VOIDED


async def test_a_bank_that_does_not_pay_leaves_it_held_and_another_try_takes_it(desk):
    payment = await desk.held()
    await desk.behave(**DECLINES[desk.channel])
    with pytest.raises(payments.ProviderRefused):
        await desk.client.capture(payment)
    assert (await desk.client.look(payment)).kind == EventKind.AUTHORIZED
    await desk.behave()
    assert (await desk.client.capture(payment)).kind == EventKind.CAPTURED


async def test_a_payment_keeps_the_way_it_began_with(desk):
    """Whoever changes the setting changes nothing about what is under way."""
    payment = await desk.approved(taking=Taking.AT_ONCE)
    assert (await desk.client.look(payment)).kind == EventKind.CAPTURED


@only_paypal
async def test_what_another_worker_did_and_died_of_is_found_out(desk):
    for verb, kind in (("capture", EventKind.CAPTURED), ("void", EventKind.VOIDED)):
        payment = await desk.held()
        (held,) = (await desk.moved(payment))["authorizations"]
        path = f"/v2/payments/authorizations/{held['id']}/{verb}"
        done = await desk.http.post(desk.url + path, json={}, headers=await desk.token())
        assert done.is_success, done.text
        assert (await desk.client.look(payment)).kind == kind
        assert (await getattr(desk.client, verb)(payment)).kind == kind


@only_paypal
async def test_money_that_paypal_looks_at_first_is_neither_taken_nor_let_go(desk):
    payment = await desk.held()
    await desk.behave(pends=True)
    for verb in (desk.client.capture, desk.client.void, desk.client.capture):
        with pytest.raises(payments.ChannelUnavailable):
            await verb(payment)
    assert await desk.client.look(payment) is None
    (pending,) = (await desk.moved(payment))["captures"]
    await desk.play(pending["id"], "deny")
    await desk.behave()
    assert (await desk.client.look(payment)).kind == EventKind.AUTHORIZED
    told = await desk.client.capture(payment)
    assert told.kind == EventKind.CAPTURED
    assert told.capture_ref != pending["id"]


@only_paypal
async def test_a_provider_that_is_away_is_asked_later(desk):
    payment = await desk.held()
    await desk.behave(down=True)
    for verb in (desk.client.capture, desk.client.void):
        with pytest.raises(payments.ChannelUnavailable):
            await verb(payment)
    await desk.behave()
    assert (await desk.client.look(payment)).kind == EventKind.AUTHORIZED
