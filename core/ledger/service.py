from collections import Counter
from collections.abc import Sequence

from core.kit.db import Conn

from . import rules, store
from .chart import Account
from .model import (
    PAYMENT_KINDS,
    AccountLine,
    Audit,
    Balance,
    Drift,
    Entry,
    EntryId,
    EntryKind,
    NewEntry,
    NoSuchAccount,
    NoSuchEntry,
    Posting,
    ReferenceReused,
    Turnover,
)

DRIFTS_MAX = 1_000
ENTRIES_MAX = 100


async def post(conn: Conn, entries: Sequence[NewEntry]) -> None:
    """Write entries into the journal, each once by its kind and reference.

    Raises ReferenceReused where one of them was used for other postings.
    """
    wanted = rules.worth_posting(entries)
    if not wanted:
        return
    posted = await store.post(conn, wanted)
    for entry in wanted:
        if (entry.kind, entry.reference) not in posted:
            await _insist_on_same(conn, entry)


async def capture(
    conn: Conn,
    *,
    payment_id: str,
    channel: str,
    amount_minor: int,
    currency: str,
    order_id: str | None,
) -> None:
    """Money came: for an order, or for none that we know how to serve yet."""
    held = rules.escrow(order_id) if order_id else rules.customer_funds(payment_id)
    entry = rules.transfer(
        EntryKind.CAPTURE,
        payment_id,
        debit=rules.provider_clearing(channel),
        credit=held,
        amount_minor=amount_minor,
        currency=currency,
    )
    await post(conn, [entry])


async def apply(
    conn: Conn, *, payment_id: str, order_id: str, amount_minor: int, currency: str
) -> None:
    """Money that waited pays an order."""
    entry = rules.transfer(
        EntryKind.APPLY,
        payment_id,
        debit=rules.customer_funds(payment_id),
        credit=rules.escrow(order_id),
        amount_minor=amount_minor,
        currency=currency,
    )
    await post(conn, [entry])


async def send_back(
    conn: Conn, *, payment_id: str, channel: str, amount_minor: int, currency: str
) -> None:
    """Money that waited is owed back, all of it."""
    entry = rules.transfer(
        EntryKind.SEND_BACK,
        payment_id,
        debit=rules.customer_funds(payment_id),
        credit=rules.refunds(channel),
        amount_minor=amount_minor,
        currency=currency,
    )
    await post(conn, [entry])


async def sent_back(
    conn: Conn, *, payment_id: str, channel: str, amount_minor: int, currency: str
) -> None:
    """The provider has returned what was owed back."""
    entry = rules.transfer(
        EntryKind.SENT_BACK,
        payment_id,
        debit=rules.refunds(channel),
        credit=rules.provider_clearing(channel),
        amount_minor=amount_minor,
        currency=currency,
    )
    await post(conn, [entry])


async def carry_forward(conn: Conn, *, batch_max: int) -> int:
    """Add fresh entries to the balances, and return how many. One caller at a time is enough."""
    return await store.carry_forward(conn, batch_max)


async def trial_balance(conn: Conn) -> list[Balance]:
    """Every balance of every account, those of many added up by kind."""
    return await store.trial_balance(conn)


async def uneven(conn: Conn) -> list[str]:
    """Currencies in which the trial balance is not zero. There are none."""
    sums: Counter[str] = Counter()
    for balance in await store.trial_balance(conn):
        sums[balance.currency] += balance.amount_minor
    return [currency for currency, total in sums.items() if total]


async def find(conn: Conn, *, entry_id: EntryId) -> tuple[Entry, list[Posting]]:
    """An entry and its postings, debits first."""
    entry = await store.find(conn, entry_id)
    if entry is None:
        raise NoSuchEntry(entry_id=str(entry_id))
    return entry, await store.postings(conn, [entry.id])


async def entries(conn: Conn, *, reference: str) -> list[Entry]:
    """What stands in the journal under a reference, oldest first."""
    return await store.entries(conn, list(EntryKind), reference, ENTRIES_MAX)


async def account(
    conn: Conn, *, account: str, owner: str, currency: str, before: EntryId | None, page_max: int
) -> list[AccountLine]:
    """Postings of one account, newest first. Raises NoSuchAccount."""
    if account not in set(Account):
        raise NoSuchAccount(account=account)
    return await store.account(conn, account, owner, currency, before, page_max)


async def turnovers(conn: Conn, *, after: str, upto: str, page_max: int) -> list[Turnover]:
    """What payments did, by their ids in order: those above `after`, and not above `upto`."""
    return await store.turnovers(conn, list(PAYMENT_KINDS), after, upto, page_max)


async def audit(conn: Conn) -> list[Drift]:
    """Everything that does not add up, recomputed from every posting. Reads the whole journal."""
    return await store.drifts(conn, DRIFTS_MAX)


async def record_audit(conn: Conn, *, drift: int) -> None:
    await store.record_audit(conn, drift)


async def last_audit(conn: Conn) -> Audit | None:
    return await store.last_audit(conn)


async def _insist_on_same(conn: Conn, entry: NewEntry) -> None:
    known = await store.entries(conn, [entry.kind], entry.reference, 1)
    postings = await store.postings(conn, [one.id for one in known])
    found = {(p.account, p.owner, p.currency): p.amount_minor for p in postings}
    if found != {(*where, entry.currency): amount for where, amount in entry.amounts.items()}:
        raise ReferenceReused(reference=entry.reference)
