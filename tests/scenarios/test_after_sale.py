"""An order is paid, sent, put right line by line, settled and paid out; every number is read back.

With `sluice serve`, `sluice work` and the sandbox provider as they are run.
"""

import time
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import quote as quoted
from urllib.parse import urlsplit

import httpx
import msgspec

from core import ledger, payments
from core.flows.check_statement import fetch_statement
from core.flows.pay_out import pay_out
from core.flows.settle_sellers import settle_sellers
from tests.api.test_checkout import CHINA, Shopper
from tests.api.test_payments import SANDBOX_SECRET, signed, until
from tests.patience import PATIENCE_S
from tests.scenarios import test_checkout
from tests.scenarios.test_checkout import now, proven

# Its market: two processes of the shop, one of the roles, one of the provider.
market, client = test_checkout.market, test_checkout.client
books, shelve = test_checkout.books, test_checkout.shelve
MEMBER = 43
PARCEL = {"carrier": "SF Express", "tracking": "SF-1"}
KETTLE, CUP = 9_000, 450
MAIN = "1"


class Trade:
    """An order of two kettles and three cups, with whoever deals with it."""

    def __init__(self, client, staff, books):
        self.client, self.staff, self.books = client, staff, books
        self.buyer = Shopper(client, MEMBER)
        self.began = datetime.now(UTC)

    async def bought(self, kettle, cup):
        self.skus = {"kettle": kettle, "cup": cup}
        await self.buyer.fill((kettle, 2), (cup, 3))
        home = await self.buyer.live_at(CHINA)
        quote = await self.buyer.quote(home)
        placed = (await self.buyer.check_out(home, quote["quote"])).json()
        self.order_id, self.total = placed["order_id"], placed["amount"]
        paying = (
            await self.buyer.ask("POST", f"/orders/{self.order_id}/payments", channel="sandbox")
        ).json()
        where = urlsplit(paying["pay_url"])
        self.sandbox_url = f"{where.scheme}://{where.netloc}"
        await self.provider("PUT", "/v1/behaviour", fee_bps=60)
        await self.client.post(paying["pay_url"], data={"choice": "pay"})
        await self.becomes(self.order_id, "paid")
        return quote

    async def provider(self, method, path, **message):
        body = msgspec.json.encode(message)
        answer = await self.client.request(
            method, self.sandbox_url + path, content=body, headers=signed(body)
        )
        assert answer.is_success, answer.text
        return answer.json()

    async def state(self, order_id):
        return (await self.buyer.ask("GET", f"/orders/{order_id}")).json()["state"]

    async def becomes(self, order_id, state):
        await until(lambda: self.state(order_id), lambda found: found == state)

    async def parcels(self, order_id):
        every = (await self.staff("GET", "/consignments?limit=100"))["items"]
        return [one for one in every if any(line["order_id"] == order_id for line in one["lines"])]

    async def send(self, order_id):
        """What is paid is picked with no hand; somebody hands it to the carrier."""
        found = await until(
            lambda: self.parcels(order_id),
            lambda every: every and all(one["state"] == "allocated" for one in every),
        )
        for one in found:
            path = f"/consignments/{one['consignment_id']}"
            await self.staff("POST", f"{path}/ship", **PARCEL)
        assert await self.state(order_id) == "shipped"
        for one in found:
            await self.staff("POST", f"/consignments/{one['consignment_id']}/deliver")
        assert await self.state(order_id) == "completed"

    async def ask(self, kind, sku, **more):
        order = await self.staff("GET", f"/orders/{self.order_id}")
        (line_no,) = [
            line["line_no"] for line in order["lines"] if line["sku_id"] == self.skus[sku]
        ]
        body = {"kind": kind, "line_no": line_no, "quantity": 1, "reason": "裂了", **more}
        headers = {"Idempotency-Key": f"{kind} {sku}".replace(" ", "-")}
        path = f"/orders/{self.order_id}/cases"
        asked = await self.buyer.ask("POST", path, headers=headers, **body)
        again = await self.buyer.ask("POST", path, headers=headers, **body)
        assert (asked.status_code, again.json()) == (201, asked.json())
        assert await self.state(self.order_id) == "after_sale"
        return asked.json()["case_id"]

    async def comes_back(self, case_id, condition):
        await self.staff("POST", f"/cases/{case_id}/agree", answer="请寄回")
        path = f"/orders/{self.order_id}/cases/{case_id}"
        assert (await self.buyer.ask("POST", f"{path}/send", **PARCEL)).json()["tracking"] == "SF-1"
        arrival = {"place_id": MAIN, "condition": condition}
        told = await self.staff("POST", f"/cases/{case_id}/receive", **arrival)
        assert (told["state"], told["condition"]) == ("received", condition)

    async def refunds(self):
        return (await self.staff("GET", f"/orders/{self.order_id}/refunds"))["items"]

    async def stock(self, sku):
        (one,) = (await self.staff("GET", f"/stock/{self.skus[sku]}"))["items"]
        return one["on_hand"], one["free"], one["damaged"]

    async def amounts(self):
        items = (await self.staff("GET", "/ledger/trial-balance"))["items"]
        return Counter({one["account"]: one["amount"] for one in items if one["currency"] == "CNY"})


async def test_an_order_is_sent_put_right_settled_paid_out_and_the_statement_agrees(
    client,
    staff,
    shelve,
    books,
):
    _, kettle = await shelve("Samovar", "茶炊", units=10, CNY=KETTLE)
    _, cup = await shelve("Glass", "玻璃杯", units=10, CNY=CUP)
    trade = Trade(client, staff, books)
    quote = await trade.bought(kettle, cup)
    assert trade.total == quote["total"]
    await trade.send(trade.order_id)
    assert (await trade.stock("kettle"), await trade.stock("cup")) == ((8, 8, 0), (7, 7, 0))
    delivered_at = await now(books)
    gone = await put_right(trade)
    then = await staff("GET", f"/orders/{trade.order_id}/as-of?moment={quoted(delivered_at)}")
    assert then["state"] == "completed"
    await settle(trade, gone)
    await hold_against_the_statement(trade, gone)
    await proven(books)


async def put_right(trade):
    """One line goes back, one unit is exchanged, and some money is claimed; what went in all."""
    returned = await trade.ask("return", "kettle")
    await trade.comes_back(returned, "good")
    told = await trade.staff("POST", f"/cases/{returned}/refund", amount=None)
    assert (told["state"], told["refunded"]) == ("refunded", KETTLE)
    assert await trade.stock("kettle") == (9, 9, 0)
    await trade.becomes(trade.order_id, "completed")

    swapped = await trade.ask("exchange", "cup")
    await trade.comes_back(swapped, "damaged")
    follow_up = (await trade.staff("POST", f"/cases/{swapped}/replace"))["follow_up"]
    await trade.send(follow_up)
    seen = (await trade.buyer.ask("GET", f"/orders/{follow_up}")).json()
    assert (seen["amount"], seen["state"]) == (0, "completed")
    assert await trade.stock("cup") == (6, 6, 1)

    claimed = await trade.ask("claim", "cup", amount=123)
    await trade.staff("POST", f"/cases/{claimed}/refund", amount=None)
    refused = {"line_no": 1, "kind": "return", "quantity": 3, "reason": "x"}
    await trade.buyer.ask(
        "POST",
        f"/orders/{trade.order_id}/cases",
        headers={"Idempotency-Key": "more"},
        refused=(409, "not-shipped"),
        **refused,
    )
    paid = await until(
        trade.refunds, lambda every: every and all(one["state"] == "paid" for one in every)
    )
    assert [one["amount"] for one in paid] == [KETTLE, 123]
    every = (await trade.buyer.ask("GET", f"/orders/{trade.order_id}/cases")).json()["items"]
    assert [one["state"] for one in every] == ["refunded", "replaced", "refunded"]
    return KETTLE + 123


async def settle(trade, gone):
    """The order is done: what is left of it goes to whom it belongs, and out of the house."""
    held = await trade.staff("GET", f"/ledger/orders/{trade.order_id}")
    assert sum(share["amount"] for share in held["shares"]) == trade.total
    assert sum(share["returned"] for share in held["shares"]) == gone
    before = await trade.amounts()
    await trade.staff("POST", f"/ledger/orders/{trade.order_id}/release")
    after = await trade.amounts()
    assert before["escrow"] - after["escrow"] == trade.total - gone
    goods = after["seller_payable"] - before["seller_payable"]
    assert goods + after["shipping_revenue"] - before["shipping_revenue"] == trade.total - gone
    await settle_sellers(trade.books, reference=f"{trade.order_id}", escrow_days=15)
    await pay_out(trade.books, ledger.SandboxBank())
    (paid, *_) = (await trade.staff("GET", "/ledger/payouts"))["items"]
    assert (paid["state"], paid["amount"]) == ("paid", after["seller_payable"])
    assert (await trade.amounts())["seller_payable"] == 0


async def hold_against_the_statement(trade, gone):
    """The provider pays out what it holds, and its statement of the day says what our books say."""
    paid_out = (await trade.provider("POST", "/v1/payouts", currency="CNY"))["amount"]
    before = await trade.amounts()
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        reporter = payments.SandboxClient(
            http,
            url=trade.sandbox_url,
            secret=SANDBOX_SECRET.encode(),
            shop_url="http://shop.example",
            clock=time.time,
        )
        for day in sorted({trade.began.date(), datetime.now(UTC).date()}):
            await fetch_statement(trade.books, reporter, channel="sandbox", day=day)
    assert (await trade.staff("GET", "/statements/differences"))["items"] == []
    after = await trade.amounts()
    fee = trade.total * 60 // 10_000
    assert after["provider_fees"] - before["provider_fees"] == fee
    assert after["bank"] - before["bank"] == paid_out
    assert after["provider_clearing"] == before["provider_clearing"] - fee - paid_out
    assert paid_out >= trade.total - gone - fee
