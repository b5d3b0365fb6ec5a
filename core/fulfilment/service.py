from collections.abc import Collection, Mapping, Sequence

from core.kit.db import Conn
from core.kit.ids import ID_MAX
from core.kit.states import IllegalMove, check_move

from . import rules, store
from .model import (
    Consignment,
    ConsignmentId,
    ImpossibleMerge,
    Lead,
    LeadSummary,
    Loaded,
    NoSuchConsignment,
    PaidOrder,
    Parcel,
    Spot,
)
from .states import INSIDE, MOVES, State

MERGED_MAX = 50
# Whoever ends an order has committed by then.
FRESH_S = 600.0


async def is_planned(conn: Conn, *, order_id: str) -> bool:
    return await store.lead(conn, order_id) is not None


async def planned_units(conn: Conn, *, kept_for: str) -> dict[tuple[int, int], int]:
    """(SKU, place) -> units that are meant for consignments, and not allocated to them yet."""
    return await store.planned_units(conn, kept_for)


async def plan(
    conn: Conn, order: PaidOrder, stock: Mapping[int, Mapping[int, int]]
) -> list[Loaded] | None:
    """Write an order's consignments down, once; `stock` as in `rules.plan`.

    None, with nothing written, where the places keep less than was bought.
    """
    drafts = rules.plan(order, stock)
    if drafts is None:
        return None
    if await store.add_lead(conn, order.order_id, order.paid_at):
        for draft in drafts:
            await store.add(conn, order, draft)
    return await of_orders(conn, order_ids=[order.order_id])


async def find(conn: Conn, *, consignment_id: ConsignmentId) -> Loaded:
    """Raises NoSuchConsignment."""
    found = await store.find(conn, consignment_id)
    if found is None:
        raise NoSuchConsignment(consignment_id=str(consignment_id))
    (loaded,) = await store.load(conn, [found])
    return loaded


async def hold(conn: Conn, *, ids: Sequence[ConsignmentId]) -> list[Loaded]:
    """In the order of `ids`. Who changes what is in them holds their orders before.

    Raises NoSuchConsignment.
    """
    held = {one.consignment.id: one for one in await store.load(conn, await store.hold(conn, ids))}
    for consignment_id in ids:
        if consignment_id not in held:
            raise NoSuchConsignment(consignment_id=str(consignment_id))
    return [held[consignment_id] for consignment_id in ids]


async def of_orders(conn: Conn, *, order_ids: Collection[str]) -> list[Loaded]:
    """All consignments that have something of these orders, and all that is in them."""
    return await store.load(conn, await store.of_orders(conn, order_ids))


async def listing(
    conn: Conn,
    *,
    state: State | None,
    place_id: int | None,
    before: int | None,
    page_max: int,
) -> list[Loaded]:
    """Newest first, below `before`."""
    await store.plan_anew(conn)
    last = ID_MAX if before is None else before
    return await store.load(conn, await store.listing(conn, state, place_id, last, page_max))


async def split(conn: Conn, loaded: Loaded, *, leaving: Mapping[Spot, int]) -> ConsignmentId:
    """Put some units of a consignment into one of their own. The caller holds it.

    Raises ImpossibleSplit, and IllegalMove for what is not inside any more.
    """
    consignment, lines = loaded
    insist_on_inside(consignment)
    stay, go = rules.split(lines, leaving)
    assert rules.totals(stay + go) == rules.totals(lines)
    await store.empty(conn, [consignment.id])
    await store.add_lines(conn, consignment.id, stay)
    return await store.add_beside(conn, consignment.id, go)


async def merge(conn: Conn, every: Sequence[Loaded]) -> ConsignmentId:
    """Put all into the first one. The caller holds them.

    Raises ImpossibleMerge, and IllegalMove for what is not inside any more.
    """
    ids = [one.consignment.id for one in every]
    if len(set(ids)) != len(ids) or not 1 < len(ids) <= MERGED_MAX:
        raise ImpossibleMerge("Name some that differ.", merged_max=MERGED_MAX)
    for one in every:
        insist_on_inside(one.consignment)
    lines = rules.merge(every)
    assert rules.totals(lines) == rules.totals(line for one in every for line in one.lines)
    target = ids[0]
    await store.empty(conn, ids)
    await store.add_lines(conn, target, lines)
    await _cancel(conn, [one.consignment for one in every[1:]], merged_into=target)
    return target


async def allocate(conn: Conn, every: Sequence[Loaded]) -> None:
    """Their places have picked their units. The caller holds them."""
    for one, _ in every:
        check_move(MOVES, State(one.state), State.ALLOCATED)
    await store.allocate(conn, [one.id for one, _ in every])


async def ship(conn: Conn, loaded: Loaded, *, parcel: Parcel, by: str) -> set[str]:
    """It leaves. The caller holds it. Return the orders of which nothing is left inside.

    Raises IllegalMove.
    """
    check_move(MOVES, State(loaded.consignment.state), State.SHIPPED)
    shipped = await store.ship(conn, loaded.consignment.id, parcel, by)
    assert shipped, "the caller holds it"
    return await _end(conn, loaded, State.SHIPPED, INSIDE)


async def deliver(conn: Conn, loaded: Loaded, *, by: str) -> set[str]:
    """It is there. The caller holds it. Return the orders of which everything is there.

    Raises IllegalMove.
    """
    check_move(MOVES, State(loaded.consignment.state), State.DELIVERED)
    delivered = await store.deliver(conn, loaded.consignment.id, by)
    assert delivered, "the caller holds it"
    return await _end(conn, loaded, State.DELIVERED, INSIDE | {State.SHIPPED})


async def withdraw(conn: Conn, *, order_id: str) -> list[Loaded]:
    """Cancel all that was planned for an order, and return it. The caller holds the order.

    What shares a consignment with another order leaves it first. Raises IllegalMove for what left.
    """
    ids = [one.consignment.id for one in await of_orders(conn, order_ids=[order_id])]
    gone: list[ConsignmentId] = []
    for one in await hold(conn, ids=sorted(ids)):
        if one.consignment.state == State.CANCELLED:
            continue
        leaving = {line.spot: line.quantity for line in one.lines if line.order_id == order_id}
        is_alone = len(leaving) == len(one.lines)
        gone.append(one.consignment.id if is_alone else await split(conn, one, leaving=leaving))
    withdrawn = await hold(conn, ids=gone)
    await _cancel(conn, [one.consignment for one in withdrawn])
    await store.end_leads(conn, [order_id], State.CANCELLED)
    return withdrawn


async def lead(conn: Conn, *, order_id: str) -> Lead | None:
    """None where nothing was planned for the order."""
    return await store.lead(conn, order_id)


async def lead_times(conn: Conn, *, days: int) -> LeadSummary:
    """Of the orders that were shipped, or delivered, today (UTC) or in so many days before.

    Times are rounded up, by 4% at most.
    """
    shipped = await store.times(conn, State.SHIPPED, days)
    delivered = await store.times(conn, State.DELIVERED, days)
    waiting = await store.waiting(conn)
    assert shipped is not None
    assert delivered is not None
    assert waiting is not None
    return LeadSummary(shipped, delivered, waiting)


async def sum_up_leads(conn: Conn) -> None:
    """Add up what has ended since the last time, a day of it at most."""
    await store.sum_up(conn, FRESH_S)


def insist_on_inside(consignment: Consignment) -> None:
    if consignment.state not in INSIDE:
        raise IllegalMove(
            "What has left, or was cancelled, stays as it is.",
            source=consignment.state,
            target=State.PLANNED.value,
        )


async def _cancel(
    conn: Conn, every: Sequence[Consignment], merged_into: ConsignmentId | None = None
) -> None:
    for one in every:
        check_move(MOVES, State(one.state), State.CANCELLED)
    await store.cancel(conn, [one.id for one in every], merged_into)


async def _end(conn: Conn, loaded: Loaded, end: State, open_states: Collection[State]) -> set[str]:
    """Of the orders in it, those that have nothing more in these states have come to this end."""
    order_ids = {line.order_id for line in loaded.lines}
    ended = order_ids - await store.orders_with(conn, order_ids, open_states)
    await store.end_leads(conn, ended, end)
    return ended
