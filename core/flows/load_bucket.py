"""Load a bucket into Redis from what Postgres knows, and admit the process that took it in.

Arming and rebuilding both end here. All of it runs inside the caller's transaction, which holds
the bucket's row alone: nobody changes the books meanwhile, and if anything fails nothing is
admitted. Redis then bears a stamp that Postgres never heard of, which no one trusts.
"""

from collections.abc import Callable
from datetime import datetime

from core import orders, sales
from core.kit.db import Conn
from hotpath import loading, scripts
from hotpath.claims import Claim, encode_facts
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys

PAGE_MAX = 5_000

Progress = Callable[[int], None]


async def load_bucket(
    conn: Conn,
    redis: Redis,
    held: sales.Bucket,
    *,
    progress: Progress = lambda _: None,
) -> sales.Bucket:
    """Begin a new epoch in Redis, fill it, open it as the sale's state says, admit the process.

    `progress` is called with the number of orders loaded so far.
    """
    redis = await redis.of(held.number)
    run_id = await scripts.process_of(redis)
    cursors = await sales.cursors(conn, bucket=held.number)
    bucket = await above_redis(conn, redis, held)
    sale = await sales.find(conn, sale_id=bucket.sale_id)
    keys = BucketKeys(bucket.number)
    await loading.begin(
        redis,
        keys,
        stamp=bucket.stamp,
        opens_at_ms=milliseconds(sale.starts_at),
        closes_at_ms=milliseconds(sale.ends_at),
        old_stamp=held.stamp,
        cursor=cursors[held.epoch].position,
    )
    await fill_shelves(conn, redis, keys, bucket)
    await fill_answers(conn, redis, keys, bucket, progress)
    await loading.set_state(redis, keys, stamp=bucket.stamp, state=redis_state(sale))
    if await scripts.process_of(redis) != run_id:
        raise sales.Unavailable("Redis restarted while it was being loaded. Try again.")
    await sales.admit(conn, bucket, run_id=run_id)
    return bucket


async def above_redis(conn: Conn, redis: Redis, held: sales.Bucket) -> sales.Bucket:
    """A loading's epoch is above everything that Redis has ever seen under these keys."""
    found = (await scripts.stamp(redis, BucketKeys(held.number))).partition(".")[0]
    seen = int(found) if found.isdigit() else 0
    never_loaded = held.run_id is None and held.fence_reason is None and held.epoch == 1
    if never_loaded and seen == 0:
        return held
    return await sales.begin_epoch(conn, held, epoch=max(held.epoch, seen) + 1)


async def fill_shelves(conn: Conn, redis: Redis, keys: BucketKeys, bucket: sales.Bucket) -> None:
    items = await sales.items(conn, sale_id=bucket.sale_id)
    limits = {str(item.sku_id): item.member_limit for item in items}
    left = {
        str(a.sku_id): a.quota - a.sold - a.dead - a.returned
        for a in await sales.allotted(conn, bucket)
    }
    await loading.fill(redis, keys, keys.limits, limits, stamp=bucket.stamp)
    await loading.fill(redis, keys, keys.left, left, stamp=bucket.stamp)


async def fill_answers(
    conn: Conn, redis: Redis, keys: BucketKeys, bucket: sales.Bucket, progress: Progress
) -> None:
    """Each key gets the answer it had; each member holds what its live orders hold."""
    held: dict[str, int] = {}
    loaded = 0
    async for page in orders.written_in(conn, bucket=bucket.number, page_max=PAGE_MAX):
        answers = {f"{o.member_id}:{o.idempotency_key}": answer_of(bucket, o) for o in page}
        await loading.fill(redis, keys, keys.answers, answers, stamp=bucket.stamp)
        for order in page:
            if order.live:
                field = f"{order.sku_id}:{order.member_id}"
                held[field] = held.get(field, 0) + order.quantity
        loaded += len(page)
        progress(loaded)
    await loading.fill(redis, keys, keys.members, held, stamp=bucket.stamp)


def answer_of(bucket: sales.Bucket, order: orders.Written) -> str:
    claim = Claim(
        bucket.sale_id, order.member_id, order.idempotency_key, order.sku_id, order.quantity
    )
    return f"{order.position},{encode_facts(claim, epoch=order.epoch, key_id=order.key_id)}"


def redis_state(sale: sales.Sale) -> str:
    """The window decides when an armed sale opens, so Redis calls it open already."""
    return {"armed": "open", "open": "open", "paused": "paused"}.get(sale.state, "closed")


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
