"""A member takes an unpaid order back."""

from core import orders
from core.flows.find_order import OrderView, find_order
from core.flows.give_back import book_release
from core.kit import db
from hotpath.nodes import Redis
from hotpath.receipts import Keyring


async def cancel_order(
    pool: db.Pool, redis: Redis, keyring: Keyring, *, order_id: str, member_id: int
) -> OrderView:
    """Raises NoSuchOrder, NotYetWritten, and IllegalMove for an order that is paid or ended."""
    seen = await find_order(pool, redis, keyring, order_id=order_id, member_id=member_id)
    if seen.state == "accepted":
        raise orders.NotYetWritten(retry_after_s=1)
    async with db.transaction(pool) as conn:
        order = await orders.find(conn, order_id=seen.order_id)
        await orders.cancel(conn, order, reason="member")
        await book_release(conn, [ended(order)])
    return await find_order(pool, redis, keyring, order_id=order_id, member_id=member_id)


def ended(order: orders.Order) -> orders.Expired:
    return orders.Expired(order.id, order.bucket, order.member_id, order.sku_id, order.quantity)
