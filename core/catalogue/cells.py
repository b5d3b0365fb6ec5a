"""Pure computation: goods as cells of a sheet, and cells as goods.

An empty cell says that there is nothing; a column that is not there says nothing at all, and leaves
what is as it is. What is written here is read back as the same goods, and read goods are written
as the same cells.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from . import shapes
from .columns import SKU, SPU, Columns
from .model import PRICE_MAX, Attribute, NewSku, Product, Sku, UnfitCell
from .states import SkuState, State

Cells = Sequence[str]

# ISO 4217: how many digits stand behind the point, where it is not two.
NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
DIGITS = dict.fromkeys(NO_DIGITS.split(), 0) | dict.fromkeys(THREE_DIGITS.split(), 3)
DIGITS_USUAL = 2

NUMBER = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,340})?")
PRICE = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,9}))?")
# A spreadsheet takes a text that begins so for a formula: an apostrophe goes in front of it, and of
# an apostrophe, too, so that it is always known which one was there before.
FORMULA = re.compile(r"[=+\-@\t\r'\uff1d\uff0b\uff0d\uff20]")
BOOLEANS = {"true": True, "false": False}
# What is for good is done by hand.
STATES = tuple(state for state in State if state is not State.ARCHIVED)
EXPECTED_CHARS_MAX = 200


class Spu(msgspec.Struct, frozen=True):
    """What a row says about its SPU, completed by what is known already."""

    title: dict[str, str]
    description: dict[str, str]
    images: list[str]
    category: str | None
    attributes: dict[str, object]
    state: State


def unescape(text: str) -> str:
    """A text as it was before `escape`."""
    return text[1:] if text.startswith("'") and FORMULA.match(text, 1) else text


def escape(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if FORMULA.match(text) else text


def read_code(cells: Cells, columns: Columns, column: str) -> str:
    code = cells[columns.at[column]]
    if not shapes.CODE.fullmatch(code):
        raise UnfitCell(column=column, about="A-Z 0-9 . _ -")
    return code


def read_category(cells: Cells, columns: Columns, before: str | None) -> str | None:
    at = columns.at.get("category")
    return before if at is None else cells[at] or None


def read_spu(
    cells: Cells, columns: Columns, before: Spu | None, known: Mapping[str, Attribute]
) -> Spu:
    """Raises UnfitCell. Whether the attributes fit the category is asked later."""
    before = before or Spu({}, {}, [], None, {}, State.DRAFT)
    title = _texts(cells, columns.titles, before.title, "title", shapes.TITLE_MAX)
    if not title:
        raise UnfitCell(column="title", about=f"1-{shapes.TITLE_MAX}")
    return Spu(
        title=title,
        description=_texts(
            cells,
            columns.descriptions,
            before.description,
            "description",
            shapes.DESCRIPTION_MAX,
        ),
        images=_images(cells, columns, before.images),
        category=read_category(cells, columns, before.category),
        attributes=_attributes(cells, columns, before.attributes, known, level="product"),
        state=State(_state(cells, columns, "spu_state", before.state, STATES)),
    )


def read_sku(
    cells: Cells, columns: Columns, before: NewSku | None, known: Mapping[str, Attribute]
) -> NewSku:
    """Raises UnfitCell."""
    before = before or NewSku("", "", {})
    at = columns.at.get("currency")
    currency = before.currency if at is None else cells[at] or before.currency
    if not shapes.CURRENCY.fullmatch(currency) or before.currency not in {"", currency}:
        raise UnfitCell(column="currency", about=before.currency or "CNY, USD")
    gtin_at = columns.at.get("gtin")
    return NewSku(
        code=read_code(cells, columns, SKU),
        currency=currency,
        prices=_prices(cells, columns, before.prices),
        gtin=before.gtin if gtin_at is None else cells[gtin_at] or None,
        attributes=_attributes(cells, columns, before.attributes, known, level="sku"),
        state=SkuState(_state(cells, columns, "sku_state", before.state, tuple(SkuState))),
    )


def write_row(product: Product, sku: Sku, category: str, columns: Columns) -> list[str]:
    """The cells of a SKU. Raises KeyError for what no column holds."""
    cells = [""] * len(columns.names)
    fixed = {
        SPU: product.code,
        SKU: sku.code,
        "gtin": sku.gtin or "",
        "spu_state": product.state,
        "sku_state": sku.state,
        "category": category,
        "images": " ".join(product.images),
        "currency": sku.currency,
    }
    for name, text in fixed.items():
        cells[columns.at[name]] = text
    for language, text in product.title.items():
        cells[columns.titles[language]] = escape(text)
    for language, text in product.description.items():
        cells[columns.descriptions[language]] = escape(text)
    for currency, price_minor in sku.prices.items():
        cells[columns.prices[currency]] = write_price(price_minor, currency)
    for code, value in {**product.attributes, **sku.attributes}.items():
        if isinstance(value, dict):
            for language, text in value.items():
                cells[columns.texts[code][language]] = escape(text)
        else:
            cells[columns.attributes[code]] = _write_value(value)
    return cells


def write_price(price_minor: int, currency: str) -> str:
    return f"{Decimal(price_minor).scaleb(-DIGITS.get(currency, DIGITS_USUAL)):f}"


def read_price(text: str, currency: str) -> int | None:
    """Minor units; None for what is no price in this currency."""
    match = PRICE.fullmatch(text)
    digits = DIGITS.get(currency, DIGITS_USUAL)
    if match is None or (match[2] or "")[digits:].strip("0"):
        return None
    price_minor = int(match[1] + (match[2] or "")[:digits].ljust(digits, "0"))
    return price_minor if price_minor <= PRICE_MAX else None


def expected(attribute: Attribute | None) -> str:
    """What may stand in an attribute's column, in no language."""
    if attribute is None:
        return ""
    if attribute.kind == "number":
        bounds = (attribute.lowest, attribute.highest)
        told = "..".join("" if one is None else f"{one:g}" for one in bounds)
        return told + (f" {attribute.unit}" if attribute.unit else "")
    examples = {
        "choice": ", ".join(choice["code"] for choice in attribute.choices),
        "boolean": ", ".join(BOOLEANS),
        "date": "2026-11-22",
        "text": f"attribute.{attribute.code}.en, attribute.{attribute.code}.zh",
    }
    return examples[attribute.kind][:EXPECTED_CHARS_MAX]


def _texts(
    cells: Cells, places: Mapping[str, int], before: Mapping[str, str], family: str, chars_max: int
) -> dict[str, str]:
    found = dict(before)
    for language, at in places.items():
        text = unescape(cells[at])
        if len(text) > chars_max:
            raise UnfitCell(column=f"{family}.{language}", about=f"1-{chars_max}")
        if text:
            found[language] = text
        else:
            found.pop(language, None)
    if len(found) > shapes.LANGUAGES_MAX:
        raise UnfitCell(column=family, about=f"<= {shapes.LANGUAGES_MAX}")
    return found


def _images(cells: Cells, columns: Columns, before: list[str]) -> list[str]:
    at = columns.at.get("images")
    if at is None:
        return before
    found = cells[at].split()
    if len(found) > shapes.IMAGES_MAX or not all(shapes.IMAGE.fullmatch(one) for one in found):
        raise UnfitCell(column="images", about=f"https://..., /..., <= {shapes.IMAGES_MAX}")
    return found


def _state(cells: Cells, columns: Columns, column: str, before: str, known: Sequence[str]) -> str:
    at = columns.at.get(column)
    if at is None or not cells[at]:
        return before
    if cells[at] not in known:
        raise UnfitCell(column=column, about=", ".join(known))
    return cells[at]


def _prices(cells: Cells, columns: Columns, before: Mapping[str, int]) -> dict[str, int]:
    found = dict(before)
    for currency, at in columns.prices.items():
        if not cells[at]:
            found.pop(currency, None)
            continue
        price_minor = read_price(cells[at], currency)
        if price_minor is None:
            raise UnfitCell(column=f"price.{currency}", about=write_price(29_900, currency))
        found[currency] = price_minor
    if len(found) > shapes.CURRENCIES_MAX:
        raise UnfitCell(column="price", about=f"<= {shapes.CURRENCIES_MAX}")
    return found


def _attributes(
    cells: Cells,
    columns: Columns,
    before: Mapping[str, object],
    known: Mapping[str, Attribute],
    *,
    level: str,
) -> dict[str, object]:
    """Values of one level. What no category knows is told of the SPU."""
    found = dict(before)
    for code in columns.attributes.keys() | columns.texts.keys():
        if _level(known, code) == level:
            value = _attribute(cells, columns, code, before.get(code), known.get(code))
            if value is None:
                found.pop(code, None)
            else:
                found[code] = value
    return found


def _attribute(
    cells: Cells, columns: Columns, code: str, before: object, known: Attribute | None
) -> object:
    """A value, or None. A sheet may have a column of its own for it, one a language, or both."""
    at = columns.attributes.get(code)
    if at is not None and cells[at]:
        return _read_value(cells[at], known)
    said = before if isinstance(before, dict) else {}
    family = f"attribute.{code}"
    texts = _texts(cells, columns.texts.get(code, {}), said, family, shapes.TITLE_MAX)
    if texts or said:
        return texts or None
    return None if at is not None else before


def _level(known: Mapping[str, Attribute], code: str) -> str:
    return known[code].level if code in known else "product"


def _read_value(text: str, attribute: Attribute | None) -> object:
    """A text stays one where it is no number and no boolean; the category will not like it."""
    kind = attribute.kind if attribute else "text"
    if kind == "boolean":
        return BOOLEANS.get(text.lower(), text)
    if kind == "number" and NUMBER.fullmatch(text):
        number = Decimal(text)
        return int(number) if number == number.to_integral_value() else float(number)
    return text


def _write_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{Decimal(repr(value)):f}"
    return str(value)
