"""A warehouse's system tells what happened there: each message is applied once, by itself.

A message and what it does are one transaction. What is refused leaves the stock as it was, and may
be told again once it fits: systems repeat themselves, and cross themselves on the way. Where money
has to be taken before something leaves, it is taken in between, and the message applied then.
"""

from collections.abc import Mapping, Sequence

import msgspec

from core import catalogue, feeds, fulfilment, inventory, payments, staff
from core.flows import compare_stock, count_stock, send_consignments
from core.kit import db
from core.kit.refusal import Refusal

VERBS = {
    feeds.Kind.RECEIVED: inventory.receive,
    feeds.Kind.DAMAGED: inventory.damage,
    feeds.Kind.MENDED: inventory.mend,
    feeds.Kind.SCRAPPED: inventory.scrap,
}

# What orders and sales keep leaves by their own way, with the order's state.
OF_THE_SHOP = ("order:", "sale:")


class Teller(msgspec.Struct, frozen=True):
    """Who tells, about which place. `value_max` is what a count may be worth with one person."""

    system: str
    place_id: inventory.PlaceId
    value_max: Mapping[str, int]
    author: staff.Author | None = None


class Answer(msgspec.Struct, frozen=True):
    """What became of a message. `refusal` is None where it is applied, now or before (`is_new`).

    `undecided` counts wait for a person's decision, of those that it led to.
    """

    reference: str
    is_new: bool = False
    refusal: Refusal | None = None
    undecided: int = 0
    snapshot_id: feeds.SnapshotId | None = None


async def hear_feed(
    pool: db.Pool,
    channels: payments.Channels,
    teller: Teller,
    messages: Sequence[feeds.Message],
) -> tuple[list[Answer], feeds.Feed]:
    """Apply messages in order, and tell what the feed is like then. Raises feeds.NoSuchFeed."""
    system, place_id = teller.system, teller.place_id
    async with db.transaction(pool) as conn:
        await feeds.hear(conn, system=system, place_id=place_id)
    answers = [await _hear(pool, channels, teller, message) for message in messages]
    async with db.transaction(pool) as conn:
        return answers, await feeds.hold_feed(conn, system=system, place_id=place_id)


async def _hear(
    pool: db.Pool, channels: payments.Channels, teller: Teller, message: feeds.Message
) -> Answer:
    system, place_id = teller.system, teller.place_id
    try:
        try:
            return await _hear_once(pool, teller, message)
        except payments.NotCaptured:
            assert message.consignment_id is not None
            leaving = fulfilment.ConsignmentId(message.consignment_id)
            await send_consignments.take_for(pool, channels, consignment_id=leaving)
            return await _hear_once(pool, teller, message)
    except feeds.NoSuchFeed:
        raise
    except Refusal as refusal:
        async with db.transaction(pool) as conn:
            await feeds.refuse(conn, message, refusal, system=system, place_id=place_id)
        return Answer(message.reference, refusal=refusal)


async def _hear_once(pool: db.Pool, teller: Teller, message: feeds.Message) -> Answer:
    """Raises whatever the verb of its kind raises."""
    system, place_id = teller.system, teller.place_id
    async with db.transaction(pool) as conn:
        if not await feeds.take(conn, message, system=system, place_id=place_id):
            return Answer(message.reference)
        answer = await _apply(conn, teller, message)
        about = f"{system}:{message.reference}"
        told = {"place_id": place_id, "kind": message.kind, "lines": len(message.lines)}
        await staff.note(conn, teller.author, kind="message", object_id=about, after=told)
        return answer


async def _apply(conn: db.Conn, teller: Teller, message: feeds.Message) -> Answer:
    """Raises whatever the verb of its kind raises."""
    reference = f"feed:{teller.system}:{message.reference}"
    if message.kind is feeds.Kind.SNAPSHOT:
        snapshot, counts = await compare_stock.compare(
            conn,
            message.lines,
            system=teller.system,
            reference=message.reference,
            place_id=teller.place_id,
            value_max=teller.value_max,
        )
        return Answer(message.reference, True, None, undecided(counts), snapshot.id)
    units = await _units(conn, message.lines)
    if message.kind is feeds.Kind.ADJUSTED:
        counts = await _adjust(conn, teller, units, reference)
        return Answer(message.reference, True, None, undecided(counts))
    if message.consignment_id is not None:
        await _ship_consignment(conn, teller, message)
    elif message.kept_for is not None:
        if message.kept_for.startswith(OF_THE_SHOP):
            raise feeds.UnfitMessage("What was ordered ships as a consignment: name that.")
        deed = inventory.Deed(
            message.kept_for, units, reference, by=teller.system, place_id=teller.place_id
        )
        await inventory.ship(conn, [deed])
    elif message.kind is not feeds.Kind.ALIVE:
        await VERBS[message.kind](
            conn, place_id=teller.place_id, units=units, reference=reference, by=teller.system
        )
    return Answer(message.reference, True)


async def _ship_consignment(conn: db.Conn, teller: Teller, message: feeds.Message) -> None:
    """Raises fulfilment.NoSuchConsignment for one of another place, too."""
    assert message.consignment_id is not None
    assert message.carrier is not None
    assert message.tracking is not None
    consignment_id = fulfilment.ConsignmentId(message.consignment_id)
    found, _ = await fulfilment.find(conn, consignment_id=consignment_id)
    if found.place_id != teller.place_id:
        raise fulfilment.NoSuchConsignment(consignment_id=str(consignment_id))
    parcel = fulfilment.Parcel(message.carrier, message.tracking)
    await send_consignments.ship(
        conn, consignment_id=consignment_id, parcel=parcel, by=teller.system
    )


async def _units(conn: db.Conn, lines: Sequence[feeds.Line]) -> dict[int, int]:
    """SKU id -> units. Raises catalogue.NoSuchSku."""
    found = await catalogue.coded(conn, codes=[line.sku_code for line in lines])
    return {int(found[line.sku_code]): line.quantity for line in lines}


async def _adjust(
    conn: db.Conn, teller: Teller, units: Mapping[int, int], reference: str
) -> list[inventory.Count]:
    """A difference is a count of what there would be with it. Raises inventory.OutOfStock."""
    has = await inventory.hold_on_hand(conn, place_id=teller.place_id, sku_ids=units)
    for sku_id, difference in units.items():
        if has[sku_id] + difference < 0:
            raise inventory.OutOfStock(sku_id=str(sku_id), wanted=-difference, left=has[sku_id])
    return await count_stock.count(
        conn,
        place_id=teller.place_id,
        counted={sku_id: has[sku_id] + difference for sku_id, difference in units.items()},
        value_max=teller.value_max,
        reference=reference,
        by=teller.system,
    )


def undecided(counts: Sequence[inventory.Count]) -> int:
    return sum(count.state == inventory.CountState.PROPOSED for count in counts)
