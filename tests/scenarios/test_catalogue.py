"""Staff keep the goods over HTTP, and buyers see what is on sale, in their language."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from tests.api.conftest import problem

TITLE = {"en": "Silk scarf", "zh": "真丝围巾"}
ZH = {"accept-language": "zh-CN"}


def sku(code, *, currency="CNY", **more):
    return {"code": code, "currency": currency, "prices": {"CNY": 29_900, "USD": 4_500}} | more


@pytest.fixture
def drafted(staff):
    """A draft with SKUs of these codes, as staff see it."""

    async def drafted(*codes, **more):
        product = await staff("POST", "/products", **({"title": TITLE} | more))
        path = f"/products/{product['product_id']}"
        return await staff("POST", f"{path}/skus", skus=[sku(code) for code in codes])

    return drafted


@pytest.fixture
def step(staff):
    async def step(product, verb, **more):
        return await staff("POST", f"/products/{product['product_id']}/{verb}", **more)

    return step


@pytest.fixture
def step_sku(staff):
    async def step_sku(one, verb, **more):
        return await staff("POST", f"/skus/{one['sku_id']}/{verb}", **more)

    return step_sku


@pytest.fixture
def seen(client):
    """What a buyer sees of a product: its document, or the problem's slug."""

    async def seen(product, **headers):
        answer = await client.get(f"/v1/products/{product['product_id']}", headers=headers)
        return answer.json() if answer.status_code == 200 else problem(answer)

    return seen


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_product_is_drafted_published_withdrawn_and_archived(staff, step, seen, client):
    image = "https://images.shop.example/scarf.jpg"
    said = {"description": {"en": "Mulberry silk"}, "images": [image]}
    product = await staff("POST", "/products", code="SCARF", title=TITLE, **said)
    assert (product["state"], product["code"], product["skus"]) == ("draft", "SCARF", [])
    told = await step(product, "publish", refused=(409, "not-complete"))
    assert told["missing"] == ["/skus"]
    skus = [sku("SCARF-RED", gtin="4006381333931"), sku("SCARF-BLUE"), sku("SCARF-IVORY")]
    await step(product, "skus", skus=skus)
    assert await seen(product) == "no-such-product"
    for _ in range(2):
        assert (await step(product, "publish"))["state"] == "published"

    there = await seen(product, **ZH)
    assert (there["title"], there["description"]) == ("真丝围巾", "Mulberry silk")
    assert there["images"] == [image]
    first, *others = there["skus"]
    assert [one["code"] for one in others] == ["SCARF-BLUE", "SCARF-IVORY"]
    del first["sku_id"]
    assert first == {
        "code": "SCARF-RED",
        "gtin": "4006381333931",
        "price": 29_900,
        "currency": "CNY",
        "prices": {"CNY": 29_900, "USD": 4_500},
        "attributes": {},
    }
    assert [p["code"] for p in (await client.get("/v1/products")).json()["items"]] == ["SCARF"]

    await step(product, "withdraw")
    assert await seen(product) == "no-such-product"
    assert (await client.get("/v1/products")).json()["items"] == []
    await step(product, "publish")
    assert (await seen(product))["title"] == "Silk scarf"
    await step(product, "archive", refused=(409, "illegal-move"))
    await step(product, "withdraw")
    assert (await step(product, "archive"))["state"] == "archived"
    await step(product, "publish", refused=(409, "illegal-move"))
    await step(product, "skus", skus=[sku("SCARF-LATE")], refused=(409, "illegal-move"))
    path = f"/products/{product['product_id']}"
    await staff("POST", path, title=TITLE, refused=(409, "illegal-move"))
    await staff(
        "POST",
        f"/skus/{others[0]['sku_id']}/prices",
        prices={"CNY": 1},
        refused=(409, "illegal-move"),
    )


async def test_a_code_and_a_gtin_name_one_thing(staff, drafted, step):
    await drafted("CUP-1", code="CUP")
    await staff("POST", "/products", code="CUP", title=TITLE, refused=(409, "code-taken"))
    other = await staff("POST", "/products", title=TITLE)
    assert other["code"].startswith("SPU-")
    told = await step(other, "skus", skus=[sku("NEW"), sku("CUP-1")], refused=(409, "code-taken"))
    assert told["code"] == "CUP-1"
    twice = [sku("NEW"), sku("NEW")]
    await step(other, "skus", skus=twice, refused=(409, "code-taken"))
    twins = [sku("NEW", gtin="96385074"), sku("NEWER", gtin="000096385074")]
    await step(other, "skus", skus=twins, refused=(409, "code-taken"))
    await step(other, "skus", skus=[sku("NEW", gtin="012345678905")])
    # The same number as a GTIN-14.
    same = [sku("NEWER", gtin="00012345678905")]
    await step(other, "skus", skus=same, refused=(409, "code-taken"))
    found = await staff("GET", f"/products/{other['product_id']}")
    assert [one["code"] for one in found["skus"]] == ["NEW"]


@pytest.mark.parametrize("gtin", ["96385074", "036000291452", "4006381333931", "10012345678902"])
async def test_a_gtin_is_good_with_its_check_digit_only(staff, drafted, step, gtin):
    product = await drafted("CUP-1")
    wrong = gtin[:-1] + str((int(gtin[-1]) + 1) % 10)
    await step(product, "skus", skus=[sku("CUP-2", gtin=wrong)], refused=(422, "malformed-gtin"))
    swapped = gtin[:-3] + gtin[-2] + gtin[-3] + gtin[-1]
    assert swapped != gtin
    await step(product, "skus", skus=[sku("CUP-2", gtin=swapped)], refused=(422, "malformed-gtin"))
    for shape in (gtin[1:-1], f"{gtin} ", "١٢٣٤٥٦٧٠"):
        if len(shape) not in {8, 12, 13, 14} or not shape.isascii():
            short = [sku("CUP-2", gtin=shape)]
            await step(product, "skus", skus=short, refused=(422, "invalid-value"))
    await step(product, "skus", skus=[sku("CUP-2", gtin=gtin)])


async def test_prices_stand_per_currency_and_one_is_the_skus_own(staff, drafted, step, seen):
    product = await drafted("CUP-1")
    await step(product, "publish")
    path = f"/skus/{product['skus'][0]['sku_id']}/prices"
    shown = await staff("POST", path, prices={"CNY": 19_900, "EUR": 2_500})
    assert (shown["price"], shown["prices"]) == (19_900, {"CNY": 19_900, "EUR": 2_500})
    assert shown.pop("state") == "on_sale"
    assert (await seen(product))["skus"] == [shown]
    await staff("POST", path, prices={"EUR": 1}, refused=(422, "no-own-price"))
    for prices in ({}, {"CNY": -1}, {"yuan": 1}, {"CNY": 0.5}, {"CNY": 10**13}):
        await staff("POST", path, prices=prices, refused=(422, "invalid-value"))
    foreign = [sku("CUP-2", currency="GBP")]
    await step(product, "skus", skus=foreign, refused=(422, "no-own-price"))
    assert (await seen(product))["skus"] == [shown]


async def test_what_is_on_sale_keeps_a_title_in_both_languages(staff, drafted, step, seen):
    product = await drafted("CUP-1", title={"zh": "杯子"})
    path = f"/products/{product['product_id']}"
    told = await step(product, "publish", refused=(409, "not-complete"))
    assert told["missing"] == ["/title/en"]
    await staff("POST", path, title={"zh": "杯子", "en": "Cup", "fr": "Tasse"})
    await step(product, "publish")
    told = await staff("POST", path, title={"en": "Cup"}, refused=(409, "not-complete"))
    assert told["missing"] == ["/title/zh"]
    assert (await seen(product, **ZH))["title"] == "杯子"


async def test_staff_list_every_state_page_by_page(staff, drafted, step):
    made = [await drafted(f"CUP-{n}") for n in range(3)]
    await step(made[1], "publish")
    page = await staff("GET", "/products?limit=2")
    rest = await staff("GET", f"/products?limit=2&cursor={page['cursor']}")
    found = [one["product_id"] for one in page["items"] + rest["items"]]
    assert found == [one["product_id"] for one in made]
    assert rest["cursor"] is None
    drafts = (await staff("GET", "/products?state=draft"))["items"]
    assert [one["skus"][0]["code"] for one in drafts] == ["CUP-0", "CUP-2"]
    await staff("GET", "/products?state=sold", refused=(422, "invalid-value"))


async def test_what_is_no_product_is_not_found(staff, client):
    for product_id in ("999", "x", "%00", "-1"):
        path = f"/products/{product_id}"
        await staff("GET", path, refused=(404, "no-such-product"))
        await staff("POST", path, title=TITLE, refused=(404, "no-such-product"))
        await staff("POST", f"{path}/publish", refused=(404, "no-such-product"))
        await staff("POST", f"{path}/skus", skus=[sku("A")], refused=(404, "no-such-product"))
        assert problem(await client.get(f"/v1{path}")) == "no-such-product"
        prices = {"CNY": 1}
        await staff(
            "POST", f"/skus/{product_id}/prices", prices=prices, refused=(404, "no-such-sku")
        )


async def test_staff_find_a_product_by_any_code_of_it(staff, drafted):
    made = [await drafted("CUP-1", "CUP-2"), await drafted("CUP-3"), await drafted("12345670-X")]
    gtin = [sku("CUP-4", gtin="012345678905")]
    made[1] = await staff("POST", f"/products/{made[1]['product_id']}/skus", skus=gtin)

    async def having(code, **more):
        query = "&".join(f"{name}={value}" for name, value in {"code": code, **more}.items())
        return (await staff("GET", f"/products?{query}"))["items"]

    for product in made:
        assert await having(product["code"]) == [product]
        for one in product["skus"]:
            assert await having(one["code"]) == [product]
    for written in ("012345678905", "12345678905", "00012345678905"):
        assert await having(written) == [made[1]]
    assert await having("CUP-1", state="published") == []
    assert await having("CUP-1", cursor=made[0]["product_id"]) == []
    for absent in ("CUP", "CUP-10", "12345670", "99999999"):
        assert await having(absent) == []
    for odd in ("cup-1", "", "CUP%25"):
        await staff("GET", f"/products?code={odd}", refused=(422, "invalid-value"))


async def test_a_sku_is_sold_and_withdrawn_on_its_own(drafted, step, step_sku, seen, client):
    product = await drafted("SCARF-RED", "SCARF-BLUE")
    late = sku("SCARF-LATE", state="draft", prices={"CNY": 5})
    product = await step(product, "skus", skus=[late])
    red, blue, late = product["skus"]
    assert [one["state"] for one in product["skus"]] == ["on_sale", "on_sale", "draft"]
    await step(product, "publish")
    await step_sku(late, "withdraw", refused=(409, "illegal-move"))

    async def offered():
        """What the product, the list and a search by price and by code show of it."""
        shown = await seen(product)
        (listed,) = (await client.get("/v1/products")).json()["items"]
        assert shown == listed
        cheap = await client.get("/v1/products?currency=CNY&price_to=5")
        late = await client.get("/v1/products?q=SCARF-LATE")
        is_late = [len(answer.json()["items"]) for answer in (cheap, late)]
        return [one["code"] for one in shown["skus"]], is_late

    assert await offered() == (["SCARF-RED", "SCARF-BLUE"], [0, 0])
    for _ in range(2):
        assert (await step_sku(late, "offer"))["state"] == "on_sale"
        assert (await step_sku(red, "withdraw"))["state"] == "withdrawn"
    assert await offered() == (["SCARF-BLUE", "SCARF-LATE"], [1, 1])
    answer = await client.get(f"/v1/skus/{red['sku_id']}/stores")
    assert (answer.status_code, problem(answer)) == (404, "no-such-sku")

    await step_sku(late, "withdraw")
    await step_sku(blue, "withdraw")
    assert await seen(product) == "no-such-product"
    assert (await client.get("/v1/products")).json()["items"] == []
    await step(product, "withdraw")
    await step(product, "publish")
    await step_sku(blue, "offer")
    assert await offered() == (["SCARF-BLUE"], [0, 0])
    await step(product, "withdraw")
    await step(product, "archive")
    await step_sku(blue, "withdraw", refused=(409, "illegal-move"))
    for verb in ("offer", "withdraw"):
        await step_sku({"sku_id": "999"}, verb, refused=(404, "no-such-sku"))
        await step_sku({"sku_id": "x"}, verb, refused=(404, "no-such-sku"))


async def test_a_draft_of_a_sku_may_lack_what_it_needs_on_sale(staff, step, step_sku):
    said = {"code": "scarves", "name": {"en": "Scarves", "zh": "围巾"}}
    category = (await staff("POST", "/categories", **said))["category_id"]
    size = {"code": "size", "name": {"en": "Size"}, "kind": "number", "level": "sku"}
    await staff("POST", f"/categories/{category}/attributes", **size, is_required=True)
    product = await staff("POST", "/products", title=TITLE, category_id=category)
    whole, half = sku("WHOLE", attributes={"size": 90}), sku("HALF", state="draft")
    product = await step(product, "skus", skus=[whole, half])
    await step(product, "publish")
    half = product["skus"][1]
    told = await step_sku(half, "offer", refused=(409, "not-complete"))
    assert told["missing"] == ["/skus/1/attributes/size"]
    await staff("POST", f"/skus/{half['sku_id']}/attributes", attributes={"size": 40})
    assert (await step_sku(half, "offer"))["state"] == "on_sale"


@pytest.mark.parametrize("gone", ["the SKU", "the product"])
async def test_what_is_withdrawn_is_promised_to_nobody_anew(
    staff, drafted, step, step_sku, redis_url, gone
):
    assert redis_url
    product = await drafted("SCARF-RED", "SCARF-BLUE")
    await step(product, "publish")
    red, blue = product["skus"]
    lines = [{"sku_id": one["sku_id"], "quantity": 10} for one in (red, blue)]
    came = {"kind": "receive", "reference": "r1", "place_id": "1", "lines": lines}
    await staff("POST", "/stock/movements", **came)
    now = datetime.now(UTC)
    plan = {
        "name": "Scarves",
        "starts_at": now.isoformat(),
        "ends_at": (now + timedelta(hours=1)).isoformat(),
        "items": [{"sku_id": red["sku_id"], "quota": 2, "price": 1, "limit": 1}],
    }
    sale = await staff("POST", "/sales", **plan)
    one = {"lines": [{"sku_id": red["sku_id"], "quantity": 1}]}
    await staff("POST", "/reservations", kept_for="order:1", **one)

    back = (
        partial(step_sku, red, "offer") if gone == "the SKU" else partial(step, product, "publish")
    )
    await (step_sku(red, "withdraw") if gone == "the SKU" else step(product, "withdraw"))
    refused = (409, "not-on-sale")
    told = await staff("POST", "/sales", **plan, refused=refused)
    assert told["sku_ids"] == [red["sku_id"]]
    await staff("POST", f"/sales/{sale['sale_id']}/arm", refused=refused)
    await staff("POST", "/reservations", kept_for="order:2", **one, refused=refused)
    kept = await staff("POST", "/reservations", kept_for="order:1", **one)
    assert [line["reserved"] for line in kept["lines"]] == [1]
    done = {"kind": "allocate", "reference": "a1", **one}
    await staff("POST", "/reservations/order:1/steps", **done)
    assert (await staff("GET", "/stock/audit"))["drifts"] == []

    await back()
    await staff("POST", "/reservations", kept_for="order:2", **one)
    assert (await staff("POST", f"/sales/{sale['sale_id']}/arm"))["state"] in ("armed", "open")
