"""Buyers find goods: by category, attributes, price and words, in Chinese and in English."""

from urllib.parse import urlencode

import pytest

from tests.api.conftest import problem

COLOURS = [{"code": c, "name": {"en": c, "zh": c}} for c in ("red", "blue")]


@pytest.fixture
async def goods(staff, offer):
    """Apparel > Dresses, and cups that stand in no category."""
    said = {"code": "apparel", "name": {"en": "Apparel", "zh": "服饰"}}
    apparel = (await staff("POST", "/categories", **said))["category_id"]
    said = {"code": "dresses", "name": {"en": "Dresses", "zh": "连衣裙"}, "parent_id": apparel}
    dresses = (await staff("POST", "/categories", **said))["category_id"]
    colour = {"code": "colour", "name": {"en": "Colour"}, "kind": "choice", "choices": COLOURS}
    await staff("POST", f"/categories/{apparel}/attributes", level="sku", **colour)
    size = {"code": "size", "name": {"en": "Size"}, "kind": "number"}
    await staff("POST", f"/categories/{apparel}/attributes", level="sku", **size)
    here = {"category_id": apparel}
    below = {"category_id": dresses}
    return {
        "apparel": apparel,
        "dresses": dresses,
        "scarf": await offer("Silk scarf", "真丝围巾", price=300, colour="red", USD=45, **here),
        "red": await offer("Red summer dress", "红色夏季连衣裙", price=200, colour="red", **below),
        "blue": await offer("Evening dresses", "蓝色晚礼服", price=900, colour="blue", **below),
        "cup": await offer("Celadon cup", "青瓷主人杯", said="Wrapped in a silk scarf."),
    }


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_buyer_searches_in_chinese_and_in_english(found, goods):
    scarf, red, blue, cup = (goods[name] for name in ("scarf", "red", "blue", "cup"))
    for words, expected in {
        "围巾": [scarf],
        "真丝": [scarf],
        "丝围": [scarf],
        "连衣裙": [red],
        "红色连衣裙": [red],
        "裙": [red],
        "色": [red, blue],
        "礼服 蓝色": [blue],
        "青瓷杯": [],
        "主人杯 celadon": [cup],
        "dress": [red, blue],
        "DRESSES evening": [blue],
        "wrap": [cup],
        "CODE-" + scarf: [scarf],
        "kettle": [],
    }.items():
        assert sorted(await found(q=words)) == sorted(expected), words


async def test_a_word_of_the_title_counts_more_than_one_of_the_description(found, goods, offer):
    assert await found(q="silk scarf") == [goods["scarf"], goods["cup"]]
    late = await offer("Scarf of silk, silk scarf", "围巾")
    for limit in (1, 2, 100):
        best = await found(q="silk scarf", limit=limit)
        assert best[-1] == goods["cup"]
        assert set(best) == {late, goods["scarf"], goods["cup"]}


async def test_lists_are_narrowed_by_category_attribute_and_price(found, goods):
    scarf, red, blue, cup = (goods[name] for name in ("scarf", "red", "blue", "cup"))
    assert await found() == [scarf, red, blue, cup]
    assert await found(category=goods["apparel"]) == [scarf, red, blue]
    assert await found(category=goods["dresses"]) == [red, blue]
    assert await found(category="999") == []
    assert await found(attribute="colour:red") == [scarf, red]
    assert await found(attribute="colour:red", category=goods["dresses"]) == [red]
    assert await found(attribute=["colour:red", "colour:blue"]) == []
    assert await found(currency="CNY", price_from=200, price_to=300) == [scarf, red]
    assert await found(currency="USD") == [scarf]
    assert await found(currency="CNY", sort="price") == [cup, red, scarf, blue]
    assert await found(currency="CNY", sort="price", price_from=101) == [red, scarf, blue]
    assert await found(q="dress", attribute="colour:blue") == [blue]
    assert await found(q="dress", currency="CNY", price_to=500) == [red]
    assert await found(q="dress", category=goods["dresses"]) == [red, blue]


async def test_a_list_is_narrowed_by_ranges_of_numbers(found, goods, offer):
    here = {"category_id": goods["apparel"]}
    small = await offer("Small", "小", price=7, sizes=(-5.5, 20), **here)
    large = await offer("Large", "大", price=5, sizes=(40, 90), colour="red", **here)
    for asked, expected in {
        "size:..": [small, large],
        "size:20..40": [small, large],
        "size:20..20": [small],
        "size:21..39.999": [],
        "size:-6..-5": [small],
        "size:..0": [small],
        "size:90.000001..": [],
        "size:50..10": [],
        "weight:1..": [],
    }.items():
        assert await found(range=asked) == expected, asked
        assert await found(range=asked, q="小") == [one for one in expected if one == small], asked
    assert await found(range=["size:80..", "size:..40"]) == [large]
    assert await found(range="size:40..", attribute="colour:red", category="999") == []
    by_price = {"range": "size:20..40", "currency": "CNY", "sort": "price"}
    assert await found(**by_price) == [large, small]
    assert await found(**by_price, price_from=6) == [small]


async def test_what_stands_far_behind_is_found_among_many(found, goods, offer):
    here = {"category_id": goods["apparel"]}
    many = [await offer(f"Cup {n}", "杯子", **here) for n in range(55)]
    far = [await offer(f"Bowl {n}", "碗", price=9_000, sizes=[9], **here) for n in range(2)]
    assert await found(attribute="size:9", limit=1) == far
    assert await found(range="size:8..10", category=goods["apparel"], limit=1) == far
    assert await found(currency="CNY", price_from=1_000, limit=1) == far
    assert await found(currency="CNY", price_to=100, limit=1) == [goods["cup"], *many]
    assert await found(currency="CNY", sort="price", attribute="size:9", limit=1) == far


async def test_pages_hold_everything_once_whatever_the_order(found, offer):
    made = [await offer(f"Cup {n}", f"杯子 {n}", price=n % 3) for n in range(10)]
    for limit in (1, 3, 10):
        assert await found(limit=limit) == made
        by_price = await found(limit=limit, currency="CNY", sort="price")
        assert by_price == sorted(made, key=lambda one: (made.index(one) % 3, made.index(one)))
        assert sorted(await found(limit=limit, q="杯子"), key=int) == made


async def test_what_is_changed_is_found_as_it_is_now(found, goods, staff, misplaced):
    path = f"/products/{goods['cup']}"
    await staff("POST", path, title={"en": "Porcelain bowl", "zh": "瓷碗"})
    assert await found(q="celadon") == []
    assert await found(q="瓷碗") == [goods["cup"]]
    sku = (await staff("GET", path))["skus"][0]["sku_id"]
    await staff("POST", f"/skus/{sku}/prices", prices={"CNY": 7, "EUR": 1})
    assert await found(currency="EUR", price_to=1) == [goods["cup"]]
    assert await found(currency="CNY", price_to=7) == [goods["cup"]]
    more = {"code": "MORE", "currency": "CNY", "prices": {"CNY": 5}, "gtin": "96385074"}
    await staff("POST", f"{path}/skus", skus=[more])
    assert await found(currency="CNY", price_to=5) == [goods["cup"]]
    assert await found(q="96385074") == [goods["cup"]]
    sku = (await staff("GET", f"/products/{goods['red']}"))["skus"][0]["sku_id"]
    await staff("POST", f"/skus/{sku}/attributes", attributes={"colour": "blue"})
    assert await found(attribute="colour:blue") == [goods["red"], goods["blue"]]
    await staff("POST", f"{path}/withdraw")
    assert await found(q="瓷碗") == []
    assert await found(currency="EUR") == []
    await staff("POST", f"{path}/publish")
    assert await found(q="瓷碗") == [goods["cup"]]
    assert await misplaced() == []


async def test_odd_questions_find_nothing_and_break_nothing(client, found, goods):
    assert goods
    for words in ("\0", "'", "\\", "&|!():*<->", "the", "😀", "、。", "\ud7ff", "𠀀", "a" * 200):
        assert await found(q=words) == [], words
    assert (await client.get("/v1/products?q=%ff%fe")).json()["items"] == []
    for query in (
        "q=",
        f"q={'a' * 201}",
        "attribute=colour",
        "attribute=colour:%00",
        "&".join(["attribute=a:b"] * 11),
        "range=size",
        "range=size:1",
        "range=size:1...2",
        "range=size:1e9..",
        "range=size:nan..",
        "range=SIZE:1..2",
        "&".join(["range=a:1..2"] * 6),
        "price_from=1",
        "sort=price",
        "currency=CNY&sort=rank",
        "currency=CNY&price_from=-1",
        "currency=CNY&price_to=1000000000001",
        "currency=cny",
        "q=a&sort=price&currency=CNY",
        "cursor=1_1",
        "q=a&cursor=1",
        "q=a&cursor=nan_1",
        "q=a&cursor=1e999_1",
        "q=a&cursor=_1",
        "currency=CNY&sort=price&cursor=99999999999999.0_1",
    ):
        answer = await client.get(f"/v1/products?{query}")
        assert (answer.status_code, problem(answer)) == (422, "invalid-value"), query
    answer = await client.get("/v1/products?category=x")
    assert (answer.status_code, problem(answer)) == (404, "no-such-category")


async def test_the_longest_texts_can_be_searched(found, staff, offer):
    product_id = await offer("Book", "书")
    long = {"zh": "天地玄黄宇宙洪荒" * 1_250, "en": "word " * 2_000}
    title = {"en": "Book", "zh": "书"}
    await staff("POST", f"/products/{product_id}", title=title, description=long)
    assert await found(q="宇宙") == [product_id]


async def test_staff_search_what_no_buyer_finds(staff, goods, found):
    title = {"en": "Silk tie", "zh": "真丝领带"}
    draft = (await staff("POST", "/products", code="TIE-7", title=title))["product_id"]
    gone = goods["scarf"]
    await staff("POST", f"/products/{gone}/withdraw")
    assert await found(q="真丝") == []

    async def search(**asked):
        listed = await staff("GET", f"/products?{urlencode(asked)}")
        return [one["product_id"] for one in listed["items"]]

    for words in ("真丝", "silk"):
        assert set(await search(q=words)) >= {draft, gone}
    assert await search(q="silk ties") == [draft]
    assert await search(q="tie-7") == [draft]
    assert await search(q="silk", state="draft") == [draft]
    assert await search(q="silk", state="withdrawn") == [gone]
    assert await search(q="silk", state="published") == [goods["cup"]]
    assert await search(q="青瓷杯") == await search(q="nothing\0") == []
    first = await staff("GET", "/products?q=silk&limit=1")
    rest = await staff("GET", f"/products?q=silk&limit=9&cursor={first['cursor']}")
    listed = [one["product_id"] for one in first["items"] + rest["items"]]
    assert listed == sorted({gone, goods["cup"], draft}, key=int)
    for odd in ("q=", "q=silk&code=TIE-7", f"q={'x' * 201}"):
        await staff("GET", f"/products?{odd}", refused=(422, "invalid-value"))
