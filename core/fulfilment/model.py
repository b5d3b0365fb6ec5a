from datetime import datetime
from typing import NamedTuple, NewType

import msgspec

from core.kit.refusal import Kind, Refusal

ConsignmentId = NewType("ConsignmentId", int)


class Spot(NamedTuple):
    """A line of an order."""

    order_id: str
    line_no: int


class PaidLine(msgspec.Struct, frozen=True):
    """A line of a paid order: what all of its units come to."""

    line_no: int
    sku_id: int
    seller_id: int
    quantity: int
    goods_minor: int
    discount_minor: int
    tax_minor: int


class PaidOrder(msgspec.Struct, frozen=True):
    """A paid order, as far as it concerns who sends it.

    `kept_for` is what its units are reserved for; `shipping_minor` is with its tax.
    """

    order_id: str
    member_id: int
    currency: str
    kept_for: str
    shipping_minor: int
    paid_at: datetime
    lines: list[PaidLine]


class Line(msgspec.Struct, frozen=True):
    """Units of an order's line, with their share of what it comes to."""

    order_id: str
    line_no: int
    sku_id: int
    kept_for: str
    quantity: int
    goods_minor: int
    discount_minor: int
    tax_minor: int
    shipping_minor: int

    @property
    def spot(self) -> Spot:
        return Spot(self.order_id, self.line_no)


class Draft(msgspec.Struct, frozen=True):
    """A consignment that nobody has written down."""

    seller_id: int
    place_id: int
    lines: list[Line]


class Consignment(msgspec.Struct, frozen=True):
    """What one place sends to one address for one seller."""

    id: ConsignmentId
    state: str
    seller_id: int
    place_id: int
    member_id: int
    currency: str
    carrier: str | None
    tracking: str | None
    merged_into: ConsignmentId | None
    planned_at: datetime
    allocated_at: datetime | None
    shipped_at: datetime | None
    shipped_by: str | None
    delivered_at: datetime | None
    delivered_by: str | None
    cancelled_at: datetime | None


class Loaded(NamedTuple):
    """A consignment with what is in it."""

    consignment: Consignment
    lines: list[Line]


class Lead(msgspec.Struct, frozen=True):
    """How an order fared since it was paid. It is shipped, and delivered, with its last parcel."""

    order_id: str
    paid_at: datetime
    planned_at: datetime
    shipped_at: datetime | None
    delivered_at: datetime | None
    cancelled_at: datetime | None


class LeadTimes(msgspec.Struct, frozen=True):
    """Of the orders that were shipped, or delivered, in some time: what half, 90%, 99% took."""

    orders: int
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None


class Waiting(msgspec.Struct, frozen=True):
    """Orders that are planned and have not all left, and since when the first one is paid."""

    orders: int
    oldest_s: float


class LeadSummary(NamedTuple):
    """From the payment until the last parcel left, and until it was there."""

    to_shipped: LeadTimes
    to_delivered: LeadTimes
    waiting: Waiting


class Parcel(NamedTuple):
    """How a consignment travels."""

    carrier: str
    tracking: str


class NoSuchConsignment(Refusal):
    """There is no such consignment."""

    kind = Kind.NOT_FOUND


class ImpossibleSplit(Refusal):
    """The consignment cannot be split so."""

    kind = Kind.CONFLICT


class ImpossibleMerge(Refusal):
    """These consignments cannot be merged."""

    kind = Kind.CONFLICT
