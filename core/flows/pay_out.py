"""Ask the bank for every payout whose end is not known, and note what it says.

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
            states[await _ask(pool, bank, payout, author)] += 1
        if len(page) < PAGE_MAX:
            return states
        after = page[-1].id


async def _ask(
    pool: db.Pool, bank: ledger.Bank, payout: ledger.Payout, author: staff.Author | None
) -> str:
    try:
        transfer = await bank.pay(payout)
    except ledger.BankUnavailable:
        return "unknown"
    async with db.transaction(pool) as conn:
        await ledger.note_transfer(conn, payout, transfer)
        before, after = {"state": payout.state}, {"state": transfer.state}
        where = str(payout.id)
        await staff.note(conn, author, kind="payout", object_id=where, before=before, after=after)
    return transfer.state
