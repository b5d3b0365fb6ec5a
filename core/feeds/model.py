from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

from core.kit.refusal import Kind as Of
from core.kit.refusal import Refusal

SnapshotId = NewType("SnapshotId", int)


class Kind(StrEnum):
    """What a message may be about."""

    RECEIVED = "received"
    DAMAGED = "damaged"
    MENDED = "mended"
    SCRAPPED = "scrapped"
    ADJUSTED = "adjusted"
    SHIPPED = "shipped"
    SNAPSHOT = "snapshot"
    ALIVE = "alive"


class Line(msgspec.Struct, frozen=True):
    """Units that something happened to; a difference where stock is adjusted, what stands there
    where it is a snapshot.
    """

    sku_code: str
    quantity: int


class Message(msgspec.Struct, frozen=True):
    """What a system tells once, by its reference.

    A consignment was shipped, in a parcel; or units that were `kept_for` something else.
    `told_before` is how many messages about the place were applied before a snapshot was taken.
    """

    reference: str
    kind: Kind
    lines: Sequence[Line] = ()
    kept_for: str | None = None
    consignment_id: int | None = None
    carrier: str | None = None
    tracking: str | None = None
    told_before: int | None = None


class Feed(msgspec.Struct, frozen=True):
    """What a system tells about a place: `told` messages were applied, its last word is so old.

    `silent_max_s` is its promise; None where it only listens.
    """

    system: str
    place_id: int
    silent_max_s: int | None
    opened_at: datetime
    closed_at: datetime | None
    heard_at: datetime | None
    told: int
    age_s: float

    @property
    def is_silent(self) -> bool:
        return self.silent_max_s is not None and self.age_s > self.silent_max_s


class Heard(msgspec.Struct, frozen=True):
    """A message that came. `reason` is None for what was applied."""

    id: int
    system: str
    reference: str
    place_id: int
    kind: str
    reason: str | None
    heard_at: datetime


class Before(msgspec.Struct, frozen=True):
    """What came under a reference before."""

    digest: bytes
    reason: str | None


class Snapshot(msgspec.Struct, frozen=True):
    """`skus` were compared: those that it names, and those that the books have."""

    id: SnapshotId
    system: str
    reference: str
    place_id: int
    skus: int
    differing: int
    compared_at: datetime


class Difference(msgspec.Struct, frozen=True):
    """`expected` is None for a code that the catalogue does not know; `count_id` sees to it."""

    sku_code: str
    expected: int | None
    counted: int
    count_id: int | None


class NoSuchFeed(Refusal):
    """The account that asks has no feed of that place."""

    kind = Of.NOT_FOUND


class NoSuchSnapshot(Refusal):
    """There is no such snapshot."""

    kind = Of.NOT_FOUND


class TooManyFeeds(Refusal):
    """There are as many feeds as there may be."""

    kind = Of.CONFLICT


class ReferenceReused(Refusal):
    """That reference was used for something else."""

    kind = Of.INVALID


class UnfitMessage(Refusal):
    """The message lacks what its kind needs, or has what does not fit it."""

    kind = Of.INVALID


class MessagesMissing(Refusal):
    """Messages from before the snapshot have not been applied. Tell those first, then it again."""

    kind = Of.CONFLICT


class SnapshotOvertaken(Refusal):
    """Messages from after the snapshot were applied before it came. Take a new one."""

    kind = Of.CONFLICT


class DiffersTooMuch(Refusal):
    """The snapshot differs too much from the books to be believed. Nothing was counted."""

    kind = Of.CONFLICT
