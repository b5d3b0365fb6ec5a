from datetime import datetime
from typing import NamedTuple, NewType, TypeAlias

import msgspec

from core.kit.refusal import Kind, Refusal
from hotpath.ids import parts

from .states import Payment, Shown, State, shown

OrderId = NewType("OrderId", str)


class Standing(NamedTuple):
    """All of an order that may change."""

    state: State
    payment: Payment
    reason: str | None
    follows: OrderId | None


def position_of(order_id: OrderId) -> str:
    """Where its claim stood in its bucket's stream."""
    named = parts(order_id)
    assert named is not None
    return named.position


class Order(msgspec.Struct, frozen=True):
    """An order of a flash sale has one line, so its line stands here with it.

    `version` counts what happened to it since it was placed.
    """

    id: OrderId
    sale_id: int
    bucket: int
    member_id: int
    idempotency_key: str
    epoch: int
    key_id: int
    state: str
    payment: str
    reason: str | None
    amount_minor: int
    currency: str
    follows: OrderId | None
    placed_at: datetime
    expires_at: datetime
    version: int
    sku_id: int
    quantity: int
    price_minor: int
    seller_id: int
    commission_bps: int

    @property
    def position(self) -> str:
        return position_of(self.id)

    @property
    def standing(self) -> Standing:
        return Standing(State(self.state), Payment(self.payment), self.reason, self.follows)

    @property
    def shown(self) -> Shown:
        return shown(State(self.state), Payment(self.payment))


class Paid(msgspec.Struct, frozen=True, tag="paid"):
    payment_id: str


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled", omit_defaults=True):
    """A paid order names the refund of all it came to."""

    reason: str
    refund_id: str | None = None


class Follows(msgspec.Struct, frozen=True, tag="follows"):
    """It takes the place of a cancelled order whose money came late."""

    order_id: OrderId


Event: TypeAlias = Paid | Cancelled | Follows


class Logged(msgspec.Struct, frozen=True):
    """An event as it was written, and the digest that seals it with all before it."""

    number: int
    happened_at: datetime
    text: str
    digest: bytes

    @property
    def event(self) -> Event:
        return msgspec.json.decode(self.text, type=Event)


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
    id: OrderId
    bucket: int
    member_id: int
    sku_id: int
    quantity: int


class NoSuchOrder(Refusal):
    """There is no such order."""

    kind = Kind.NOT_FOUND


class NotYetWritten(Refusal):
    """The order is accepted and safe, but not written down yet. Ask again in a moment."""

    kind = Kind.CONFLICT


class TooManyEvents(Refusal):
    """More happened to this order than one answer holds."""

    kind = Kind.TOO_LARGE
