"""A sale that is over and proven right leaves Redis. Postgres answers its repeats from then on."""

from core import sales, staff
from core.flows.audit_sale import SaleAudit, audit_sale
from core.flows.run_sale import noted
from core.kit import db
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys

AGE_MIN_S = 3_600


async def retire_sale(
    pool: db.Pool,
    redis: Redis,
    *,
    sale_id: sales.SaleId,
    age_min_s: int = AGE_MIN_S,
    author: staff.Author | None = None,
) -> sales.Sale:
    """Raises NotReady unless it is settled, old enough, and its audit shows no drift.

    Once more for a retired sale finishes what a crash may have left.
    """
    audit = await audit_sale(pool, redis, sale_id=sale_id)
    async with db.transaction(pool) as conn:
        sale = await sales.find(conn, sale_id=sale_id)
        if sale.state != sales.State.RETIRED:
            await refuse_too_early(conn, sale, audit, age_min_s)
            await sales.move(conn, sale, sales.State.RETIRED)
        buckets = await sales.buckets(conn, sale_id=sale_id)
        await noted(conn, author, sale)
    for bucket in buckets:
        node = await redis.of(bucket.number)
        await node.unlink(*BucketKeys(bucket.number).all())
    async with db.reading(pool) as conn:
        return await sales.find(conn, sale_id=sale_id)


async def refuse_too_early(
    conn: db.Conn, sale: sales.Sale, audit: SaleAudit, age_min_s: int
) -> None:
    if sale.settled_at is None:
        raise sales.NotReady("The sale is not closed and settled yet.", state=sale.state)
    if audit.drift:
        raise sales.NotReady("The audit shows drift. Run `sluice audit`.", drift=audit.drift)
    if not await sales.settled_before(conn, sale_id=sale.id, age_s=age_min_s):
        raise sales.NotReady(
            "The sale was settled too recently for late repeats.", age_min_s=age_min_s
        )
