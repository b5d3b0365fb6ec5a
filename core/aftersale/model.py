from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

from core.kit.refusal import Kind as RefusalKind
from core.kit.refusal import Refusal

CaseId = NewType("CaseId", int)


class Kind(StrEnum):
    """Goods back for money; goods back for other units of the same; money, and the goods stay."""

    RETURN = "return"
    EXCHANGE = "exchange"
    CLAIM = "claim"


class Condition(StrEnum):
    """What somebody found who looked at the goods that came back."""

    GOOD = "good"
    DAMAGED = "damaged"


class Wish(msgspec.Struct, frozen=True):
    """What a buyer asks for. A claim, and nothing else, names an amount."""

    line_no: int
    kind: Kind
    quantity: int
    wanted_minor: int
    reason: str


class Sold(msgspec.Struct, frozen=True):
    """A line of an order as its buyer has it. `shares` are the parts of its money in the ledger.

    `delivered_at` is None until all that was shipped of it is there.
    """

    order_id: str
    line_no: int
    member_id: int
    seller_id: int
    sku_id: int
    quantity: int
    shipped: int
    delivered_at: datetime | None
    left_minor: int
    currency: str


class Case(msgspec.Struct, frozen=True):
    """`refund_id` is the refund that ended it, None where nothing was left to go back; `follow_up`
    is the order that replaces its units.
    """

    id: CaseId
    order_id: str
    line_no: int
    member_id: int
    seller_id: int
    sku_id: int
    kind: str
    quantity: int
    wanted_minor: int
    currency: str
    state: str
    reason: str
    answer: str | None
    carrier: str | None
    tracking: str | None
    place_id: int | None
    condition: str | None
    refund_id: str | None
    refunded_minor: int
    follow_up: str | None
    asked_at: datetime
    ended_at: datetime | None

    @property
    def wish(self) -> Wish:
        kind, reason = Kind(self.kind), self.reason
        return Wish(self.line_no, kind, self.quantity, self.wanted_minor, reason)


class Step(msgspec.Struct, frozen=True):
    """What a move adds to a case; None leaves what is there."""

    answer: str | None = None
    carrier: str | None = None
    tracking: str | None = None
    place_id: int | None = None
    condition: str | None = None
    refund_id: str | None = None
    refunded_minor: int | None = None
    follow_up: str | None = None


class NoSuchCase(Refusal):
    """There is no such after-sale case."""

    kind = RefusalKind.NOT_FOUND


class NoSuchLine(Refusal):
    """The order has no such line."""

    kind = RefusalKind.NOT_FOUND


class NotShipped(Refusal):
    """So many units of this line have not left, or are in another case."""

    kind = RefusalKind.CONFLICT


class TooLate(Refusal):
    """The time for this is over."""

    kind = RefusalKind.CONFLICT


class MoreThanWasPaid(Refusal):
    """That is more than is left of what was paid for this line."""

    kind = RefusalKind.CONFLICT


class TooManyCases(Refusal):
    """So much was asked about this order that no more is taken."""

    kind = RefusalKind.CONFLICT


class WrongKind(Refusal):
    """A case of that kind does not go on like that."""

    kind = RefusalKind.CONFLICT
