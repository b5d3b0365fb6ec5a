"""Where units come from, computed and nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .model import (
    Alert,
    Balance,
    Kept,
    NoSuchPlace,
    Offer,
    OutOfStock,
    Place,
    PlaceId,
    Proposal,
    TransferLine,
    Wanted,
    Worth,
)

Shelf = tuple[int, PlaceId]

# A low balance is filled up to so many times its safety stock, and who has more may give.
FULL = 2
GIFTS_MAX = 10


class CountLine(NamedTuple):
    sku_id: int
    expected: int
    counted: int
    value_minor: int
    currency: str
    needs_second: bool


def preference(wanted: Wanted, places: Sequence[Place]) -> list[PlaceId]:
    """The places that may serve it, the best first. A store serves only who names it.

    Raises NoSuchPlace.
    """
    if wanted.place_id is not None:
        if wanted.place_id not in {place.id for place in places}:
            raise NoSuchPlace(place_id=str(wanted.place_id))
        return [wanted.place_id]
    warehouses = [place for place in places if place.kind == "warehouse"]
    near = [place.id for place in warehouses if wanted.region and place.region == wanted.region]
    return near + [place.id for place in warehouses if place.id not in near]


def choose(wanted: Wanted, places: Sequence[Place], free: dict[Shelf, int]) -> list[Kept]:
    """Take what is wanted out of `free`: from the first place that has all of a SKU, else from as
    many as it needs, in order. Raises OutOfStock and NoSuchPlace, and then takes nothing.
    """
    order = preference(wanted, places)
    chosen: list[Kept] = []
    for sku_id, quantity in wanted.units.items():
        shelves = [(place_id, free.get((sku_id, place_id), 0)) for place_id in order]
        whole = [(place_id, has) for place_id, has in shelves if has >= quantity][:1]
        taken = take_down(sku_id, quantity, whole or shelves)
        if taken is None:
            left = sum(has for _, has in shelves)
            raise OutOfStock(sku_id=str(sku_id), wanted=quantity, left=left)
        chosen += taken
    for one in chosen:
        free[one.sku_id, one.place_id] -= one.quantity
    return chosen


def offer(sku_id: int, region: str, places: Sequence[Place], free: Mapping[PlaceId, int]) -> Offer:
    """What is promised goes by the order that reserving goes by. `free` holds no zeros."""
    online = preference(Wanted("", {sku_id: 1}, by="", region=region), places)
    sending = [place_id for place_id in online if place_id in free]
    return Offer(
        sku_id,
        free=sum(free[place_id] for place_id in sending),
        ships_from=next((place for place in places if place.id in sending[:1]), None),
        stores=len(free.keys() - set(online)),
    )


def take_down(
    sku_id: int, quantity: int, shelves: Iterable[tuple[PlaceId, int]]
) -> list[Kept] | None:
    """Take from each shelf what it has, in order, until there is enough; None if there is not."""
    taken = []
    for place_id, has in shelves:
        if has > 0 and quantity > 0:
            taken.append(Kept(sku_id, place_id, min(has, quantity)))
            quantity -= taken[-1].quantity
    return taken if quantity == 0 else None


def totals(kept: Iterable[Kept]) -> dict[int, int]:
    """SKU id -> units, over all places."""
    found: dict[int, int] = {}
    for one in kept:
        found[one.sku_id] = found.get(one.sku_id, 0) + one.quantity
    return found


def under_way(lines: Iterable[TransferLine]) -> dict[int, int]:
    """SKU id -> units, of a transfer that was sent."""
    return {line.sku_id: line.quantity - line.arrived - line.lost for line in lines}


def weigh(balance: Balance, counted: int, worth: Worth, value_max: Mapping[str, int]) -> CountLine:
    """Beyond `value_max` (currency -> minor units, else 0) one person is not enough."""
    value_minor = abs(counted - balance.on_hand) * worth.minor
    return CountLine(
        balance.sku_id,
        balance.on_hand,
        counted,
        value_minor,
        worth.currency,
        value_minor > value_max.get(worth.currency, 0),
    )


def propose(
    alert: Alert,
    balances: Sequence[Balance],
    planned: Sequence[tuple[int, PlaceId, PlaceId, int]],
) -> Proposal:
    """What is under way or planned counts as if it were done. `balances` are of any SKUs."""
    going = [(source, target, n) for sku_id, source, target, n in planned if sku_id == alert.sku_id]
    spare = {}
    missing = 0
    for balance in balances:
        if balance.sku_id != alert.sku_id:
            continue
        full = FULL * balance.safety_stock
        gone = sum(n for source, _, n in going if source == balance.place_id)
        if balance.place_id != alert.place_id:
            spare[balance.place_id] = balance.free - gone - full
            continue
        coming = sum(n for _, target, n in going if target == balance.place_id)
        missing = full - (balance.free + balance.in_transit + coming - gone)
    transfers = []
    for place_id, units in sorted(spare.items(), key=lambda one: (-one[1], one[0]))[:GIFTS_MAX]:
        given = min(units, missing)
        if given > 0:
            transfers.append(Kept(alert.sku_id, place_id, given))
            missing -= given
    return Proposal(alert, transfers, max(0, missing))
