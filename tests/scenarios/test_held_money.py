"""Money is held when a buyer agrees and taken when the goods leave: shop, worker and both providers
are processes of their own.
"""

import asyncio
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.paypal_sandbox.certificates import establish
from core import embedded
from core.kit import db
from hotpath.nodes import Redis
from tests.api.test_checkout import CHINA
from tests.api.test_payments import Program, Visit, admin, environment_of, until
from tests.api.test_paypal import CLIENT, HOOK, SECRET, PayPalVisit, Town
from tests.scenarios.test_fulfilment import Journey

BUYER, MAIN, UNITS = 7, "1", 10
CHANNELS = ["paypal", "sandbox"]
REFUSES = {"paypal": {"declines": True}, "sandbox": {"refuses_capture": True}}


@pytest.fixture(scope="module")
def town(postgres, template, redis_server, tmp_path_factory) -> Iterator[Town]:
    """Both ways to pay take the money when the goods leave."""
    name = f"t_{uuid4().hex}"
    asyncio.run(admin(postgres, f"CREATE DATABASE {name} TEMPLATE {template}"))
    urls = [f"http://127.0.0.1:{embedded.free_port()}" for _ in range(3)]
    home = tmp_path_factory.mktemp("home")
    ca = establish(home / "paypal")
    port = int(urls[0].rpartition(":")[2])
    database, redis = postgres.url_of(name), redis_server.url
    environment = environment_of(home, port, urls[2], database, redis) | {
        "SLUICE_PAYPAL_URL": urls[1],
        "SLUICE_PAYPAL_CLIENT_ID": CLIENT,
        "SLUICE_PAYPAL_SECRET": SECRET,
        "SLUICE_PAYPAL_WEBHOOK_ID": HOOK,
        "SLUICE_PAYPAL_CA": str(ca),
        "SLUICE_PAYPAL_CAPTURE": "at_dispatch",
        "SLUICE_SANDBOX_CAPTURE": "at_dispatch",
    }
    programs = [
        Program("paypal", environment, f"{urls[1]}/health/live"),
        Program("sandbox", environment, f"{urls[2]}/health/live"),
        Program("serve", environment, f"{urls[0]}/health/live"),
        Program("work", environment, None),
    ]
    yield Town(urls[0], urls[1], str(ca), database, redis, programs[3], programs[0], urls[2])
    for program in programs:
        program.stop()
    asyncio.run(admin(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


class Held(Journey):
    """What staff, a buyer and the two providers do here."""

    address_id = ""

    async def bought(self, channel):
        """A SKU of which one unit is bought, its order, and the payment that was agreed to."""
        sku_id = await self.furnish(f"H{time.time_ns()}", **{f"p{MAIN}": UNITS})
        if not self.address_id:
            made = await self.buyer(BUYER, "POST", "/addresses", **CHINA)
            self.address_id = made["address_id"]
        order_id = await self.check_out(BUYER, self.address_id, str(uuid4()), **{f"s{sku_id}": 1})
        answer = await self.visit.start(order_id, BUYER, {"channel": channel})
        assert answer.status_code == 201, answer.text
        payment = answer.json()
        if channel == "paypal":
            await self.visit.agree(payment)
        else:
            await self.visit.click(payment)
        await until(lambda: self.flow(order_id), lambda flow: flow["waiting_for"] == "dispatch")
        return sku_id, order_id, payment

    async def parcel(self, order_id):
        return next(
            one
            for one in await self.planned(MAIN)
            if order_id in {line["order_id"] for line in one["lines"]}
        )

    async def behave(self, channel, **said):
        await (self.visit.behave(**said) if channel == "paypal" else self.sandbox(said))

    async def sandbox(self, said):
        answer = await Visit.signed(self.visit, "PUT", "/v1/behaviour", said)
        assert answer.status_code == 200, answer.text

    async def money(self):
        rows = (await self.staff("GET", "/ledger/trial-balance"))["items"]
        assert sum(r["amount"] * (-1) ** (r["normal"] == "credit") for r in rows) == 0
        return {(r["account"], r["owner"]): r["amount"] for r in rows}

    async def there(self, payment):
        """How a payment stands at PayPal: the states of what is held, and of what was taken."""
        found = await self.visit.payment(payment["payment_id"])
        path = f"/v2/checkout/orders/{found.provider_ref}"
        moved = (await self.visit.paypal("GET", path)).json()["purchase_units"][0]["payments"]
        held, taken = moved["authorizations"], moved.get("captures", [])
        return [one["status"] for one in held], [one["status"] for one in taken]


@pytest.fixture
async def journey(town):
    async with (
        httpx.AsyncClient(base_url=town.shop_url, timeout=15) as http,
        db.create_pool(town.database_url, size_max=4) as pool,
        Redis.from_url(town.redis_url, retry=Retry(NoBackoff(), 0)) as redis,
    ):
        journey = Held(PayPalVisit(town, http, pool, redis))
        yield journey
        for channel in CHANNELS:
            await journey.behave(channel)


@pytest.mark.parametrize("channel", CHANNELS)
async def test_it_is_agreed_held_got_ready_sent_and_taken(journey, channel):
    before = await journey.money()
    sku_id, order_id, payment = await journey.bought(channel)
    told = await journey.buyer(BUYER, "GET", f"/orders/{order_id}")
    assert told["state"] == "paid"
    assert (await journey.staff("GET", f"/orders/{order_id}"))["payment"] == "authorized"
    assert (await journey.flow(order_id))["held_until"]
    assert await journey.money() == before
    again = await journey.visit.start(order_id, BUYER, {"channel": channel})
    assert again.json()["type"].endswith("not-payable")

    parcel = await journey.parcel(order_id)
    path = f"/consignments/{parcel['consignment_id']}/ship"
    await journey.behave(channel, **REFUSES[channel])
    told = await journey.staff("POST", path, refused=409, carrier="SF", tracking="T-1")
    assert (told["type"], told["order_id"]) == ("/problems/not-captured", order_id)
    assert await journey.stock(sku_id, MAIN) == (UNITS, 0, 1)
    assert await journey.money() == before
    await journey.behave(channel)

    await journey.ship(parcel, "T-1")
    await journey.ship(parcel, "T-1")
    assert await journey.stock(sku_id, MAIN) == (UNITS - 1, 0, 0)
    order = await journey.staff("GET", f"/orders/{order_id}")
    assert (order["state"], order["payment"]) == ("shipped", "paid")
    amount = (await journey.visit.payment(payment["payment_id"])).captured_minor
    assert amount == order["amount"]
    after = await journey.money()
    clearing = ("provider_clearing", channel)
    assert after[clearing] - before.get(clearing, 0) == amount
    flow = await journey.flow(order_id)
    assert flow["held_until"] is None
    steps = [one["what"] for one in flow["steps"] if one["part"] == "payment"]
    assert steps == ["held", "paid"]
    log = await journey.staff("GET", f"/orders/{order_id}/log")
    assert log["first_broken"] is None
    if channel == "paypal":
        assert await journey.there(payment) == (["CAPTURED"], ["COMPLETED"])


@pytest.mark.parametrize("channel", CHANNELS)
async def test_who_cancels_before_it_leaves_was_never_charged(journey, channel):
    before = await journey.money()
    sku_id, order_id, payment = await journey.bought(channel)
    await journey.buyer(BUYER, "POST", f"/orders/{order_id}/cancel")
    found = await journey.visit.payment_becomes(payment["payment_id"], "voided")
    assert (found.reason, found.captured_minor) == ("member", None)
    order = await journey.staff("GET", f"/orders/{order_id}")
    assert (order["state"], order["payment"], order["reason"]) == ("cancelled", "unpaid", "member")
    assert (await journey.staff("GET", f"/orders/{order_id}/refunds"))["items"] == []
    assert await journey.stock(sku_id, MAIN) == (UNITS, 0, 0)
    assert await journey.money() == before
    if channel == "paypal":
        assert await journey.there(payment) == (["VOIDED"], [])


async def test_when_paypal_lets_it_go_the_order_ends_and_its_buyer_is_told(journey):
    before = await journey.money()
    sku_id, order_id, payment = await journey.bought("paypal")
    found = await journey.visit.payment(payment["payment_id"])
    path = f"/v2/checkout/orders/{found.provider_ref}"
    unit = (await journey.visit.paypal("GET", path)).json()["purchase_units"][0]
    await journey.visit.play(unit["payments"]["authorizations"][0]["id"], "expire")
    told = await journey.visit.becomes(order_id, BUYER, "cancelled")
    assert told["reason"] == "authorization-ended"
    assert (await journey.visit.payment(payment["payment_id"])).state == "voided"
    assert await journey.stock(sku_id, MAIN) == (UNITS, 0, 0)
    assert await journey.money() == before


@pytest.mark.parametrize("channel", CHANNELS)
async def test_when_its_time_is_over_nobody_has_to_tell(journey, channel):
    """No webhook says so: the shop knows until when, and asks."""
    await journey.behave(channel, held_s=6)
    sku_id, order_id, payment = await journey.bought(channel)
    if channel == "paypal":
        await journey.visit.behave(is_mute=True)
    told = await journey.visit.becomes(order_id, BUYER, "cancelled")
    assert told["reason"] == "authorization-ended"
    found = await journey.visit.payment(payment["payment_id"])
    assert (found.state, found.captured_minor) == ("voided", None)
    assert await journey.stock(sku_id, MAIN) == (UNITS, 0, 0)
