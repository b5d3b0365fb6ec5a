from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType

import msgspec

from core.kit.refusal import Kind, Refusal

PaymentId = NewType("PaymentId", str)
RefundId = NewType("RefundId", str)


class Taking(StrEnum):
    """When money that a buyer agreed to is taken. Until the goods leave, it is only held."""

    AT_ONCE = "at_once"
    AT_DISPATCH = "at_dispatch"


class Payment(msgspec.Struct, frozen=True):
    """`first_order_id` is what it was started for, `order_id` what its money counts for.

    `provider_ref` is the provider's name for the checkout, `capture_ref` for the money that came.
    What is held is held until `authorized_until`.
    """

    id: PaymentId
    first_order_id: str
    order_id: str
    member_id: int
    channel: str
    amount_minor: int
    currency: str
    taking: str
    state: str
    reason: str | None
    captured_minor: int | None
    captured_currency: str | None
    provider_ref: str | None
    pay_url: str | None
    capture_ref: str | None
    started_at: datetime
    expires_at: datetime
    authorized_until: datetime | None
    captured_at: datetime | None
    refunded_at: datetime | None
    refunded_minor: int


class Refund(msgspec.Struct, frozen=True):
    """Money of a kept payment on its way back. The provider knows it by its id."""

    id: RefundId
    payment_id: PaymentId
    order_id: str
    amount_minor: int
    currency: str
    reason: str
    state: str
    asked_at: datetime
    paid_at: datetime | None


class Movement(msgspec.Struct, frozen=True):
    """A line of a provider's statement: a `capture`, `refund`, `fee`, `chargeback` or `payout`.

    `id` is the provider's own: a chargeback's is the id of the message that told of it.
    `reference` is the payment's id, of a refund the refund's; a payout has none.
    """

    id: str
    kind: str
    reference: str
    amount_minor: int
    currency: str
    moved_at: datetime


class Dispute(msgspec.Struct, frozen=True):
    """What a provider says of a payment that a buyer contests there.

    `state` is `open`, `won` (the money stays with us) or `lost`. `stage` and `reason` are its own
    words; `is_our_turn`: it waits for an answer, until `respond_by` where it names a time.
    """

    channel: str
    provider_ref: str
    payment_id: PaymentId
    state: Literal["open", "won", "lost"]
    stage: str
    reason: str
    amount_minor: int
    currency: str
    is_our_turn: bool
    respond_by: datetime | None
    told_at: datetime


class Booked(msgspec.Struct, frozen=True):
    """Money that came (`capture`) or went back (`refund`), as we have it, and since when."""

    kind: str
    reference: str
    amount_minor: int
    currency: str
    booked_at: datetime


class RefundDue(msgspec.Struct, frozen=True):
    """What the outbox says of a refund: the provider has to be asked for it."""

    refund_id: RefundId


class Look(msgspec.Struct, frozen=True):
    """It is time to ask what became of a payment.

    Unwanted: nobody is to pay it any more. Over: after this there is nothing to ask for.
    """

    payment_id: PaymentId
    is_unwanted: bool
    is_over: bool


class Due(msgspec.Struct, frozen=True):
    """What the outbox says of a payment: something has to follow."""

    payment_id: PaymentId


class EventKind(StrEnum):
    AUTHORIZED = "payment.authorized"
    VOIDED = "payment.voided"
    CAPTURED = "payment.captured"
    DECLINED = "payment.declined"
    CLOSED = "payment.closed"
    CHARGED_BACK = "payment.charged_back"


class Event(msgspec.Struct, frozen=True):
    """What a provider says has happened. `kind` may be one that we do not know yet.

    Who declined may still pay; what is closed, nobody pays any more. What is authorized is held
    until `authorized_until`; what is voided is not held any more, and never will be.
    """

    channel: str
    id: str
    kind: str
    payment_id: PaymentId
    provider_ref: str
    amount_minor: int
    currency: str
    capture_ref: str | None = None
    authorized_until: datetime | None = None


class NoSuchPayment(Refusal):
    """There is no such payment."""

    kind = Kind.NOT_FOUND


class NoSuchRefund(Refusal):
    """There is no such refund."""

    kind = Kind.NOT_FOUND


class NotRefundable(Refusal):
    """There is not so much left to refund."""

    kind = Kind.CONFLICT


class NotCaptured(Refusal):
    """The money held for this order was not taken: do not send it. Try again, or cancel it."""

    kind = Kind.CONFLICT


class NotPayable(Refusal):
    """The order does not wait for a payment."""

    kind = Kind.CONFLICT


class ChannelNotOffered(Refusal):
    """The shop does not offer this way to pay."""

    kind = Kind.INVALID


class CurrencyNotTaken(Refusal):
    """The way to pay does not take this amount in this currency."""

    kind = Kind.CONFLICT


class ChannelUnavailable(Refusal):
    """The way to pay is not available right now."""

    kind = Kind.UNAVAILABLE


class Forged(Refusal):
    """The signature is not right."""

    kind = Kind.UNAUTHENTICATED


class NotUnderstood(Refusal):
    """The message is signed, and does not say what such a message says."""

    kind = Kind.INVALID
