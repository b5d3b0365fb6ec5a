"""Buyers see what can be sent to them, and in which stores they can pick it up; never how much."""

import pytest

from tests.api.conftest import problem

ZH = {"accept-language": "zh-CN"}
IN_STOCK = {"state": "in_stock", "left": None}
SOLD_OUT = {"state": "sold_out", "left": 0}


@pytest.fixture
def place(staff):
    async def place(code, kind="warehouse", *, region="", rank=5):
        name = {"en": f"{code} here", "zh": f"{code} 店"}
        said = {"code": code, "kind": kind, "name": name, "region": region, "rank": rank}
        return (await staff("POST", "/places", **said))["place_id"]

    return place


@pytest.fixture
def move(staff):
    """Receive units of a SKU in a place, or move them otherwise."""
    numbers = iter(range(99))

    async def move(sku_id, place_id, quantity, kind="receive"):
        lines = [{"sku_id": str(sku_id), "quantity": quantity}]
        body = {"kind": kind, "reference": f"r{next(numbers)}", "place_id": place_id}
        await staff("POST", "/stock/movements", **body, lines=lines)

    return move


@pytest.fixture
async def product_id(client, sku_ids):
    (product,) = (await client.get("/v1/products")).json()["items"]
    return product["product_id"]


@pytest.fixture
def offered(client, product_id):
    """What the shop says of the first SKU."""

    async def offered(region=""):
        where = f"/v1/products/{product_id}/availability"
        first, *_ = (await client.get(where, params={"region": region})).json()["items"]
        return first

    return offered


@pytest.fixture
def stores(client, sku_ids):
    async def stores(**asked):
        answer = await client.get(f"/v1/skus/{sku_ids[0]}/stores", params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    return stores


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_the_regional_warehouse_is_promised_first_and_ships_first(
    staff, offered, place, move, sku_ids
):
    sku = sku_ids[0]
    near, far = await place("SH-1", region="CN-SH"), await place("GZ-1", region="CN-GZ", rank=0)
    nowhere = {"ships_from": None, "is_regional": False}
    assert (await offered("CN-SH"))["delivery"] == IN_STOCK | nowhere
    await move(sku, near, 2)
    await move(sku, far, 9)
    assert (await offered("CN-SH"))["delivery"] == IN_STOCK | {
        "ships_from": "CN-SH",
        "is_regional": True,
    }
    assert (await offered("CN-BJ"))["delivery"] == IN_STOCK | nowhere
    await move(sku, "1", 1_000, "damage")
    elsewhere = {"ships_from": "CN-GZ", "is_regional": False}
    assert (await offered())["delivery"] == IN_STOCK | elsewhere

    async def keep(number, quantity):
        lines = [{"sku_id": str(sku), "quantity": quantity}]
        body = {"kept_for": f"order:{number}", "region": "CN-SH", "lines": lines}
        kept = (await staff("POST", "/reservations", **body))["lines"]
        return [(line["place_id"], line["reserved"]) for line in kept]

    assert await keep(1, 2) == [(near, 2)]
    assert (await offered("CN-SH"))["delivery"] == IN_STOCK | elsewhere
    assert await keep(2, 4) == [(far, 4)]
    few = {"state": "few_left", "left": 5}
    assert (await offered("CN-SH"))["delivery"] == few | elsewhere
    await keep(3, 5)
    assert (await offered("CN-GZ"))["delivery"] == SOLD_OUT | nowhere


async def test_a_store_sells_what_it_has_and_nothing_else(
    staff, offered, stores, place, move, sku_ids
):
    sku = sku_ids[0]
    first = await place("S-1", "store", region="CN-SH")
    await place("S-2", "store", region="CN-BJ")
    assert [one["pickup"] for one in await stores()] == [SOLD_OUT, SOLD_OUT]
    assert (await offered())["stores"] == 0
    keep = {"kept_for": "order:1", "lines": [{"sku_id": str(sku), "quantity": 1}]}
    # The warehouse has a thousand; the store that the buyer stands in has none.
    await staff("POST", "/reservations", refused=(409, "out-of-stock"), place_id=first, **keep)
    await move(sku, first, 6)
    assert [one["pickup"] for one in await stores()] == [IN_STOCK, SOLD_OUT]
    assert (await offered())["stores"] == 1
    await staff("POST", "/reservations", place_id=first, **keep)
    (shown,) = await stores(region="CN-SH")
    assert shown["pickup"] == {"state": "few_left", "left": 5}
    # What a store has is never sent out.
    await move(sku, "1", 1_000, "damage")
    assert (await offered())["delivery"]["state"] == "sold_out"
    assert (await offered())["stores"] == 1


async def test_pages_go_through_every_sku_and_every_store_once(client, place, product_id, sku_ids):
    made = [await place(f"S-{n}", "store") for n in range(3)]
    for path, field, expected in (
        (f"/v1/products/{product_id}/availability", "sku_id", [str(n) for n in sku_ids]),
        (f"/v1/skus/{sku_ids[0]}/stores", "place_id", made),
    ):
        first = (await client.get(path, params={"limit": 2})).json()
        rest = (await client.get(path, params={"limit": 2, "cursor": first["cursor"]})).json()
        assert [one[field] for one in first["items"] + rest["items"]] == expected
        assert rest["cursor"] is None
        for wrong in ({"limit": 101}, {"limit": 0}, {"cursor": "x"}, {"region": "cn sh"}):
            answer = await client.get(path, params=wrong)
            assert (answer.status_code, problem(answer)) == (422, "invalid-value"), wrong
    answer = await client.get(f"/v1/skus/{sku_ids[0]}/stores", headers=ZH)
    assert [one["name"] for one in answer.json()["items"]] == [f"S-{n} 店" for n in range(3)]


async def test_what_is_not_on_sale_is_like_what_is_not_there(client, staff, product_id, sku_ids):
    for unknown in ("999", "x", "%00", str(10**19)):
        answer = await client.get(f"/v1/products/{unknown}/availability")
        assert (answer.status_code, problem(answer)) == (404, "no-such-product")
        answer = await client.get(f"/v1/skus/{unknown}/stores")
        assert (answer.status_code, problem(answer)) == (404, "no-such-sku")
    await staff("POST", f"/products/{product_id}/withdraw")
    answer = await client.get(f"/v1/products/{product_id}/availability")
    assert (answer.status_code, problem(answer)) == (404, "no-such-product")
    answer = await client.get(f"/v1/skus/{sku_ids[0]}/stores")
    assert (answer.status_code, problem(answer)) == (404, "no-such-sku")
