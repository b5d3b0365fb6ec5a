"""One shop, three ways to pay, every verb: from browsing to the provider's statement, over HTTP.

Own goods and another seller's, in two warehouses; each number is read back, and at the end each
order is asked how it stood at every moment at which it was looked at.
"""

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote as quoted
from uuid import uuid4

import httpx
import msgspec
import pytest
import redis as redis_sync

from api.paypal_sandbox.certificates import establish
from core import embedded
from tests.api.test_checkout import CHINA, TEXAS
from tests.api.test_payments import Program, Visit, admin, environment_of, signed, until
from tests.api.test_paypal import CLIENT, HOOK, SECRET
from tests.scenarios.test_fulfilment import MAIN, Journey, worth

SHIPPING = "CNY:1000,USD:599"
FEE_BPS = 60
CHINA_TIME = timezone(timedelta(hours=8))
NUMBERS = itertools.count(101)
COMMAND_S_MAX = 60
AXES = ("state", "standing", "payment", "fulfilment", "reason", "follows")


class Town(msgspec.Struct):
    shop_url: str
    sandbox_url: str
    alipay_url: str
    paypal_url: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def town(postgres, template, redis_server, tmp_path_factory) -> Iterator[Town]:
    name = f"t_{uuid4().hex}"
    asyncio.run(admin(postgres, f"CREATE DATABASE {name} TEMPLATE {template}"))
    with redis_sync.Redis.from_url(redis_server.url) as client:
        client.flushall()
    ports = [embedded.free_port() for _ in range(4)]
    shop, sandbox, alipay, paypal = (f"http://127.0.0.1:{port}" for port in ports)
    home = tmp_path_factory.mktemp("home")
    base = environment_of(home, ports[0], sandbox, postgres.url_of(name), redis_server.url)
    environment = base | {
        "SLUICE_ALIPAY_GATEWAY": f"{alipay}/gateway.do",
        "SLUICE_PAYPAL_URL": paypal,
        "SLUICE_PAYPAL_CLIENT_ID": CLIENT,
        "SLUICE_PAYPAL_SECRET": SECRET,
        "SLUICE_PAYPAL_WEBHOOK_ID": HOOK,
        "SLUICE_PAYPAL_CA": str(establish(home / "paypal")),
        "SLUICE_SHIPPING": SHIPPING,
        # What has arrived is the sellers' at once, unless somebody claims something of it.
        "SLUICE_ESCROW_DAYS": "0",
    }
    probes = {"sandbox": sandbox, "alipay": alipay, "paypal": paypal, "serve": shop}
    with contextlib.ExitStack() as stack:
        stack.callback(asyncio.run, admin(postgres, f"DROP DATABASE {name} WITH (FORCE)"))
        for verb, url in probes.items():
            stack.callback(Program(verb, environment, f"{url}/health/live").stop)
        stack.callback(Program("work", environment, None).stop)
        yield Town(shop, sandbox, alipay, paypal, environment)


class Walk(Journey):
    """A journey whose buyer pays one way, and which remembers what it has seen."""

    def __init__(self, town, http, channel) -> None:
        super().__init__(Visit(town, http, None, None))
        self.town, self.channel = town, channel
        self.currency = "USD" if channel == "paypal" else "CNY"
        self.member, self.seller_id = next(NUMBERS), str(next(NUMBERS))
        self.began = datetime.now(UTC)
        self.seen = []

    async def shelve(self, title, price, *, seller_id="1", **units):
        """A published product; the ids of it and of its SKU."""
        said = {"title": {"en": title, "zh": title}, "seller_id": seller_id}
        product_id = (await self.staff("POST", "/products", **said))["product_id"]
        sku = {
            "code": uuid4().hex.upper(),
            "currency": self.currency,
            "prices": {self.currency: price},
        }
        made = await self.staff("POST", f"/products/{product_id}/skus", skus=[sku])
        await self.staff("POST", f"/products/{product_id}/publish")
        sku_id = made["skus"][0]["sku_id"]
        for place_id, quantity in units.items():
            lines = [{"sku_id": sku_id, "quantity": quantity}]
            facts = {"kind": "receive", "reference": f"{sku_id}:{place_id}", "lines": lines}
            await self.staff("POST", "/stock/movements", place_id=place_id[1:], **facts)
        return product_id, sku_id

    async def pay(self, member, order_id):
        """Agree on the provider's page, and wait until places have picked it with no hand."""
        body = {"channel": self.channel}
        started = await self.buyer(member, "POST", f"/orders/{order_id}/payments", **body)
        order = await self.buyer(member, "GET", f"/orders/{order_id}")
        assert (started["amount"], started["currency"]) == (order["amount"], self.currency)
        page, choice = started["pay_url"], "approve" if self.channel == "paypal" else "pay"
        if self.channel == "alipay":
            page = self.town.alipay_url + (await self.http.get(page)).headers["location"]
        answer = await self.http.post(page, data={"choice": choice})
        assert answer.status_code == 303, answer.text
        if self.channel == "paypal":
            await self.http.get(answer.headers["location"])
        await until(lambda: self.flow(order_id), lambda flow: flow["waiting_for"] == "dispatch")
        return order["amount"]

    async def look(self, *order_ids):
        """How they stand, now that nothing moves; staff and buyer are told the same."""
        for order_id in order_ids:
            order = await self.staff("GET", f"/orders/{order_id}")
            told = await self.buyer(self.member, "GET", f"/orders/{order_id}")
            assert (told["state"], told.get("reason")) == (order["state"], order["reason"])
            axes = {name: order[name] for name in AXES}
            self.seen.append((order_id, datetime.now(UTC).isoformat(), axes))

    async def remembers(self, order_id, *states):
        """What was seen of an order, and what it is said to have been then, are the same."""
        log = await self.staff("GET", f"/orders/{order_id}/log")
        assert log["first_broken"] is None
        seen = [(moment, axes) for one, moment, axes in self.seen if one == order_id]
        then = []
        for moment, _ in seen:
            path = f"/orders/{order_id}/as-of?moment={quoted(moment)}"
            past = await self.staff("GET", path)
            then.append({name: past[name] for name in AXES})
        assert then == [axes for _, axes in seen]
        assert [axes["state"] for axes in then] == list(states)
        before = f"/orders/{order_id}/as-of?moment={quoted(self.began.isoformat())}"
        await self.staff("GET", before, refused=404)

    async def consigned(self, *order_ids):
        """What is to be sent of some orders, oldest first."""
        every = (await self.staff("GET", "/consignments?state=allocated&limit=100"))["items"]
        return [
            one
            for one in reversed(every)
            if any(line["order_id"] in order_ids for line in one["lines"])
        ]

    async def send(self, consignment, tracking):
        await self.ship(consignment, tracking)
        await self.deliver(consignment)

    async def divide(self, consignment):
        """One unit of its first line goes by itself: what stays, what leaves."""
        (line, *_) = consignment["lines"]
        leaving = {"order_id": line["order_id"], "line_no": line["line_no"], "quantity": 1}
        path = f"/consignments/{consignment['consignment_id']}/split"
        halves = await self.staff("POST", path, lines=[leaving])
        return halves["stays"], halves["leaves"]

    async def money(self):
        """(account, owner) -> debits less credits in this currency, and they come out even."""
        rows = (await self.staff("GET", "/ledger/trial-balance"))["items"]
        found = Counter()
        for row in rows:
            if row["currency"] == self.currency:
                sign = 1 if row["normal"] == "debit" else -1
                found[row["account"], row["owner"]] += sign * row["amount"]
        assert sum(found.values()) == 0
        return found

    async def moved(self, before):
        """What has changed since, where something has."""
        now = await self.money()
        now.subtract(before)
        return {account: amount for account, amount in now.items() if amount}

    async def escrow(self, order_id):
        """(line, account, owner) -> (amount, commission, returned), and how it stands."""
        held = await self.staff("GET", f"/ledger/orders/{order_id}")
        assert (held["channel"], held["currency"]) == (self.channel, self.currency)
        shares = {
            (one["line_no"], one["account"], one["owner"]): (
                one["amount"],
                one["commission"],
                one["returned"],
            )
            for one in held["shares"]
        }
        return held["state"], shares

    async def returns(self, order_id, line_no, quantity, place_id):
        """A line comes back and its money goes back, by the way it came; how much."""
        wish = {"line_no": line_no, "kind": "return", "quantity": quantity, "reason": "cracked"}
        path = f"/orders/{order_id}/cases"
        case = await self.buyer(self.member, "POST", path, key=f"r{order_id[:8]}", **wish)
        await self.look(order_id)
        where = f"/cases/{case['case_id']}"
        await self.staff("POST", f"{where}/agree", answer="send it back")
        parcel = {"carrier": "SF Express", "tracking": "BACK-1"}
        await self.buyer(self.member, "POST", f"{path}/{case['case_id']}/send", **parcel)
        arrival = {"place_id": place_id, "condition": "good"}
        await self.staff("POST", f"{where}/receive", **arrival)
        told = await self.staff("POST", f"{where}/refund", amount=None)
        refunds = f"/orders/{order_id}/refunds"
        paid = await until(
            lambda: self.staff("GET", refunds),
            lambda found: [one["state"] for one in found["items"]] == ["paid"],
        )
        await self.look(order_id)
        (refund,) = paid["items"]
        assert (told["state"], refund["amount"]) == ("refunded", told["refunded"])
        return refund["amount"]

    async def settle(self):
        """Settle with all, pay all; the seller's statement, its payout, and the shop's own."""
        run = await self.staff("POST", "/ledger/runs", reference=f"run-{self.seller_id}")
        assert run["state"] == "closed"
        planned = (await self.staff("GET", "/ledger/payouts?state=planned"))["items"]
        assert {one["run_id"] for one in planned} == {run["run_id"]}
        for one in planned:
            paid = await self.staff("POST", f"/ledger/payouts/{one['payout_id']}/send")
            assert (paid["state"], paid["amount"]) == ("paid", one["amount"])
        (statement,) = (await self.staff("GET", f"/ledger/sellers/{self.seller_id}/statements"))[
            "items"
        ]
        path = f"/ledger/statements/{statement['statement_id']}/postings"
        postings = (await self.staff("GET", path))["items"]
        assert {one["kind"] for one in postings} == {"release"}
        assert -sum(one["amount"] for one in postings) == statement["moved"]
        assert statement["opening"] == 0
        amounts = {one["seller_id"]: one["amount"] for one in planned}
        assert amounts[self.seller_id] == statement["closing"]
        return amounts

    def fee(self, *totals):
        """What the provider keeps of each payment."""
        bps = 300 if self.channel == "paypal" else FEE_BPS
        return sum(total * bps // 10_000 for total in totals)

    async def provider_told(self):
        """Hold the provider's statement against our books; how many lines it has more than before.

        Nothing differs.
        """
        before = await self.lines_told()
        zone = CHINA_TIME if self.channel == "alipay" else UTC
        for day in sorted({one.astimezone(zone).date() for one in (self.began, datetime.now(UTC))}):
            asked = {"channel": self.channel, "day": f"{day}"}
            told = await self.staff("POST", "/statements/fetch", **asked)
            assert (told["channel"], told["source"], told["open"]) == (self.channel, "fetched", 0)
        assert (await self.staff("GET", "/statements/differences"))["items"] == []
        return await self.lines_told() - before

    async def lines_told(self):
        told = (await self.staff("GET", "/statements?limit=100"))["items"]
        assert {one["open"] for one in told} <= {0}
        return sum(one["lines"] for one in told if one["channel"] == self.channel)

    async def sluice(self, *words):
        """A command as a person gives it; it says that all is well."""
        told = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "api.cli", *words],
            env=self.town.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        assert told.returncode == 0, told.stdout


class Sums(msgspec.Struct):
    """What two orders come to where prices include the tax, and where they do not.

    Each by line: three lamps, two shades, two vases, one bowl; then another lamp.
    """

    home: dict[str, str]
    taxes: tuple[int, ...]
    included: tuple[int, ...]
    shipping: tuple[int, int, int]
    shares: tuple[int, ...]
    totals: tuple[int, int]
    returned: int


GOODS = (29_970, 9_000, 24_690, 777)
LAMP, COMMISSION = 9_990, (1_234, 39)
CHINESE = Sums(
    home=CHINA,
    taxes=(0, 0, 0, 0, 0),
    included=(3_448, 1_035, 2_840, 89),
    shipping=(1_000, 0, 115),
    shares=(465, 140, 383, 12),
    totals=(65_437, 10_990),
    returned=777,
)
# 6.25 % are added in Texas, to what sending costs as well.
TEXAN = Sums(
    home=TEXAS,
    taxes=(1_873, 563, 1_543, 49, 624),
    included=(0, 0, 0, 0),
    shipping=(599, 37, 0),
    shares=(296, 89, 244, 7),
    totals=(69_101, 11_250),
    returned=826,
)
CUP = 5_000


@pytest.fixture
async def walk(town, request):
    async with httpx.AsyncClient(base_url=town.shop_url, timeout=30) as http:
        await behave(town, http)
        yield Walk(town, http, request.param)


async def behave(town, http):
    """Providers write today's statement already, and take a fee."""
    body = msgspec.json.encode({"fee_bps": FEE_BPS})
    await http.put(f"{town.sandbox_url}/v1/behaviour", content=body, headers=signed(body))
    await http.put(f"{town.alipay_url}/behaviour", json={"writes_today": True, "fee_bps": FEE_BPS})
    form = {"grant_type": "client_credentials"}
    where = f"{town.paypal_url}/v1/oauth2/token"
    token = (await http.post(where, auth=(CLIENT, SECRET), data=form)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    said = {"written_s": 200_000}
    await http.put(f"{town.paypal_url}/_behaviour", json=said, headers=headers)


@pytest.fixture
async def west(walk):
    name = {"en": "West", "zh": "西仓"}
    place = {"code": f"W{walk.seller_id}", "kind": "warehouse", "name": name, "rank": 9}
    return (await walk.staff("POST", "/places", **place))["place_id"]


every_way = pytest.mark.parametrize("walk", ["sandbox", "alipay", "paypal"], indirect=True)


@every_way
async def test_two_carts_walk_from_the_shelf_to_the_providers_statement(walk, west):
    sums = TEXAN if walk.currency == "USD" else CHINESE
    skus = await furnish(walk, west)
    before = await walk.money()
    first, second = await buy_two_carts(walk, sums, skus)
    await walk.look(first, second)
    for order_id, total in zip((first, second), sums.totals, strict=True):
        assert await walk.pay(walk.member, order_id) == total
        await walk.look(first, second)
    await read_what_is_held(walk, sums, first, second, before)
    await send_in_parts(walk, sums, west, skus, first, second)
    assert await walk.stock(skus["bowl"], MAIN) == (4, 0, 0)
    assert await walk.returns(first, 4, 1, MAIN) == sums.returned
    assert await walk.stock(skus["bowl"], MAIN) == (5, 0, 0)
    paid_out = await walk.settle()
    assert paid_out == {"1": 48_960, walk.seller_id: 23_456}
    # Two payments, a fee for each, and what went back.
    assert await walk.provider_told() == 5
    await read_what_is_left(walk, sums, first, second, before)
    await walk.remembers(
        first,
        *("pending_payment", "paid", "paid", *["shipped"] * 4, "completed"),
        *("after_sale", "completed"),
    )
    await walk.remembers(
        second, "pending_payment", "pending_payment", "paid", "shipped", *["completed"] * 4
    )
    await walk.sluice("ledger", "check")


async def furnish(walk, west):
    """Three kinds of goods here, one in the west; buyers find them."""
    theirs = {"seller_id": walk.seller_id, f"p{MAIN}": 5}
    lamp_id, lamp = await walk.shelve(f"Lamp {walk.seller_id}", LAMP, **{f"p{MAIN}": 10})
    _, shade = await walk.shelve("Shade", 4_500, **{f"p{west}": 10})
    _, vase = await walk.shelve("Vase", 12_345, **theirs)
    _, bowl = await walk.shelve("Bowl", 777, **theirs)
    found = (await walk.http.get(f"/v1/products?q={walk.seller_id}")).json()["items"]
    assert [one["product_id"] for one in found] == [lamp_id]
    (sku,) = (await walk.http.get(f"/v1/products/{lamp_id}")).json()["skus"]
    assert (sku["sku_id"], sku["prices"]) == (lamp, {walk.currency: LAMP})
    (offer,) = (await walk.http.get(f"/v1/products/{lamp_id}/availability")).json()["items"]
    assert (offer["sku_id"], offer["delivery"]["state"]) == (lamp, "in_stock")
    return {"lamp": lamp, "shade": shade, "vase": vase, "bowl": bowl}


async def buy_two_carts(walk, sums, skus):
    home = (await walk.buyer(walk.member, "POST", "/addresses", **sums.home))["address_id"]
    asked = {"address_id": home, "currency": walk.currency}
    placed = []
    for number, quantities in enumerate([(3, 2, 2, 1), (1,)]):
        for sku_id, quantity in zip(skus.values(), quantities, strict=False):
            told = {"sku_id": sku_id, "quantity": quantity}
            await walk.buyer(walk.member, "POST", "/cart", **told)
        quote = await walk.buyer(walk.member, "POST", "/quotes", **asked)
        asked["quote"] = quote["quote"]
        order = await walk.buyer(walk.member, "POST", "/checkouts", key=f"{number}", **asked)
        del asked["quote"]
        assert quote["total"] == order["amount"] == sums.totals[number]
        shipping = [order[f"shipping{part}"] for part in ("", "_tax", "_included_tax")]
        assert shipping == list(sums.shipping)
        assert (await walk.buyer(walk.member, "GET", "/cart"))["items"] == []
        placed.append(order)
    told = [
        (one["quantity"], one["tax"], one["included_tax"], one["amount"])
        for one in placed[0]["lines"]
    ]
    amounts = [goods + tax for goods, tax in zip(GOODS, sums.taxes, strict=False)]
    assert told == list(zip((3, 2, 2, 1), sums.taxes, sums.included, amounts, strict=False))
    assert [await walk.stock(skus[one], MAIN) for one in ("lamp", "vase", "bowl")] == [
        (10, 4, 0),
        (5, 2, 0),
        (5, 1, 0),
    ]
    return [one["order_id"] for one in placed]


async def read_what_is_held(walk, sums, first, second, before):
    """All that was paid is with the provider, and held for whom it belongs to."""
    state, shares = await walk.escrow(first)
    owners = ("1", "1", walk.seller_id, walk.seller_id)
    wanted = {
        (number, "seller_payable", owner): (goods, commission, 0)
        for number, owner, goods, commission in zip(
            itertools.count(1), owners, GOODS, (0, 0, *COMMISSION), strict=False
        )
    }
    wanted |= {
        (10_000 + number, "tax_payable", ""): (tax, 0, 0)
        for number, tax in enumerate((sums.shipping[1], *sums.taxes[:4]))
        if tax
    }
    wanted[0, "shipping_revenue", ""] = (sums.shipping[0], 0, 0)
    assert (state, shares) == ("held", wanted)
    _, other = await walk.escrow(second)
    assert sum(amount for amount, *_ in other.values()) == sums.totals[1]
    assert await walk.moved(before) == {
        ("provider_clearing", walk.channel): sum(sums.totals),
        ("escrow", ""): -sum(sums.totals),
    }


async def send_in_parts(walk, sums, west, skus, first, second):
    """Three consignments and one; two become one, and one becomes two."""
    ours, shades, theirs, other = await walk.consigned(first, second)
    told = [
        (one["place_id"], one["seller_id"], line["quantity"], line["goods"], line["shipping"])
        for one in (ours, shades, theirs, other)
        for line in one["lines"]
    ]
    shipping = sum(sums.shipping[:2])
    assert told == [
        (MAIN, "1", 3, GOODS[0], sums.shares[0]),
        (west, "1", 2, GOODS[1], sums.shares[1]),
        (MAIN, walk.seller_id, 2, GOODS[2], sums.shares[2]),
        (MAIN, walk.seller_id, 1, GOODS[3], sums.shares[3]),
        (MAIN, "1", 1, LAMP, shipping),
    ]
    assert worth([ours, shades, theirs]) == sums.totals[0]
    assert worth([other]) == sums.totals[1]
    ids = [one["consignment_id"] for one in (ours, other)]
    merged = await walk.staff("POST", "/consignments/merge", consignment_ids=ids)
    assert worth([merged]) == worth([ours, other])
    assert await walk.stock(skus["lamp"], MAIN) == (10, 0, 4)
    await walk.ship(merged, "SF-1")
    await walk.look(first, second)
    assert await walk.stock(skus["lamp"], MAIN) == (6, 0, 0)
    await walk.deliver(merged)
    await walk.look(first, second)
    halves = await walk.divide(shades)
    assert worth(halves) == worth([shades])
    for number, half in enumerate((theirs, *halves), 2):
        await walk.send(half, f"SF-{number}")
        await walk.look(first, second)
    assert await walk.stock(skus["shade"], west) == (8, 0, 0)
    assert await walk.stock(skus["vase"], MAIN) == (3, 0, 0)
    tracked = [("delivered", f"SF-{n}", units) for n, units in ((1, 3), (2, 3), (3, 1), (4, 1))]
    assert await walk.parcels(walk.member, first) == ("completed", tracked)
    assert await walk.parcels(walk.member, second) == ("completed", [("delivered", "SF-1", 1)])


async def read_what_is_left(walk, sums, first, second, before):
    """What was paid less what went back: with the provider, with the sellers, and with us."""
    state, shares = await walk.escrow(first)
    returned = {line_no: back for (line_no, *_), (*_, back) in shares.items() if back}
    assert (state, sum(returned.values())) == ("released", sums.returned)
    assert returned.keys() <= {4, 10_004}
    assert (await walk.escrow(second))[0] == "released"
    shipping, shipping_tax, _ = sums.shipping
    taxes = sum(sums.taxes) - sums.taxes[3] + 2 * shipping_tax
    fee = walk.fee(*sums.totals)
    assert await walk.moved(before) == {
        ("provider_clearing", walk.channel): sum(sums.totals) - sums.returned - fee,
        ("provider_fees", walk.channel): fee,
        ("bank", ""): -(48_960 + 23_456),
        ("commission_revenue", ""): -COMMISSION[0],
        ("shipping_revenue", ""): -2 * shipping,
        **({("tax_payable", ""): -taxes} if taxes else {}),
    }


@every_way
async def test_two_orders_of_a_flash_sale_walk_the_same_path(walk, west):
    before = await walk.money()
    cup, sale_id = await open_sale(walk, west)
    first, second = [await claim(walk, sale_id, cup, units) for units in (3, 1)]
    await walk.look(first, second)
    for order_id, total in ((first, 3 * CUP), (second, CUP)):
        assert await walk.pay(walk.member, order_id) == total
        await walk.look(first, second)
    held = {(1, "seller_payable", walk.seller_id): (3 * CUP, 750, 0)}
    assert await walk.escrow(first) == ("held", held)
    await send_cups_in_parts(walk, west, cup, first, second)
    assert await walk.returns(second, 1, 1, west) == CUP
    assert await walk.stock(cup, west) == (1, 0, 0)
    assert await walk.settle() == {walk.seller_id: 3 * CUP - 750}
    # Two payments, a fee for each, and what went back.
    assert await walk.provider_told() == 5
    assert (await walk.escrow(second))[1].popitem()[1] == (CUP, 250, CUP)
    fee = walk.fee(3 * CUP, CUP)
    assert await walk.moved(before) == {
        ("provider_clearing", walk.channel): 3 * CUP - fee,
        ("provider_fees", walk.channel): fee,
        ("bank", ""): 750 - 3 * CUP,
        ("commission_revenue", ""): -750,
    }
    (book,) = (await walk.staff("GET", f"/sales/{sale_id}/audit"))["items"]
    assert (book["sold"], book["left"], book["drift"]) == (4, 0, 0)
    await walk.remembers(first, "pending_payment", "paid", "paid", *["shipped"] * 3, "completed")
    await walk.remembers(
        second,
        *("pending_payment", "pending_payment", "paid", "shipped", *["completed"] * 3),
        *("after_sale", "completed"),
    )
    await walk.sluice("ledger", "check")


async def open_sale(walk, west):
    """Four cups of another seller's, two in each warehouse, on sale now; buyers see them."""
    places = {f"p{MAIN}": 2, f"p{west}": 2}
    _, cup = await walk.shelve("Cup", 9_900, seller_id=walk.seller_id, **places)
    sale = await walk.staff(
        "POST",
        "/sales",
        name="Cups",
        starts_at="2026-01-01T00:00:00Z",
        ends_at="2099-01-01T00:00:00Z",
        items=[{"sku_id": cup, "quota": 4, "price": CUP, "limit": 4}],
    )
    await walk.staff("POST", f"/sales/{sale['sale_id']}/arm")
    shown = await until(
        lambda: walk.http.get(f"/v1/sales/{sale['sale_id']}"), lambda answer: answer.is_success
    )
    (item,) = shown.json()["items"]
    assert (item["price"], item["currency"], item["left"]) == (CUP, walk.currency, 4)
    assert await walk.stock(cup, MAIN) == await walk.stock(cup, west) == (2, 2, 0)
    return cup, sale["sale_id"]


async def claim(walk, sale_id, cup, units):
    """Units of the sale, once they are written down as an order; its id."""
    path, body = f"/v1/sales/{sale_id}/orders", {"sku_id": cup, "quantity": units}
    headers = walk.visit.as_member(walk.member) | {"Idempotency-Key": f"{units}"}
    answer = await until(
        lambda: walk.http.post(path, json=body, headers=headers),
        lambda answer: answer.status_code == 202,
    )
    order_id = answer.json()["order_id"]
    await walk.visit.becomes(order_id, walk.member, "pending_payment")
    return order_id


async def send_cups_in_parts(walk, west, cup, first, second):
    """The first order's cups are in both warehouses; what is in the west goes with the other's."""
    here, there, other = await walk.consigned(first, second)
    told = [
        (one["place_id"], one["seller_id"], line["quantity"], line["goods"])
        for one in (here, there, other)
        for line in one["lines"]
    ]
    assert told == [
        (MAIN, walk.seller_id, 2, 2 * CUP),
        (west, walk.seller_id, 1, CUP),
        (west, walk.seller_id, 1, CUP),
    ]
    ids = [one["consignment_id"] for one in (there, other)]
    merged = await walk.staff("POST", "/consignments/merge", consignment_ids=ids)
    assert worth([merged]) == 2 * CUP
    assert await walk.stock(cup, west) == (2, 0, 2)
    await walk.ship(merged, "SF-1")
    await walk.look(first, second)
    assert await walk.stock(cup, west) == (0, 0, 0)
    await walk.deliver(merged)
    await walk.look(first, second)
    for number, half in enumerate(await walk.divide(here), 2):
        await walk.send(half, f"SF-{number}")
        await walk.look(first, second)
    assert await walk.stock(cup, MAIN) == (0, 0, 0)
    tracked = [("delivered", f"SF-{n}", 1) for n in (1, 2, 3)]
    assert await walk.parcels(walk.member, first) == ("completed", tracked)
    assert await walk.parcels(walk.member, second) == ("completed", tracked[:1])
