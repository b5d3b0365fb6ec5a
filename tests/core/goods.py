"""Sheets of goods for tests: as many rows as are asked for, of which one in a hundred is bad."""

import csv
import io
from collections.abc import Iterator

from core import catalogue
from core.kit import db

SKUS_EACH = 4
BAD_EVERY = 100
HEADER = [
    "spu_code",
    "sku_code",
    "gtin",
    "spu_state",
    "sku_state",
    "category",
    "images",
    "currency",
    "title.en",
    "title.zh",
    "description.en",
    "description.zh",
    "price.CNY",
    "price.USD",
    "attribute.colour",
    "attribute.fabric.en",
    "attribute.fabric.zh",
    "attribute.length",
    "attribute.since",
    "attribute.washable",
]
COLOURS = ("red", "ivory", "sage", "black")
NASTY = ("=1+1", "@SUM(A1)", "-5", "+x", "'quoted", 'say "hi"', "two\nlines", "a,b", "😀 emoji")


async def grow_categories(conn: db.Conn) -> None:
    """Apparel with a branch that asks for an attribute of each kind."""
    add = catalogue.add_category
    root = await add(conn, catalogue.NewCategory("apparel", {"en": "Apparel", "zh": "服饰"}))
    below = catalogue.NewCategory("dresses", {"en": "Dresses", "zh": "连衣裙"}, root.id)
    dresses = await add(conn, below)
    choices = [{"code": code, "name": {"en": code}} for code in COLOURS]
    asked = [
        ("fabric", "text", "product", False, [], None, None),
        ("washable", "boolean", "product", False, [], None, None),
        ("since", "date", "product", False, [], None, None),
        ("colour", "choice", "sku", True, choices, None, None),
        ("length", "number", "sku", False, [], 1.0, 300.0),
    ]
    for rank, (code, kind, level, needed, listed, low, high) in enumerate(asked):
        told = {"en": code, "zh": code}
        unit = "cm" if kind == "number" else None
        await catalogue.define(
            conn,
            catalogue.Attribute(
                dresses.id, code, told, kind, level, needed, unit, listed, low, high, rank
            ),
        )


def gtin(number: int) -> str:
    digits = f"69{number:010}"
    total = sum(int(d) * (1, 3)[at % 2] for at, d in enumerate(digits))
    return f"{digits}{-total % 10}"


def good_row(number: int) -> dict[str, str]:
    spu, which = divmod(number, SKUS_EACH)
    nasty = NASTY[spu % len(NASTY)]
    return {
        "spu_code": f"SPU-{spu:06}",
        "sku_code": f"SKU-{spu:06}-{which}",
        "gtin": gtin(number) if number % 3 else "",
        "spu_state": ("published", "draft", "withdrawn")[spu % 3],
        "sku_state": ("on_sale", "withdrawn", "on_sale", "draft")[number % 4],
        "category": "dresses",
        "images": f"https://img.shop.example/{spu}.jpg /goods/{spu}-2.jpg",
        "currency": "CNY",
        "title.en": f"Silk dress no. {spu}",
        "title.zh": f"真丝连衣裙 {spu} 号",
        "description.en": catalogue.escape(f"{nasty} and more of it, {spu}"),
        "description.zh": f"桑蚕丝连衣裙第 {spu} 款",
        "price.CNY": f"{100 + number % 900}.{number % 100:02}",
        "price.USD": f"{10 + number % 90}.00" if number % 2 else "",
        "attribute.colour": COLOURS[which],
        "attribute.fabric.en": "mulberry silk",
        "attribute.fabric.zh": "桑蚕丝",
        "attribute.length": ("88", "90.5", "1", "")[which],
        "attribute.since": "2026-11-22" if spu % 2 else "",
        "attribute.washable": ("true", "false", "")[spu % 3],
    }


SHORT = ("", "wrong-cell-count")
# What is wrong with a row, and what is then said of it: the column, and why.
SPOILED = [
    ({"gtin": "6901234567890"}, "gtin", "malformed-gtin"),
    ({"price.CNY": "1,299.00"}, "price.CNY", "unfit-cell"),
    ({"category": "shoes"}, "category", "no-such-category"),
    ({"attribute.colour": "mauve"}, "attribute.colour", "unfit-attribute"),
    ({"price.CNY": ""}, "price.CNY", "no-own-price"),
    ({"sku_code": "SKU-000000-1"}, "sku_code", "duplicate-row"),
    ({"attribute.length": "301"}, "attribute.length", "unfit-attribute"),
    ({"spu_state": "sold"}, "spu_state", "unfit-cell"),
    ({"title.en": "Another"}, "title", "spu-disagrees"),
    ({"spu_code": "lower case"}, "spu_code", "unfit-cell"),
    ({}, *SHORT),
]


def rows(count: int) -> Iterator[tuple[list[str], tuple[str, str] | None]]:
    """Each row, and None for a good one; else the column and the reason that have to be told."""
    for number in range(count):
        row = good_row(number)
        # The last of an SPU, so that an earlier row speaks for it.
        if number % BAD_EVERY != BAD_EVERY - 1:
            yield list(row.values()), None
            continue
        changes, column, reason = SPOILED[number // BAD_EVERY % len(SPOILED)]
        cells = list((row | changes).values())
        yield cells[: len(cells) if changes else -1], (column, reason)


def as_csv(found: list[list[str]]) -> bytes:
    into = io.StringIO(newline="")
    csv.writer(into).writerows([HEADER, *found])
    return b"\xef\xbb\xbf" + into.getvalue().encode()
