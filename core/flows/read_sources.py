"""What the shop wrote down, read as messages: one reader for each source whose rows bear their
transaction.
"""

from collections.abc import Awaitable, Callable, Iterable

import msgspec

from core import disputes, inventory, ledger, orders, payments, sales, webhooks
from core.kit import db, tail

TOLD_MONEY = frozenset(
    {
        ledger.EntryKind.CAPTURE,
        ledger.EntryKind.REFUND_PAID,
        ledger.EntryKind.SENT_BACK,
        ledger.EntryKind.CHARGEBACK,
    }
)


class Row(msgspec.Struct, frozen=True):
    """What a row tells of: what nobody is told of leaves no message."""

    xact: int
    messages: list[webhooks.Message]


Reader = Callable[[db.Conn, tail.Stretch, int], Awaitable[list[Row]]]


async def read_order_events(conn: db.Conn, stretch: tail.Stretch, page_max: int) -> list[Row]:
    happened = await orders.happened(conn, stretch, page_max=page_max)
    shadows = await sales.shadows(conn) if happened else set()
    return [Row(one.xact, [] if one.sale_id in shadows else [of_event(one)]) for one in happened]


async def read_ordinary_orders(conn: db.Conn, stretch: tail.Stretch, page_max: int) -> list[Row]:
    agreed = await orders.agreed(conn, stretch, page_max=page_max)
    found = await orders.find_all(conn, order_ids=[one.order_id for one in agreed])
    by_id = {order.id: order for order in found}
    return [Row(one.xact, [of_order(by_id[one.order_id])]) for one in agreed]


async def read_money(conn: db.Conn, stretch: tail.Stretch, page_max: int) -> list[Row]:
    posted = await ledger.posted_since(conn, stretch, kinds=TOLD_MONEY, page_max=page_max)
    return [Row(entry.xact, [await of_entry(conn, entry)]) for entry in posted]


async def read_disputes(conn: db.Conn, stretch: tail.Stretch, page_max: int) -> list[Row]:
    found = await disputes.happened(conn, stretch, page_max=page_max)
    known = await disputes.find_all(conn, dispute_ids=[one.dispute_id for one in found])
    by_id = {dispute.id: dispute for dispute in known}
    return [Row(one.xact, [of_dispute(one, by_id[one.dispute_id])]) for one in found]


async def read_alerts(conn: db.Conn, stretch: tail.Stretch, page_max: int) -> list[Row]:
    raised = await inventory.raised(conn, stretch, page_max=page_max)
    return [Row(one.xact, [of_alert(one)]) for one in raised]


async def read_milestones(conn: db.Conn, stretch: tail.Stretch, page_max: int) -> list[Row]:
    found = await sales.milestones(conn, stretch, page_max=page_max)
    return [Row(one.xact, list(of_milestone(one))) for one in found]


READERS: dict[webhooks.Source, Reader] = {
    webhooks.Source.ORDINARY_ORDERS: read_ordinary_orders,
    webhooks.Source.ORDER_EVENTS: read_order_events,
    webhooks.Source.MONEY: read_money,
    webhooks.Source.DISPUTES: read_disputes,
    webhooks.Source.ALERTS: read_alerts,
    webhooks.Source.MILESTONES: read_milestones,
}


def of_order(order: orders.Order) -> webhooks.Message:
    sale_id = None if order.sale_id is None else str(order.sale_id)
    told: msgspec.Struct
    if order.state == orders.State.REJECTED:
        told = webhooks.OrderRejected(order.id, sale_id, str(order.member_id), order.reason or "")
    else:
        told = webhooks.OrderPlaced(
            order_id=order.id,
            sale_id=sale_id,
            member_id=str(order.member_id),
            amount=order.amount_minor,
            shipping=order.shipping_minor,
            shipping_tax=order.shipping_tax_minor,
            currency=order.currency,
            placed_at=order.placed_at,
            expires_at=order.expires_at,
            lines=[of_line(line) for line in order.lines],
        )
    return webhooks.message(f"order_{order.id}_0", told, happened_at=order.placed_at)


def of_line(line: orders.Line) -> webhooks.OrderLine:
    return webhooks.OrderLine(
        line_no=line.line_no,
        sku_id=str(line.sku_id),
        seller_id=str(line.seller_id),
        quantity=line.quantity,
        price=line.price_minor,
        discount=line.discount_minor,
        tax=line.tax_minor,
    )


def of_event(happened: orders.Happened) -> webhooks.Message:
    where = (happened.order_id, happened.number)
    told: msgspec.Struct
    match happened.event:
        case orders.Authorized(payment_id):
            told = webhooks.OrderAuthorized(*where, payment_id)
        case orders.Paid(payment_id):
            told = webhooks.OrderPaid(*where, payment_id)
        case orders.Cancelled(reason, refund_id):
            told = webhooks.OrderCancelled(*where, reason, refund_id)
        case orders.Follows(order_id):
            told = webhooks.OrderReplaces(*where, order_id)
        case orders.Shipped(consignment_id, is_last):
            told = webhooks.OrderShipped(*where, consignment_id, is_last)
        case orders.Delivered(consignment_id, is_last):
            told = webhooks.OrderDelivered(*where, consignment_id, is_last)
        case orders.CaseOpened(case_id):
            told = webhooks.AfterSaleOpened(*where, case_id)
        case orders.CaseClosed(case_id, came_to, refund_id, follow_up):
            told = webhooks.AfterSaleClosed(*where, case_id, came_to, refund_id, follow_up)
    return webhooks.message(
        f"order_{happened.order_id}_{happened.number}", told, happened_at=happened.happened_at
    )


async def of_entry(conn: db.Conn, entry: ledger.Posted) -> webhooks.Message:
    if entry.kind == ledger.EntryKind.CHARGEBACK:
        return await of_chargeback(conn, entry)
    channel = entry.owner(ledger.Account.PROVIDER_CLEARING) or ""
    paid = (entry.amount_minor, entry.currency)
    told: msgspec.Struct
    if entry.kind == ledger.EntryKind.CAPTURE:
        order_id = entry.owner(ledger.Account.ESCROW)
        told = webhooks.PaymentCaptured(entry.reference, channel, order_id, *paid)
    elif entry.kind == ledger.EntryKind.REFUND_PAID:
        refund = await payments.find_refund(conn, refund_id=payments.RefundId(entry.own_reference))
        where = (refund.payment_id, refund.id, channel, refund.order_id)
        told = webhooks.PaymentRefunded(*where, *paid)
    else:
        payment = await payments.find(conn, payment_id=payments.PaymentId(entry.reference))
        told = webhooks.PaymentRefunded(payment.id, None, channel, payment.order_id, *paid)
    event_id = f"money_{entry.kind}_{entry.own_reference}"
    return webhooks.message(event_id, told, happened_at=entry.posted_at)


async def of_chargeback(conn: db.Conn, entry: ledger.Posted) -> webhooks.Message:
    order_id, _, reference = entry.reference.partition(":")
    channel = entry.owner(ledger.Account.CHARGEBACKS) or ""
    told = webhooks.PaymentChargedBack(
        chargeback_id=reference,
        payment_id=await payments.told_of(conn, channel=channel, event_id=reference),
        channel=channel,
        order_id=order_id,
        amount=entry.amount_minor,
        lost=sum(amount for kind, _, amount in entry.rows if kind == ledger.Account.LOSSES),
        currency=entry.currency,
    )
    # A provider's name may hold what an event's id may not.
    event_id = f"chargeback_{entry.xact}_{order_id}"
    return webhooks.message(event_id, told, happened_at=entry.posted_at)


def of_dispute(one: disputes.Happened, dispute: disputes.Dispute) -> webhooks.Message:
    told = webhooks.PaymentDisputed(
        dispute_id=str(dispute.id),
        payment_id=dispute.payment_id,
        channel=dispute.channel,
        order_id=dispute.order_id,
        state=one.state,
        reason=dispute.reason,
        amount=dispute.amount_minor,
        currency=dispute.currency,
    )
    return webhooks.message(f"dispute_{one.id}", told, happened_at=one.happened_at)


def of_alert(alert: inventory.Raised) -> webhooks.Message:
    where = (str(alert.id), str(alert.sku_id), str(alert.place_id))
    told = webhooks.StockLow(*where, alert.free, alert.safety_stock)
    return webhooks.message(f"alert_{alert.id}", told, happened_at=alert.raised_at)


def of_movement(movement: inventory.Movement) -> webhooks.Message:
    told = webhooks.StockMoved(
        movement_id=str(movement.id),
        kind=movement.kind,
        sku_id=str(movement.sku_id),
        place_id=str(movement.place_id),
        quantity=movement.quantity,
        reference=movement.reference,
        kept_for=movement.kept_for,
    )
    return webhooks.message(f"movement_{movement.id}", told, happened_at=movement.moved_at)


SALES = {
    sales.State.OPEN: webhooks.SaleOpened,
    sales.State.PAUSED: webhooks.SalePaused,
    sales.State.CLOSED: webhooks.SaleClosed,
    "sold_out": webhooks.SaleSoldOut,
}


def of_milestone(one: sales.Milestone) -> Iterable[webhooks.Message]:
    """Nothing of what concerns nobody outside."""
    if shape := SALES.get(one.kind):
        told = shape(str(one.sale_id), one.name)
        yield webhooks.message(f"sale_{one.sale_id}_{one.id}", told, happened_at=one.reached_at)
