"""Draw a line under what every seller is owed, and plan the payouts: seller by seller, each in a
transaction of its own. Stopped anywhere, the run of the same reference goes on where it was.
"""

import sys
from collections.abc import Iterator

from core import ledger, staff
from core.kit import db

BATCH_MAX = 500


async def settle_sellers(
    pool: db.Pool,
    *,
    reference: str,
    escrow_days: int,
    steps_max: int = sys.maxsize,
    author: staff.Author | None = None,
) -> ledger.Run:
    """Release first what was delivered so many days ago. A run that is closed changes nothing.

    Behind so many transactions the run comes back as it is then, perhaps still open.
    """
    async with db.transaction(pool) as conn:
        run = await ledger.open_run(conn, reference=reference)
        await staff.note(conn, author, kind="run", object_id=str(run.id), after=run)
    steps = iter(range(steps_max))
    if run.state == ledger.RunState.OPEN:
        await _release_due(pool, escrow_days, steps)
    for _ in steps:
        if run.state == ledger.RunState.CLOSED:
            break
        async with db.transaction(pool) as conn:
            run = await ledger.settle_next(conn, run)
    return run


async def _release_due(pool: db.Pool, escrow_days: int, steps: Iterator[int]) -> None:
    for _ in steps:
        async with db.transaction(pool) as conn:
            released = await ledger.release_due(conn, days=escrow_days, batch_max=BATCH_MAX)
        if released < BATCH_MAX:
            break
    for _ in steps:
        async with db.transaction(pool) as conn:
            carried = await ledger.carry_forward(conn, batch_max=BATCH_MAX)
        if carried < BATCH_MAX:
            break
