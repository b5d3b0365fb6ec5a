"""Rebuild a sale's buckets in Redis from Postgres, under a new epoch: the fenced ones, or all.

What the old Redis still holds is drained first, if it is ours at all. What it acknowledged and
lost is stated: the old epoch's cursor says where it ended, and a receipt above it is `epoch-lost`.
"""

import asyncio
from collections.abc import Callable

import msgspec

from core import sales, staff
from core.flows.load_bucket import load_bucket
from core.kit import db
from hotpath import loading
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys

DRAIN_S = 30.0
LOAD_S = 900.0


class Rebuilt(msgspec.Struct, frozen=True):
    bucket: int
    ended_epoch: int
    ended_at: str
    epoch: int


async def rebuild_sale(
    pool: db.Pool,
    redis: Redis,
    *,
    sale_id: sales.SaleId,
    progress: Callable[[int], None] = lambda _: None,
    drain_s: float = DRAIN_S,
    author: staff.Author | None = None,
) -> list[Rebuilt]:
    """Raises NotReady for a sale that is not armed, is retired, or whose stream will not drain."""
    async with db.reading(pool) as conn:
        sale = await sales.find(conn, sale_id=sale_id)
        buckets = await sales.buckets(conn, sale_id=sale_id)
    if not buckets or sale.state == sales.State.RETIRED:
        raise sales.NotReady("Only a sale between its arming and its retirement can be rebuilt.")
    # Where some are fenced, the others have lost nothing and go on selling.
    fenced = [bucket for bucket in buckets if bucket.fence_reason]
    return [
        await rebuild_bucket(pool, redis, bucket, progress, drain_s, author)
        for bucket in fenced or buckets
    ]


async def rebuild_bucket(
    pool: db.Pool,
    redis: Redis,
    bucket: sales.Bucket,
    progress: Callable[[int], None],
    drain_s: float,
    author: staff.Author | None,
) -> Rebuilt:
    try:
        await drain_what_is_ours(pool, redis, bucket, drain_s)
        return await reload_bucket(pool, redis, bucket, progress, author)
    except loading.Undrained:
        raise sales.NotReady("Claims are still coming in. Try again in a moment.") from None
    except loading.EpochMoved:
        raise sales.NotReady("Somebody else loads this sale. Look at it in a moment.") from None


async def reload_bucket(
    pool: db.Pool,
    redis: Redis,
    bucket: sales.Bucket,
    progress: Callable[[int], None],
    author: staff.Author | None,
) -> Rebuilt:
    # A transaction that loads a million orders holds its bucket for as long as that takes.
    async with asyncio.timeout(LOAD_S), db.transaction(pool) as conn:
        held = await sales.hold_bucket_alone(conn, number=bucket.number)
        cursors = await sales.cursors(conn, bucket=bucket.number)
        loaded = await load_bucket(conn, redis, held, progress=progress)
        rebuilt = Rebuilt(bucket.number, held.epoch, cursors[held.epoch].position, loaded.epoch)
        where, before = str(bucket.number), {"epoch": held.epoch}
        await staff.note(conn, author, kind="bucket", object_id=where, before=before, after=rebuilt)
    return rebuilt


async def drain_what_is_ours(
    pool: db.Pool, redis: Redis, bucket: sales.Bucket, drain_s: float
) -> None:
    """Stop claims where Redis still carries this epoch, then wait for the writer to catch up."""
    keys = BucketKeys(bucket.number)
    async with db.transaction(pool) as conn:
        await sales.fence(conn, number=bucket.number, reason="being rebuilt")
    try:
        node = await redis.of(bucket.number)
        await loading.set_state(node, keys, stamp=bucket.stamp, state="paused")
        async with asyncio.timeout(drain_s):
            while await undrained(pool, redis, bucket, keys):  # noqa: ASYNC110 - another process drains
                await asyncio.sleep(0.1)
    except loading.EpochMoved:
        return
    except TimeoutError:
        raise sales.NotReady(
            "Accepted orders are still in the stream and nobody writes them down."
            " Start `sluice work`, then rebuild again."
        ) from None


async def undrained(pool: db.Pool, redis: Redis, bucket: sales.Bucket, keys: BucketKeys) -> bool:
    """Tell whether claims wait to be written. What is gone from the stream will never be."""
    async with db.reading(pool) as conn:
        cursors = await sales.cursors(conn, bucket=bucket.number)
    after = cursors[bucket.epoch].position
    node = await redis.of(bucket.number)
    return bool(await loading.drain(node, keys, stamp=bucket.stamp, after=after, claims_max=1))
