"""An order's way through the house, as one: order, payment check, stock, dispatch.

Nothing is written for it: each step stands where it happened, with who did it.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from core import fulfilment, orders, payments
from core.flows import dispatch_orders
from core.kit import db


class Step(msgspec.Struct, frozen=True):
    """`part` is order, payment, stock or dispatch. `by` is a role of ours, or `member:7`,
    `provider:sandbox`, `staff:bea`. What is not of the whole order names its consignment.
    """

    part: str
    what: str
    happened_at: datetime
    by: str
    consignment_id: str | None = None
    place_id: int | None = None


class Flow(NamedTuple):
    """`waiting_for` is payment, stock, dispatch or delivery; None where nothing is to come.

    Money that is held for it is held until `held_until`: it has to leave before.
    """

    order: orders.Order
    lead: fulfilment.Lead | None
    waiting_for: str | None
    steps: list[Step]
    held_until: datetime | None


WAITING = {
    orders.Shown.PENDING_PAYMENT: "payment",
    orders.Shown.PAID: "dispatch",
    orders.Shown.SHIPPED: "delivery",
}


async def order_flow(pool: db.Pool, *, order_id: orders.OrderId) -> Flow:
    """Raises orders.NoSuchOrder and TooManyEvents."""
    async with db.snapshot(pool) as conn:
        order = await orders.find(conn, order_id=order_id)
        log = await orders.log(conn, order_id=order_id)
        sent = await fulfilment.of_orders(conn, order_ids=[order_id])
        lead = await fulfilment.lead(conn, order_id=order_id)
        held_until = await payments.held_until(conn, order_id=order_id)
        steps = [Step("order", "placed", order.placed_at, f"member:{order.member_id}")]
        for one in log:
            steps += await _told(conn, order, one)
    steps += [step for one in sent for step in _steps_of(one.consignment)]
    steps.sort(key=lambda step: step.happened_at)
    return Flow(order, lead, _waiting_for(order, sent), steps, held_until)


async def _told(conn: db.Conn, order: orders.Order, logged: orders.Logged) -> list[Step]:
    """What the order's own log tells. Its parcels are told by the consignments."""
    match logged.event:
        case orders.Authorized(payment_id) | orders.Paid(payment_id):
            payment = await payments.find(conn, payment_id=payments.PaymentId(payment_id))
            by = f"provider:{payment.channel}"
            is_held = isinstance(logged.event, orders.Authorized)
            return [Step("payment", "held" if is_held else "paid", logged.happened_at, by)]
        case orders.Cancelled(reason):
            who = {"expired": "expirer", "member": f"member:{order.member_id}"}
            return [Step("order", "cancelled", logged.happened_at, who.get(reason, reason))]
    return []


def _steps_of(one: fulfilment.Consignment) -> Iterator[Step]:
    for part, what, happened_at, by in (
        ("stock", "planned", one.planned_at, dispatch_orders.BY),
        ("stock", "allocated", one.allocated_at, dispatch_orders.BY),
        ("dispatch", "shipped", one.shipped_at, f"staff:{one.shipped_by}"),
        ("dispatch", "delivered", one.delivered_at, f"staff:{one.delivered_by}"),
    ):
        if happened_at is not None:
            yield Step(part, what, happened_at, by, str(one.id), one.place_id)


def _waiting_for(order: orders.Order, sent: Sequence[fulfilment.Loaded]) -> str | None:
    if order.shown == orders.Shown.PAID and not sent:
        return "stock"
    if order.fulfilment == orders.Fulfilment.PART_SHIPPED:
        return "dispatch"
    return WAITING.get(order.shown)
