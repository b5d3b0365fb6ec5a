"""Reconciliation: what a provider says it moved for us on one day, and where our books differ.

Owns    schema `reconciliation`
States  see `states.MOVES`
Words   there is the provider, here are we; a line is a capture, a refund, a fee, a chargeback or a
        payout to our bank; a difference stays open until somebody resolves it or it is gone
"""

from .model import (
    Booked,
    Difference,
    DifferenceId,
    Finding,
    Line,
    LineKind,
    NoSuchDayStatement,
    NoSuchDifference,
    Source,
    Statement,
    StatementId,
    UnreadableStatement,
    What,
)
from .rules import Key, Span, compare, day_of, due_in, key_of
from .service import (
    differences,
    find,
    find_difference,
    has_day,
    judge,
    keep,
    lines,
    listing,
    missing_days,
    open_in,
    resolve,
    told,
)
from .sheet import FILE_BYTES_MAX, LINES_MAX, read, write
from .states import State

__all__ = [
    "FILE_BYTES_MAX",
    "LINES_MAX",
    "Booked",
    "Difference",
    "DifferenceId",
    "Finding",
    "Key",
    "Line",
    "LineKind",
    "NoSuchDayStatement",
    "NoSuchDifference",
    "Source",
    "Span",
    "State",
    "Statement",
    "StatementId",
    "UnreadableStatement",
    "What",
    "compare",
    "day_of",
    "differences",
    "due_in",
    "find",
    "find_difference",
    "has_day",
    "judge",
    "keep",
    "key_of",
    "lines",
    "listing",
    "missing_days",
    "open_in",
    "read",
    "resolve",
    "told",
    "write",
]
