"""The fence: which Redis process may take claims, and why another may not.

A process is admitted to a bucket when it carries the very epoch, has forgotten nothing that
Postgres has not written down, is drained to its end, and its books add up exactly. A restart on
its full append-only file passes within a moment; anything else fences the bucket until a rebuild.
"""

import enum

import msgspec

from core import sales
from core.flows.find_order import is_above
from core.flows.give_back import TOPIC
from core.flows.load_bucket import redis_state
from core.kit import db, outbox
from hotpath import loading, scripts
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys


class Outcome(enum.Enum):
    ADMITTED = "admitted"
    WAITING = "waiting"
    FENCED = "fenced"


class Judgement(msgspec.Struct, frozen=True):
    outcome: Outcome
    reason: str = ""


async def admit_redis(pool: db.Pool, redis: Redis, *, number: int, run_id: str) -> Judgement:
    """Judge the process that a bucket's node is, if it is this one.

    WAITING means: ask again, once more is drained or the process has stood there for a while.
    """
    async with (await redis.of(number)).client() as held:
        if await scripts.process_of(held) != run_id:
            return Judgement(Outcome.WAITING, "another process came")
        async with db.transaction(pool) as conn:
            bucket = await sales.hold_bucket_alone(conn, number=number)
            if bucket.run_id == run_id:
                return Judgement(Outcome.ADMITTED)
            if bucket.fence_reason is not None:
                return Judgement(Outcome.FENCED, bucket.fence_reason)
            judgement = await judge(conn, held, bucket)
            if judgement.outcome is Outcome.ADMITTED:
                await tell_state(conn, held, bucket)
                await sales.admit(conn, bucket, run_id=run_id)
            elif judgement.outcome is Outcome.FENCED:
                await sales.fence(conn, number=number, reason=judgement.reason)
            return judgement


async def tell_state(conn: db.Conn, redis: Redis, bucket: sales.Bucket) -> None:
    """An old copy of the log may hold every claim, and yet not that the sale was closed since."""
    sale = await sales.find(conn, sale_id=bucket.sale_id)
    await loading.set_state(
        redis, BucketKeys(bucket.number), stamp=bucket.stamp, state=redis_state(sale)
    )


async def judge(conn: db.Conn, redis: Redis, bucket: sales.Bucket) -> Judgement:
    try:
        seen = await scripts.books(redis, BucketKeys(bucket.number))
    except scripts.DamagedBooks as damage:
        return Judgement(Outcome.FENCED, f"Redis' books are damaged: {damage}")
    cursor = (await sales.cursors(conn, bucket=bucket.number))[bucket.epoch].position
    if wrong := what_is_wrong(bucket, cursor, seen):
        return Judgement(Outcome.FENCED, wrong)
    if is_above(seen.last, cursor):
        return Judgement(Outcome.WAITING, "not drained yet")
    if await sales.is_settled(conn, sale_id=bucket.sale_id):
        return Judgement(Outcome.ADMITTED)
    forgotten = await sales.transfers_known(conn, bucket) - await scripts.transfers(
        redis, BucketKeys(bucket.number)
    )
    if forgotten:
        return Judgement(Outcome.FENCED, f"Redis forgot transfer {min(forgotten)}")
    return weigh(await sales.allotted(conn, bucket), seen, await on_their_way(conn, bucket))


def what_is_wrong(bucket: sales.Bucket, cursor: str, seen: scripts.Books) -> str | None:
    """Why this cannot be the Redis that took this epoch's claims, all of them."""
    if not seen.stamp:
        return "Redis has no such bucket: it started on an empty disk"
    if seen.stamp != bucket.stamp:
        return "Redis carries another epoch of this bucket"
    if is_above(cursor, seen.last):
        return "Redis started on an old copy of its append-only file"
    if is_above(bucket.seen, seen.last):
        return f"orders up to {bucket.seen} were accepted and Redis forgot them"
    if is_above(seen.deleted, cursor):
        return "claims were trimmed before they were written down"
    return None


async def on_their_way(conn: db.Conn, bucket: sales.Bucket) -> dict[int, int]:
    """Units that a message of this epoch has yet to give back, by SKU."""
    of_ours = {"bucket": bucket.number, "stamp": bucket.stamp}
    found = await outbox.sums(conn, TOPIC, of_ours, by="sku_id", amount="quantity")
    return {int(sku_id): units for sku_id, units in found.items()}


def weigh(
    allotted: list[sales.Allotment], seen: scripts.Books, coming: dict[int, int]
) -> Judgement:
    """Conservation, per SKU and exact: nothing is claimed or drained while we look."""
    for a in allotted:
        left = seen.left.get(a.sku_id)
        not_back = a.released - seen.back.get(a.sku_id, 0)
        between = a.transferred - seen.transferred.get(a.sku_id, 0)
        due = a.quota - a.sold - not_back - a.dead - between
        if left != due:
            return Judgement(
                Outcome.FENCED, f"SKU {a.sku_id}: {left} units left in Redis, {due} by Postgres"
            )
        # A message goes only once its units are back, or the sale is closed.
        if not_back > coming.get(a.sku_id, 0) and seen.state != "closed":
            return Judgement(
                Outcome.FENCED, f"SKU {a.sku_id}: units were given back and Redis forgot them"
            )
    return Judgement(Outcome.ADMITTED)
