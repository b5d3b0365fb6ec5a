"""Draw a line under what every seller is owed, and plan the payouts: seller by seller, each in a
transaction of its own. Stopped anywhere, the run of the same reference goes on where it was.
"""

from core import ledger, staff
from core.kit import db

BATCH_MAX = 500


async def settle_sellers(
    pool: db.Pool, *, reference: str, escrow_days: int, author: staff.Author | None = None
) -> ledger.Run:
    """Release first what was delivered so many days ago. A run that is closed changes nothing."""
    async with db.transaction(pool) as conn:
        run = await ledger.open_run(conn, reference=reference)
        await staff.note(conn, author, kind="run", object_id=str(run.id), after=run)
    if run.state == ledger.RunState.OPEN:
        await _release_due(pool, escrow_days)
    while run.state == ledger.RunState.OPEN:
        async with db.transaction(pool) as conn:
            run = await ledger.settle_next(conn, run)
    return run


async def _release_due(pool: db.Pool, escrow_days: int) -> None:
    released = carried = BATCH_MAX
    while released == BATCH_MAX:
        async with db.transaction(pool) as conn:
            released = await ledger.release_due(conn, days=escrow_days, batch_max=BATCH_MAX)
    while carried == BATCH_MAX:
        async with db.transaction(pool) as conn:
            carried = await ledger.carry_forward(conn, batch_max=BATCH_MAX)
