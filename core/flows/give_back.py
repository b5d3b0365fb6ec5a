"""Units go back for sale, once per order: written in the transaction that ends the order, then done
in Redis by the outbox relay. Once a sale is settled they go back to stock instead, at once.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from core import inventory, orders, sales
from core.flows.place_ordinary import purpose as purpose_of_order
from core.flows.run_sale import purpose
from core.kit import db, outbox
from hotpath import scripts
from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys

TOPIC = "sales.release"


class Release(msgspec.Struct, frozen=True):
    """Good for one epoch: a rebuild counts the units itself and makes this void."""

    order_id: orders.OrderId
    bucket: int
    stamp: str
    sku_id: int
    member_id: int
    quantity: int


async def book_release(
    conn: db.Conn,
    ended: Sequence[orders.Expired],
    *,
    was_sold: bool = True,
    recalled: Sequence[inventory.Deed] = (),
) -> None:
    """Take a sale's ended orders out of `sold` and send their units back; what stock keeps for an
    ordinary one is free at once. `ended` has all lines of each order.

    `was_sold` is false for claims that never became live orders, which `sold` never counted.
    `recalled` were picked for their consignments, and are merely reserved again.
    """
    to_stock = unreserved([order for order in ended if order.bucket is None])
    for number in sorted({order.bucket for order in ended if order.bucket is not None}):
        mine = [order for order in ended if order.bucket == number]
        bucket, settled = await sales.hold_bucket_shared(conn, number=number)
        sold = -1 if was_sold else 0
        await sales.book(
            conn,
            [
                sales.Entry(
                    number,
                    order.sku_id,
                    sold=sold * order.quantity,
                    released=0 if settled else order.quantity,
                    returned=order.quantity if settled else 0,
                )
                for order in mine
            ],
        )
        if not settled:
            await outbox.add(conn, TOPIC, [release_of(bucket, order) for order in mine])
        elif not (await sales.find(conn, sale_id=bucket.sale_id)).shadow:
            to_stock += [to_free(bucket.sale_id, order) for order in mine]
    # Stock is locked last, all of it at once, so that nobody waits in a ring.
    await inventory.recall(conn, recalled)
    await inventory.release(conn, to_stock)


def unreserved(ended: Sequence[orders.Expired]) -> list[inventory.Deed]:
    """What stock keeps for ordinary orders, free again."""
    units: dict[str, Counter[int]] = {}
    for line in ended:
        units.setdefault(purpose_of_order(line.id), Counter())[line.sku_id] += line.quantity
    return [inventory.Deed(kept_for, units[kept_for], kept_for, by="orders") for kept_for in units]


def to_free(sale_id: sales.SaleId, order: orders.Expired) -> inventory.Deed:
    """Units that a settled sale kept for an order, free again."""
    units = {order.sku_id: order.quantity}
    return inventory.Deed(purpose(sale_id), units, f"order:{order.id}", by="sales")


def release_of(bucket: sales.Bucket, order: orders.Expired) -> Release:
    return Release(
        order.id, bucket.number, bucket.stamp, order.sku_id, order.member_id, order.quantity
    )


async def give_back(pool: db.Pool, redis: Redis, payload: object) -> None:
    """Handle one message. Raises outbox.TryLater while no admitted process stands there."""
    release = msgspec.convert(payload, Release)
    async with db.reading(pool) as conn:
        bucket = await sales.bucket(conn, number=sales.BucketNumber(release.bucket))
    if bucket.stamp != release.stamp:
        return
    async with (await redis.of(bucket.number)).client() as held:
        if bucket.run_id is None or await scripts.process_of(held) != bucket.run_id:
            raise outbox.TryLater("no Redis process is admitted to this bucket")
        # Whatever it answers, there is nothing left to do: given back now or before, or the
        # epoch or the sale has ended, and then the units are counted without Redis.
        await scripts.release(
            held,
            BucketKeys(bucket.number),
            stamp=release.stamp,
            order_id=release.order_id,
            sku_id=release.sku_id,
            member_id=release.member_id,
            quantity=release.quantity,
        )
