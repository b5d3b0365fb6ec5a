"""Consignments are packed anew, leave, and arrive; stock and orders move with them.

Whoever changes what belongs to an order holds the order first, then its consignments, and the
stock last. Money that is held is taken before anything leaves, outside of the transaction.
"""

from collections.abc import Mapping, Sequence

from core import fulfilment, inventory, ledger, orders, payments, staff
from core.flows.dispatch_orders import deeds
from core.flows.take_held import take_held
from core.kit import db
from core.kit.states import IllegalMove


async def ship_consignment(
    pool: db.Pool,
    channels: payments.Channels,
    *,
    consignment_id: fulfilment.ConsignmentId,
    parcel: fulfilment.Parcel,
    by: str,
    author: staff.Author | None = None,
) -> fulfilment.Loaded:
    """It leaves its place. The same parcel again changes nothing.

    Raises fulfilment.NoSuchConsignment, IllegalMove for what cannot leave, inventory.NotKept where
    somebody took its units by hand, and payments.NotCaptured and ChannelUnavailable where the
    money that is held for it was not taken.
    """
    await take_for(pool, channels, consignment_id=consignment_id)
    async with db.transaction(pool) as conn:
        loaded = await ship(conn, consignment_id=consignment_id, parcel=parcel, by=by)
        return await _noted(conn, author, loaded)


async def take_for(
    pool: db.Pool, channels: payments.Channels, *, consignment_id: fulfilment.ConsignmentId
) -> None:
    """Take what is held for the orders in a consignment that may leave."""
    async with db.reading(pool) as conn:
        seen = await fulfilment.find(conn, consignment_id=consignment_id)
    if fulfilment.State.SHIPPED in fulfilment.MOVES[fulfilment.State(seen.consignment.state)]:
        await take_held(pool, channels, order_ids=_order_ids([seen]))


async def ship(
    conn: db.Conn,
    *,
    consignment_id: fulfilment.ConsignmentId,
    parcel: fulfilment.Parcel,
    by: str,
) -> fulfilment.Loaded:
    """The same in a transaction of the caller's, who took the money. Returns what it was before."""
    held, (loaded,) = await _hold(conn, [consignment_id])
    before = loaded.consignment
    if before.state != fulfilment.State.SHIPPED or parcel != (before.carrier, before.tracking):
        ended = await fulfilment.ship(conn, loaded, parcel=parcel, by=by)
        for order in held:
            if order.payment == orders.Payment.AUTHORIZED:
                raise payments.NotCaptured(order_id=order.id, reason="not-taken")
            await orders.ship(
                conn, order, consignment_id=str(consignment_id), is_last=order.id in ended
            )
        await inventory.ship(conn, deeds([loaded], by=by))
    return loaded


async def deliver_consignment(
    pool: db.Pool,
    *,
    consignment_id: fulfilment.ConsignmentId,
    by: str,
    author: staff.Author | None = None,
) -> fulfilment.Loaded:
    """It is at its address. Again changes nothing. The last one begins an order's days of escrow.

    Raises fulfilment.NoSuchConsignment, and IllegalMove for what has not left.
    """
    async with db.transaction(pool) as conn:
        held, (loaded,) = await _hold(conn, [consignment_id])
        if loaded.consignment.state != fulfilment.State.DELIVERED:
            ended = await fulfilment.deliver(conn, loaded, by=by)
            for order in held:
                await orders.deliver(
                    conn, order, consignment_id=str(consignment_id), is_last=order.id in ended
                )
                if order.id in ended:
                    await ledger.delivered(conn, order_id=order.id)
        return await _noted(conn, author, loaded)


async def split_consignment(
    pool: db.Pool,
    *,
    consignment_id: fulfilment.ConsignmentId,
    leaving: Mapping[fulfilment.Spot, int],
    author: staff.Author | None = None,
) -> list[fulfilment.Loaded]:
    """Put some units into a consignment of their own; return what stays, and it.

    Raises fulfilment.NoSuchConsignment, ImpossibleSplit, and IllegalMove for what has left.
    """
    async with db.transaction(pool) as conn:
        _, (loaded,) = await _hold(conn, [consignment_id])
        beside = await fulfilment.split(conn, loaded, leaving=leaving)
        after = await fulfilment.hold(conn, ids=[consignment_id, beside])
        await _note(conn, author, consignment_id, loaded, after)
    return after


async def merge_consignments(
    pool: db.Pool,
    *,
    ids: Sequence[fulfilment.ConsignmentId],
    author: staff.Author | None = None,
) -> fulfilment.Loaded:
    """Put all of them into the first one.

    Raises fulfilment.NoSuchConsignment, ImpossibleMerge, and IllegalMove for what has left.
    """
    async with db.transaction(pool) as conn:
        held, every = await _hold(conn, ids)
        await _insist_on_one_address(conn, held)
        target = await fulfilment.merge(conn, every)
        (after,) = await fulfilment.hold(conn, ids=[target])
        await _note(conn, author, target, every, after)
    return after


async def _insist_on_one_address(conn: db.Conn, held: Sequence[orders.Order]) -> None:
    """An order of a flash sale has agreed on none: its member says where it goes."""
    agreed = [
        (await orders.agreement(conn, order_id=order.id)).address
        for order in held
        if order.claimed is None
    ]
    if any(address != agreed[0] for address in agreed) or 0 < len(agreed) < len(held):
        raise fulfilment.ImpossibleMerge("They differ in their address.", differs_in="address")


async def _hold(
    conn: db.Conn, ids: Sequence[fulfilment.ConsignmentId]
) -> tuple[list[orders.Order], list[fulfilment.Loaded]]:
    """Consignments, with all orders that something in them belongs to."""
    seen = [await fulfilment.find(conn, consignment_id=one) for one in ids]
    held = await orders.hold(conn, order_ids=_order_ids(seen))
    every = await fulfilment.hold(conn, ids=ids)
    if _order_ids(every) != _order_ids(seen):
        source = every[0].consignment.state
        raise IllegalMove("It was packed anew while we were looking.", source=source, target=source)
    return held, every


def _order_ids(every: Sequence[fulfilment.Loaded]) -> set[orders.OrderId]:
    return {orders.OrderId(line.order_id) for one in every for line in one.lines}


async def _noted(
    conn: db.Conn, author: staff.Author | None, before: fulfilment.Loaded
) -> fulfilment.Loaded:
    (after,) = await fulfilment.hold(conn, ids=[before.consignment.id])
    await _note(conn, author, before.consignment.id, before.consignment, after.consignment)
    return after


async def _note(
    conn: db.Conn,
    author: staff.Author | None,
    consignment_id: fulfilment.ConsignmentId,
    before: object,
    after: object,
) -> None:
    where = str(consignment_id)
    await staff.note(conn, author, kind="consignment", object_id=where, before=before, after=after)
