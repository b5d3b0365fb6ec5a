from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

from core.kit.refusal import Kind, Refusal

PlaceId = NewType("PlaceId", int)
TransferId = NewType("TransferId", int)
CountId = NewType("CountId", int)

# The warehouse that every shop has from its first day.
MAIN = PlaceId(1)


class Move(StrEnum):
    """The kinds of movement. What each does to a balance stands in the table inventory.kinds."""

    RECEIVE = "receive"
    RESERVE = "reserve"
    RELEASE = "release"
    ALLOCATE = "allocate"
    RECALL = "recall"
    SHIP = "ship"
    DAMAGE = "damage"
    MEND = "mend"
    SCRAP = "scrap"
    SEND = "send"
    EXPECT = "expect"
    ARRIVE = "arrive"
    LOSE = "lose"
    SURPLUS = "surplus"
    SHORTAGE = "shortage"


class Place(msgspec.Struct, frozen=True):
    """`kind` is warehouse or store. The buyer's region goes first, then the lowest rank."""

    id: PlaceId
    code: str
    kind: str
    name: dict[str, str]
    region: str
    rank: int


class Balance(msgspec.Struct, frozen=True):
    """One SKU in one place. `free` = on_hand - reserved - allocated, and may be promised."""

    sku_id: int
    place_id: PlaceId
    on_hand: int
    reserved: int
    allocated: int
    in_transit: int
    damaged: int
    free: int
    safety_stock: int
    alerted: bool


class Kept(msgspec.Struct, frozen=True):
    """Units of a SKU that a place keeps."""

    sku_id: int
    place_id: PlaceId
    quantity: int


class Offer(msgspec.Struct, frozen=True):
    """What of a SKU may be sent out, from which warehouse first, and how many stores have some."""

    sku_id: int
    free: int
    ships_from: Place | None
    stores: int


class Pickup(msgspec.Struct, frozen=True):
    """A store, and how many units of a SKU can be picked up there."""

    place_id: PlaceId
    code: str
    name: dict[str, str]
    region: str
    free: int


class Wanted(msgspec.Struct, frozen=True):
    """Units (SKU id -> how many, each > 0) to keep for one purpose, such as `sale:7`, all or none.

    From `place_id` alone, or from the warehouses, those of `region` first.
    """

    kept_for: str
    units: Mapping[int, int]
    by: str
    place_id: PlaceId | None = None
    region: str = ""


class Deed(msgspec.Struct, frozen=True):
    """What happens once, by its reference, to units that are kept for one purpose.

    `units` is SKU id -> how many, each > 0. Where no place is named, any that keeps some will do.
    """

    kept_for: str
    units: Mapping[int, int]
    reference: str
    by: str
    place_id: PlaceId | None = None


class Done(msgspec.Struct, frozen=True):
    """What a reference did before."""

    reference: str
    kept_for: str | None
    kept: list[Kept]


class Reservation(msgspec.Struct, frozen=True):
    kept_for: str
    sku_id: int
    place_id: PlaceId
    reserved: int
    allocated: int
    shipped: int


class Entry(msgspec.Struct, frozen=True):
    """A movement to write."""

    kind: Move
    sku_id: int
    place_id: PlaceId
    quantity: int
    reference: str
    line_no: int
    by_whom: str
    kept_for: str | None = None
    reason: str | None = None


class Movement(msgspec.Struct, frozen=True):
    id: int
    kind: str
    sku_id: int
    place_id: PlaceId
    quantity: int
    reference: str
    kept_for: str | None
    reason: str | None
    by_whom: str
    moved_at: datetime


class Mark(msgspec.Struct, frozen=True):
    """The last movement that is seen, and a transaction that began after it was written."""

    last_id: int
    xid: int


class Drift(msgspec.Struct, frozen=True):
    """A figure of a balance that its rows do not prove."""

    sku_id: int
    place_id: PlaceId
    figure: str
    shown: int
    proven: int


class Alert(msgspec.Struct, frozen=True):
    """What was free when it fell to the safety stock."""

    id: int
    sku_id: int
    place_id: PlaceId
    free: int
    safety_stock: int
    raised_at: datetime
    cleared_at: datetime | None


class Raised(msgspec.Struct, frozen=True):
    """An alert, as whoever reads all of them on meets it. `xact` wrote it."""

    xact: int
    id: int
    sku_id: int
    place_id: PlaceId
    free: int
    safety_stock: int
    raised_at: datetime


class Proposal(msgspec.Struct, frozen=True):
    """How a low balance could be filled: from places with plenty, and the rest bought."""

    alert: Alert
    transfers: list[Kept]
    to_buy: int


class Worth(msgspec.Struct, frozen=True):
    """What one unit is worth."""

    minor: int
    currency: str


class Count(msgspec.Struct, frozen=True):
    """`expected` was on hand when `counted` units were found; `value_minor` is the difference's."""

    id: CountId
    reference: str
    sku_id: int
    place_id: PlaceId
    state: str
    expected: int
    counted: int
    value_minor: int
    currency: str
    needs_second: bool
    counted_by: str
    counted_at: datetime
    decided_by: str | None
    decided_at: datetime | None


class Transfer(msgspec.Struct, frozen=True):
    id: TransferId
    source_id: PlaceId
    target_id: PlaceId
    state: str
    by_whom: str
    planned_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None


class TransferLine(msgspec.Struct, frozen=True):
    """Once sent, quantity = arrived + lost + what is still under way."""

    transfer_id: TransferId
    sku_id: int
    quantity: int
    arrived: int
    lost: int


class TransferTotal(msgspec.Struct, frozen=True):
    """The sums of a transfer's lines, and how many there are."""

    transfer_id: TransferId
    skus: int
    quantity: int
    arrived: int
    lost: int


class OutOfStock(Refusal):
    """There is not that much in stock."""

    kind = Kind.CONFLICT


class NoSuchPlace(Refusal):
    """There is no such place."""

    kind = Kind.NOT_FOUND


class PlaceExists(Refusal):
    """There is a place with that code already."""

    kind = Kind.CONFLICT


class TooManyPlaces(Refusal):
    """There are as many places as there may be."""

    kind = Kind.CONFLICT


class NoSuchReservation(Refusal):
    """Nothing was ever kept for this."""

    kind = Kind.NOT_FOUND


class NotKept(Refusal):
    """There are not that many units kept for this."""

    kind = Kind.CONFLICT


class NotByHand(Refusal):
    """What a sale or an order keeps moves with it, and by nobody's hand."""

    kind = Kind.CONFLICT


class ReferenceReused(Refusal):
    """That reference was used for something else."""

    kind = Kind.INVALID


class TooManyReservations(Refusal):
    """Too many reservations are under way. Nothing was reserved; try again."""

    kind = Kind.TOO_MANY


class NoSuchTransfer(Refusal):
    """There is no such transfer."""

    kind = Kind.NOT_FOUND


class NoSuchCount(Refusal):
    """There is no such count."""

    kind = Kind.NOT_FOUND


class CountPending(Refusal):
    """An earlier count of this waits for a decision."""

    kind = Kind.CONFLICT


class SecondPersonNeeded(Refusal):
    """The difference is worth so much that somebody else has to decide."""

    kind = Kind.FORBIDDEN


class ImpossibleTransfer(Refusal):
    """Units cannot be transferred so."""

    kind = Kind.INVALID


class StillWriting(Refusal):
    """Changes of stock that began earlier are still being written. Ask again."""

    kind = Kind.UNAVAILABLE
