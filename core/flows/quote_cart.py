"""What a cart comes to where it goes, and why. A quote is computed and kept nowhere: it bears a
digest of all that a buyer saw, and who checks out names that.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from core import carts, catalogue, countries, inventory, members, pricing
from core.kit import db
from core.kit.refusal import Kind, Refusal

# Currency -> what it costs to send a cart, before tax that is added.
Rates = Mapping[str, pricing.Shipping]


class CurrencyNotOffered(Refusal):
    """The shop does not sell in that currency."""

    kind = Kind.INVALID


class NothingToBuy(Refusal):
    """There is nothing in the cart that can be bought."""

    kind = Kind.CONFLICT


class Withheld(msgspec.Struct, frozen=True):
    """Of the cart and not of the price: `withdrawn` from sale, or `not-priced` in the currency."""

    sku_id: int
    quantity: int
    reason: str


class QuotedLine(msgspec.Struct, frozen=True):
    """Amounts are of all units, but for `unit_minor`."""

    line_no: int
    sku_id: int
    quantity: int
    unit_minor: int
    discount_minor: int
    tax_minor: int
    included_tax_minor: int
    amount_minor: int


class Shipped(msgspec.Struct, frozen=True):
    minor: int
    tax_minor: int
    included_tax_minor: int


class Quote(msgspec.Struct, frozen=True):
    """`steps` explain `total_minor` to the cent; shipping is line 0 there."""

    currency: str
    address: dict[str, str]
    lines: tuple[QuotedLine, ...]
    shipping: Shipped
    total_minor: int
    tax_ppm: int
    steps: list[dict[str, Any]]

    @property
    def digest(self) -> str:
        """The same where a buyer would see the same."""
        said = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(said).hexdigest()[:32]


class Look(msgspec.Struct, frozen=True):
    """A quote for a buyer; `free` is how many units of each SKU may be promised now."""

    quote: Quote
    withheld: list[Withheld]
    free: dict[int, int]


async def quote_cart(
    pool: db.Pool,
    rates: Rates,
    *,
    member_id: int,
    address_id: members.AddressId,
    currency: str,
) -> Look:
    """Raises members.NoSuchAddress, CurrencyNotOffered, NothingToBuy, pricing.NotPriceable."""
    async with db.snapshot(pool) as conn:
        address = await members.find_address(conn, member_id=member_id, address_id=address_id)
        items = await carts.items(conn, member_id=member_id)
        goods = await goods_of(conn, items)
        free = await inventory.free(conn, sku_ids=[item.sku_id for item in items])
    buyable, withheld = sort_out(items, goods, currency)
    return Look(price(rates, buyable, goods, address.fields, currency), withheld, free)


async def goods_of(conn: db.Conn, items: Sequence[carts.Item]) -> dict[int, catalogue.Sku | None]:
    """SKU id -> the SKU, or None where nobody may order it now."""
    sku_ids = {catalogue.SkuId(item.sku_id) for item in items}
    found = await catalogue.skus(conn, sku_ids=sku_ids)
    offered = await catalogue.on_sale(conn, sku_ids=sku_ids)
    return {sku_id: found[sku_id] if sku_id in offered else None for sku_id in sku_ids}


def sort_out(
    items: Sequence[carts.Item], goods: Mapping[int, catalogue.Sku | None], currency: str
) -> tuple[list[carts.Item], list[Withheld]]:
    buyable, withheld = [], []
    for item in items:
        sku = goods[item.sku_id]
        if sku is not None and currency in sku.prices:
            buyable.append(item)
        else:
            reason = "withdrawn" if sku is None else "not-priced"
            withheld.append(Withheld(item.sku_id, item.quantity, reason))
    return buyable, withheld


def price(
    rates: Rates,
    items: Sequence[carts.Item],
    goods: Mapping[int, catalogue.Sku | None],
    address: Mapping[str, str],
    currency: str,
) -> Quote:
    """Raises CurrencyNotOffered, NothingToBuy, pricing.NotPriceable."""
    if currency not in rates:
        raise CurrencyNotOffered(currencies=sorted(rates))
    if not items:
        raise NothingToBuy
    tax = countries.tax_of(address)
    units = {item.sku_id: unit_minor(goods[item.sku_id], currency) for item in items}
    basket = pricing.Basket(
        currency=currency,
        lines=tuple(
            pricing.Line(number, item.sku_id, item.quantity, units[item.sku_id], tax.rate_ppm)
            for number, item in enumerate(items, 1)
        ),
        shipping=msgspec.structs.replace(rates[currency], tax_ppm=tax.rate_ppm),
        prices_include_tax=tax.is_included,
    )
    found = pricing.price(basket)
    return Quote(
        currency=currency,
        address=dict(address),
        lines=tuple(quoted(*both, tax) for both in zip(basket.lines, found.lines, strict=True)),
        shipping=Shipped(
            found.shipping.list_minor - found.shipping.discount_minor,
            *tax_parts(found.shipping, tax),
        ),
        total_minor=found.total_minor,
        tax_ppm=tax.rate_ppm,
        steps=[msgspec.to_builtins(step, str_keys=True) for step in found.steps],
    )


def unit_minor(sku: catalogue.Sku | None, currency: str) -> int:
    assert sku is not None, "what is withdrawn is withheld"
    return sku.prices[currency]


def quoted(line: pricing.Line, priced: pricing.Priced, tax: countries.Tax) -> QuotedLine:
    return QuotedLine(
        line.number,
        line.sku_id,
        line.quantity,
        line.unit_minor,
        priced.discount_minor,
        *tax_parts(priced, tax),
        priced.total_minor,
    )


def tax_parts(priced: pricing.Priced, tax: countries.Tax) -> tuple[int, int]:
    """The tax that is added, and the tax that is included."""
    return (0, priced.tax_minor) if tax.is_included else (priced.tax_minor, 0)
