"""What the other buckets of a sale have, so that sold out is said of the sale and not of a bucket.

A unit may lie in another bucket or be on its way between two. That there was none anywhere is known
of an instant at which Postgres had no transfer of the SKU open, if each bucket had none left before
that instant and, by its count of units that ever came back, got none until after it.
"""

from collections import deque
from collections.abc import Collection, Mapping

import msgspec

from hotpath.claims import SaleFacts

LEASE_S = 0.9
INSTANTS_MAX = 4


class Stretch(msgspec.Struct):
    """A time in which nothing came back to a bucket, and since when each SKU is out in it."""

    stamp: str
    freed: int
    until: float
    out_since: dict[int, float]


class Instant(msgspec.Struct, frozen=True):
    """What Postgres said was on its way, as (sale, SKU), at some time from asking to answer."""

    asked_at: float
    answered_at: float
    moving: Collection[tuple[int, int]]


class Elsewhere:
    """What one worker knows of all sales of several buckets. Times are by its own clock."""

    def __init__(self) -> None:
        self._sales: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._stretches: dict[int, Stretch] = {}
        self._instants: deque[Instant] = deque(maxlen=INSTANTS_MAX)
        self._gone: dict[tuple[int, int], float] = {}

    def know(self, sales: Mapping[int, SaleFacts]) -> None:
        """Replace which buckets belong together."""
        self._sales = {}
        for sale_id, sale in sales.items():
            numbers = tuple(facts.number for facts in sale.buckets)
            if len(numbers) > 1:
                self._sales |= dict.fromkeys(numbers, (sale_id, numbers))
        self._stretches = {n: s for n, s in self._stretches.items() if n in self._sales}
        self._gone = {}

    def look(self, bucket: int, *, stamp: str, freed: int, asked_at: float) -> None:
        """Take a look that was asked for at a time."""
        known = self._stretches.get(bucket)
        if known is not None and (known.stamp, known.freed) == (stamp, freed):
            known.until = asked_at
        elif bucket in self._sales:
            self._stretches[bucket] = Stretch(stamp, freed, asked_at, {})

    def count(self, bucket: int, left: Mapping[int, int], *, answered_at: float) -> None:
        """Take what was left, asked for after the last look."""
        known = self._stretches.get(bucket)
        if known is not None:
            known.out_since = {
                sku_id: known.out_since.get(sku_id, answered_at)
                for sku_id, units in left.items()
                if not units
            }

    def transfers(
        self, moving: Collection[tuple[int, int]], *, asked_at: float, answered_at: float
    ) -> None:
        """Take what is on its way between buckets, by sale and SKU."""
        self._instants.append(Instant(asked_at, answered_at, moving))

    def is_gone(self, bucket: int, sku_id: int, now: float, *, here: bool = True) -> bool:
        """Whether no bucket of the sale had a unit at an instant of the last second.

        Without `here` the bucket itself does not count: it may have some, but too few.
        """
        found = self._sales.get(bucket)
        if found is None:
            return True
        sale_id, numbers = found
        if here and now < self._gone.get((sale_id, sku_id), 0.0):
            return True
        wanted = numbers if here else [number for number in numbers if number != bucket]
        for instant in self._instants:
            until = instant.asked_at + LEASE_S
            if now < until and self._was_gone(sale_id, sku_id, wanted, instant):
                if here:
                    self._gone[sale_id, sku_id] = until
                return True
        return False

    def _was_gone(
        self, sale_id: int, sku_id: int, numbers: Collection[int], instant: Instant
    ) -> bool:
        if (sale_id, sku_id) in instant.moving:
            return False
        for number in numbers:
            stretch = self._stretches.get(number)
            since = None if stretch is None else stretch.out_since.get(sku_id)
            # A loop's clock stands still within a turn: equal times tell no order.
            if stretch is None or since is None or since >= instant.asked_at:
                return False
            if stretch.until <= instant.answered_at:
                return False
        return True
