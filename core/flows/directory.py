"""What an API worker knows of the running sales without asking: refreshed a few times a second.

It tells the gate which Redis process each bucket trusts, the lookout what to look at, and the
storefront what is left.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
import structlog
from asyncpg import InterfaceError, InternalClientError, PostgresError

from core import sales
from core.flows.find_order import is_above
from core.kit import db
from hotpath.claims import BucketFacts, SaleFacts
from hotpath.gate import Gate
from hotpath.lookout import Lookout
from hotpath.risk import Risk
from hotpath.routing import bucket_of

REFRESH_S = 0.25
LOOKUPS_MAX = 8
AWAY = (PostgresError, InterfaceError, InternalClientError, OSError)

log = structlog.get_logger()


class ItemView(msgspec.Struct, frozen=True):
    sku_id: int
    price_minor: int
    currency: str
    quota: int
    left: int
    member_limit: int


class SaleView(msgspec.Struct, frozen=True):
    """`state` is the sale's own, or `fenced` while no Redis process may take any of its claims."""

    id: sales.SaleId
    name: str
    state: str
    starts_at: datetime
    ends_at: datetime
    shadow: bool
    settled: bool
    items: list[ItemView]


class Directory:
    def __init__(self, pool: db.Pool, gate: Gate, lookout: Lookout) -> None:
        self.lookups = asyncio.Semaphore(LOOKUPS_MAX)
        self._pool = pool
        self._gate = gate
        self._lookout = lookout
        self._refreshing = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._sales: dict[int, sales.Sale] = {}
        self._items: dict[int, dict[int, sales.Item]] = {}
        self._buckets: dict[int, list[sales.Bucket]] = {}
        self._since_s: dict[int, float] = {}

    async def run(self) -> None:
        """Refresh for ever. What cannot be refreshed stays as it was: the gate's own check of the
        Redis process keeps old knowledge harmless.
        """
        me = asyncio.current_task()
        assert me is not None
        # Libraries swallow a cancellation that meets their own deadline, so it is looked for, too.
        while not me.cancelling():
            try:
                async with self._refreshing:
                    await self._refresh()
            except AWAY as error:
                log.warning("directory_stale", error=repr(error))
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Know all there is to know right now. One at a time: nothing older overwrites it."""
        async with self._refreshing:
            await self._refresh()
        await self._lookout.look()

    async def _refresh(self) -> None:
        asked_at = self._clock()
        async with db.snapshot(self._pool) as conn:
            moving = await sales.on_their_way(conn)
            answered_at = self._clock()
            watched = await sales.watched(conn)
            buckets = await sales.live_buckets(conn)
            for sale in watched:
                if sale.id not in self._items:
                    items = await sales.items(conn, sale_id=sale.id)
                    self._items[sale.id] = {item.sku_id: item for item in items}
        self._sales = {sale.id: sale for sale in watched}
        self._items = {sale_id: self._items[sale_id] for sale_id in self._sales}
        self._buckets = {sale_id: [] for sale_id in self._sales}
        for bucket in buckets:
            self._buckets.setdefault(bucket.sale_id, []).append(bucket)
        self._since_s = {
            sale.id: sale.starts_at.timestamp() for sale in watched if self._buckets[sale.id]
        }
        self._gate.know({sale_id: facts(found) for sale_id, found in self._buckets.items()})
        self._gate.elsewhere.transfers(moving, asked_at=asked_at, answered_at=answered_at)
        await self._say_what_is_wanted()
        unsettled = (sale for sale in watched if sale.settled_at is None)
        self._lookout.watch(b.number for sale in unsettled for b in self._buckets[sale.id])
        await self._bear_witness(buckets)

    async def _say_what_is_wanted(self) -> None:
        """Claims wait in buckets that have too little: the rebalancer brings it from others."""
        wanted = self._gate.wanted()
        if wanted:
            async with db.transaction(self._pool) as conn:
                await sales.want(conn, wanted)

    async def _bear_witness(self, buckets: list[sales.Bucket]) -> None:
        """When a bucket's process is gone, say how far it had acknowledged: the fence compares."""
        for bucket in buckets:
            position = self._gate.accepted_up_to(bucket.number)
            reached = self._gate.process_of(bucket.number)
            if reached != bucket.run_id and is_above(position, bucket.seen):
                async with db.transaction(self._pool) as conn:
                    await sales.witness(
                        conn, bucket=bucket.number, epoch=bucket.epoch, position=position
                    )

    def _left(self, sale: sales.Sale) -> Mapping[int, int]:
        if sale.settled_at is not None:
            return {}
        buckets = self._buckets[sale.id]
        seen = {bucket.number: self._lookout.left(bucket.number) for bucket in buckets}
        if any(seen[bucket.number] is None and not bucket.fence_reason for bucket in buckets):
            # Nobody has looked at a sale that was armed this instant: all of it is left.
            return {sku_id: item.quota for sku_id, item in self._items[sale.id].items()}
        known = [left for left in seen.values() if left is not None]
        left: Counter[int] = Counter()
        for each in known:
            left.update(each)
        return known[0] if len(known) == 1 else left

    def sale(self, sale_id: int) -> SaleView | None:
        """An armed, open, paused or closed sale; None for any other, which Postgres may know."""
        sale = self._sales.get(sale_id)
        if sale is None:
            return None
        items = self._items[sale_id].values()
        return view(sale, items, self._left(sale), self._state(sale))

    def listing(self) -> list[SaleView]:
        """Newest first, without rehearsals."""
        found = (self.sale(sale_id) for sale_id in sorted(self._sales, reverse=True))
        return [sale for sale in found if sale is not None and not sale.shadow]

    def is_settled(self, sale_id: int) -> bool:
        sale = self._sales.get(sale_id)
        return sale is not None and sale.settled_at is not None

    def is_fenced(self, sale_id: int, member_id: int) -> bool:
        bucket = self.bucket(sale_id, member_id)
        return bucket is not None and bucket.fence_reason is not None

    def bucket(self, sale_id: int, member_id: int) -> sales.Bucket | None:
        """The member's bucket of a watched sale, as the gate routes."""
        buckets = self._buckets.get(sale_id)
        return buckets[bucket_of(member_id, len(buckets))] if buckets else None

    def is_remembered(self, table: Risk, sale_id: int, member_id: int, key_hash: int) -> bool:
        """Whether the table knows this claim of a sale with buckets, if it was ever let through."""
        since_s = self._since_s.get(sale_id)
        return since_s is not None and table.remembers(member_id, key_hash, since_s=since_s)

    def limit(self, sale_id: int, sku_id: int) -> int | None:
        item = self._items.get(sale_id, {}).get(sku_id)
        return None if item is None else item.member_limit

    def why_not_open(self, sale_id: int) -> dict[str, str]:
        sale = self._sales.get(sale_id)
        return {} if sale is None else {"state": sale.state}

    def _state(self, sale: sales.Sale) -> str:
        running = sale.state in (sales.State.ARMED, sales.State.OPEN, sales.State.PAUSED)
        buckets = self._buckets[sale.id]
        fenced = bool(buckets) and all(bucket.fence_reason for bucket in buckets)
        return "fenced" if running and fenced else sale.state


def facts(buckets: list[sales.Bucket]) -> SaleFacts:
    return SaleFacts([BucketFacts(b.number, b.epoch, b.stamp, b.run_id or "") for b in buckets])


def view(
    sale: sales.Sale, items: Iterable[sales.Item], left: Mapping[int, int], state: str
) -> SaleView:
    return SaleView(
        id=sale.id,
        name=sale.name,
        state=state,
        starts_at=sale.starts_at,
        ends_at=sale.ends_at,
        shadow=sale.shadow,
        settled=sale.settled_at is not None,
        items=[
            ItemView(
                i.sku_id, i.price_minor, i.currency, i.quota, left.get(i.sku_id, 0), i.member_limit
            )
            for i in items
        ],
    )


async def view_from_postgres(pool: db.Pool, *, sale_id: sales.SaleId) -> SaleView:
    """A sale that no worker watches: still planned, or retired. Raises sales.NoSuchSale."""
    async with db.reading(pool) as conn:
        sale = await sales.find(conn, sale_id=sale_id)
        items = await sales.items(conn, sale_id=sale_id)
    planned = sale.state == sales.State.PLANNED
    left = {item.sku_id: item.quota for item in items} if planned else {}
    return view(sale, items, left, sale.state)
