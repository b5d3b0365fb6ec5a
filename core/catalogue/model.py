from collections.abc import Mapping, Sequence
from typing import NewType

import msgspec

from core.kit.refusal import Kind, Refusal

ProductId = NewType("ProductId", int)
SkuId = NewType("SkuId", int)


class Product(msgspec.Struct, frozen=True):
    """`title` and `description` hold a text per language: {"en": ..., "zh": ...}.

    `images` are references, the main one first.
    """

    id: ProductId
    code: str
    state: str
    title: dict[str, str]
    description: dict[str, str]
    images: list[str]


class Sku(msgspec.Struct, frozen=True):
    """`price_minor` is in its own currency; `prices` are per currency, that one among them."""

    id: SkuId
    product_id: ProductId
    code: str
    gtin: str | None
    price_minor: int
    currency: str
    prices: dict[str, int]


class Content(msgspec.Struct, frozen=True):
    """What staff write about a product."""

    title: Mapping[str, str]
    description: Mapping[str, str] = {}
    images: Sequence[str] = ()


class NewSku(msgspec.Struct, frozen=True):
    """`prices` (currency -> minor units) holds one in `currency`, which is the SKU's own."""

    code: str
    currency: str
    prices: Mapping[str, int]
    gtin: str | None = None


class NoSuchSku(Refusal):
    """There is no such SKU."""

    kind = Kind.NOT_FOUND


class NoSuchProduct(Refusal):
    """There is no such product."""

    kind = Kind.NOT_FOUND


class CodeTaken(Refusal):
    """Another product or SKU has this code or GTIN already."""

    kind = Kind.CONFLICT


class MalformedGtin(Refusal):
    """A GTIN has 8, 12, 13 or 14 digits, and its last one fits the rest."""

    kind = Kind.INVALID


class NotComplete(Refusal):
    """The product lacks something that a buyer has to know."""

    kind = Kind.CONFLICT


class NoOwnPrice(Refusal):
    """A SKU has a price in its own currency."""

    kind = Kind.INVALID


class TooManySkus(Refusal):
    """A product can hold no more SKUs."""

    kind = Kind.CONFLICT
