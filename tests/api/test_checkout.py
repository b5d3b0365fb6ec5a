"""From a cart to an order over HTTP: what is asked, what is refused, and what is left behind."""

import asyncio

import pytest

from core import inventory
from core.flows.expire_holds import expire_holds
from core.kit import db
from tests.api.conftest import as_admin, as_member, problem

GERMANY = {
    "country": "DE",
    "recipient": "Erika Muster",
    "line1": "Heidestraße 17",
    "city": "Köln",
    "postcode": "51147",
}
CHINA = {
    "country": "CN",
    "recipient": "王小明",
    "phone": "13800138000",
    "region": "上海市",
    "city": "上海市",
    "district": "浦东新区",
    "line1": "世纪大道100号",
}
OREGON = {
    "country": "US",
    "recipient": "Ann",
    "line1": "1 Pine St",
    "city": "Salem",
    "region": "OR",
    "postcode": "97301",
}
TEXAS = OREGON | {"city": "Austin", "region": "TX", "postcode": "73301"}
PRICE = 9_900


class Shopper:
    """A member with a client."""

    def __init__(self, client, member=7):
        self.client, self.member = client, member

    async def ask(self, method, path, *, refused=None, headers=(), **body):
        answer = await self.client.request(
            method,
            f"/v1{path}",
            headers=as_member(self.member) | dict(headers),
            json=body or None,
        )
        if refused is None:
            assert answer.is_success, answer.text
        else:
            assert (answer.status_code, problem(answer)) == refused
        return answer

    async def fill(self, *units):
        for sku_id, quantity in units:
            await self.ask("POST", "/cart", sku_id=str(sku_id), quantity=quantity)

    async def live_at(self, address):
        return (await self.ask("POST", "/addresses", **address)).json()["address_id"]

    async def quote(self, address_id, currency="CNY"):
        asked = {"address_id": address_id, "currency": currency}
        return (await self.ask("POST", "/quotes", **asked)).json()

    async def check_out(self, address_id, quote, *, key="k", currency="CNY", refused=None):
        return await self.ask(
            "POST",
            "/checkouts",
            refused=refused,
            headers={"Idempotency-Key": key},
            address_id=address_id,
            currency=currency,
            quote=quote,
        )

    async def cart(self):
        items = (await self.ask("GET", "/cart")).json()["items"]
        return {item["sku_id"]: item["quantity"] for item in items}


@pytest.fixture
def shopper(http):
    return Shopper(http)


@pytest.fixture
def staff(http):
    async def staff(method, path, **body):
        answer = await http.request(
            method, f"/v1/admin{path}", headers=as_admin(), json=body or None
        )
        assert answer.is_success, answer.text
        return answer.json()

    return staff


@pytest.fixture
def free(pool, sku_ids):
    async def free():
        async with db.reading(pool) as conn:
            assert await inventory.audit(conn) == []
            return list((await inventory.free(conn, sku_ids=sku_ids)).values())

    return free


@pytest.fixture
def count(pool):
    """How many orders, lines, agreements, reservations and events there are."""

    async def count():
        tables = ("orders.orders", "orders.lines", "orders.agreements", "inventory.reservations")
        return [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]

    return count


async def test_a_cart_is_filled_changed_and_emptied(shopper, sku_ids):
    first, second, _ = map(str, sku_ids)
    await shopper.fill((first, 2), (second, 1), (first, 3))
    assert await shopper.cart() == {first: 5, second: 1}
    told = (await shopper.ask("POST", f"/cart/{first}", quantity=4)).json()["items"]
    assert [(i["sku_id"], i["quantity"], i["state"], i["prices"]) for i in told] == [
        (first, 4, "on_sale", {"CNY": PRICE}),
        (second, 1, "on_sale", {"CNY": PRICE}),
    ]
    assert told[0]["stock"] == {"state": "in_stock", "left": None}
    await shopper.ask("POST", f"/cart/{first}", quantity=0)
    assert await shopper.cart() == {second: 1}
    assert await Shopper(shopper.client, 8).cart() == {}


async def test_a_cart_has_its_limits(shopper, pool, sku_ids):
    first = str(sku_ids[0])
    await shopper.ask("POST", "/cart/17", quantity=1, refused=(404, "not-in-cart"))
    await shopper.ask("POST", "/cart/x", quantity=1, refused=(404, "not-in-cart"))
    for never in ("999999", "x"):
        await shopper.ask("POST", "/cart", sku_id=never, quantity=1, refused=(404, "no-such-sku"))
    for quantity in (0, 1_000, -1, "1"):
        await shopper.ask(
            "POST", "/cart", sku_id=first, quantity=quantity, refused=(422, "invalid-value")
        )
    await shopper.fill((first, 999))
    await shopper.ask("POST", "/cart", sku_id=first, quantity=1, refused=(409, "too-many-items"))
    await pool.execute(
        "INSERT INTO carts.items (member_id, sku_id, quantity)"
        " SELECT 7, n, 1 FROM generate_series(1000, 1098) AS n"
    )
    second = str(sku_ids[1])
    await shopper.ask("POST", "/cart", sku_id=second, quantity=1, refused=(409, "too-many-items"))


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        (GERMANY | {"postcode": "5114"}, {"postcode"}),
        (GERMANY | {"district": "Mitte"}, {"district"}),
        (GERMANY | {"city": " "}, {"city"}),
        (CHINA | {"phone": "12345678901", "district": ""}, {"phone", "district"}),
        (OREGON | {"region": "ZZ"}, {"region"}),
        (OREGON | {"region": "TXX"}, {"region"}),
        (OREGON | {"country": "BR", "region": "SP", "postcode": "01310-100"}, {"tax_id"}),
        (GERMANY | {"country": "NL"}, {"postcode"}),
    ],
)
async def test_an_address_fits_its_country(shopper, address, fields):
    answer = await shopper.ask("POST", "/addresses", refused=(422, "unfit-address"), **address)
    assert {error["field"] for error in answer.json()["errors"]} == fields


async def test_addresses_are_kept_changed_and_removed_by_their_member_only(shopper):
    home = await shopper.live_at(CHINA)
    elsewhere = await shopper.live_at({**OREGON, "country": "AE", "region": "Dubai"})
    told = (await shopper.ask("GET", "/addresses")).json()["items"]
    assert [one["address_id"] for one in told] == [home, elsewhere]
    assert told[0]["fields"] == CHINA
    stranger = Shopper(shopper.client, 8)
    for path in (f"/addresses/{home}", f"/addresses/{home}/remove"):
        body = {} if path.endswith("remove") else GERMANY
        await stranger.ask("POST", path, refused=(404, "no-such-address"), **body)
    await shopper.ask("POST", f"/addresses/{home}", **GERMANY)
    await shopper.ask("POST", f"/addresses/{elsewhere}/remove")
    told = (await shopper.ask("GET", "/addresses")).json()["items"]
    assert [one["fields"] for one in told] == [GERMANY]


async def test_every_country_says_its_form_in_both_languages(http):
    told = (await http.get("/v1/countries")).json()
    assert {"CN", "US", "DE", "FR", "JP", "GB"} <= {one["code"] for one in told["items"]}
    assert len(told["items"]) == 33
    for one in [*told["items"], told["others"]]:
        assert one["name"].keys() == {"en", "zh"}
        assert all(field["label"].keys() == {"en", "zh"} for field in one["fields"])


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        # Goods, shipping, tax that is added, tax that is included, what all of it comes to.
        (CHINA, (2 * PRICE, 0, 0, 2_278, 19_800)),
        (OREGON, (2 * PRICE, 0, 0, 0, 19_800)),
        (TEXAS, (2 * PRICE, 0, 1_238, 0, 21_038)),
        (GERMANY, (2 * PRICE, 0, 0, 3_161, 19_800)),
    ],
)
async def test_a_quote_is_explained_to_the_cent(shopper, sku_ids, address, parts):
    await shopper.fill((sku_ids[0], 2))
    quote = await shopper.quote(await shopper.live_at(address))
    (line,) = quote["lines"]
    assert parts == (
        line["price"] * line["quantity"],
        quote["shipping"],
        line["tax"],
        line["included_tax"],
        quote["total"],
    )
    assert sum(n for step in quote["steps"] for n in step["changes"].values()) == quote["total"]


async def test_a_small_cart_pays_for_shipping(shopper, staff, sku_ids):
    await staff("POST", f"/skus/{sku_ids[0]}/prices", prices={"CNY": 500, "USD": 100})
    await shopper.fill((sku_ids[0], 1))
    home = await shopper.live_at(TEXAS)
    quote = await shopper.quote(home, "USD")
    assert (quote["shipping"], quote["shipping_tax"]) == (599, 37)
    assert quote["total"] == 100 + 6 + 599 + 37
    assert [step["kind"] for step in quote["steps"]] == ["list", "shipping", "tax"]
    placed = (await shopper.check_out(home, quote["quote"], currency="USD")).json()
    assert (placed["amount"], placed["shipping_tax"]) == (quote["total"], 37)


async def test_who_checks_out_gets_an_order_that_everybody_reads_alike(
    shopper, staff, sku_ids, free, count
):
    await shopper.fill((sku_ids[0], 2), (sku_ids[2], 1))
    home = await shopper.live_at(GERMANY)
    quote = await shopper.quote(home)
    answer = await shopper.check_out(home, quote["quote"])
    placed = answer.json()
    assert answer.status_code == 201
    assert placed["amount"] == quote["total"] == 3 * PRICE
    assert placed["state"] == "pending_payment"
    assert await shopper.cart() == {}
    assert await free() == [998, 1_000, 999]
    assert await count() == [1, 2, 1, 2]
    mine = (await shopper.ask("GET", answer.headers["location"].removeprefix("/v1"))).json()
    assert {name: mine[name] for name in placed} == placed
    assert "sale_id" not in mine
    assert (await shopper.ask("GET", "/orders")).json()["items"] == [mine]
    seen = await staff("GET", f"/orders/{placed['order_id']}")
    assert (seen["sale_id"], seen["lines"]) == (None, placed["lines"])
    theirs = Shopper(shopper.client, 8)
    await theirs.ask("GET", f"/orders/{placed['order_id']}", refused=(404, "no-such-order"))


async def test_a_key_has_one_effect_and_one_answer(shopper, pool, sku_ids, count, free):
    await shopper.fill((sku_ids[0], 2))
    home = await shopper.live_at(CHINA)
    quote = (await shopper.quote(home))["quote"]
    first, *others = await asyncio.gather(*(shopper.check_out(home, quote) for _ in range(8)))
    assert {answer.content for answer in others} == {first.content}
    order_id = first.json()["order_id"]
    await shopper.ask("POST", f"/orders/{order_id}/cancel")
    await pool.execute("DELETE FROM members.addresses")
    assert (await shopper.check_out(home, quote)).content == first.content
    assert await count() == [1, 1, 1, 1]
    assert await free() == [1_000] * 3
    await shopper.check_out(home, "another", refused=(422, "key-reused"))


async def test_who_would_pay_another_price_is_told_so_and_buys_nothing(
    shopper, staff, sku_ids, count
):
    await shopper.fill((sku_ids[0], 1))
    home = await shopper.live_at(CHINA)
    seen = await shopper.quote(home)
    await staff("POST", f"/skus/{sku_ids[0]}/prices", prices={"CNY": 20_000})
    answer = await shopper.check_out(home, seen["quote"], refused=(409, "quote-outdated"))
    assert answer.json()["total"] == 20_000
    await shopper.fill((sku_ids[1], 1))
    stale = answer.json()["quote"]
    await shopper.check_out(home, stale, refused=(409, "quote-outdated"))
    assert await count() == [0] * 4
    now = await shopper.quote(home)
    await shopper.ask("POST", f"/addresses/{home}", **TEXAS)
    await shopper.check_out(home, now["quote"], refused=(409, "quote-outdated"))
    assert len(await shopper.cart()) == 2
    await shopper.check_out(home, (await shopper.quote(home))["quote"])


async def test_what_is_withdrawn_since_is_shown_and_not_sold(shopper, staff, sku_ids):
    await shopper.fill((sku_ids[0], 1), (sku_ids[1], 2))
    home = await shopper.live_at(CHINA)
    before = await shopper.quote(home)
    await staff("POST", f"/skus/{sku_ids[1]}/withdraw")
    gone = (await shopper.ask("GET", "/cart")).json()["items"][1]
    assert (gone["state"], gone["prices"], gone["stock"]) == ("withdrawn", {}, None)
    await shopper.check_out(home, before["quote"], refused=(409, "quote-outdated"))
    quote = await shopper.quote(home)
    assert quote["withheld"] == [{"sku_id": str(sku_ids[1]), "quantity": 2, "reason": "withdrawn"}]
    placed = (await shopper.check_out(home, quote["quote"])).json()
    assert [line["sku_id"] for line in placed["lines"]] == [str(sku_ids[0])]
    assert await shopper.cart() == {str(sku_ids[1]): 2}
    asked = {"address_id": home, "currency": "CNY"}
    await shopper.ask("POST", "/quotes", refused=(409, "nothing-to-buy"), **asked)


async def test_all_or_nothing(shopper, sku_ids, count, free, staff):
    await shopper.fill((sku_ids[0], 1), (sku_ids[1], 999))
    rival = Shopper(shopper.client, 8)
    await rival.fill((sku_ids[1], 2))
    home, theirs = await shopper.live_at(CHINA), await rival.live_at(CHINA)
    quote = await shopper.quote(home)
    await rival.check_out(theirs, (await rival.quote(theirs))["quote"])
    await shopper.check_out(home, quote["quote"], refused=(409, "out-of-stock"))
    assert await count() == [1] * 4
    assert await free() == [1_000, 998, 1_000]
    assert len(await shopper.cart()) == 2


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"currency": "XTS"}, (422, "currency-not-offered")),
        ({"currency": "eur"}, (422, "invalid-value")),
        ({"address_id": "999999"}, (404, "no-such-address")),
        ({"address_id": "x"}, (404, "no-such-address")),
        ({"currency": "EUR"}, (409, "nothing-to-buy")),
    ],
)
async def test_a_question_that_has_no_answer_is_refused(shopper, sku_ids, body, refused):
    await shopper.fill((sku_ids[0], 1))
    asked = {"address_id": await shopper.live_at(CHINA), "currency": "CNY"} | body
    await shopper.ask("POST", "/quotes", refused=refused, **asked)
    headers = {"Idempotency-Key": "k"}
    await shopper.ask("POST", "/checkouts", refused=refused, headers=headers, quote="q", **asked)


async def test_an_order_that_nobody_pays_expires_with_its_units(shopper, pool, sku_ids, free):
    await shopper.fill((sku_ids[0], 3))
    home = await shopper.live_at(CHINA)
    placed = (await shopper.check_out(home, (await shopper.quote(home))["quote"])).json()
    await pool.execute("UPDATE orders.orders SET expires_at = now()")
    assert await expire_holds(pool, batch_max=10) == 1
    mine = (await shopper.ask("GET", f"/orders/{placed['order_id']}")).json()
    assert (mine["state"], mine["reason"]) == ("cancelled", "expired")
    assert await free() == [1_000] * 3


async def test_thirty_two_members_race_for_a_hundred_units(http, pool, sku_ids, count, free):
    """Each buys five times, and only a hundred of the hundred and sixty find a unit."""
    async with db.transaction(pool) as conn:
        await inventory.damage(
            conn, place_id=inventory.MAIN, units={sku_ids[0]: 900}, reference="t", by="t"
        )

    async def race(member):
        shopper = Shopper(http, member)
        home, answers = await shopper.live_at(CHINA), []
        for turn in range(5):
            await shopper.ask("POST", "/cart", sku_id=str(sku_ids[0]), quantity=1)
            quote = await shopper.quote(home)
            answers.append(
                await http.post(
                    "/v1/checkouts",
                    headers=as_member(member) | {"Idempotency-Key": f"k{turn}"},
                    json={"address_id": home, "currency": "CNY", "quote": quote["quote"]},
                )
            )
            if answers[-1].status_code == 409:
                await shopper.ask("POST", f"/cart/{sku_ids[0]}", quantity=0)
        return answers

    answers = [a for found in await asyncio.gather(*map(race, range(1, 33))) for a in found]
    sold = [answer for answer in answers if answer.status_code == 201]
    assert len(sold) == 100
    assert {problem(a) for a in answers if a.status_code != 201} == {"out-of-stock"}
    assert len({answer.json()["order_id"] for answer in sold}) == 100
    assert await count() == [100] * 4
    assert await free() == [0, 1_000, 1_000]
