"""What is asked of the catalogue of goods.sql: each kind of list and search, as paths."""

import random
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import asyncpg
import msgspec

Ask = Callable[[random.Random], str]
Ids = Mapping[str, int]

# Half of the goods are in the last tree, and one in a hundred in the first.
TREES, BRANDS_A_TREE = 8, 25
BIG, SMALL = TREES - 1, 0
MATERIALS = ("silk", "cotton", "linen", "wool", "leather", "steel", "copper", "bamboo")
MATERIALS_ZH = ("真丝", "纯棉", "亚麻", "羊毛", "皮革", "紫铜", "竹制", "陶瓷")
NOUNS = ("kettle", "cup", "bowl", "lamp", "camera", "tent", "boot", "helmet")
NOUNS_ZH = ("水壶", "杯子", "汤碗", "台灯", "相机", "帐篷", "靴子", "头盔")
COLOURS = ("red", "blue", "green", "black", "white", "grey")
LIST = "/v1/products"
STAFF = "/v1/admin"
# A program that has a feed of a store with one SKU in ten.
FEEDS = "staff wms:/v1/admin/feeds"
BY_PRICE = "currency=CNY&sort=price"
# How many of a level are below one tree.
BELOW = {1: 1, 2: 4, 3: 16, 4: 48, 5: 144}
WRITES = 50


class Question(msgspec.Struct):
    path: str
    body: dict[str, Any] | None = None
    is_write: bool = False


async def all_of(conn: asyncpg.Connection, products: int) -> dict[str, Ask]:
    rows = await conn.fetch("SELECT code, id FROM catalogue.categories")
    ids = {row["code"]: row["id"] for row in rows}
    kinds = (lists, prices, searches, back_office, staff_searches)
    return {name: ask for some in kinds for name, ask in some(products, ids).items()}


def branch(ids: Ids, level: int, tree: int) -> Ask:
    """List any category of a level in one tree."""
    size = BELOW[level]
    return lambda rng: f"{LIST}?category={ids[f'c{level}-{tree * size + rng.randrange(size)}']}"


def brand(tree: int, rng: random.Random) -> str:
    return f"attribute=brand:b{tree * BRANDS_A_TREE + rng.randrange(BRANDS_A_TREE)}"


def colour(rng: random.Random) -> str:
    return f"attribute=colour:{rng.choice(COLOURS)}"


def weights(rng: random.Random, width: int) -> str:
    lowest = rng.randrange(50, 5_000)
    return f"range=weight:{lowest}..{lowest + width}"


def priced(rng: random.Random) -> str:
    lowest = rng.randrange(20_000)
    return f"currency=CNY&price_from={lowest}&price_to={lowest + 2_000}"


def lists(products: int, ids: Ids) -> dict[str, Ask]:
    def any_id(rng: random.Random) -> int:
        return rng.randrange(1, products)

    big, small, leaf = branch(ids, 1, BIG), branch(ids, 1, SMALL), branch(ids, 5, BIG)
    middle = branch(ids, 3, BIG)
    return {
        "all": lambda _: LIST,
        "all, a hundred": lambda _: f"{LIST}?limit=100",
        "all, deep": lambda rng: f"{LIST}?cursor={any_id(rng)}",
        "half of all": big,
        "half of all, deep": lambda rng: f"{big(rng)}&cursor={any_id(rng)}",
        "one in a hundred": small,
        "a branch": middle,
        "a branch, deep": lambda rng: f"{middle(rng)}&cursor={any_id(rng)}",
        "a leaf": leaf,
        "half, a common value": lambda rng: f"{big(rng)}&{colour(rng)}",
        "half, a rare value": lambda rng: f"{big(rng)}&{brand(BIG, rng)}&attribute=organic:true",
        "half, an absent value": lambda rng: f"{big(rng)}&{brand(SMALL, rng)}",
        "half, a value of the others": lambda rng: f"{big(rng)}&attribute=import:air",
        "half, five values": lambda rng: (
            f"{big(rng)}&{brand(BIG, rng)}&attribute=season:spring&{colour(rng)}"
            f"&attribute=material:{rng.choice(MATERIALS)}&attribute=organic:false"
        ),
        "a common value": lambda rng: f"{LIST}?{colour(rng)}",
        "two common values, deep": lambda rng: (
            f"{LIST}?{colour(rng)}&attribute=season:winter&cursor={any_id(rng)}"
        ),
        "two values never together": lambda rng: f"{LIST}?{brand(BIG, rng)}&{brand(6, rng)}",
        "half, a range of weights": lambda rng: f"{big(rng)}&{weights(rng, 500)}",
        "half, a narrow range": lambda rng: f"{big(rng)}&{weights(rng, 1)}",
        "half, a weight nobody has": lambda rng: f"{big(rng)}&range=weight:6000..",
        "a product": lambda rng: f"{LIST}/{10 * rng.randrange(1, products // 10)}",
        "no such product": lambda rng: f"{LIST}/{10**9 + any_id(rng)}",
        "categories": lambda _: "/v1/categories",
        "a category": lambda rng: f"/v1/categories/{rng.choice(list(ids.values()))}",
    }


def prices(products: int, ids: Ids) -> dict[str, Ask]:
    big, small, leaf = branch(ids, 1, BIG), branch(ids, 1, SMALL), branch(ids, 5, BIG)
    middle = branch(ids, 3, BIG)

    def after(rng: random.Random, lowest: int) -> str:
        return f"cursor={rng.randrange(lowest, 28_000)}.0_{rng.randrange(1, products)}"

    return {
        "a price range": lambda rng: f"{LIST}?{priced(rng)}",
        "half, a price range": lambda rng: f"{big(rng)}&{priced(rng)}",
        "a leaf, a price range": lambda rng: f"{leaf(rng)}&{priced(rng)}",
        "half, a price nobody has": lambda rng: f"{big(rng)}&currency=CNY&price_to=900",
        "by price": lambda _: f"{LIST}?{BY_PRICE}",
        "by price, deep": lambda rng: f"{LIST}?{BY_PRICE}&{after(rng, 1_000)}",
        "by price, half": lambda rng: f"{big(rng)}&{BY_PRICE}",
        "by price, half, deep": lambda rng: f"{big(rng)}&{BY_PRICE}&{after(rng, 8_000)}",
        "by price, one in a hundred": lambda rng: f"{small(rng)}&{BY_PRICE}",
        "by price, a branch": lambda rng: f"{middle(rng)}&{BY_PRICE}",
        "by price, a leaf": lambda rng: f"{leaf(rng)}&{BY_PRICE}",
        "by price, half, a rare value": lambda rng: (
            f"{big(rng)}&{BY_PRICE}&{brand(BIG, rng)}&attribute=organic:true"
        ),
        "by price, half, an absent value": lambda rng: f"{big(rng)}&{BY_PRICE}&{brand(SMALL, rng)}",
        "by price, half, a range": lambda rng: f"{big(rng)}&{priced(rng)}&sort=price",
    }


def searches(products: int, ids: Ids) -> dict[str, Ask]:
    def asked(words: str, more: str = "") -> str:
        return f"{LIST}?q={quote(words)}{more}"

    def either(some: tuple[str, ...], more: str = "") -> Ask:
        return lambda rng: asked(rng.choice(some), more)

    big, small = f"&category={ids[f'c1-{BIG}']}", f"&category={ids[f'c1-{SMALL}']}"
    return {
        "search, in all titles": either(("warranty", "gift", "day")),
        "search, in a third": either(("new",)),
        "search, a material": either(MATERIALS),
        "search, a noun": either(NOUNS),
        "search, two words": lambda rng: asked(f"{rng.choice(MATERIALS)} {rng.choice(NOUNS)}"),
        "search, words never together": lambda rng: asked(" ".join(rng.sample(MATERIALS, 2))),
        "search, a rare word": lambda rng: asked(f"x{rng.randrange(90_000)}"),
        "search, an absent word": lambda rng: asked(f"zz{rng.randrange(90_000)}"),
        "search, a code": lambda rng: asked(f"SPU-{rng.randrange(products)}"),
        "search, 两个字 in a third": either(("新款",)),
        "search, 两个字 in all": either(("两年质保", "质保", "家用")),
        "search, 两个字": either(MATERIALS_ZH),
        "search, 两个词": lambda rng: asked(rng.choice(MATERIALS_ZH) + rng.choice(NOUNS_ZH)),
        "search, 从不相邻": lambda rng: asked("".join(rng.sample(NOUNS_ZH, 2))),
        "search, 一个字": either(("新", "真", "杯", "灯")),
        "search, 生僻字": lambda rng: asked(chr(20_000 + rng.randrange(3_000))),
        "search, 没有的字": lambda rng: asked(chr(30_000 + rng.randrange(3_000)) * 2),
        "search, a third, half of all": either(("new", "新款"), big),
        "search, a third, one in a hundred": either(("new", "新款"), small),
        "search, all titles, one in a hundred": either(("warranty", "质保"), small),
        "search, a material, a rare value": either(MATERIALS, "&attribute=brand:b3"),
        "search, a third, an absent value": either(("new", "新款"), f"{big}&attribute=brand:b3"),
        "search, a material, a price range": either(
            MATERIALS, "&currency=CNY&price_from=9000&price_to=9500"
        ),
        "search, a price nobody has": either(("new", "质保"), "&currency=CNY&price_to=900"),
        "search, a page deep": either(("new", "新款"), "&cursor=0.05_1000"),
        "search, a hundred": either(("new", "新款"), "&limit=100"),
        "search, 一句话": either(("两年质保当日发货", "适合日常家用")),
    }


def back_office(products: int, _: Ids) -> dict[str, Ask]:
    def sku(rng: random.Random) -> int:
        return rng.randrange(1, 5 * products)

    def state(name: str) -> Ask:
        return lambda rng: f"{STAFF}/products?state={name}&cursor={rng.randrange(products)}"

    return {
        "staff: products": lambda _: f"{STAFF}/products",
        "staff: products, deep": lambda rng: f"{STAFF}/products?cursor={sku(rng) // 5}",
        "staff: published": state("published"),
        "staff: drafts": state("draft"),
        "staff: archived": state("archived"),
        "staff: drafts, the last": lambda _: f"{STAFF}/products?state=draft&cursor={products - 2}",
        "staff: by an SPU's code": lambda rng: f"{STAFF}/products?code=SPU-{sku(rng) // 5 + 1}",
        "staff: by a SKU's code": lambda rng: f"{STAFF}/products?code=SKU-{sku(rng) // 5 + 1}-3",
        "staff: by an absent code": lambda rng: f"{STAFF}/products?code=NONE-{sku(rng)}",
        "staff: a product": lambda rng: f"{STAFF}/products/{1 + sku(rng) // 5}",
        "staff: a category": lambda rng: f"{STAFF}/categories/{1 + rng.randrange(1_700)}",
        "staff: a place's stock": lambda rng: f"{STAFF}/places/1/stock?cursor={sku(rng)}",
        "staff: a store's stock": lambda rng: f"{STAFF}/places/4/stock?cursor={sku(rng)}",
        "staff: a SKU's stock": lambda rng: f"{STAFF}/stock/{sku(rng)}",
        "staff: a SKU's movements": lambda rng: f"{STAFF}/stock/{sku(rng)}/movements",
        "staff: ten thousand movements, deep": lambda rng: (
            f"{STAFF}/stock/{rng.randrange(1, 11)}/movements?cursor={22 * sku(rng) // 10}"
        ),
        "staff: alerts": lambda _: f"{STAFF}/stock/alerts",
        "staff: alerts, deep": lambda rng: (
            f"{STAFF}/stock/alerts?limit=100&cursor={rng.randrange(50_000)}"
        ),
        "staff: transfers": lambda _: f"{STAFF}/transfers",
        "staff: transfers, deep": lambda rng: (
            f"{STAFF}/transfers?limit=100&cursor={rng.randrange(100, 20_000)}"
        ),
        "a system's levels": lambda _: f"{FEEDS}/levels?limit=1000",
        "a system's levels, deep": lambda rng: f"{FEEDS}/levels?limit=1000&after=1.4.{sku(rng)}",
        "a system's movements": lambda _: f"{FEEDS}/movements?limit=1000",
        "a system's movements, deep": lambda rng: (
            f"{FEEDS}/movements?limit=1000&after={2 * sku(rng)}"
        ),
        "a system's alerts": lambda _: f"{FEEDS}/wanted?limit=100",
        "a system's alerts, deep": lambda rng: f"{FEEDS}/wanted?limit=100&cursor={sku(rng)}",
        "staff: counts": lambda _: f"{STAFF}/counts",
        "staff: counts, deep": lambda rng: (
            f"{STAFF}/counts?limit=100&cursor={rng.randrange(100, 50_000)}"
        ),
    }


def staff_searches(products: int, _: Ids) -> dict[str, Ask]:
    """Of all states, a hundred a page: a page costs the more, the more products have the words."""

    def asked(words: str, more: str = "") -> str:
        return f"{STAFF}/products?limit=100&q={quote(words)}{more}"

    def either(some: tuple[str, ...], more: str = "") -> Ask:
        return lambda rng: asked(rng.choice(some), more)

    common, third = ("warranty", "gift", "质保", "家用"), ("new", "新款")
    found = {
        "staff: search, in all titles": either(common),
        "staff: search, in a third": either(third),
        "staff: search, a material": either(MATERIALS + MATERIALS_ZH),
        "staff: search, a noun": either(NOUNS + NOUNS_ZH),
        "staff: search, two words": lambda rng: asked(
            f"{rng.choice(MATERIALS)} {rng.choice(NOUNS)}"
        ),
        "staff: search, words never together": lambda rng: asked(
            " ".join(rng.sample(MATERIALS, 2))
        ),
        "staff: search, a rare word": lambda rng: asked(f"x{rng.randrange(90_000)}"),
        "staff: search, an absent word": lambda rng: asked(f"zz{rng.randrange(90_000)}"),
        "staff: search, a code": lambda rng: asked(f"SPU-{rng.randrange(products)}"),
        "staff: search, 一个字": either(("新", "真", "杯", "灯")),
        "staff: search, 没有的字": lambda rng: asked(chr(30_000 + rng.randrange(3_000)) * 2),
        "staff: search, 一句话": either(("两年质保当日发货", "适合日常家用")),
        "staff: search, in all titles, a page deep": either(common, "&cursor=500"),
        "staff: search, in all titles, behind the last": either(common, f"&cursor={products}"),
    }
    for state in ("published", "draft", "archived"):
        found[f"staff: search, in all titles, {state}"] = either(common, f"&state={state}")
        found[f"staff: search, a noun, {state}"] = either(NOUNS, f"&state={state}")
        found[f"staff: search, a rare word, {state}"] = lambda rng, state=state: asked(
            f"x{rng.randrange(90_000)}", f"&state={state}"
        )
    return found


async def writes(conn: asyncpg.Connection, products: int) -> dict[str, list[Question]]:
    """What staff write, by kind."""
    rows = await conn.fetch(
        "SELECT id FROM catalogue.products WHERE state = 'draft' ORDER BY id DESC LIMIT $1", WRITES
    )
    drafts = [row["id"] for row in rows]
    skus = [5 * (products - 10 * n) for n in range(WRITES)]
    dearer = {"prices": {"CNY": 12_345, "USD": 1_999}}
    rows = await conn.fetch(
        "SELECT code, id FROM catalogue.categories WHERE code IN ('c1-7', 'c2-28', 'c2-29')"
    )
    ids = {row["code"]: row["id"] for row in rows}
    named = {"name": {"en": "Everything", "zh": "全部"}}
    # An eighth of all goods, from under the tree to under its neighbour, and back.
    parents = [{"parent_id": str(ids[code])} for code in ("c2-28", "c1-7")] * (WRITES // 2)
    return {
        "rename half of all": [step(f"/categories/{ids['c1-7']}", named)] * WRITES,
        "move an eighth of all": [step(f"/categories/{ids['c2-29']}/move", to) for to in parents],
        "publish a product": [step(f"/products/{one}/publish") for one in drafts],
        "change a price": [step(f"/skus/{sku}/prices", dearer) for sku in skus],
        "withdraw a product": [step(f"/products/{one}/withdraw") for one in drafts],
    }


def step(path: str, body: dict[str, Any] | None = None) -> Question:
    return Question(f"{STAFF}{path}", body, is_write=True)
