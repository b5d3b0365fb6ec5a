"""What each event means in debits and credits, computed and nothing else."""

from collections.abc import Iterable

from .chart import Account
from .model import EntryKind, Holding, NewEntry


def transfer(
    kind: EntryKind,
    reference: str,
    *,
    debit: Holding,
    credit: Holding,
    amount_minor: int,
    currency: str,
) -> NewEntry:
    return NewEntry(kind, reference, currency, {debit: amount_minor, credit: -amount_minor})


def provider_clearing(channel: str) -> Holding:
    return Holding(Account.PROVIDER_CLEARING, channel)


def customer_funds(payment_id: str) -> Holding:
    return Holding(Account.CUSTOMER_FUNDS, payment_id)


def escrow(order_id: str) -> Holding:
    return Holding(Account.ESCROW, order_id)


def refunds(channel: str) -> Holding:
    return Holding(Account.REFUNDS, channel)


def worth_posting(entries: Iterable[NewEntry]) -> list[NewEntry]:
    """Without amounts of zero, and without entries that have no other; in one order for all, so
    that nobody waits in a ring.
    """
    found = []
    for entry in sorted(entries, key=lambda one: (one.kind, one.reference)):
        assert sum(entry.amounts.values()) == 0, "an entry balances"
        amounts = {where: amount for where, amount in entry.amounts.items() if amount}
        if amounts:
            found.append(NewEntry(entry.kind, entry.reference, entry.currency, amounts))
    return found
