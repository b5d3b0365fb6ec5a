"""The demo shop: always the same for a seed, and one that a shopkeeper could have furnished."""

import hashlib
import re

import msgspec
import pytest

from api.cli import demo_shop, seed
from tests.api.conftest import as_admin, problem

# What seed 1 draws. A change of the data or the rules is a change of this line.
DIGEST = "7e4d10221928a8e090d6cd7e3b3bbbd4a939b079f590e752b4bdacf7a5e5d76c"
CONTENT = ("title", "description", "images", "attributes")
HAN = re.compile("[\u4e00-\u9fff]")


@pytest.fixture
async def furnished(database_url, capsys):
    """A shop that `sluice seed` has furnished; what it was furnished with."""
    assert await seed.seed(database_url, demo_shop.SEED) == 1_000
    assert "200 products with 1,000 SKUs" in capsys.readouterr().out
    return demo_shop.draw()


@pytest.fixture
def pages(http):
    """Everything in a list, page by page."""

    async def pages(path, *, language="en", **asked):
        found, cursor = [], {}
        headers = {"accept-language": language}
        while True:
            answer = await http.get(path, params={"limit": 100} | asked | cursor, headers=headers)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["items"]
            if page.get("cursor") is None:
                return found
            cursor = {"cursor": page["cursor"]}

    return pages


def facts(shop):
    """What is drawn, whatever other fields the catalogue gives its Structs."""
    told = [
        [
            (one.code, one.department, *(getattr(one.content, field) for field in CONTENT)),
            [(sku.code, sku.gtin, sku.prices, sku.attributes) for sku in one.skus],
        ]
        for one in shop.goods
    ]
    tree = [(one.category.code, one.below, one.presentation) for one in shop.departments]
    return [told, tree, shop.sites, shop.stock]


def test_a_seed_draws_one_shop_and_another_seed_another():
    def digest(number):
        return hashlib.sha256(msgspec.json.encode(facts(demo_shop.draw(number)))).hexdigest()

    assert digest(1) == DIGEST
    assert digest(2) != DIGEST


async def test_what_is_drawn_is_what_buyers_see(furnished, http, pages):
    english = await pages("/v1/products", limit=7)
    chinese = await pages("/v1/products", language="zh-CN")
    assert len(english) == len(chinese) == len(furnished.goods) == 200
    gtins = set()
    for goods, en, zh in zip(furnished.goods, english, chinese, strict=True):
        assert (en["code"], en["images"]) == (goods.code, goods.content.images)
        for one, language in ((en, "en"), (zh, "zh")):
            assert one["title"] == goods.content.title[language]
            assert one["description"] == goods.content.description[language]
        assert not HAN.search(en["title"] + en["description"] + en["attributes"]["material"])
        assert HAN.search(zh["title"])
        assert HAN.search(zh["attributes"]["material"])
        for drawn, sku in zip(goods.skus, en["skus"], strict=True):
            assert (sku["code"], sku["gtin"]) == (drawn.code, drawn.gtin)
            assert (sku["prices"], sku["attributes"]) == (drawn.prices, drawn.attributes)
            assert sku["prices"].keys() == {"CNY", "USD"}
            gtins.add(sku["gtin"])
    assert len(gtins) == 1_000
    for image in {image for one in english for image in one["images"]}:
        picture = await http.get(image)
        assert picture.headers["content-type"] == "image/svg+xml"
        assert f'color="#{image[-10:-4]}"' in picture.text


async def test_each_leaf_of_the_tree_holds_forty_skus_and_says_what_they_are_like(
    furnished, http, pages
):
    tree = await pages("/v1/categories")
    above = {one["parent_id"] for one in tree}
    assert [one["code"] for one in tree if one["parent_id"] is None] == [
        "apparel",
        "home",
        "electronics",
    ]
    leaves = [one for one in tree if one["category_id"] not in above]
    assert len(leaves) == 25
    for leaf in leaves:
        products = await pages("/v1/products", category=leaf["category_id"], limit=3)
        assert sum(len(one["skus"]) for one in products) == 40, leaf
        shown = (await http.get(f"/v1/categories/{leaf['category_id']}")).json()
        assert len(shown["path"]) in (2, 3, 4)
        assert (await http.get(shown["presentation"]["image"])).status_code == 200
        known = {one["code"]: one for one in shown["attributes"]}
        assert set(shown["presentation"]["filters"]) <= known.keys()
        for values in (v["attributes"] for one in products for v in (one, *one["skus"])):
            assert values.keys() <= known.keys()


async def test_every_list_of_the_back_office_has_something_to_show(furnished, http):
    async def items(path):
        return (await http.get(f"/v1/admin{path}", headers=as_admin())).json()["items"]

    places = await items("/places")
    kinds = [one["kind"] for one in places]
    assert (kinds.count("warehouse"), kinds.count("store")) == (4, 2)
    assert {one["region"] for one in places} == {"", "CN-SH", "CN-GD", "CN-SC"}
    low = await items("/stock/alerts?limit=100")
    assert 10 <= len(low) <= 20
    assert all(one["transfers"] for one in low if one["to_buy"] == 0)
    transfers = await items("/transfers")
    assert {one["state"] for one in transfers} == {"planned", "sent", "arrived"}
    assert {one["state"] for one in await items("/counts")} == {"proposed"}
    for place in places:
        assert await items(f"/places/{place['place_id']}/stock")
    drifts = (await http.get("/v1/admin/stock/audit", headers=as_admin())).json()["drifts"]
    assert drifts == []


async def test_seeding_again_changes_nothing(furnished, database_url, pages):
    before = await pages("/v1/products")
    assert await seed.seed(database_url, demo_shop.SEED + 1) == 0
    assert await pages("/v1/products") == before


async def test_a_drawing_comes_in_any_colour_and_nothing_else_is_there(http):
    first = (await http.get("/page/pictures/cup-0a1b2c.svg")).text
    assert (
        first.replace("0a1b2c", "ffffff") == (await http.get("/page/pictures/cup-ffffff.svg")).text
    )
    for name in ("cup", "cup-fff.svg", "cup-FFFFFF.svg", "cat-ffffff.svg", "cup-ffffff.svg%0a"):
        answer = await http.get(f"/page/pictures/{name}")
        assert (answer.status_code, problem(answer)) == (404, "no-such-page")
