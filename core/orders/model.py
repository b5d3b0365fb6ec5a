from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple, NewType, TypeAlias

import msgspec

from core.kit.refusal import Kind, Refusal
from hotpath.ids import parts

from .states import Fulfilment, Payment, Shown, State, shown

OrderId = NewType("OrderId", str)


class Standing(NamedTuple):
    """All of an order that may change."""

    state: State
    payment: Payment
    fulfilment: Fulfilment
    reason: str | None
    follows: OrderId | None
    open_cases: int

    @property
    def shown(self) -> Shown:
        return shown(self.state, self.payment, self.fulfilment, self.open_cases)


def position_of(order_id: OrderId) -> str:
    """Where its claim stood in its bucket's stream."""
    named = parts(order_id)
    assert named is not None
    return named.position


class Claimed(NamedTuple):
    """Which claim of a flash sale an order was."""

    sale_id: int
    bucket: int
    epoch: int
    key_id: int
    position: str


class Line(msgspec.Struct, frozen=True):
    """So many units of a SKU. `price_minor` is of one unit, the other amounts of all of them.

    `tax_minor` is added to the price; `included_tax_minor` stands in it already.
    """

    order_id: OrderId
    line_no: int
    sku_id: int
    quantity: int
    price_minor: int
    discount_minor: int
    tax_minor: int
    included_tax_minor: int
    seller_id: int
    commission_bps: int

    @property
    def goods_minor(self) -> int:
        """What its units come to after discounts, before tax that is added."""
        return self.quantity * self.price_minor - self.discount_minor

    @property
    def amount_minor(self) -> int:
        return self.goods_minor + self.tax_minor


def units_of(lines: Iterable[Line]) -> dict[int, int]:
    """SKU id -> how many, over all lines."""
    found: Counter[int] = Counter()
    for line in lines:
        found[line.sku_id] += line.quantity
    return dict(found)


class Head(msgspec.Struct, frozen=True):
    """An order's own row. `version` counts what happened to it since it was placed.

    An ordinary order has no sale, bucket, epoch and key id, but a digest of what was `asked`.
    """

    id: OrderId
    sale_id: int | None
    bucket: int | None
    member_id: int
    idempotency_key: str
    epoch: int | None
    key_id: int | None
    state: str
    payment: str
    fulfilment: str
    reason: str | None
    amount_minor: int
    currency: str
    shipping_minor: int
    shipping_tax_minor: int
    shipping_included_tax_minor: int
    asked: bytes | None
    follows: OrderId | None
    placed_at: datetime
    expires_at: datetime
    version: int
    open_cases: int

    @property
    def claimed(self) -> Claimed | None:
        """None for an ordinary order."""
        if self.sale_id is None:
            return None
        assert self.bucket is not None
        assert self.epoch is not None
        assert self.key_id is not None
        position = position_of(self.id)
        return Claimed(self.sale_id, self.bucket, self.epoch, self.key_id, position)

    @property
    def standing(self) -> Standing:
        return Standing(
            State(self.state),
            Payment(self.payment),
            Fulfilment(self.fulfilment),
            self.reason,
            self.follows,
            self.open_cases,
        )

    @property
    def shown(self) -> Shown:
        return self.standing.shown


class Order(Head, frozen=True):
    """`amount_minor` = its lines' amounts + shipping + the tax that is added to shipping."""

    lines: tuple[Line, ...]

    @property
    def units(self) -> dict[int, int]:
        return units_of(self.lines)


class Purchase(msgspec.Struct, frozen=True):
    """An ordinary order to be written. `hold_s` counts from the moment the row is written.

    `asked` is the SHA-256 of all that its member asked for.
    """

    id: OrderId
    member_id: int
    idempotency_key: str
    asked: bytes
    lines: tuple[Line, ...]
    shipping_minor: int
    shipping_tax_minor: int
    shipping_included_tax_minor: int
    currency: str
    hold_s: int
    agreement: "Agreement"

    @property
    def amount_minor(self) -> int:
        goods = sum(line.amount_minor for line in self.lines)
        return goods + self.shipping_minor + self.shipping_tax_minor


class Placed(msgspec.Struct, frozen=True):
    id: OrderId
    placed_at: datetime
    expires_at: datetime


class Agreement(msgspec.Struct, frozen=True):
    """Where an ordinary order goes, and how its price came about."""

    address: dict[str, str]
    steps: list[dict[str, Any]]


class Authorized(msgspec.Struct, frozen=True, tag="authorized"):
    """Its money is held, and is taken when it leaves."""

    payment_id: str


class Paid(msgspec.Struct, frozen=True, tag="paid"):
    payment_id: str


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled", omit_defaults=True):
    """A paid order names the refund of all it came to."""

    reason: str
    refund_id: str | None = None


class Follows(msgspec.Struct, frozen=True, tag="follows"):
    """It takes the place of a cancelled order whose money came late."""

    order_id: OrderId


class Shipped(msgspec.Struct, frozen=True, tag="shipped", omit_defaults=True):
    """A parcel left. With the last one, nothing of the order is left here."""

    consignment_id: str
    is_last: bool = False


class Delivered(msgspec.Struct, frozen=True, tag="delivered", omit_defaults=True):
    """A parcel is there. With the last one, all of the order is."""

    consignment_id: str
    is_last: bool = False


class CaseOpened(msgspec.Struct, frozen=True, tag="case_opened"):
    """Its buyer wants something put right."""

    case_id: str


class CaseClosed(msgspec.Struct, frozen=True, tag="case_closed", omit_defaults=True):
    """What came of it: a refund, or an order that sends other units, or nothing."""

    case_id: str
    came_to: str
    refund_id: str | None = None
    follow_up: str | None = None


Event: TypeAlias = (
    Authorized | Paid | Cancelled | Follows | Shipped | Delivered | CaseOpened | CaseClosed
)


class PaidOrder(msgspec.Struct, frozen=True):
    """What the outbox says of an order that became paid, or whose money is held."""

    order_id: OrderId


class Logged(msgspec.Struct, frozen=True):
    """An event as it was written, and the digest that seals it with all before it."""

    number: int
    happened_at: datetime
    text: str
    digest: bytes

    @property
    def event(self) -> Event:
        return msgspec.json.decode(self.text, type=Event)


class Happened(msgspec.Struct, frozen=True):
    """An event of some order, as whoever reads all of them on meets it. `xact` wrote it."""

    xact: int
    order_id: OrderId
    sale_id: int | None
    number: int
    happened_at: datetime
    text: str

    @property
    def event(self) -> Event:
        return msgspec.json.decode(self.text, type=Event)


class Agreed(msgspec.Struct, frozen=True):
    """An ordinary order that was placed, as whoever reads all of them on meets it."""

    xact: int
    order_id: OrderId


class NewOrder(msgspec.Struct, frozen=True):
    """A claim that becomes a row by itself. `hold_s` counts from the moment the row is written."""

    id: OrderId
    sale_id: int
    bucket: int
    member_id: int
    idempotency_key: str
    epoch: int
    key_id: int
    sku_id: int
    quantity: int
    price_minor: int
    currency: str
    hold_s: int


class Written(msgspec.Struct, frozen=True):
    """What a rebuild needs of an order: who holds what, and which key must get its answer again."""

    id: OrderId
    member_id: int
    idempotency_key: str
    epoch: int
    key_id: int
    live: bool
    sku_id: int
    quantity: int

    @property
    def position(self) -> str:
        return position_of(self.id)


class Expired(msgspec.Struct, frozen=True):
    """A line of an order that has ended. `bucket` is None for an ordinary order."""

    id: OrderId
    bucket: int | None
    member_id: int
    sku_id: int
    quantity: int


class NoSuchOrder(Refusal):
    """There is no such order."""

    kind = Kind.NOT_FOUND


class KeyTaken(Refusal):
    """That key is just being used by another request. Try again."""

    kind = Kind.CONFLICT


class AlreadyShipped(Refusal):
    """Something of this order has left. Take it back by an after-sale case."""

    kind = Kind.CONFLICT


class NotYetWritten(Refusal):
    """The order is accepted and safe, but not written down yet. Ask again in a moment."""

    kind = Kind.CONFLICT


class TooManyEvents(Refusal):
    """More happened to this order than one answer holds."""

    kind = Kind.TOO_LARGE
