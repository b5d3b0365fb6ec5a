"""What every verb stands on: balances are held, deeds are done once, movements are written."""

from collections.abc import Iterable, Mapping, Sequence

from core.kit.db import Conn
from core.kit.refusal import Refusal

from . import rules, store
from .model import (
    Balance,
    Deed,
    Done,
    Entry,
    Kept,
    Move,
    NoSuchPlace,
    NotKept,
    OutOfStock,
    PlaceId,
    ReferenceReused,
)
from .rules import Shelf

Held = Mapping[Shelf, Balance]


async def insist_on_place(conn: Conn, place_id: PlaceId) -> None:
    if place_id not in {place.id for place in await store.places(conn)}:
        raise NoSuchPlace(place_id=str(place_id))


async def take(
    conn: Conn,
    kind: Move,
    figure: str,
    place_id: PlaceId,
    units: Mapping[int, int],
    reference: str,
    by: str,
) -> None:
    """Book what lowers one figure of a place's balances, once per reference."""
    await insist_on_place(conn, place_id)
    wanted = kept(units, place_id)
    held = await store.hold(conn, list(units))
    if await is_done(conn, kind, reference, wanted):
        return
    insist_on(held, figure, wanted)
    await book(conn, held, entries(kind, wanted, reference, by))


async def settle(conn: Conn, kind: Move, figure: str, deeds: Sequence[Deed]) -> None:
    """Book what lowers one figure of some reservations, each deed once per reference."""
    if not deeds:
        return
    assert len({deed.reference for deed in deeds}) == len(deeds)
    held = await store.hold(conn, sorted({sku_id for deed in deeds for sku_id in deed.units}))
    before = await store.recorded(conn, kind, [deed.reference for deed in deeds])
    purposes = list({deed.kept_for for deed in deeds})
    stock: dict[tuple[str, int], dict[PlaceId, int]] = {}
    for one in await store.reservations(conn, purposes):
        shelves = stock.setdefault((one.kept_for, one.sku_id), {})
        shelves[one.place_id] = getattr(one, figure)
    lines: list[Entry] = []
    for deed in deeds:
        if deed.reference in before:
            insist_on_same(before[deed.reference], deed.kept_for, deed.units)
        else:
            taken = [one for sku_id in deed.units for one in take_kept(deed, sku_id, stock)]
            lines += entries(kind, taken, deed.reference, deed.by, deed.kept_for)
    await book(conn, held, lines)


def take_kept(
    deed: Deed, sku_id: int, stock: Mapping[tuple[str, int], dict[PlaceId, int]]
) -> list[Kept]:
    """Take a SKU's units from what is left of their reservations in `stock`. Raises NotKept."""
    shelves = stock.get((deed.kept_for, sku_id), {})
    fit = [(place, has) for place, has in shelves.items() if deed.place_id in (None, place)]
    taken = rules.take_down(sku_id, deed.units[sku_id], fit)
    if taken is None:
        raise NotKept(kept_for=deed.kept_for, sku_id=str(sku_id), wanted=deed.units[sku_id])
    for one in taken:
        shelves[one.place_id] -= one.quantity
    return taken


def insist_on(held: Held, figure: str, wanted: Iterable[Kept]) -> None:
    """Raises OutOfStock where a balance does not show as much of a figure."""
    for one in wanted:
        balance = held.get((one.sku_id, one.place_id))
        has = 0 if balance is None else getattr(balance, figure)
        if has < one.quantity:
            raise OutOfStock(sku_id=str(one.sku_id), wanted=one.quantity, left=has)


def kept(units: Mapping[int, int], place_id: PlaceId) -> list[Kept]:
    return [Kept(sku_id, place_id, units[sku_id]) for sku_id in units if units[sku_id]]


def entries(
    kind: Move,
    moved: Iterable[Kept],
    reference: str,
    by: str,
    kept_for: str | None = None,
    reason: str | None = None,
) -> list[Entry]:
    return [
        Entry(
            kind, one.sku_id, one.place_id, one.quantity, reference, line_no, by, kept_for, reason
        )
        for line_no, one in enumerate(moved, 1)
    ]


async def is_done(conn: Conn, kind: Move, reference: str, wanted: Sequence[Kept]) -> bool:
    """Whether the very same was done before. Raises ReferenceReused if it was something else."""
    done = (await store.recorded(conn, kind, [reference])).get(reference)
    if done is not None and set(done.kept) != set(wanted):
        raise ReferenceReused(reference=reference)
    return done is not None


def insist_on_none(refused: Mapping[int, Refusal], sku_ids: Iterable[int]) -> None:
    """Raise why the first of these is refused, where one is."""
    for sku_id in sku_ids:
        if sku_id in refused:
            raise refused[sku_id]


def insist_on_same(done: Done, kept_for: str, units: Mapping[int, int]) -> None:
    if (done.kept_for, rules.totals(done.kept)) != (kept_for, dict(units)):
        raise ReferenceReused(reference=done.reference)


async def book(conn: Conn, held: Held, lines: Sequence[Entry]) -> None:
    """Write movements of balances that the caller holds, and tell who falls low or recovers."""
    if not lines:
        return
    low = await store.book(conn, lines)
    if low is None:
        raise ReferenceReused
    await note_alerts(conn, held, low)


async def note_alerts(conn: Conn, held: Held, low: Mapping[Shelf, bool]) -> None:
    turned = [shelf for shelf, is_low in low.items() if is_low != held[shelf].alerted]
    if turned:
        await store.raise_alerts(conn, turned)
        await store.clear_alerts(conn, turned)
