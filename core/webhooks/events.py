"""What others are told: the kinds of events, and what a message of each holds.

A message is `{"type": "order.paid", "timestamp": when it happened, "data": a Struct of ours}`.
Amounts are in minor units of their currency; ids are texts.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from .model import Cursor, Message, Source


class EventKind(StrEnum):
    ORDER_PLACED = "order.placed"
    ORDER_REJECTED = "order.rejected"
    ORDER_AUTHORIZED = "order.authorized"
    ORDER_PAID = "order.paid"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_REPLACES = "order.replaces"
    ORDER_SHIPPED = "order.shipped"
    ORDER_DELIVERED = "order.delivered"
    CASE_OPENED = "case.opened"
    CASE_CLOSED = "case.closed"
    PAYMENT_CAPTURED = "payment.captured"
    PAYMENT_REFUNDED = "payment.refunded"
    PAYMENT_CHARGED_BACK = "payment.charged_back"
    PAYMENT_DISPUTED = "payment.disputed"
    STOCK_MOVED = "stock.moved"
    STOCK_LOW = "stock.low"
    SALE_OPENED = "sale.opened"
    SALE_PAUSED = "sale.paused"
    SALE_CLOSED = "sale.closed"
    SALE_SOLD_OUT = "sale.sold_out"


class OrderLine(msgspec.Struct, frozen=True):
    """`price` is of one unit, the other amounts of all; `tax` is added, not included in it."""

    line_no: int
    sku_id: str
    seller_id: str
    quantity: int
    price: int
    discount: int
    tax: int


class OrderPlaced(msgspec.Struct, frozen=True):
    """An order stands, and waits for its payment until `expires_at`.

    `amount` is what its lines come to, with `shipping` and what tax is added to that.
    """

    order_id: str
    sale_id: str | None
    member_id: str
    amount: int
    shipping: int
    shipping_tax: int
    currency: str
    placed_at: datetime
    expires_at: datetime
    lines: list[OrderLine]


class OrderRejected(msgspec.Struct, frozen=True):
    """A claim that was accepted could not become an order. Its buyer was told so."""

    order_id: str
    sale_id: str | None
    member_id: str
    reason: str


class OrderAuthorized(msgspec.Struct, frozen=True):
    """Its money is held: it may be got ready. `order.paid` follows once it is taken."""

    order_id: str
    number: int
    payment_id: str


class OrderPaid(msgspec.Struct, frozen=True):
    """`number` counts what happened to the order since it was placed."""

    order_id: str
    number: int
    payment_id: str


class OrderCancelled(msgspec.Struct, frozen=True):
    """`refund_id` names the refund of an order that was paid."""

    order_id: str
    number: int
    reason: str
    refund_id: str | None


class OrderReplaces(msgspec.Struct, frozen=True):
    """Money came late: the order takes the place of `replaced_id`, which was cancelled."""

    order_id: str
    number: int
    replaced_id: str


class OrderShipped(msgspec.Struct, frozen=True):
    """A parcel left; with the last one, nothing of the order is left here."""

    order_id: str
    number: int
    consignment_id: str
    is_last: bool


class OrderDelivered(msgspec.Struct, frozen=True):
    """A parcel is there; with the last one, all of the order is."""

    order_id: str
    number: int
    consignment_id: str
    is_last: bool


class AfterSaleOpened(msgspec.Struct, frozen=True):
    """Its buyer wants something put right."""

    order_id: str
    number: int
    case_id: str


class AfterSaleClosed(msgspec.Struct, frozen=True):
    """What came of it: `refunded`, `replaced` (by `follow_up`), `refused`, or `withdrawn`."""

    order_id: str
    number: int
    case_id: str
    came_to: str
    refund_id: str | None
    follow_up: str | None


class PaymentCaptured(msgspec.Struct, frozen=True):
    """Money came. Without an `order_id` it came too late, or not as it was asked for."""

    payment_id: str
    channel: str
    order_id: str | None
    amount: int
    currency: str


class PaymentRefunded(msgspec.Struct, frozen=True):
    """Money went back by the way it came; without a `refund_id`, because it could not stay."""

    payment_id: str
    refund_id: str | None
    channel: str
    order_id: str
    amount: int
    currency: str


class PaymentChargedBack(msgspec.Struct, frozen=True):
    """A buyer's bank, or the provider, took money back. `chargeback_id` is the provider's name.

    Without a `payment_id` staff booked it. `lost` of it was not covered by the order.
    """

    chargeback_id: str
    payment_id: str | None
    channel: str
    order_id: str
    amount: int
    lost: int
    currency: str


class PaymentDisputed(msgspec.Struct, frozen=True):
    """A buyer contests a payment at its provider: `open`; then `won`, where the money stays, or
    `lost`. Each may follow each.
    """

    dispute_id: str
    payment_id: str
    channel: str
    order_id: str
    state: str
    reason: str
    amount: int
    currency: str


class StockMoved(msgspec.Struct, frozen=True):
    """Units of a SKU in one place: what became of them (`kind`), and what they are for."""

    movement_id: str
    kind: str
    sku_id: str
    place_id: str
    quantity: int
    reference: str
    kept_for: str | None


class StockLow(msgspec.Struct, frozen=True):
    """What is free of a SKU in one place has fallen to its safety stock."""

    alert_id: str
    sku_id: str
    place_id: str
    free: int
    safety_stock: int


class SaleOpened(msgspec.Struct, frozen=True):
    """A flash sale is open, for the first time or again after a pause."""

    sale_id: str
    name: str


class SalePaused(msgspec.Struct, frozen=True):
    """A flash sale takes no claims until it is opened again."""

    sale_id: str
    name: str


class SaleClosed(msgspec.Struct, frozen=True):
    """A flash sale is over."""

    sale_id: str
    name: str


class SaleSoldOut(msgspec.Struct, frozen=True):
    """All units of a flash sale are sold, for the first time; unpaid ones may come back."""

    sale_id: str
    name: str


KINDS: dict[EventKind, type[msgspec.Struct]] = {
    EventKind.ORDER_PLACED: OrderPlaced,
    EventKind.ORDER_REJECTED: OrderRejected,
    EventKind.ORDER_AUTHORIZED: OrderAuthorized,
    EventKind.ORDER_PAID: OrderPaid,
    EventKind.ORDER_CANCELLED: OrderCancelled,
    EventKind.ORDER_REPLACES: OrderReplaces,
    EventKind.ORDER_SHIPPED: OrderShipped,
    EventKind.ORDER_DELIVERED: OrderDelivered,
    EventKind.CASE_OPENED: AfterSaleOpened,
    EventKind.CASE_CLOSED: AfterSaleClosed,
    EventKind.PAYMENT_CAPTURED: PaymentCaptured,
    EventKind.PAYMENT_REFUNDED: PaymentRefunded,
    EventKind.PAYMENT_CHARGED_BACK: PaymentChargedBack,
    EventKind.PAYMENT_DISPUTED: PaymentDisputed,
    EventKind.STOCK_MOVED: StockMoved,
    EventKind.STOCK_LOW: StockLow,
    EventKind.SALE_OPENED: SaleOpened,
    EventKind.SALE_PAUSED: SalePaused,
    EventKind.SALE_CLOSED: SaleClosed,
    EventKind.SALE_SOLD_OUT: SaleSoldOut,
}

SOURCES: dict[Source, frozenset[EventKind]] = {
    Source.SALE_ORDERS: frozenset({EventKind.ORDER_PLACED, EventKind.ORDER_REJECTED}),
    Source.ORDINARY_ORDERS: frozenset({EventKind.ORDER_PLACED}),
    Source.ORDER_EVENTS: frozenset(
        {EventKind.ORDER_AUTHORIZED, EventKind.ORDER_PAID}
        | {EventKind.ORDER_CANCELLED, EventKind.ORDER_REPLACES}
        | {EventKind.ORDER_SHIPPED, EventKind.ORDER_DELIVERED}
        | {EventKind.CASE_OPENED, EventKind.CASE_CLOSED}
    ),
    Source.MONEY: frozenset(
        {EventKind.PAYMENT_CAPTURED, EventKind.PAYMENT_REFUNDED, EventKind.PAYMENT_CHARGED_BACK}
    ),
    Source.DISPUTES: frozenset({EventKind.PAYMENT_DISPUTED}),
    Source.MOVEMENTS: frozenset({EventKind.STOCK_MOVED}),
    Source.ALERTS: frozenset({EventKind.STOCK_LOW}),
    Source.MILESTONES: frozenset(
        {EventKind.SALE_OPENED, EventKind.SALE_PAUSED}
        | {EventKind.SALE_CLOSED, EventKind.SALE_SOLD_OUT}
    ),
}

OF_DATA = {shape: kind for kind, shape in KINDS.items()}


class _Body(msgspec.Struct, frozen=True):
    type: str
    timestamp: datetime
    data: msgspec.Struct


def message(event_id: str, data: msgspec.Struct, *, happened_at: datetime) -> Message:
    """Write an event as every attempt will send it. `event_id` holds no full stop."""
    assert "." not in event_id
    kind = OF_DATA[type(data)]
    body = msgspec.json.encode(_Body(kind, happened_at, data))
    return Message(event_id, kind, happened_at, body)


def idle(cursors: Iterable[Cursor], wanted: Collection[str]) -> list[Cursor]:
    """The cursors of what nobody wants."""
    return [cursor for cursor in cursors if not SOURCES[Source(cursor.source)] & set(wanted)]


def sources_of(kinds: set[str]) -> list[Source]:
    """Where all events of these kinds are read, in one order for all who hold them."""
    return sorted(source for source, told in SOURCES.items() if told & kinds)
