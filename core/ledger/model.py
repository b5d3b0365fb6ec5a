from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, NewType

import msgspec

from core.kit.refusal import Kind, Refusal

from .chart import Account

EntryId = NewType("EntryId", int)


class EntryKind(StrEnum):
    CAPTURE = "capture"
    APPLY = "apply"
    SEND_BACK = "send_back"
    SENT_BACK = "sent_back"


# What a payment does, in entries that bear its id.
PAYMENT_KINDS = (EntryKind.CAPTURE, EntryKind.APPLY, EntryKind.SEND_BACK, EntryKind.SENT_BACK)


class Holding(NamedTuple):
    """An account: its kind, and whose it is."""

    account: Account
    owner: str


class NewEntry(msgspec.Struct, frozen=True):
    """`amounts` are positive for debits and negative for credits, and sum to zero."""

    kind: EntryKind
    reference: str
    currency: str
    amounts: Mapping[Holding, int]


class Entry(msgspec.Struct, frozen=True):
    id: EntryId
    kind: str
    reference: str
    posted_at: datetime


class Posting(msgspec.Struct, frozen=True):
    """A debit is positive, a credit negative."""

    entry_id: EntryId
    account: str
    owner: str
    currency: str
    amount_minor: int


class AccountLine(msgspec.Struct, frozen=True):
    """A posting as its account lists it."""

    entry_id: EntryId
    kind: str
    reference: str
    amount_minor: int
    posted_at: datetime


class Balance(msgspec.Struct, frozen=True):
    """Debits less credits. `owner` is empty where accounts are added up by kind."""

    account: str
    owner: str
    currency: str
    amount_minor: int


class Turnover(msgspec.Struct, frozen=True):
    """What an entry moves from its credit side to its debit side."""

    reference: str
    kind: str
    currency: str
    amount_minor: int


class Drift(msgspec.Struct, frozen=True):
    """What does not add up: an entry of its own (`entry`), all of a currency, or a balance."""

    what: str
    currency: str
    shown_minor: int
    proven_minor: int


class Audit(msgspec.Struct, frozen=True):
    drift: int
    age_s: float


class NoSuchEntry(Refusal):
    """There is no such entry."""

    kind = Kind.NOT_FOUND


class NoSuchAccount(Refusal):
    """The chart has no such account."""

    kind = Kind.NOT_FOUND


class ReferenceReused(Refusal):
    """That reference was used for something else."""

    kind = Kind.INVALID
