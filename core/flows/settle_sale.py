"""A closed and drained sale is settled: what was not sold goes back to stock, by arithmetic."""

from core import inventory, sales
from core.flows.run_sale import purpose
from core.kit import db
from hotpath import scripts
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys


async def settle_sale(pool: db.Pool, redis: Redis, *, sale_id: sales.SaleId) -> bool:
    """False while it cannot be settled yet: not drained, not admitted, or not closed in Redis.

    False, too, when it is settled already.
    """
    async with db.transaction(pool) as conn:
        buckets = await sales.buckets(conn, sale_id=sale_id)
        if any(bucket.run_id is None for bucket in buckets):
            return False
        for bucket in buckets:
            held = await sales.hold_bucket_alone(conn, number=bucket.number)
            if not await is_drained(conn, redis, held):
                return False
        sale = await sales.find(conn, sale_id=sale_id)
        if sale.settled_at is not None:
            return False
        units = await sales.settle(conn, sale)
        if not sale.shadow:
            unsold = inventory.Deed(purpose(sale_id), units, purpose(sale_id), by="sales")
            await inventory.release(conn, [unsold])
        return True


async def is_drained(conn: db.Conn, redis: Redis, bucket: sales.Bucket) -> bool:
    async with (await redis.of(bucket.number)).client() as held:
        if bucket.run_id is None or await scripts.process_of(held) != bucket.run_id:
            return False
        seen = await scripts.books(held, BucketKeys(bucket.number))
    cursors = await sales.cursors(conn, bucket=bucket.number)
    return (
        seen.stamp == bucket.stamp
        and seen.state == "closed"
        and seen.last == cursors[bucket.epoch].position
    )
