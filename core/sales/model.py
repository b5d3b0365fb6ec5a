from datetime import datetime
from typing import NewType

import msgspec

from core.kit.refusal import Kind, Refusal

SaleId = NewType("SaleId", int)
BucketNumber = NewType("BucketNumber", int)


class Sale(msgspec.Struct, frozen=True):
    """`shadow` marks a rehearsal: it draws no stock and no storefront lists it.

    Claims are decided in `bucket_count` buckets, which may stand on servers of their own.
    """

    id: SaleId
    name: str
    state: str
    starts_at: datetime
    ends_at: datetime
    hold_s: int
    shadow: bool
    bucket_count: int
    settled_at: datetime | None


class Milestone(msgspec.Struct, frozen=True):
    """What became of a sale: a state that it moved to, or `sold_out`. `xact` wrote it."""

    xact: int
    id: int
    sale_id: SaleId
    name: str
    kind: str
    reached_at: datetime


class Item(msgspec.Struct, frozen=True):
    """`commission_bps` is what the platform takes of what it is sold for."""

    sale_id: SaleId
    sku_id: int
    price_minor: int
    currency: str
    member_limit: int
    quota: int
    seller_id: int
    commission_bps: int


class Bucket(msgspec.Struct, frozen=True):
    """`run_id` is the one Redis process that may take claims; `fence_reason` says why none may.

    `seen` is a position that an API worker saw acknowledged; the cursor usually stands above it.
    """

    number: BucketNumber
    sale_id: SaleId
    position: int
    epoch: int
    token: str
    run_id: str | None
    fence_reason: str | None
    seen: str

    @property
    def stamp(self) -> str:
        """What Redis must carry to be this epoch, and no namesake of it."""
        return f"{self.epoch}.{self.token}"


class Allotment(msgspec.Struct, frozen=True):
    """Units of one SKU in one bucket. `released` and `dead` count within the epoch.

    So does `transferred`: what came from other buckets less what went there; `quota` has it.
    """

    bucket: BucketNumber
    sku_id: int
    quota: int
    sold: int
    released: int
    dead: int
    returned: int
    transferred: int


class Cursor(msgspec.Struct, frozen=True):
    """Up to where an epoch's claims are written down, and how many those are."""

    epoch: int
    position: str
    written: int


class Epoch(msgspec.Struct, frozen=True):
    """One loading of a bucket, and up to where its claims are written down."""

    bucket: BucketNumber
    epoch: int
    position: str


class Advanced(Cursor, frozen=True):
    """A cursor that this transaction has moved, and when the transaction began."""

    at: datetime


class BucketBooks(msgspec.Struct, frozen=True):
    """What Postgres knows of a bucket at one instant: everything written up to `cursor`."""

    bucket: Bucket
    cursor: Cursor
    allotments: list[Allotment]


class Entry(msgspec.Struct, frozen=True):
    """A change to an allotment; each figure is added to what stands there.

    `transferred` is added to the quota as well.
    """

    bucket: int
    sku_id: int
    sold: int = 0
    released: int = 0
    dead: int = 0
    returned: int = 0
    transferred: int = 0


class Transfer(msgspec.Struct, frozen=True):
    """Units on their way from one bucket to another. `units` is 0 until they have crossed.

    A stamp is the epoch of its bucket in which the units were taken out, or shall be put in.
    """

    id: int
    sale_id: SaleId
    sku_id: int
    source: BucketNumber
    target: BucketNumber
    units_max: int
    state: str
    source_stamp: str
    target_stamp: str
    units: int


class NewTransfer(msgspec.Struct, frozen=True):
    """A wish to move units; `source_stamp` is the source's epoch as the planner saw it."""

    sale_id: SaleId
    sku_id: int
    source: int
    target: int
    units_max: int
    source_stamp: str


class DeadLetter(msgspec.Struct, frozen=True):
    """`quantity` is what it holds back of `sku_id`; 0 when not even that could be read."""

    id: int
    bucket: int
    epoch: int
    position: str
    record: bytes
    reason: str
    sku_id: int | None
    member_id: int | None
    quantity: int
    found_at: datetime
    decision: str | None


class Audit(msgspec.Struct, frozen=True):
    """The auditor's last word. `problem` is why it could not look, when it could not."""

    sale_id: SaleId
    age_s: float
    drift: int
    backlog: int
    problem: str | None


class Unaccounted(Exception):
    """An entry names an allotment that does not exist, or would break its books."""


class NoSuchSale(Refusal):
    """There is no such sale."""

    kind = Kind.NOT_FOUND


class NoSuchSku(Refusal):
    """There is no such SKU."""

    kind = Kind.NOT_FOUND


class NoSuchDeadLetter(Refusal):
    """There is no such dead letter, or somebody has decided it already."""

    kind = Kind.NOT_FOUND


class SaleNotOpen(Refusal):
    """The sale is not open."""

    kind = Kind.CONFLICT


class SoldOut(Refusal):
    """Not enough units are left."""

    kind = Kind.CONFLICT


class MemberLimit(Refusal):
    """That is more than one member may buy."""

    kind = Kind.CONFLICT


class KeyReused(Refusal):
    """The idempotency key was used with another body."""

    kind = Kind.INVALID


class Busy(Refusal):
    """More buyers are asking than can be served right now. Nothing was bought; ask again."""

    kind = Kind.UNAVAILABLE


class Unavailable(Refusal):
    """A part of the shop cannot be reached right now. Ask again."""

    kind = Kind.UNAVAILABLE


class SaleFenced(Refusal):
    """The sale is held until its books are rebuilt. Nothing was bought; ask again later."""

    kind = Kind.UNAVAILABLE


class OutcomeUnknown(Refusal):
    """It is not known whether this was bought. Repeat with the same idempotency key to learn it."""

    kind = Kind.UNAVAILABLE


class NotReady(Refusal):
    """Something else must come first; the detail says what."""

    kind = Kind.CONFLICT
