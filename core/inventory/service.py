from collections.abc import Collection, Iterable, Mapping, Sequence

from core.kit.db import Conn
from core.kit.ids import ID_MAX
from core.kit.refusal import Refusal
from core.kit.states import check_move
from core.kit.tail import Stretch

from . import books, rules, store
from .model import (
    Alert,
    Balance,
    Count,
    CountId,
    CountPending,
    Deed,
    Drift,
    Entry,
    ImpossibleTransfer,
    Kept,
    Mark,
    Move,
    Movement,
    NoSuchCount,
    NoSuchReservation,
    NoSuchTransfer,
    Offer,
    Pickup,
    Place,
    PlaceExists,
    PlaceId,
    Proposal,
    Raised,
    ReferenceReused,
    Reservation,
    SecondPersonNeeded,
    TooManyPlaces,
    Transfer,
    TransferId,
    TransferLine,
    TransferTotal,
    Wanted,
    Worth,
)
from .states import COUNT_MOVES, TRANSFER_MOVES, CountState, TransferState

DRIFTS_MAX = 1_000
PLACES_MAX = 1_000

Outcome = list[Kept] | Refusal


async def add_place(
    conn: Conn, *, code: str, kind: str, name: dict[str, str], region: str, rank: int
) -> Place:
    """`kind` is warehouse or store. Raises PlaceExists, TooManyPlaces."""
    if len(await store.places(conn)) >= PLACES_MAX:
        raise TooManyPlaces(places_max=PLACES_MAX)
    place = await store.add_place(conn, code, kind, name, region, rank)
    if place is None:
        raise PlaceExists(code=code)
    return place


async def places(conn: Conn) -> list[Place]:
    return await store.places(conn)


async def receive(
    conn: Conn, *, place_id: PlaceId, units: Mapping[int, int], reference: str, by: str
) -> None:
    """Put `units` (SKU id -> how many, each > 0) on hand, once per reference.

    Raises NoSuchPlace, ReferenceReused.
    """
    await books.insist_on_place(conn, place_id)
    await store.open_balances(conn, units, place_id)
    held = await store.hold(conn, list(units))
    came = books.kept(units, place_id)
    if not await books.is_done(conn, Move.RECEIVE, reference, came):
        await books.book(conn, held, books.entries(Move.RECEIVE, came, reference, by))


async def damage(
    conn: Conn, *, place_id: PlaceId, units: Mapping[int, int], reference: str, by: str
) -> None:
    """Set free units aside as damaged, once per reference.

    Raises NoSuchPlace, OutOfStock, ReferenceReused.
    """
    await books.take(conn, Move.DAMAGE, "free", place_id, units, reference, by)


async def mend(
    conn: Conn, *, place_id: PlaceId, units: Mapping[int, int], reference: str, by: str
) -> None:
    """Damaged units are good again. Raises NoSuchPlace, OutOfStock, ReferenceReused."""
    await books.take(conn, Move.MEND, "damaged", place_id, units, reference, by)


async def scrap(
    conn: Conn, *, place_id: PlaceId, units: Mapping[int, int], reference: str, by: str
) -> None:
    """Damaged units are thrown away. Raises NoSuchPlace, OutOfStock, ReferenceReused."""
    await books.take(conn, Move.SCRAP, "damaged", place_id, units, reference, by)


async def reserve(conn: Conn, wanted: Wanted) -> list[Kept]:
    """Keep units for one purpose, once. Raises OutOfStock, NoSuchPlace, ReferenceReused."""
    (outcome,) = await reserve_many(conn, [wanted])
    if isinstance(outcome, list):
        return outcome
    raise outcome


async def reserve_many(
    conn: Conn, wanted: Sequence[Wanted], *, refused: Mapping[int, Refusal] | None = None
) -> list[Outcome]:
    """Serve many purposes in one go, first come first served. None may stand here twice.

    `refused` are SKUs of which nothing is reserved anew, and why. What is refused to one leaves
    the others alone. Raises ReferenceReused where another transaction serves one of these purposes
    with other SKUs at this moment.
    """
    assert len({want.kept_for for want in wanted}) == len(wanted)
    every = await store.places(conn)
    held = await store.hold(conn, sorted({sku_id for want in wanted for sku_id in want.units}))
    before = await store.recorded(conn, Move.RESERVE, [want.kept_for for want in wanted])
    free = {shelf: balance.free for shelf, balance in held.items()}
    outcomes: list[Outcome] = []
    lines: list[Entry] = []
    for want in wanted:
        try:
            if want.kept_for in before:
                done = before[want.kept_for]
                books.insist_on_same(done, want.kept_for, want.units)
                outcomes.append(done.kept)
                continue
            books.insist_on_none(refused or {}, want.units)
            chosen = rules.choose(want, every, free)
        except Refusal as refusal:
            outcomes.append(refusal)
            continue
        outcomes.append(chosen)
        lines += books.entries(Move.RESERVE, chosen, want.kept_for, want.by, want.kept_for)
    await books.book(conn, held, lines)
    return outcomes


async def release(conn: Conn, deeds: Sequence[Deed]) -> None:
    """Reserved units are free again. Raises NotKept, ReferenceReused."""
    await books.settle(conn, Move.RELEASE, "reserved", deeds)


async def allocate(conn: Conn, deeds: Sequence[Deed]) -> None:
    """Reserved units are picked for their parcel. Raises NotKept, ReferenceReused."""
    await books.settle(conn, Move.ALLOCATE, "reserved", deeds)


async def recall(conn: Conn, deeds: Sequence[Deed]) -> None:
    """Allocated units are merely reserved again. Raises NotKept, ReferenceReused."""
    await books.settle(conn, Move.RECALL, "allocated", deeds)


async def ship(conn: Conn, deeds: Sequence[Deed]) -> None:
    """Allocated units leave the house. Raises NotKept, ReferenceReused."""
    await books.settle(conn, Move.SHIP, "allocated", deeds)


async def set_safety_stock(conn: Conn, *, sku_id: int, place_id: PlaceId, units: int) -> None:
    """At or below this many free units a balance raises an alert. Raises NoSuchPlace."""
    await books.insist_on_place(conn, place_id)
    await store.open_balances(conn, [sku_id], place_id)
    held = await store.hold(conn, [sku_id])
    shelf = (sku_id, place_id)
    await books.note_alerts(conn, held, {shelf: await store.set_safety_stock(conn, shelf, units)})


async def alerts(
    conn: Conn, *, after: int, page_max: int, place_ids: Collection[PlaceId] | None = None
) -> list[Alert]:
    """Those that are open, of some places or of all, oldest first."""
    return await store.alerts(conn, after, page_max, place_ids)


async def balances(conn: Conn, *, sku_ids: Iterable[int]) -> list[Balance]:
    return await store.of_skus(conn, list(sku_ids))


async def free(conn: Conn, *, sku_ids: Iterable[int]) -> dict[int, int]:
    """SKU id -> what may still be promised online: what is free in the warehouses."""
    warehouses = {place.id for place in await store.places(conn) if place.kind == "warehouse"}
    found = dict.fromkeys(sku_ids, 0)
    for balance in await store.of_skus(conn, list(found)):
        if balance.place_id in warehouses:
            found[balance.sku_id] += balance.free
    return found


async def offers(conn: Conn, *, sku_ids: Iterable[int], region: str) -> list[Offer]:
    """What a buyer in this region (or "") can have now, in the order of `sku_ids`."""
    every = await store.places(conn)
    free: dict[int, dict[PlaceId, int]] = {sku_id: {} for sku_id in sku_ids}
    for balance in await store.of_skus(conn, list(free)):
        if balance.free:
            free[balance.sku_id][balance.place_id] = balance.free
    return [rules.offer(sku_id, region, every, free[sku_id]) for sku_id in free]


async def pickups(
    conn: Conn, *, sku_id: int, region: str, after: int, page_max: int
) -> list[Pickup]:
    """Every store, or those of one region, by id, and what can be picked up there."""
    return await store.of_stores(conn, sku_id, region, after, page_max)


async def stock_of_place(
    conn: Conn, *, place_id: PlaceId, after: int, page_max: int
) -> list[Balance]:
    """In the order of SKU ids, from the first one after `after`. Raises NoSuchPlace."""
    await books.insist_on_place(conn, place_id)
    return await store.in_place(conn, place_id, after, page_max)


async def movements(conn: Conn, *, sku_id: int, after: int, page_max: int) -> list[Movement]:
    """Oldest first, from the first one after `after`."""
    return await store.movements(conn, sku_id, after, page_max)


async def mark(conn: Conn) -> Mark:
    """Where the movements are. Wants a statement of its own, and no transaction around it."""
    return await store.mark(conn)


async def is_settled(conn: Conn, mark: Mark) -> bool:
    """Whether nothing can appear any more among the movements up to a mark.

    Ids are drawn before their transactions end, so what is seen may have gaps that fill later.
    """
    return await store.is_settled(conn, mark.xid)


async def follow(
    conn: Conn, *, place_ids: Collection[PlaceId], after: int, upto: int, page_max: int
) -> list[Movement]:
    """What moved in some places, in order: those of one SKU as they were booked."""
    return await store.follow(conn, place_ids, after, upto, page_max)


async def levels(
    conn: Conn, *, place_ids: Collection[PlaceId], after: rules.Shelf, page_max: int
) -> list[Balance]:
    """What stands in some places, by place and SKU, from the first shelf after `after`."""
    return await store.in_places(conn, place_ids, after, page_max)


async def reservations(conn: Conn, *, kept_for: str) -> list[Reservation]:
    """Raises NoSuchReservation."""
    found = await store.reservations(conn, [kept_for])
    if not found:
        raise NoSuchReservation(kept_for=kept_for)
    return found


async def audit(conn: Conn) -> list[Drift]:
    """Recompute every balance from its rows. Nothing found means that all are proven."""
    return await store.drifts(conn, DRIFTS_MAX)


async def plan_transfer(
    conn: Conn, *, source_id: PlaceId, target_id: PlaceId, units: Mapping[int, int], by: str
) -> Transfer:
    """Write a transfer down; nothing moves yet. Raises NoSuchPlace, ImpossibleTransfer."""
    await books.insist_on_place(conn, source_id)
    await books.insist_on_place(conn, target_id)
    if source_id == target_id:
        raise ImpossibleTransfer("A transfer leads from one place to another.")
    return await store.plan_transfer(conn, source_id, target_id, by, units)


async def send_transfer(conn: Conn, *, transfer_id: TransferId, by: str) -> Transfer:
    """Free units leave their place and are in transit to the other. Again: nothing happens.

    Raises NoSuchTransfer, IllegalMove, OutOfStock.
    """
    transfer = await _hold_transfer(conn, transfer_id)
    if transfer.state == TransferState.SENT:
        return transfer
    moved = await _move_transfer(conn, transfer, TransferState.SENT)
    units = {one.sku_id: one.quantity for one in await store.transfer_lines(conn, transfer_id)}
    await store.open_balances(conn, units, transfer.target_id)
    held = await store.hold(conn, list(units))
    leaving = books.kept(units, transfer.source_id)
    books.insist_on(held, "free", leaving)
    reference = f"transfer:{transfer_id}"
    lines = books.entries(Move.SEND, leaving, reference, by)
    lines += books.entries(Move.EXPECT, books.kept(units, transfer.target_id), reference, by)
    await books.book(conn, held, lines)
    return moved


async def receive_transfer(
    conn: Conn, *, transfer_id: TransferId, came: Mapping[int, int], reference: str, by: str
) -> Transfer:
    """Units under way (SKU id -> how many, each > 0) are on hand, once per transfer and reference.

    The rest stays in transit; a transfer ends with the last unit.
    Raises NoSuchTransfer, IllegalMove, ImpossibleTransfer, ReferenceReused.
    """
    return await _account_for(conn, Move.ARRIVE, transfer_id, came, reference, by, None)


async def write_off_transfer(
    conn: Conn,
    *,
    transfer_id: TransferId,
    lost: Mapping[int, int],
    reason: str,
    reference: str,
    by: str,
) -> Transfer:
    """Units under way (SKU id -> how many, each > 0) will not come; else as `receive_transfer`."""
    return await _account_for(conn, Move.LOSE, transfer_id, lost, reference, by, reason)


async def cancel_transfer(conn: Conn, *, transfer_id: TransferId) -> Transfer:
    """Raises NoSuchTransfer, and IllegalMove for what has been sent."""
    transfer = await _hold_transfer(conn, transfer_id)
    if transfer.state == TransferState.CANCELLED:
        return transfer
    return await _move_transfer(conn, transfer, TransferState.CANCELLED)


async def find_transfer(
    conn: Conn, *, transfer_id: TransferId
) -> tuple[Transfer, list[TransferLine]]:
    """Raises NoSuchTransfer."""
    transfer = await store.find_transfer(conn, transfer_id)
    if transfer is None:
        raise NoSuchTransfer
    return transfer, await store.transfer_lines(conn, transfer_id)


async def transfers(
    conn: Conn, *, before: int | None, page_max: int
) -> list[tuple[Transfer, TransferTotal]]:
    """Newest first, below `before`."""
    found = await store.transfers(conn, ID_MAX if before is None else before, page_max)
    totals = {one.transfer_id: one for one in await store.totals(conn, [one.id for one in found])}
    return [(one, totals[one.id]) for one in found]


async def _hold_transfer(conn: Conn, transfer_id: TransferId) -> Transfer:
    transfer = await store.hold_transfer(conn, transfer_id)
    if transfer is None:
        raise NoSuchTransfer
    return transfer


async def _move_transfer(conn: Conn, transfer: Transfer, target: TransferState) -> Transfer:
    source = TransferState(transfer.state)
    check_move(TRANSFER_MOVES, source, target)
    moved = await store.move_transfer(conn, transfer.id, source, target)
    assert moved is not None, "the caller holds its row"
    return moved


async def _account_for(
    conn: Conn,
    kind: Move,
    transfer_id: TransferId,
    units: Mapping[int, int],
    reference: str,
    by: str,
    reason: str | None,
) -> Transfer:
    transfer = await _hold_transfer(conn, transfer_id)
    name = f"transfer:{transfer_id}:{reference}"
    ended = books.kept(units, transfer.target_id)
    held = await store.hold(conn, list(units))
    if await books.is_done(conn, kind, name, ended):
        return transfer
    check_move(TRANSFER_MOVES, TransferState(transfer.state), TransferState.ARRIVED)
    left = rules.under_way(await store.transfer_lines(conn, transfer_id))
    for sku_id, quantity in units.items():
        if quantity > left.get(sku_id, 0):
            facts = {"sku_id": str(sku_id), "left": left.get(sku_id, 0)}
            raise ImpossibleTransfer("That is more than is under way.", **facts)
    await books.book(conn, held, books.entries(kind, ended, name, by, reason=reason))
    await store.note_ended(conn, transfer_id, kind, units)
    is_over = sum(units.values()) == sum(left.values())
    return await _move_transfer(conn, transfer, TransferState.ARRIVED) if is_over else transfer


async def propose(conn: Conn, alerts: Sequence[Alert]) -> list[Proposal]:
    """How each of these could be seen to, as things stand now. Nothing is planned by asking."""
    sku_ids = list({alert.sku_id for alert in alerts})
    every = {place.id: place.kind for place in await store.places(conn)}
    planned = await store.planned(conn, sku_ids)
    found = await store.of_skus(conn, sku_ids)
    return [
        rules.propose(
            alert,
            [b for b in found if b.place_id == alert.place_id or every[b.place_id] == "warehouse"],
            planned,
        )
        for alert in alerts
    ]


async def count(
    conn: Conn,
    *,
    place_id: PlaceId,
    counted: Mapping[int, int],
    worths: Mapping[int, Worth],
    value_max: Mapping[str, int],
    reference: str,
    by: str,
) -> list[Count]:
    """Write down what was found on hand (SKU id -> how many), once per reference.

    A difference is applied at once, unless it is worth more than `value_max` of its currency or
    takes units that are kept for somebody; then it waits for `approve_count`.
    Raises NoSuchPlace, CountPending, ReferenceReused.
    """
    await books.insist_on_place(conn, place_id)
    await store.open_balances(conn, sorted(counted), place_id)
    held = await store.hold(conn, list(counted))
    before = await store.counts_of(conn, reference)
    if before:
        if {c.sku_id: c.counted for c in before} != counted or before[0].place_id != place_id:
            raise ReferenceReused(reference=reference)
        return before
    lines = [
        rules.weigh(held[sku_id, place_id], units, worths[sku_id], value_max)
        for sku_id, units in counted.items()
    ]
    added = await store.add_counts(conn, reference, place_id, by, lines)
    for sku_id in counted.keys() - {one.sku_id for one in added}:
        raise CountPending(sku_id=str(sku_id))
    return [
        one
        if one.needs_second or one.expected - one.counted > held[one.sku_id, place_id].free
        else await _apply(conn, held, one, by)
        for one in added
    ]


async def undecided(conn: Conn, *, place_id: PlaceId, sku_ids: Collection[int]) -> set[int]:
    """Those of these SKUs of which a count waits for a decision there."""
    return await store.undecided(conn, place_id, sku_ids)


async def hold_on_hand(
    conn: Conn, *, place_id: PlaceId, sku_ids: Collection[int]
) -> dict[int, int]:
    """What a place has of these SKUs, until the transaction ends. Raises NoSuchPlace."""
    await books.insist_on_place(conn, place_id)
    await store.open_balances(conn, sorted(sku_ids), place_id)
    held = await store.hold(conn, list(sku_ids))
    return {sku_id: held[sku_id, place_id].on_hand for sku_id in sku_ids}


async def approve_count(conn: Conn, *, count_id: CountId, by: str) -> Count:
    """Apply a difference. Again: nothing happens.

    Raises NoSuchCount, IllegalMove, OutOfStock, SecondPersonNeeded.
    """
    found = await hold_count(conn, count_id=count_id)
    if found.state == CountState.APPLIED:
        return found
    check_move(COUNT_MOVES, CountState(found.state), CountState.APPLIED)
    if found.needs_second and by == found.counted_by:
        raise SecondPersonNeeded
    return await _apply(conn, await store.hold(conn, [found.sku_id]), found, by)


async def reject_count(conn: Conn, *, count_id: CountId, by: str) -> Count:
    """Forget a difference. Raises NoSuchCount, IllegalMove."""
    found = await hold_count(conn, count_id=count_id)
    if found.state == CountState.REJECTED:
        return found
    return await _move_count(conn, found, CountState.REJECTED, by)


async def hold_count(conn: Conn, *, count_id: CountId) -> Count:
    """Nobody else decides about it meanwhile. Raises NoSuchCount."""
    found = await store.hold_count(conn, count_id)
    if found is None:
        raise NoSuchCount
    return found


async def counts(conn: Conn, *, before: int | None, page_max: int) -> list[Count]:
    """Newest first, below `before`."""
    return await store.counts(conn, ID_MAX if before is None else before, page_max)


async def _apply(conn: Conn, held: books.Held, found: Count, by: str) -> Count:
    """The balance moves by the difference that was seen, whatever has moved since."""
    moved = await _move_count(conn, found, CountState.APPLIED, by)
    difference = found.counted - found.expected
    kind = Move.SURPLUS if difference > 0 else Move.SHORTAGE
    changed = books.kept({found.sku_id: abs(difference)}, found.place_id)
    if kind is Move.SHORTAGE:
        books.insist_on(held, "free", changed)
    await books.book(conn, held, books.entries(kind, changed, f"count:{found.id}", by))
    return moved


async def _move_count(conn: Conn, found: Count, target: CountState, by: str) -> Count:
    source = CountState(found.state)
    check_move(COUNT_MOVES, source, target)
    moved = await store.move_count(conn, found.id, source, target, by)
    assert moved is not None, "the caller holds its row"
    return moved


async def raised(conn: Conn, stretch: Stretch, *, page_max: int) -> list[Raised]:
    """Alerts that were raised in a stretch, by transaction."""
    return await store.raised(conn, stretch, page_max)
