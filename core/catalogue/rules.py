"""Pure computation: check digits, and what a product still lacks."""

from collections.abc import Mapping, Sequence

from .attributes import misfits, missing
from .model import Attribute, MalformedGtin, Problem, Product, Sku
from .states import SkuState

GTIN_DIGITS = frozenset({8, 12, 13, 14})
# What a product is called in these before anybody may buy it.
LANGUAGES = ("en", "zh")


def check_gtin(gtin: str) -> None:
    """Raise MalformedGtin unless it has 8, 12, 13 or 14 digits, the last of which fits the rest.

    From the right, the check digit counts once, the next one three times, and so on in turn; the
    sum is a multiple of ten (GS1 General Specifications, section 7.9).
    """
    if len(gtin) not in GTIN_DIGITS or not (gtin.isascii() and gtin.isdigit()):
        raise MalformedGtin(gtin=gtin)
    if not is_gtin(gtin):
        raise MalformedGtin("The check digit does not fit.", gtin=gtin)


def is_gtin(text: str) -> bool:
    if len(text) not in GTIN_DIGITS or not (text.isascii() and text.isdigit()):
        return False
    total = sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(reversed(text)))
    return total % 10 == 0


def gtin_14(gtin: str) -> str:
    """GTIN-8, -12, -13 and -14 are one number, written with more or fewer zeros in front."""
    return gtin.rjust(14, "0")


def lacks(product: Product, skus: Sequence[Sku], known: Mapping[str, Attribute]) -> list[str]:
    """What has to be filled in before a product is published, as places in its document."""
    found = [f"/title/{language}" for language in LANGUAGES if not product.title.get(language)]
    found += [f"/attributes/{m}" for m in missing(known, product.attributes, level="product")]
    for number, sku in enumerate(skus):
        if sku.state == SkuState.DRAFT:
            continue
        lacking = missing(known, sku.attributes, level="sku")
        found += [f"/skus/{number}/attributes/{code}" for code in lacking]
    return found if skus else [*found, "/skus"]


def on_sale(skus: Sequence[Sku]) -> list[Sku]:
    return [sku for sku in skus if sku.state == SkuState.ON_SALE]


def unfit(product: Product, skus: Sequence[Sku], known: Mapping[str, Attribute]) -> list[Problem]:
    """Which values are not what the category asks for."""
    found = misfits(known, product.attributes, level="product")
    for sku in skus:
        found += [one | {"sku": sku.code} for one in misfits(known, sku.attributes, level="sku")]
    return found


def text(texts: Mapping[str, str], language: str) -> str:
    """The text in this language, else in English, else in any."""
    return texts.get(language) or texts.get("en") or next(iter(texts.values()), "")
