from typing import Literal

import msgspec

from core.kit.refusal import Kind, Refusal

LINES_MAX = 1_000
OFFERS_MAX = 100
# Far beyond any basket, and far below what a bigint holds.
MINOR_MAX = 10**15
WHOLE_BPS = 10_000
# Millionths: a sales tax of 8.875 % is 88,750 of them.
WHOLE_PPM = 1_000_000
# What it costs to send a basket is priced as a line of its own.
SHIPPING = 0


class Line(msgspec.Struct, frozen=True):
    """So many units of a SKU at their list price. Numbers count from 1."""

    number: int
    sku_id: int
    quantity: int
    unit_minor: int
    tax_ppm: int = 0


class UnitPrice(msgspec.Struct, frozen=True):
    """A tier's or a contract's price for each unit of a line; it counts where it is lower."""

    reference: str
    line: int
    unit_minor: int


class Discount(msgspec.Struct, frozen=True):
    """`bps` of what its lines come to by then and `minor` off them; without `lines`, of all goods.

    It counts once they come to `from_minor`; with `repeats`, `minor` counts each time they do. It
    takes at most `most_minor`, and never more than there is.
    """

    reference: str
    bps: int = 0
    minor: int = 0
    lines: frozenset[int] | None = None
    from_minor: int = 0
    repeats: bool = False
    most_minor: int | None = None


class Shipping(msgspec.Struct, frozen=True):
    """Free once the goods, after their discounts, come to `free_from_minor`."""

    minor: int = 0
    tax_ppm: int = 0
    free_from_minor: int | None = None


class Basket(msgspec.Struct, frozen=True):
    """All that a price depends on, in minor units of one currency. Discounts apply in order."""

    currency: str
    lines: tuple[Line, ...]
    unit_prices: tuple[UnitPrice, ...] = ()
    discounts: tuple[Discount, ...] = ()
    shipping: Shipping = Shipping()
    prices_include_tax: bool = True


class Step(msgspec.Struct, frozen=True):
    """What one rule did: line number -> minor units it added. Of the shop's rules or an offer's."""

    kind: Literal["list", "unit-price", "discount", "shipping", "free-shipping", "tax"]
    reference: str
    changes: dict[int, int]


class Priced(msgspec.Struct, frozen=True):
    """`total_minor` = list - discount, and + tax where prices do not include it."""

    number: int
    list_minor: int
    discount_minor: int
    tax_minor: int
    total_minor: int


class Quote(msgspec.Struct, frozen=True):
    """What a basket comes to, and why: all changes of all steps add up to `total_minor`."""

    currency: str
    lines: tuple[Priced, ...]
    shipping: Priced
    total_minor: int
    steps: tuple[Step, ...]


class NotPriceable(Refusal):
    """A basket like that has no price."""

    kind = Kind.INVALID
