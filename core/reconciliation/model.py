from datetime import date, datetime
from enum import StrEnum
from typing import Literal, NewType

import msgspec

from core.kit.refusal import Kind, Refusal

StatementId = NewType("StatementId", int)
DifferenceId = NewType("DifferenceId", int)


class LineKind(StrEnum):
    CAPTURE = "capture"
    REFUND = "refund"
    FEE = "fee"
    CHARGEBACK = "chargeback"
    PAYOUT = "payout"


class What(StrEnum):
    """How the two sides differ: there is the provider, here are we."""

    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    AMOUNT_OFF = "amount_off"
    DAY_OFF = "day_off"
    DOUBLE = "double"


class Line(msgspec.Struct, frozen=True):
    """`id` is the provider's own. `reference` is the payment's id, of a refund the refund's."""

    id: str
    kind: str
    reference: str
    amount_minor: int
    currency: str
    moved_at: datetime


class Booked(msgspec.Struct, frozen=True):
    """What we have of the same: a capture or a refund by our id, a chargeback by the provider's."""

    kind: str
    reference: str
    amount_minor: int
    currency: str
    booked_at: datetime


class Statement(msgspec.Struct, frozen=True):
    id: StatementId
    channel: str
    day: date
    source: str
    line_count: int
    open_count: int
    checked_at: datetime


class Finding(msgspec.Struct, frozen=True):
    """A difference as a check finds it; an amount is zero on the side where it is missing."""

    what: What
    kind: str
    reference: str
    line_id: str
    there_minor: int
    here_minor: int
    currency: str


class Difference(msgspec.Struct, frozen=True):
    id: DifferenceId
    statement_id: StatementId
    channel: str
    day: date
    what: str
    kind: str
    reference: str
    line_id: str
    there_minor: int
    here_minor: int
    currency: str
    state: str
    note: str | None
    ended_by: str | None
    found_at: datetime
    ended_at: datetime | None


Source = Literal["fetched", "uploaded"]


class NoSuchDayStatement(Refusal):
    """There is no such statement of a provider."""

    kind = Kind.NOT_FOUND


class NoSuchDifference(Refusal):
    """There is no such difference."""

    kind = Kind.NOT_FOUND


class UnreadableStatement(Refusal):
    """The file is no statement: the columns are id, kind, reference, amount, currency, at."""

    kind = Kind.INVALID
