from datetime import datetime
from typing import NewType

import msgspec

from core.kit.refusal import Kind, Refusal

from .states import State

DisputeId = NewType("DisputeId", int)


class Told(msgspec.Struct, frozen=True):
    """What a provider says of a dispute. `stage` and `reason` are its own words.

    `is_our_turn`: it waits for an answer of ours, until `respond_by` where it names a time.
    """

    channel: str
    provider_ref: str
    payment_id: str
    state: State
    stage: str
    reason: str
    amount_minor: int
    currency: str
    is_our_turn: bool
    respond_by: datetime | None
    told_at: datetime


class Dispute(msgspec.Struct, frozen=True):
    """`order_id` is the order that the payment counts for; its money waits while `is_holding`."""

    id: DisputeId
    channel: str
    provider_ref: str
    payment_id: str
    order_id: str
    state: str
    stage: str
    reason: str
    amount_minor: int
    currency: str
    is_our_turn: bool
    respond_by: datetime | None
    told_at: datetime
    is_holding: bool
    opened_at: datetime
    ended_at: datetime | None


class Happened(msgspec.Struct, frozen=True):
    """A dispute was opened, or moved: its state since then, and the transaction that wrote it."""

    id: int
    xact: int
    dispute_id: DisputeId
    state: str
    happened_at: datetime


class Standing(msgspec.Struct, frozen=True):
    """How many are open, how many of those wait for us, and how soon the first is due."""

    open: int
    ours: int
    due_s: float | None


class NoSuchDispute(Refusal):
    """There is no such dispute."""

    kind = Kind.NOT_FOUND
