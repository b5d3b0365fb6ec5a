"""Where units come from, computed and nothing else."""

from collections.abc import Iterable, Sequence

from .model import Kept, NoSuchPlace, OutOfStock, Place, PlaceId, Wanted

Shelf = tuple[int, PlaceId]


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
