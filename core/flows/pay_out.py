"""Ask the bank for payouts whose end is not known, and note what it says.

Killed in between, it asks again, and the bank knows the payout by its id.
"""

from collections import Counter

from core import ledger, staff
from core.kit import db

PAGE_MAX = 100


async def pay_out(
    pool: db.Pool, bank: ledger.Bank, *, author: staff.Author | None = None
) -> Counter[str]:
    """Return how many payouts are in which state now; `unknown` where the bank did not answer."""
    states: Counter[str] = Counter()
    after = ledger.PayoutId(0)
    while True:
        async with db.reading(pool) as conn:
            page = await ledger.open_payouts(conn, after=after, page_max=PAGE_MAX)
        for payout in page:
            try:
                states[(await _ask(pool, bank, payout, author)).state] += 1
            except ledger.BankUnavailable:
                states["unknown"] += 1
        if len(page) < PAGE_MAX:
            return states
        after = page[-1].id


async def send_payout(
    pool: db.Pool,
    bank: ledger.Bank,
    *,
    payout_id: ledger.PayoutId,
    author: staff.Author | None = None,
) -> ledger.Payout:
    """Ask for one of them. One that has ended stays as it is. Raises NoSuchPayout, BankUnavailable.

    While the bank's answer is not known, asking again is safe.
    """
    async with db.reading(pool) as conn:
        payout = await ledger.find_payout(conn, payout_id=payout_id)
    return await _ask(pool, bank, payout, author)


async def _ask(
    pool: db.Pool, bank: ledger.Bank, payout: ledger.Payout, author: staff.Author | None
) -> ledger.Payout:
    transfer = None if payout.ended_at else await bank.pay(payout)
    async with db.transaction(pool) as conn:
        if transfer is not None:
            await ledger.note_transfer(conn, payout, transfer)
        after = await ledger.find_payout(conn, payout_id=payout.id)
        where = str(payout.id)
        await staff.note(conn, author, kind="payout", object_id=where, before=payout, after=after)
    return after
