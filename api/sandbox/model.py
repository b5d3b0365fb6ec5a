from typing import Annotated, Literal

import msgspec

from api import played

Reference = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,128}\Z")]
Address = Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[!-~]{1,1000}\Z")]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]
Text = Annotated[str, msgspec.Meta(max_length=200)]


class OpenCheckout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`reference` is the merchant's own: the same one again is the same checkout."""

    reference: Reference
    amount: Amount
    currency: Currency
    description: Text
    return_url: Address
    notify_url: Address
    capture: Literal["at_once", "at_dispatch"] = "at_once"


class Checkout(msgspec.Struct, frozen=True):
    id: str
    reference: str
    amount: int
    currency: str
    description: str
    return_url: str
    notify_url: str
    state: str
    capture: str = "at_once"
    held_until: str | None = None


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checkout by the merchant's own reference, or a refund of it."""

    reference: Reference
    refund_reference: Reference | None = None


class WantRefund(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`reference` names the checkout, `refund_reference` makes the refund happen once."""

    reference: Reference
    refund_reference: Reference
    amount: Amount
    currency: Currency
    reason: Text


class WantChargeback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The buyer's bank claims so much of a checkout back."""

    reference: Reference
    amount: Amount
    currency: Currency


class WantPayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is held in a currency goes to the merchant's bank."""

    currency: Currency


class Movement(msgspec.Struct, frozen=True):
    """One line of the statement. A payout to the merchant's bank is of no checkout.

    `refund_reference` is the merchant's; of a chargeback it is the id of the event that told of it.
    """

    id: int
    kind: Literal["capture", "refund", "fee", "chargeback", "payout"]
    reference: str | None
    refund_reference: str | None
    amount: int
    currency: str
    reason: str | None
    at: str


class Event(msgspec.Struct, frozen=True):
    """What a webhook says."""

    event_id: str
    kind: str
    checkout_id: str
    reference: str
    amount: int
    currency: str
    at: str
    held_until: str | None = None


class Behaviour(played.Behaviour, frozen=True, forbid_unknown_fields=True):
    amount_off: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] = 0
    "Captures so much more than was asked."
    fee_bps: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    "Keeps so much of each capture, in hundredths of a percent."
    currency: Currency | None = None
    "Captures in this currency instead of the one that was asked."
    held_s: Annotated[float, msgspec.Meta(ge=0, le=2_592_000)] = 604_800
    "How long it holds what is captured later."
    refuses_capture: bool = False
    "Holds money, and does not let it be captured."
