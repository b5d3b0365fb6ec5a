from typing import Annotated, Literal

import msgspec

from api import played

Text = Annotated[str, msgspec.Meta(max_length=127)]
Address = Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[!-~]{1,1000}\Z")]
Figures = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,15}(\.[0-9]{1,4})?\Z")]

# The currencies that PayPal takes, with the decimals that it takes of them. Of Hungary's and
# Taiwan's it takes none, other than ISO 4217.
TWO_DIGITS = "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS MXN MYR NOK NZD PHP PLN SEK SGD THB USD"
NO_DIGITS = "HUF JPY TWD"
DIGITS = dict.fromkeys(TWO_DIGITS.split(), 2) | dict.fromkeys(NO_DIGITS.split(), 0)


class Money(msgspec.Struct, frozen=True):
    currency_code: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]
    value: Figures


class Context(msgspec.Struct, frozen=True):
    return_url: Address | None = None
    cancel_url: Address | None = None


class Wallet(msgspec.Struct, frozen=True):
    experience_context: Context = Context()


class Source(msgspec.Struct, frozen=True):
    paypal: Wallet = Wallet()


class Unit(msgspec.Struct, frozen=True):
    amount: Money
    reference_id: Text = "default"
    custom_id: Text | None = None
    invoice_id: Text | None = None
    description: Text | None = None


class WantOrder(msgspec.Struct, frozen=True):
    """What a merchant asks a buyer for. It may say more than we read."""

    intent: Literal["CAPTURE", "AUTHORIZE"]
    purchase_units: Annotated[list[Unit], msgspec.Meta(min_length=1, max_length=1)]
    payment_source: Source = Source()
    application_context: Context = Context()


class WantCapture(msgspec.Struct, frozen=True):
    """Of an authorization. Without an amount: all of it."""

    amount: Money | None = None
    invoice_id: Text | None = None
    final_capture: bool = False


class WantRefund(msgspec.Struct, frozen=True):
    """Without an amount: all that is left."""

    amount: Money | None = None
    custom_id: Text | None = None
    invoice_id: Text | None = None
    note_to_payer: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class Order(msgspec.Struct, frozen=True):
    id: str
    intent: str
    status: str
    reference_id: str
    custom_id: str | None
    invoice_id: str | None
    description: str | None
    currency: str
    amount: int
    return_url: str | None
    cancel_url: str | None
    made_at: str


class Authorization(msgspec.Struct, frozen=True):
    """A buyer's money, held for the merchant until `ends_at`."""

    id: str
    order_id: str
    status: str
    currency: str
    amount: int
    custom_id: str | None
    invoice_id: str | None
    made_at: str
    ends_at: str


class Capture(msgspec.Struct, frozen=True):
    id: str
    order_id: str
    status: str
    currency: str
    amount: int
    custom_id: str | None
    invoice_id: str | None
    made_at: str


class Refund(msgspec.Struct, frozen=True):
    """`is_reversal`: it was not the merchant who gave the money back."""

    id: str
    capture_id: str
    status: str
    currency: str
    amount: int
    custom_id: str | None
    invoice_id: str | None
    note: str | None
    is_reversal: bool
    made_at: str


class Dispute(msgspec.Struct, frozen=True):
    """`outcome` is empty until it is over."""

    id: str
    capture_id: str
    status: str
    outcome: str
    made_at: str
    updated_at: str


class Line(msgspec.Struct, frozen=True):
    """One line of the statement: money that came, or (negative) went."""

    id: str
    code: str
    reference: str | None
    currency: str
    amount: int
    custom_id: str | None
    invoice_id: str | None
    at: str


class Behaviour(played.Behaviour, frozen=True, forbid_unknown_fields=True):
    down: bool = False
    "Every call is answered 503, in HTML."
    slow_s: played.Seconds = 0
    nonsense: bool = False
    "Every call is done, and answered 200 with something else."
    loses_answers: bool = False
    "Every call is done, and answered 504."
    declines: bool = False
    "The buyer's bank refuses when the money is taken."
    pends: bool = False
    "Money that is taken, and refunds, are looked at first: see `/_play`."
    amount_off: Annotated[int, msgspec.Meta(ge=-(2**40), le=2**40)] = 0
    "Captures so much more than was asked, in the smallest unit."
    currency: str | None = None
    "Captures in this currency instead of the one that was asked."
    written_s: Annotated[float, msgspec.Meta(ge=-(10**6), le=10**6)] = 0
    "How far ahead of now the statement is written; real ones are hours behind."
    held_s: Annotated[float, msgspec.Meta(ge=0, le=10**7)] = 29 * 86_400
    "How long an authorization lasts."
    is_mute: bool = False
    "No webhook is sent at all."


class Play(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens at the provider without the merchant: to a capture or a pending refund, or
    (`expire`) to an authorization; a capture's dispute is looked at, won by the merchant, or lost.
    """

    id: str
    act: Literal["complete", "deny", "reverse", "expire", "dispute", "review", "win", "lose"]
