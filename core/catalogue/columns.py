"""Pure computation: which columns a sheet of goods has, and what stands in each."""

import difflib
import re
from collections.abc import Collection, Iterable, Sequence

import msgspec

from . import shapes
from .model import DoubleColumn, MissingColumn, UnknownColumn

SPU, SKU = "spu_code", "sku_code"
NEEDED = (SPU, SKU)
FIXED = (SPU, SKU, "gtin", "spu_state", "sku_state", "category", "images", "currency")
COLUMNS_MAX = 500
NAME_CHARS_MAX = 80
LANGUAGE = shapes.LANGUAGE.pattern.strip("^$")
FAMILIES = {
    "title": re.compile(rf"title\.({LANGUAGE})"),
    "description": re.compile(rf"description\.({LANGUAGE})"),
    "price": re.compile(r"price\.([A-Z]{3})"),
    "attribute": re.compile(rf"attribute\.([a-z][a-z0-9_]{{0,31}})(?:\.({LANGUAGE}))?"),
}
# What a name that nobody knows is compared with.
EXAMPLES = (*FIXED, "title.en", "title.zh", "description.en", "description.zh", "price.CNY",
            "price.USD")  # fmt: skip


class Columns(msgspec.Struct, frozen=True):
    """Where each column stands: by name; by language; by currency; by attribute.

    An attribute of the kind text has a column per language, any other has one of its own.
    """

    names: list[str]
    at: dict[str, int]
    titles: dict[str, int]
    descriptions: dict[str, int]
    prices: dict[str, int]
    attributes: dict[str, int]
    texts: dict[str, dict[str, int]]


def read_header(names: Sequence[str]) -> Columns:
    """Raises UnknownColumn, DoubleColumn, MissingColumn."""
    found = Columns(list(names), {}, {}, {}, {}, {}, {})
    for at, name in enumerate(names[: COLUMNS_MAX + 1]):
        if at == COLUMNS_MAX:
            raise UnknownColumn(f"More than {COLUMNS_MAX} columns.", columns_max=COLUMNS_MAX)
        if name in found.at:
            raise DoubleColumn(f"There are two columns {name!r}.", column=name)
        found.at[name] = at
        if name not in FIXED:
            _place(found, name, at)
    for name in NEEDED:
        if name not in found.at:
            raise MissingColumn(f"There is no column {name!r}.", column=name)
    return found


def in_order(
    titles: Iterable[str],
    descriptions: Iterable[str],
    currencies: Iterable[str],
    attributes: Iterable[str],
) -> Columns:
    """The columns of a whole sheet; `attributes` are what follows the dot: `size`, `fabric.en`."""
    return read_header(
        [
            *FIXED,
            *(f"title.{language}" for language in sorted(titles)),
            *(f"description.{language}" for language in sorted(descriptions)),
            *(f"price.{currency}" for currency in sorted(currencies)),
            *(f"attribute.{name}" for name in sorted(attributes)),
        ]
    )


def check_attributes(header: Columns, known: Collection[str]) -> None:
    """Raises UnknownColumn for an attribute that is none of those."""
    for code in (*header.attributes, *header.texts):
        if code not in known:
            raise _unknown(f"attribute.{code}", [f"attribute.{one}" for one in known])


def _place(found: Columns, name: str, at: int) -> None:
    family = name.partition(".")[0]
    match = FAMILIES[family].fullmatch(name) if family in FAMILIES else None
    if match is None:
        raise _unknown(name, EXAMPLES)
    key = match[1]
    if family == "title":
        found.titles[key] = at
    elif family == "description":
        found.descriptions[key] = at
    elif family == "price":
        found.prices[key] = at
    elif match[2] is None:
        found.attributes[key] = at
    else:
        found.texts.setdefault(key, {})[match[2]] = at


def _unknown(name: str, known: Iterable[str]) -> UnknownColumn:
    short = name[:NAME_CHARS_MAX]
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(short.strip().lower(), by_lower, n=1)
    if not near:
        return UnknownColumn(f"There is no column {short!r}.", column=short)
    nearest = by_lower[near[0]]
    told = f"There is no column {short!r}; the nearest is {nearest!r}."
    return UnknownColumn(told, column=short, nearest=nearest)
