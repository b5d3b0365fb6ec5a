from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

from core.kit.refusal import Kind, Refusal
from core.kit.tail import Mark

SubscriptionId = NewType("SubscriptionId", int)
DeliveryId = NewType("DeliveryId", int)


class Source(StrEnum):
    """Where the shop wrote down what happened. Each is read on from a cursor of its own."""

    SALE_ORDERS = "sale_orders"
    ORDINARY_ORDERS = "ordinary_orders"
    ORDER_EVENTS = "order_events"
    MONEY = "money"
    DISPUTES = "disputes"
    MOVEMENTS = "movements"
    ALERTS = "alerts"
    MILESTONES = "milestones"


class Reason(StrEnum):
    """Why a subscription is disabled."""

    STAFF = "staff"
    GONE = "gone"
    "The endpoint answered 410."
    FAILING = "failing"
    "Nothing arrived for days."
    OVERRUN = "overrun"
    "More waits for it than may."


class Subscription(msgspec.Struct, frozen=True):
    """`failures` counts those since the last success; `rests_until` is when it is asked again."""

    id: SubscriptionId
    url: str
    kinds: list[str]
    state: str
    reason: str | None
    failures: int
    failing_since: datetime | None
    rests_until: datetime | None
    made_at: datetime


class Secret(msgspec.Struct, frozen=True):
    """What a secret is derived from; the older one ends some time after a rotation."""

    subscription_id: SubscriptionId
    salt: bytes
    key_id: int
    made_at: datetime
    ends_at: datetime | None


class Message(msgspec.Struct, frozen=True):
    """An event as it is told to everybody who wants it. `id` says which event it is, for good."""

    id: str
    kind: str
    happened_at: datetime
    body: bytes


class Delivery(msgspec.Struct, frozen=True):
    """A message on its way to one subscription."""

    id: DeliveryId
    subscription_id: SubscriptionId
    message_id: str
    kind: str
    state: str
    attempts: int
    happened_at: datetime
    begun_at: datetime
    due_at: datetime
    ended_at: datetime | None


class Due(msgspec.Struct, frozen=True):
    """A delivery that was taken to be attempted now, for the `attempt`th time."""

    id: DeliveryId
    subscription_id: SubscriptionId
    url: str
    message_id: str
    body: bytes
    attempt: int
    tries: int
    failures: int
    failing_since: datetime | None


class Attempt(msgspec.Struct, frozen=True):
    """What came of it. `answer` are its first characters; `error` says why there is no status."""

    number: int
    began_at: datetime
    latency_ms: int
    status: int | None
    answer: str
    error: str | None


class Cursor(msgspec.Struct, frozen=True):
    """Everything that transactions below `reached` wrote is told.

    Movements of stock are told up to the one numbered `reached`, and seen up to `seen_id`; once all
    transactions below `seen_xact` have ended, nothing appears there any more.
    """

    source: str
    reached: int
    since: datetime
    moved_at: datetime
    seen_id: int | None
    seen_xact: int | None

    @property
    def mark(self) -> Mark:
        return Mark(self.reached, self.since)


class BucketCursor(msgspec.Struct, frozen=True):
    """The last order that is told of a bucket's epoch, and how far the epoch was written then."""

    bucket: int
    epoch: int
    position: str
    order_id: str


class Figures(msgspec.Struct, frozen=True):
    """How the deliveries are. `failing` and `disabled` count subscriptions."""

    pending: int
    oldest_s: float
    given_up: int
    failing: int
    disabled: int


class NoSuchSubscription(Refusal):
    """There is no such subscription."""

    kind = Kind.NOT_FOUND


class NoSuchDelivery(Refusal):
    """There is no such delivery."""

    kind = Kind.NOT_FOUND


class TooManySubscriptions(Refusal):
    """There are as many subscriptions as there may be."""

    kind = Kind.CONFLICT
