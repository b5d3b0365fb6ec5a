"""Payments and the ledger tell the same story: each step that moved money has its entry, and each
entry its step. Page by page in the order of the payments' ids, both sides of a page at one instant.
"""

import msgspec

from core import ledger, payments
from core.kit import db

PAGE_MAX = 500
FIRST = "00000000-0000-0000-0000-000000000000"
# Above every id.
LAST = "~"

OWED_BACK = frozenset({payments.State.REFUNDING, payments.State.REFUNDED})


class Mismatch(msgspec.Struct, frozen=True):
    """A kind of entry that a payment should have, or should not, or of another amount."""

    payment_id: str
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
    """Compare the payments above an id with their entries, and the other way round."""
    entries_max = page_max * len(ledger.PAYMENT_KINDS)
    async with db.snapshot(pool) as conn:
        found = await payments.taken(conn, after=payments.PaymentId(after), page_max=page_max)
        upto = found[-1].id if len(found) == page_max else LAST
        posted = await ledger.turnovers(conn, after=after, upto=upto, page_max=entries_max)
    if len(posted) == entries_max:
        # What was read last may lack entries that were not read: it begins the next page.
        posted = [one for one in posted if one.reference != posted[-1].reference]
        upto = posted[-1].reference
    wanted = {key: amount for p in found if p.id <= upto for key, amount in entries_of(p).items()}
    shown = {(one.reference, one.kind, one.currency): one.amount_minor for one in posted}
    mismatches = [
        Mismatch(*key, wanted.get(key, 0), shown.get(key, 0))
        for key in sorted(wanted.keys() | shown.keys())
        if wanted.get(key) != shown.get(key)
    ]
    return Page(mismatches, None if upto == LAST else upto)


def entries_of(payment: payments.Payment) -> dict[tuple[str, str, str], int]:
    """Payment, kind and currency of the entries that it should have, with the amount of each."""
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
