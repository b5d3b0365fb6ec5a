"""Units of a SKU go from one bucket of a sale to another, once, whatever is killed on the way.

The journal's row comes first. Then the source's Redis gives up what it has left, once by the row's
id; one transaction moves that much quota; the target's Redis puts it up for sale, once. Whoever
comes later begins at what the row says. A bucket that began another epoch meanwhile is settled by
arithmetic: its loading counted from the quota in Postgres, which has the units or has them not.
"""

from core import sales
from core.kit import db
from hotpath import scripts
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys


async def carry_units(pool: db.Pool, redis: Redis, transfer: sales.Transfer) -> bool:
    """Take a transfer as far as it goes. False where it waits for a process to be admitted."""
    if transfer.state == sales.TransferState.PLANNED:
        return await take_out(pool, redis, transfer)
    return await put_in(pool, redis, transfer)


async def take_out(pool: db.Pool, redis: Redis, transfer: sales.Transfer) -> bool:
    async with db.reading(pool) as conn:
        source = await sales.bucket(conn, number=transfer.source)
    units: int | None = 0
    if source.stamp == transfer.source_stamp:
        async with (await redis.of(source.number)).client() as held:
            if source.run_id is None or await scripts.process_of(held) != source.run_id:
                return False
            units = await scripts.debit(
                held,
                BucketKeys(source.number),
                stamp=source.stamp,
                transfer_id=transfer.id,
                sku_id=transfer.sku_id,
                units_max=transfer.units_max,
            )
    return units is not None and await cross(pool, transfer, units, run_id=source.run_id)


async def cross(pool: db.Pool, transfer: sales.Transfer, units: int, *, run_id: str | None) -> bool:
    """Move the quota, or end a transfer that took nothing out of the epoch that still is."""
    async with db.transaction(pool) as conn:
        held = {
            number: await sales.hold_bucket_shared(conn, number=number)
            for number in sorted((transfer.source, transfer.target))
        }
        source, settled = held[transfer.source]
        target, _ = held[transfer.target]
        if not units or settled or source.stamp != transfer.source_stamp:
            return await sales.end_transfer(conn, transfer, sales.TransferState.VOID)
        # Another process was admitted since: it may have forgotten what the last one gave up.
        if source.run_id is None or source.run_id != run_id:
            return False
        return await sales.cross(conn, transfer, units=units, target_stamp=target.stamp)


async def put_in(pool: db.Pool, redis: Redis, transfer: sales.Transfer) -> bool:
    async with db.reading(pool) as conn:
        target = await sales.bucket(conn, number=transfer.target)
        settled = await sales.is_settled(conn, sale_id=transfer.sale_id)
    if target.stamp == transfer.target_stamp and not settled:
        async with (await redis.of(target.number)).client() as held:
            if target.run_id is None or await scripts.process_of(held) != target.run_id:
                return False
            if not await scripts.credit(
                held,
                BucketKeys(target.number),
                stamp=target.stamp,
                transfer_id=transfer.id,
                sku_id=transfer.sku_id,
                units=transfer.units,
            ):
                return False
    return await arrive(pool, transfer, run_id=target.run_id)


async def arrive(pool: db.Pool, transfer: sales.Transfer, *, run_id: str | None) -> bool:
    async with db.transaction(pool) as conn:
        target, settled = await sales.hold_bucket_shared(conn, number=transfer.target)
        counted = settled or target.stamp != transfer.target_stamp
        if not counted and target.run_id != run_id:
            return False
        return await sales.end_transfer(conn, transfer, sales.TransferState.ARRIVED)
