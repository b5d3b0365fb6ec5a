"""Payments and the ledger tell the same story: each step that moved money has its entry, and each
entry its step. Page by page in the order of their references (a payment's id, or `order:refund`),
both sides of a page at one instant.
"""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from core import ledger, payments
from core.kit import db

PAGE_MAX = 500
FIRST = "00000000-0000-0000-0000-000000000000"
# Above every id.
LAST = "~"

Entries: TypeAlias = Mapping[tuple[str, str, str], int]
"Id, kind and currency of entries, with the amount of each."

OWED_BACK = frozenset({payments.State.REFUNDING, payments.State.REFUNDED})


class Mismatch(msgspec.Struct, frozen=True):
    """A kind of entry that is missing, or should not be there, or is of another amount."""

    reference: str
    kind: str
    currency: str
    wanted_minor: int
    posted_minor: int


class Page(msgspec.Struct, frozen=True):
    """`reached` is None on the last page."""

    mismatches: list[Mismatch]
    reached: str | None


class LedgerAudit(msgspec.Struct, frozen=True):
    mismatches: list[Mismatch]
    drifts: list[ledger.Drift]


async def audit_ledger(pool: db.Pool) -> LedgerAudit:
    """Compare and recompute everything. Reads all payments and the whole journal."""
    mismatches: list[Mismatch] = []
    reached: str | None = FIRST
    while reached is not None:
        page = await audit_page(pool, after=reached)
        mismatches += page.mismatches
        reached = page.reached
    async with db.snapshot(pool) as conn:
        return LedgerAudit(mismatches, await ledger.audit(conn))


async def audit_page(pool: db.Pool, *, after: str = FIRST, page_max: int = PAGE_MAX) -> Page:
    """Compare payments and refunds above an id with their entries, and the other way round."""
    entries_max = page_max * len(ledger.PAYMENT_KINDS)
    async with db.snapshot(pool) as conn:
        due = await _due(conn, after, page_max)
        upto = max(due) if len(due) == page_max else LAST
        posted = await ledger.turnovers(conn, after=after, upto=upto, page_max=entries_max)
    if len(posted) == entries_max:
        # What was read last may lack entries that were not read: it begins the next page.
        posted = [one for one in posted if one.reference != posted[-1].reference]
        upto = posted[-1].reference
    wanted = {key: amount for one in due if one <= upto for key, amount in due[one].items()}
    shown = {(one.reference, one.kind, one.currency): one.amount_minor for one in posted}
    mismatches = [
        Mismatch(*key, wanted.get(key, 0), shown.get(key, 0))
        for key in sorted(wanted.keys() | shown.keys())
        if wanted.get(key) != shown.get(key)
    ]
    return Page(mismatches, None if upto == LAST else upto)


async def _due(conn: db.Conn, after: str, page_max: int) -> dict[str, Entries]:
    """What the next payments and refunds should have, by their references in the ledger."""
    first, _, second = after.partition(":")
    taken = await payments.taken(conn, after=payments.PaymentId(first), page_max=page_max)
    refund_id = payments.RefundId(second or FIRST)
    owed = await payments.owed(conn, order_id=first, refund_id=refund_id, page_max=page_max)
    found: dict[str, Entries] = {payment.id: entries_of(payment) for payment in taken}
    found |= {f"{refund.order_id}:{refund.id}": entries_of_refund(refund) for refund in owed}
    return {reference: found[reference] for reference in sorted(found)[:page_max]}


def entries_of_refund(refund: payments.Refund) -> Entries:
    kinds = [ledger.EntryKind.REFUND]
    if refund.state == payments.RefundState.PAID:
        kinds.append(ledger.EntryKind.REFUND_PAID)
    reference = f"{refund.order_id}:{refund.id}"
    return {(reference, kind.value, refund.currency): refund.amount_minor for kind in kinds}


def entries_of(payment: payments.Payment) -> Entries:
    assert payment.captured_minor is not None
    assert payment.captured_currency is not None
    kinds = [ledger.EntryKind.CAPTURE]
    if payment.order_id != payment.first_order_id:
        kinds.append(ledger.EntryKind.APPLY)
    if payment.state in OWED_BACK:
        kinds.append(ledger.EntryKind.SEND_BACK)
    if payment.state == payments.State.REFUNDED:
        kinds.append(ledger.EntryKind.SENT_BACK)
    return {
        (payment.id, kind.value, payment.captured_currency): payment.captured_minor
        for kind in kinds
    }
