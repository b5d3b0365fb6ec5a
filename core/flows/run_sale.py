"""Arm, pause, resume and close a sale: Postgres decides, Redis follows.

A move is written down first. Where Redis cannot be told at once, the conductor tells it later and
the caller hears that it is not in force yet.
"""

from redis.exceptions import RedisError

from core import catalogue, inventory, sales, staff
from core.flows.load_bucket import load_bucket, redis_state
from core.kit import db, promises
from hotpath import loading
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys


async def arm_sale(
    pool: db.Pool, redis: Redis, *, sale_id: sales.SaleId, author: staff.Author | None = None
) -> sales.Sale:
    """Draw the quota from stock, load Redis, and let the sale open at its time.

    Raises catalogue.NotOnSale, inventory.OutOfStock, IllegalMove, and NotReady where a server
    breaks a promise.
    """
    async with db.transaction(pool) as conn:
        sale = await sales.find(conn, sale_id=sale_id)
        await sales.move(conn, sale, sales.State.ARMED)
        quota = {i.sku_id: i.quota for i in await sales.items(conn, sale_id=sale_id)}
        await catalogue.insist_on_sale(conn, sku_ids=map(catalogue.SkuId, quota))
        await refuse_broken_promises(conn, redis)
        if not sale.shadow:
            drawn = inventory.Wanted(purpose(sale_id), quota, by="sales")
            await inventory.reserve(conn, drawn)
        for bucket in await sales.open_buckets(conn, sale):
            held = await sales.hold_bucket_alone(conn, number=bucket.number)
            await load_bucket(conn, redis, held)
        await sales.open_due(conn)
        return await noted(conn, author, sale)


async def pause_sale(
    pool: db.Pool, redis: Redis, *, sale_id: sales.SaleId, author: staff.Author | None = None
) -> sales.Sale:
    return await move_and_tell(pool, redis, sale_id, sales.State.PAUSED, author)


async def resume_sale(
    pool: db.Pool, redis: Redis, *, sale_id: sales.SaleId, author: staff.Author | None = None
) -> sales.Sale:
    """Back to armed, and on to open where its time has come."""
    return await move_and_tell(pool, redis, sale_id, sales.State.ARMED, author)


async def close_sale(
    pool: db.Pool, redis: Redis, *, sale_id: sales.SaleId, author: staff.Author | None = None
) -> sales.Sale:
    """No claim is accepted from here on. The conductor settles it once its stream is drained."""
    return await move_and_tell(pool, redis, sale_id, sales.State.CLOSED, author)


async def move_and_tell(
    pool: db.Pool,
    redis: Redis,
    sale_id: sales.SaleId,
    target: sales.State,
    author: staff.Author | None,
) -> sales.Sale:
    async with db.transaction(pool) as conn:
        sale = await sales.find(conn, sale_id=sale_id)
        await sales.move(conn, sale, target)
        await sales.open_due(conn)
        buckets = await sales.buckets(conn, sale_id=sale_id)
        sale = await noted(conn, author, sale)
    try:
        await tell_redis(redis, sale, buckets)
    except (RedisError, loading.EpochMoved):
        raise sales.Unavailable(
            f"The sale is {sale.state} in Postgres; Redis follows as soon as it answers."
        ) from None
    return sale


async def noted(conn: db.Conn, author: staff.Author | None, before: sales.Sale) -> sales.Sale:
    """The sale as it is now, with a note of what became of it."""
    sale = await sales.find(conn, sale_id=before.id)
    where = str(sale.id)
    await staff.note(conn, author, kind="sale", object_id=where, before=before, after=sale)
    return sale


async def tell_redis(redis: Redis, sale: sales.Sale, buckets: list[sales.Bucket]) -> None:
    """Tell every bucket that can be told, and raise what went wrong with another.

    EpochMoved is raised where Redis bears another stamp, which the fence deals with.
    """
    failures = []
    for bucket in buckets:
        try:
            await loading.set_state(
                await redis.of(bucket.number),
                BucketKeys(bucket.number),
                stamp=bucket.stamp,
                state=redis_state(sale),
            )
        except (RedisError, loading.EpochMoved) as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


def purpose(sale_id: sales.SaleId) -> str:
    """What the units of a sale are kept for."""
    return f"sale:{sale_id}"


async def refuse_broken_promises(conn: db.Conn, redis: Redis) -> None:
    """No sale opens on servers that may forget what they acknowledged."""
    findings = await promises.check_postgres(conn)
    for node in await redis.every():
        findings += await promises.check_redis(node)
    if findings:
        raise sales.NotReady(
            "A server does not keep what a sale promises. Run `sluice doctor`.",
            findings=[finding.what for finding in findings],
        )
