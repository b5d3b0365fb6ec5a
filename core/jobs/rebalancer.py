"""Carries units to the buckets of a sale that have none left, so that its last unit is sold."""

import asyncio

import structlog
from redis.exceptions import RedisError

from core import sales
from core.flows.carry_units import carry_units
from core.kit import db
from hotpath import scripts
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys

REST_S = 0.2
OPEN_MAX = 500
PLANNED_MAX = 200
AT_ONCE_MAX = 4

log = structlog.get_logger()


class Rebalancer:
    def __init__(self, pool: db.Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis
        self._hands = asyncio.Semaphore(AT_ONCE_MAX)

    async def step(self) -> bool:
        """Carry what is on its way, each a step further; plan more when nothing moves."""
        async with db.snapshot(self._pool) as conn:
            on_their_way = await sales.open_transfers(conn, page_max=OPEN_MAX)
            running = [
                await sales.buckets(conn, sale_id=sale.id)
                for sale in await sales.watched(conn)
                if sale.state == sales.State.OPEN and sale.bucket_count > 1
            ]
            wanted = await sales.wanted(conn) if running else {}
        if await self._carry_all(on_their_way):
            return True
        planned = [
            plan for buckets in running for plan in await self._plan(buckets, wanted, on_their_way)
        ]
        if not planned:
            return False
        async with db.transaction(self._pool) as conn:
            await sales.plan_transfers(conn, planned[:PLANNED_MAX])
        return True

    async def _carry_all(self, transfers: list[sales.Transfer]) -> bool:
        outcomes = await asyncio.gather(*map(self._carry, transfers), return_exceptions=True)
        if failures := [came for came in outcomes if isinstance(came, Exception)]:
            raise ExceptionGroup("some transfers failed", failures)
        return any(outcomes)

    async def _carry(self, transfer: sales.Transfer) -> bool:
        async with self._hands:
            return await carry_units(self._pool, self._redis, transfer)

    async def _plan(
        self,
        buckets: list[sales.Bucket],
        wanted: dict[tuple[int, int], int],
        on_their_way: list[sales.Transfer],
    ) -> list[sales.NewTransfer]:
        left = await self._count_left(buckets)
        stamps = {int(bucket.number): bucket.stamp for bucket in buckets}
        waited_for = {(t.target, t.sku_id) for t in on_their_way if t.source in left}
        return [
            sales.NewTransfer(buckets[0].sale_id, sku_id, source, target, units, stamps[source])
            for sku_id in sorted({sku_id for units in left.values() for sku_id in units})
            for source, target, units in sales.even_out(
                {number: units[sku_id] for number, units in left.items() if sku_id in units},
                {number: wanted.get((number, sku_id), 0) for number in left},
            )
            if (target, sku_id) not in waited_for
        ]

    async def _count_left(self, buckets: list[sales.Bucket]) -> dict[int, dict[int, int]]:
        """By bucket and SKU; a bucket that takes no claims now takes no part."""
        left = {}
        for bucket in buckets:
            if bucket.run_id is None:
                continue
            try:
                node = await self._redis.of(bucket.number)
                left[int(bucket.number)] = await scripts.left(node, BucketKeys(bucket.number))
            except (RedisError, scripts.DamagedBooks) as error:
                log.warning("bucket_not_seen", bucket=bucket.number, reason=repr(error))
        return left
