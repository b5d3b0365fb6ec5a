"""Pure computation: check digits, and what a product still lacks."""

from collections.abc import Mapping, Sequence

from .model import MalformedGtin, Product, Sku

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
    total = sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(reversed(gtin)))
    if total % 10:
        raise MalformedGtin("The check digit does not fit.", gtin=gtin)


def lacks(product: Product, skus: Sequence[Sku]) -> list[str]:
    """What has to be filled in before a product is published, as places in its document."""
    missing = [f"/title/{language}" for language in LANGUAGES if not product.title.get(language)]
    return missing if skus else [*missing, "/skus"]


def text(texts: Mapping[str, str], language: str) -> str:
    """The text in this language, else in English, else in any."""
    return texts.get(language) or texts.get("en") or next(iter(texts.values()), "")
