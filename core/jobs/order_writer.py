"""Drains every bucket's stream into Postgres, and trims behind itself, at a distance."""

import asyncio

import structlog
from redis.exceptions import ResponseError

from core import sales
from core.flows.write_orders import (
    AnotherWriter,
    Stream,
    Terms,
    stream_of,
    terms_of,
    write_orders,
)
from core.jobs.role import for_each
from core.kit import db
from hotpath import loading
from hotpath.nodes import Redis
from hotpath.receipts import Keyring
from hotpath.scripts import BucketKeys

BATCH_MAX = 4_000
LOOK_S = 0.5
# An audit that began this long ago still finds every claim that it needs.
TRIM_LAG_S = 10.0
# What comes meanwhile makes one batch, and a batch costs as much as hundreds of orders.
REST_S = 0.05

log = structlog.get_logger()


class OrderWriter:
    def __init__(self, pool: db.Pool, redis: Redis, keyring: Keyring) -> None:
        self._pool = pool
        self._redis = redis
        self._keyring = keyring
        self._clock = asyncio.get_running_loop().time
        self._look_at = 0.0
        self._buckets: list[sales.Bucket] = []
        self._terms: dict[int, Terms] = {}
        self._streams: dict[str, Stream] = {}
        self._cursors: dict[tuple[int, int], sales.Cursor] = {}
        self._trims: dict[str, tuple[float, str]] = {}

    async def step(self) -> bool:
        """One batch from every bucket that has one; true where a batch was full."""
        if self._clock() >= self._look_at:
            await self._look_around()
        return await for_each(self._buckets, self._drain)

    async def _look_around(self) -> None:
        async with db.snapshot(self._pool) as conn:
            self._buckets = await sales.unsettled_buckets(conn)
            self._cursors = {
                (bucket.number, epoch): cursor
                for bucket in self._buckets
                for epoch, cursor in (await sales.cursors(conn, bucket=bucket.number)).items()
            }
            for sale_id in {bucket.sale_id for bucket in self._buckets} - self._terms.keys():
                sale = await sales.find(conn, sale_id=sale_id)
                self._terms[sale_id] = terms_of(sale, await sales.items(conn, sale_id=sale_id))
        stamps = {bucket.stamp for bucket in self._buckets}
        self._trims = {stamp: mark for stamp, mark in self._trims.items() if stamp in stamps}
        self._streams = {stamp: known for stamp, known in self._streams.items() if stamp in stamps}
        self._look_at = self._clock() + LOOK_S

    async def _drain(self, bucket: sales.Bucket) -> bool:
        try:
            return await self._write(bucket)
        except (AnotherWriter, loading.EpochMoved, ResponseError) as error:
            # Another epoch, or another writer: what we believed is old.
            log.info("writer_looks_again", bucket=bucket.number, reason=repr(error))
            self._look_at = 0.0
            return False

    async def _write(self, bucket: sales.Bucket) -> bool:
        where = (bucket.number, bucket.epoch)
        keys = BucketKeys(bucket.number)
        # What is drained after a position is written after it, wherever another step is by then.
        cursor = self._cursors[where]
        redis = await self._redis.of(bucket.number)
        entries = await loading.drain(
            redis,
            keys,
            stamp=bucket.stamp,
            after=cursor.position,
            claims_max=BATCH_MAX,
            written=cursor.written,
        )
        if entries:
            self._cursors[where] = await write_orders(
                self._pool, self._stream(bucket), entries, cursor=cursor.position
            )
        await self._trim(bucket, keys, self._cursors[where].position)
        return self._cursors[where].written - cursor.written >= BATCH_MAX

    def _stream(self, bucket: sales.Bucket) -> Stream:
        if bucket.stamp not in self._streams:
            terms = self._terms[bucket.sale_id]
            self._streams[bucket.stamp] = stream_of(self._keyring, bucket, terms)
        return self._streams[bucket.stamp]

    async def _trim(self, bucket: sales.Bucket, keys: BucketKeys, cursor: str) -> None:
        """Drop what was written down long ago: never above a committed cursor, never by length."""
        marked_at, marked = self._trims.setdefault(bucket.stamp, (self._clock(), cursor))
        if self._clock() - marked_at < TRIM_LAG_S:
            return
        redis = await self._redis.of(bucket.number)
        await loading.trim(redis, keys, stamp=bucket.stamp, before=marked)
        self._trims[bucket.stamp] = (self._clock(), cursor)
