"""Reading on from where one was, in tables that are only ever added to.

Transactions commit in another order than they begin, so a row with a lower number may appear after
one with a higher. A row that bears the id of its transaction is read once every transaction up to
that id has ended: nothing appears below there any more.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import msgspec

from core.kit.db import Conn, one

# A row's moment is at most so much before its commit: no transaction of ours lasts as long.
TRANSACTION_MAX = timedelta(hours=1)
# The lowest id that Postgres gives to a transaction.
FIRST = 3


class Written(Protocol):
    """A row, and the transaction that wrote it."""

    @property
    def xact(self) -> int: ...


Row = TypeVar("Row", bound=Written)


class Horizon(msgspec.Struct, frozen=True):
    """Every transaction below has ended, and later statements see what it wrote."""

    xact: int
    at: datetime


class Mark(msgspec.Struct, frozen=True):
    """All that transactions below `reached` wrote is read. What is older than `since` is not."""

    reached: int
    since: datetime


class Stretch(msgspec.Struct, frozen=True):
    """What there is to read: transactions from `reached` to before `horizon`."""

    reached: int
    horizon: int
    since: datetime


HORIZON = """ -- -> Horizon
    SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xact, now() AS at
"""


async def horizon(conn: Conn) -> Horizon:
    found = one(Horizon, await conn.fetchrow(HORIZON))
    assert found is not None
    return found


def begin(now: Horizon) -> Mark:
    """A mark from which all that is not committed yet will be read."""
    return Mark(now.xact, now.at - TRANSACTION_MAX)


async def read_on(
    conn: Conn,
    mark: Mark,
    read: Callable[[Conn, Stretch, int], Awaitable[Sequence[Row]]],
    *,
    moved_at: datetime,
    rows_max: int,
) -> tuple[Sequence[Row], Mark, bool]:
    """The next rows, the mark behind them, and whether there are more.

    `read` gives about `rows_max` rows by transaction, the last one's all. `moved_at` is when the
    mark was set.
    """
    now = await horizon(conn)
    if mark.reached > now.xact:
        # Restored from a dump: transactions are numbered anew, and only times tell old from new.
        mark = Mark(FIRST, moved_at - TRANSACTION_MAX)
    rows = await read(conn, Stretch(mark.reached, now.xact, mark.since), rows_max)
    is_full = len(rows) >= rows_max
    return rows, Mark(rows[-1].xact + 1 if is_full else now.xact, mark.since), is_full
