"""Who sends what of an order, and which part of its money goes with it. Pure.

Whatever is divided or put together, each unit and each cent of an order's lines stands somewhere
once. Shares are by units; the shipping goes by what the goods come to.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from core.kit import money

from .model import (
    Draft,
    ImpossibleMerge,
    ImpossibleSplit,
    Line,
    Loaded,
    PaidLine,
    PaidOrder,
    Spot,
)

SHARED = ("goods_minor", "discount_minor", "tax_minor", "shipping_minor")
SUMMED = ("quantity", *SHARED)
# What consignments that become one have in common.
ALIKE = ("member_id", "place_id", "seller_id", "currency", "state")


def plan(order: PaidOrder, stock: Mapping[int, Mapping[int, int]]) -> list[Draft] | None:
    """Split an order by seller and by the place that keeps its units.

    `stock` is SKU -> place -> units kept for it, the best place first. A line stays in one piece
    where a place keeps all of it. None where the places keep less than was bought.
    """
    left = {sku_id: dict(places) for sku_id, places in stock.items()}
    found: dict[tuple[int, int], list[Line]] = {}
    for ordered in order.lines:
        units = take(left.get(ordered.sku_id, {}), ordered.quantity)
        if units is None:
            return None
        parts = divide(line_of(order, ordered), list(units.values()))
        for place_id, part in zip(units, parts, strict=True):
            found.setdefault((ordered.seller_id, place_id), []).append(part)
    loads = with_shipping(list(found.values()), order.shipping_minor)
    return [Draft(*key, load) for key, load in zip(found, loads, strict=True)]


def take(places: dict[int, int], quantity: int) -> dict[int, int] | None:
    """Take units out of `places`: all from one where one has them, else in order."""
    whole = [place_id for place_id, has in places.items() if has >= quantity][:1]
    taken: dict[int, int] = {}
    for place_id in whole or list(places):
        units = min(places[place_id], quantity)
        if units > 0:
            taken[place_id] = units
            places[place_id] -= units
            quantity -= units
    return taken if quantity == 0 else None


def line_of(order: PaidOrder, ordered: PaidLine) -> Line:
    return Line(
        order_id=order.order_id,
        line_no=ordered.line_no,
        sku_id=ordered.sku_id,
        kept_for=order.kept_for,
        quantity=ordered.quantity,
        goods_minor=ordered.goods_minor,
        discount_minor=ordered.discount_minor,
        tax_minor=ordered.tax_minor,
        shipping_minor=0,
    )


def with_shipping(loads: Sequence[Sequence[Line]], shipping_minor: int) -> list[list[Line]]:
    """Share an order's shipping among its lines; what is free of charge weighs by its units."""
    every = [line for load in loads for line in load]
    weights = [line.goods_minor for line in every]
    if not any(weights):
        weights = [line.quantity for line in every]
    shares = iter(money.allocate(shipping_minor, weights))
    return [
        [msgspec.structs.replace(line, shipping_minor=next(shares)) for line in load]
        for load in loads
    ]


def divide(line: Line, quantities: Sequence[int]) -> list[Line]:
    """A line in parts of so many units, which together are all of it."""
    assert sum(quantities) == line.quantity
    assert min(quantities) > 0
    amounts = [money.allocate(getattr(line, name), quantities) for name in SHARED]
    return [
        msgspec.structs.replace(line, quantity=units, **dict(zip(SHARED, shares, strict=True)))
        for units, *shares in zip(quantities, *amounts, strict=True)
    ]


def split(lines: Sequence[Line], leaving: Mapping[Spot, int]) -> tuple[list[Line], list[Line]]:
    """What stays, and what goes into a consignment of its own. Raises ImpossibleSplit."""
    for spot in leaving.keys() - {line.spot for line in lines}:
        raise ImpossibleSplit("That line is not in it.", **spot._asdict())
    stay: list[Line] = []
    go: list[Line] = []
    for line in lines:
        units = leaving.get(line.spot, 0)
        if units > line.quantity:
            facts = {**line.spot._asdict(), "left": line.quantity}
            raise ImpossibleSplit("There are not that many units in it.", **facts)
        if units == line.quantity:
            go.append(line)
        elif units == 0:
            stay.append(line)
        else:
            staying, going = divide(line, [line.quantity - units, units])
            stay.append(staying)
            go.append(going)
    if not stay or not go:
        raise ImpossibleSplit("Something has to stay, and something has to go.")
    return stay, go


def merge(every: Sequence[Loaded]) -> list[Line]:
    """What is in all of them together. Raises ImpossibleMerge."""
    first = every[0].consignment
    for other, _ in every[1:]:
        for name in ALIKE:
            if getattr(first, name) != getattr(other, name):
                raise ImpossibleMerge(f"They differ in their {name}.", differs_in=name)
    found: dict[Spot, Line] = {}
    for line in (line for _, lines in every for line in lines):
        found[line.spot] = add(found[line.spot], line) if line.spot in found else line
    return list(found.values())


def add(one: Line, other: Line) -> Line:
    sums = {name: getattr(one, name) + getattr(other, name) for name in SUMMED}
    return msgspec.structs.replace(one, **sums)


def totals(lines: Iterable[Line]) -> dict[Spot, tuple[int, ...]]:
    """Units and amounts of each line of an order, wherever its units are: no deed changes them."""
    found: dict[Spot, tuple[int, ...]] = {}
    for line in lines:
        before = found.get(line.spot, (0,) * len(SUMMED))
        here = (getattr(line, name) for name in SUMMED)
        found[line.spot] = tuple(a + b for a, b in zip(before, here, strict=True))
    return found


def units_of(lines: Iterable[Line]) -> dict[str, dict[int, int]]:
    """What the stock keeps of these: purpose -> SKU -> units."""
    found: dict[str, dict[int, int]] = {}
    for line in lines:
        units = found.setdefault(line.kept_for, {})
        units[line.sku_id] = units.get(line.sku_id, 0) + line.quantity
    return found
