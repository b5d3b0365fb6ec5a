from collections.abc import Mapping, Sequence
from typing import Any, NewType, TypeAlias

import msgspec

from core.kit.refusal import Kind, Refusal

from .states import SkuState

ProductId = NewType("ProductId", int)
SkuId = NewType("SkuId", int)
CategoryId = NewType("CategoryId", int)

PRICE_MAX = 10**12
# The seller whose goods are the shop's own.
OWN_SHOP = 1

# Attribute code -> value: a text per language, a number, a choice's code, a boolean, an ISO date.
Values: TypeAlias = Mapping[str, object]
# One thing that does not fit: {"attribute": ..., "detail": ...}.
Problem: TypeAlias = dict[str, str]


class Category(msgspec.Struct, frozen=True):
    """`above` leads from the root to the parent."""

    id: CategoryId
    parent_id: CategoryId | None
    above: list[CategoryId]
    code: str
    name: dict[str, str]
    rank: int


class NewCategory(msgspec.Struct, frozen=True):
    code: str
    name: Mapping[str, str]
    parent_id: CategoryId | None = None
    rank: int = 0


class Attribute(msgspec.Struct, frozen=True):
    """What a category asks of its products (`level` is product) or of their SKUs (sku).

    `kind` is text, number, choice, boolean or date; only a number has a unit and bounds, and only
    a choice has `choices`: [{"code": ..., "name": {language: text}}].
    """

    category_id: CategoryId
    code: str
    name: dict[str, str]
    kind: str
    level: str
    is_required: bool
    unit: str | None
    choices: list[dict[str, Any]]
    lowest: float | None
    highest: float | None
    rank: int


class Product(msgspec.Struct, frozen=True):
    """`title` and `description` hold a text per language: {"en": ..., "zh": ...}.

    `images` are references, the main one first. `seller_id` is whose goods they are, for good.
    """

    id: ProductId
    code: str
    state: str
    title: dict[str, str]
    description: dict[str, str]
    images: list[str]
    category_id: CategoryId | None
    attributes: dict[str, Any]
    seller_id: int = OWN_SHOP


class Sku(msgspec.Struct, frozen=True):
    """`price_minor` is in its own currency; `prices` are per currency, that one among them.

    Buyers see it while it is on sale and its product is published.
    """

    id: SkuId
    product_id: ProductId
    code: str
    state: str
    gtin: str | None
    price_minor: int
    currency: str
    prices: dict[str, int]
    attributes: dict[str, Any]


class Content(msgspec.Struct, frozen=True):
    """What staff write about a product."""

    title: Mapping[str, str]
    description: Mapping[str, str] = {}
    images: Sequence[str] = ()
    category_id: CategoryId | None = None
    attributes: Values = {}


class NewSku(msgspec.Struct, frozen=True):
    """`prices` (currency -> minor units) holds one in `currency`, which is the SKU's own."""

    code: str
    currency: str
    prices: Mapping[str, int]
    gtin: str | None = None
    attributes: Values = {}
    state: SkuState = SkuState.ON_SALE


class Range(msgspec.Struct, frozen=True):
    """Any value of a numeric attribute from one number to another, both included."""

    code: str
    lowest: float
    highest: float


class Wanted(msgspec.Struct, frozen=True):
    """What a buyer looks for: below a category, with these facets (`colour:red`), for so much.

    Prices are in minor units of `currency`, and count only where one is named.
    """

    category_id: CategoryId | None = None
    facets: Sequence[str] = ()
    ranges: Sequence[Range] = ()
    currency: str | None = None
    lowest: int = 0
    highest: int = PRICE_MAX
    words: str = ""
    is_by_price: bool = False


class Hit(msgspec.Struct, frozen=True):
    """Where a product stands in a list: after smaller prices, or better ranks, then smaller ids."""

    product_id: ProductId
    key: float


class NoSuchSku(Refusal):
    """There is no such SKU."""

    kind = Kind.NOT_FOUND


class NotOnSale(Refusal):
    """Not on sale: a SKU was withdrawn, or is a draft, or its product is not published."""

    kind = Kind.CONFLICT


class NoSuchProduct(Refusal):
    """There is no such product."""

    kind = Kind.NOT_FOUND


class NoSuchCategory(Refusal):
    """There is no such category."""

    kind = Kind.NOT_FOUND


class NotNarrower(Refusal):
    """A category may narrow what it inherits, and never widen it."""

    kind = Kind.CONFLICT


class TooManyCategories(Refusal):
    """The tree of categories can grow no further there."""

    kind = Kind.CONFLICT


class CategoryLoop(Refusal):
    """A category cannot stand below itself."""

    kind = Kind.CONFLICT


class UnfitProducts(Refusal):
    """Some products would not fit there: they have or lack what is asked for."""

    kind = Kind.CONFLICT


class TooManyProducts(Refusal):
    """Too many products would have to be looked at: move the branches below one by one."""

    kind = Kind.CONFLICT


class UnfitAttribute(Refusal):
    """A value is not what the category asks for."""

    kind = Kind.INVALID


class CodeTaken(Refusal):
    """Another product, SKU or category has this code or GTIN already."""

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


class UnknownColumn(Refusal):
    """The sheet has a column that goods do not have."""

    kind = Kind.INVALID


class DoubleColumn(Refusal):
    """The sheet has the same column twice."""

    kind = Kind.INVALID


class MissingColumn(Refusal):
    """The sheet lacks a column that it cannot do without."""

    kind = Kind.INVALID


class UnfitCell(Refusal):
    """A cell is not what its column holds."""

    kind = Kind.INVALID


class SpuDisagrees(Refusal):
    """An earlier row says something else about the same SPU."""

    kind = Kind.CONFLICT
