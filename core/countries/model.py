from collections.abc import Mapping

import msgspec

from core.kit.refusal import Kind, Refusal


class Field(msgspec.Struct, frozen=True):
    """A part of an address, and what fits into it: `pattern` describes the whole text."""

    name: str
    label: Mapping[str, str]
    is_required: bool = False
    pattern: str = ""
    length_max: int = 100


class Tax(msgspec.Struct, frozen=True):
    """In millionths of the price. Where it is included, prices are what a buyer pays."""

    rate_ppm: int
    is_included: bool


class Country(msgspec.Struct, frozen=True):
    """`by_region` holds tax rates of regions, where they differ. `code` is of ISO 3166-1."""

    code: str
    name: Mapping[str, str]
    fields: tuple[Field, ...]
    tax: Tax
    by_region: Mapping[str, int] = {}


class UnfitAddress(Refusal):
    """There is no such address in that country."""

    kind = Kind.INVALID
