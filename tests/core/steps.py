"""Steps that the tests of sales share."""

from core.flows.audit_sale import audit_sale


async def drain(writer) -> None:
    """Let the order writer look around, then write down all there is."""
    writer._look_at = 0.0
    while await writer.step():
        pass


async def plant(redis, record, bucket=1) -> None:
    """Put a claim into the stream that claim.lua never saw, counted as if it had."""
    await redis.xadd(f"sluice:{{{bucket}}}:claims", {"c": record, "n": "1,1"})
    await redis.hincrby(f"sluice:{{{bucket}}}:sale", "accepted", 1)


async def books(pool, redis, sale) -> tuple[int, int, int, int]:
    """Left, in flight, sold and returned of a sale's first SKU, which must add up."""
    audit = await audit_sale(pool, redis, sale_id=sale.id)
    (item, *_) = audit.items
    assert audit.drift == 0
    return item.left, item.in_flight, item.sold, item.returned
