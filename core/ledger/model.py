from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, NewType

import msgspec

from core.kit.refusal import Kind, Refusal

from .chart import Account

EntryId = NewType("EntryId", int)
SellerId = NewType("SellerId", int)
RunId = NewType("RunId", int)
StatementId = NewType("StatementId", int)
PayoutId = NewType("PayoutId", int)

OWN_SHOP = SellerId(1)


class EntryKind(StrEnum):
    CAPTURE = "capture"
    APPLY = "apply"
    SEND_BACK = "send_back"
    SENT_BACK = "sent_back"
    RELEASE = "release"
    REFUND = "refund"
    REFUND_PAID = "refund_paid"
    CHARGEBACK = "chargeback"
    CHARGEBACK_PAID = "chargeback_paid"
    FEE = "fee"
    REMITTANCE = "remittance"
    PAYOUT = "payout"
    PAYOUT_PAID = "payout_paid"
    PAYOUT_FAILED = "payout_failed"


# What a payment and its refunds do, in entries that bear their ids.
PAYMENT_KINDS = (
    EntryKind.CAPTURE,
    EntryKind.APPLY,
    EntryKind.SEND_BACK,
    EntryKind.SENT_BACK,
    EntryKind.REFUND,
    EntryKind.REFUND_PAID,
)


class Posted(msgspec.Struct, frozen=True):
    """An entry, as whoever reads all of them on meets it. `rows`: account, owner, amount.

    What was done to an order's money bears the order's id before its own reference.
    """

    xact: int
    kind: str
    reference: str
    posted_at: datetime
    currency: str
    rows: list[tuple[str, str, int]]

    @property
    def own_reference(self) -> str:
        return self.reference.rpartition(":")[2]

    def owner(self, account: Account) -> str | None:
        """Whose account of a kind it moves."""
        return next((owner for kind, owner, _ in self.rows if kind == account), None)

    @property
    def amount_minor(self) -> int:
        """What its debits come to."""
        return sum(max(amount, 0) for *_, amount in self.rows)


class Holding(NamedTuple):
    """An account: its kind, and whose it is."""

    account: Account
    owner: str


class Part(msgspec.Struct, frozen=True):
    """A part of what an order comes to, after discounts: whose it is when the order is done.

    `commission_bps` is what the platform takes of it, as agreed when it was sold.
    """

    line_no: int
    account: Account
    owner: str
    amount_minor: int
    commission_bps: int = 0


class Share(msgspec.Struct, frozen=True):
    """A part as the ledger holds it. `returned_minor` of it, and of its commission, went back."""

    order_id: str
    line_no: int
    account: str
    owner: str
    amount_minor: int
    commission_minor: int
    returned_minor: int


class Hold(msgspec.Struct, frozen=True):
    """What is held for an order, and the way by which it came."""

    order_id: str
    channel: str
    currency: str
    state: str
    held_at: datetime


class Seller(msgspec.Struct, frozen=True):
    id: SellerId
    commission_bps: int


class Run(msgspec.Struct, frozen=True):
    """A settlement of all sellers. `reached` is the last one that is done."""

    id: RunId
    reference: str
    state: str
    reached: int
    started_at: datetime
    ended_at: datetime | None


class Statement(msgspec.Struct, frozen=True):
    """opening + moved = closing: what the seller is owed, and owes where it is below zero.

    `moved_minor` is what the entries above `after_entry`, up to `upto_entry`, come to.
    """

    id: StatementId
    run_id: RunId
    seller_id: SellerId
    currency: str
    after_entry: EntryId
    upto_entry: EntryId
    opening_minor: int
    moved_minor: int
    closing_minor: int
    drawn_at: datetime


class Payout(msgspec.Struct, frozen=True):
    id: PayoutId
    run_id: RunId
    seller_id: SellerId
    currency: str
    amount_minor: int
    state: str
    bank_ref: str | None
    reason: str | None
    planned_at: datetime
    ended_at: datetime | None


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


class ChargedBack(msgspec.Struct, frozen=True):
    """What a buyer's bank claimed."""

    entry_id: EntryId
    channel: str
    currency: str
    amount_minor: int
    posted_at: datetime


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


class NoSuchHold(Refusal):
    """Nothing was ever held for that order."""

    kind = Kind.NOT_FOUND


class NoSuchStatement(Refusal):
    """There is no such statement."""

    kind = Kind.NOT_FOUND


class NoSuchPayout(Refusal):
    """There is no such payout."""

    kind = Kind.NOT_FOUND


class NoBank(Refusal):
    """No bank is connected that payouts could go through."""

    kind = Kind.CONFLICT


class BankUnavailable(Refusal):
    """The bank does not answer right now."""

    kind = Kind.UNAVAILABLE


class MoreThanIsLeft(Refusal):
    """That is more than is left of the line."""

    kind = Kind.CONFLICT


class ReferenceReused(Refusal):
    """That reference was used for something else."""

    kind = Kind.INVALID
