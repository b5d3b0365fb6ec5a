"""The ledger: double entry, in integer minor units, per currency; what was posted never changes.

Owns    schema `ledger`
Words   an entry is what happened once, under its kind and reference; its postings debit (positive)
        and credit (negative) accounts, and sum to zero; an account is of a kind of the chart, and
        somebody's: a channel's, an order's, a payment's
"""

from .chart import CHART, Account, Normal
from .model import (
    PAYMENT_KINDS,
    AccountLine,
    Audit,
    Balance,
    Drift,
    Entry,
    EntryId,
    EntryKind,
    NoSuchAccount,
    NoSuchEntry,
    Posting,
    ReferenceReused,
    Turnover,
)
from .service import (
    account,
    apply,
    audit,
    capture,
    carry_forward,
    entries,
    find,
    last_audit,
    record_audit,
    send_back,
    sent_back,
    trial_balance,
    turnovers,
    uneven,
)

__all__ = [
    "CHART",
    "PAYMENT_KINDS",
    "Account",
    "AccountLine",
    "Audit",
    "Balance",
    "Drift",
    "Entry",
    "EntryId",
    "EntryKind",
    "NoSuchAccount",
    "NoSuchEntry",
    "Normal",
    "Posting",
    "ReferenceReused",
    "Turnover",
    "account",
    "apply",
    "audit",
    "capture",
    "carry_forward",
    "entries",
    "find",
    "last_audit",
    "record_audit",
    "send_back",
    "sent_back",
    "trial_balance",
    "turnovers",
    "uneven",
]
