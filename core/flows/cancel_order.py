"""An order is taken back, by its member or by staff, as long as nothing of it has left.

One transaction: the order ends, its money is owed back, or let go where it was merely held, and
its units are on their way back.
"""

from core import fulfilment, ledger, orders, payments, staff
from core.flows import book_payment
from core.flows.dispatch_orders import deeds
from core.flows.find_order import OrderView, find_order
from core.flows.give_back import book_release
from core.kit import db
from hotpath.nodes import Redis
from hotpath.receipts import Keyring

BY = "orders"


async def cancel_order(
    pool: db.Pool, redis: Redis, keyring: Keyring, *, order_id: str, member_id: int
) -> OrderView:
    """What was paid goes back, under the order's own id: it is cancelled once.

    Raises NoSuchOrder, NotYetWritten, orders.AlreadyShipped, and IllegalMove for one that ended.
    """
    seen = await find_order(pool, redis, keyring, order_id=order_id, member_id=member_id)
    if seen.state == "accepted":
        raise orders.NotYetWritten(retry_after_s=1)
    async with db.transaction(pool) as conn:
        order = await orders.find(conn, order_id=seen.order_id)
        await _cancel(conn, order, payments.RefundId(order.id), reason="member", by=BY)
    return await find_order(pool, redis, keyring, order_id=order_id, member_id=member_id)


async def cancel_for_staff(
    pool: db.Pool,
    *,
    order_id: orders.OrderId,
    refund_id: payments.RefundId,
    author: staff.Author,
) -> orders.Order:
    """Cancel an order, and refund all that is left of its money under `refund_id`.

    Raises NoSuchOrder, orders.AlreadyShipped, and IllegalMove for one that has ended.
    """
    async with db.transaction(pool) as conn:
        order = await orders.find(conn, order_id=order_id)
        await _cancel(conn, order, refund_id, reason="staff", by=author.by)
        after = await orders.find(conn, order_id=order_id)
        await staff.note(
            conn,
            author,
            kind="order",
            object_id=order_id,
            before=order.standing._asdict(),
            after=after.standing._asdict(),
        )
    return after


async def _cancel(
    conn: db.Conn, order: orders.Order, refund_id: payments.RefundId, *, reason: str, by: str
) -> None:
    # Who settles a payment holds it first and moves its order then; so does who cancels.
    kept = await payments.hold_kept(conn, order_id=order.id)
    if order.payment == orders.Payment.PAID:
        await orders.cancel(conn, order, reason=reason, refund_id=refund_id)
        await _owe_all(conn, order, kept, refund_id, reason)
    else:
        await payments.call_off(conn, order_id=order.id)
        await orders.cancel(conn, order, reason=reason)
        if kept is not None:
            await payments.void(conn, kept, reason=reason)
    await _give_back(conn, order, by)


async def end(conn: db.Conn, order: orders.Order, *, reason: str, by: str) -> None:
    """End an order whose money is not here, and whose payment has ended already."""
    await orders.cancel(conn, order, reason=reason)
    await _give_back(conn, order, by)


async def _give_back(conn: db.Conn, order: orders.Order, by: str) -> None:
    withdrawn = await fulfilment.withdraw(conn, order_id=order.id)
    await book_release(conn, ended(order), recalled=deeds(withdrawn, by=by))


async def _owe_all(
    conn: db.Conn,
    order: orders.Order,
    payment: payments.Payment | None,
    refund_id: payments.RefundId,
    reason: str,
) -> None:
    if payment is None:
        assert order.amount_minor == 0, "what pays an order is kept"
        return
    _, shares = await ledger.find_hold(conn, order_id=order.id)
    left = {share.line_no: share.amount_minor - share.returned_minor for share in shares}
    lines = {line_no: left_minor for line_no, left_minor in left.items() if left_minor}
    if lines:
        await book_payment.owe(conn, payment, refund_id=refund_id, lines=lines, reason=reason)


def ended(order: orders.Order) -> list[orders.Expired]:
    return [
        orders.Expired(order.id, order.bucket, order.member_id, line.sku_id, line.quantity)
        for line in order.lines
    ]
