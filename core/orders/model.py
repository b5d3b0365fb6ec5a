from datetime import datetime
from typing import NewType

import msgspec

from core.kit.refusal import Kind, Refusal
from hotpath.ids import parts

OrderId = NewType("OrderId", str)


def position_of(order_id: OrderId) -> str:
    """Where its claim stood in its bucket's stream."""
    named = parts(order_id)
    assert named is not None
    return named.position


class Order(msgspec.Struct, frozen=True):
    """An order of a flash sale has one line, so its line stands here with it."""

    id: OrderId
    sale_id: int
    bucket: int
    member_id: int
    idempotency_key: str
    epoch: int
    key_id: int
    state: str
    reason: str | None
    amount_minor: int
    currency: str
    follows: OrderId | None
    placed_at: datetime
    expires_at: datetime
    sku_id: int
    quantity: int
    price_minor: int

    @property
    def position(self) -> str:
        return position_of(self.id)


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
