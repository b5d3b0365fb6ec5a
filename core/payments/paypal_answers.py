"""What PayPal says, as far as we read it, and how it writes amounts.

Anything that is not just so is nonsense, and raises msgspec.ValidationError.
"""

import re
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from core.kit import money as iso

from .model import CurrencyNotTaken

Name = Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,128}\Z")]
Text = Annotated[str, msgspec.Meta(max_length=255)]

# The currencies that PayPal takes, with the decimals that it takes of them. Of Hungary's and
# Taiwan's it takes none, other than ISO 4217.
TWO_DIGITS = "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS MXN MYR NOK NZD PHP PLN SEK SGD THB USD"
NO_DIGITS = "HUF JPY TWD"
DIGITS = dict.fromkeys(TWO_DIGITS.split(), 2) | dict.fromkeys(NO_DIGITS.split(), 0)

MINUS = "-"
FIGURES = re.compile(r"(0|[1-9][0-9]{0,12})(?:\.([0-9]{1,2}))?", re.ASCII)


class Money(msgspec.Struct, frozen=True):
    currency_code: str
    value: str


class Token(msgspec.Struct, frozen=True):
    access_token: Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,4096}\Z")]
    expires_in: Annotated[int, msgspec.Meta(ge=0, le=10**7)]


class Link(msgspec.Struct, frozen=True):
    href: str
    rel: str


class Capture(msgspec.Struct, frozen=True):
    id: Name
    status: Literal["COMPLETED", "DECLINED", "PARTIALLY_REFUNDED", "PENDING", "REFUNDED", "FAILED"]
    amount: Money
    custom_id: Text | None = None


class Authorization(msgspec.Struct, frozen=True):
    """Money that PayPal holds for us, until `expiration_time`."""

    id: Name
    status: Literal["CREATED", "CAPTURED", "DENIED", "PARTIALLY_CAPTURED", "PENDING", "VOIDED"]
    amount: Money
    expiration_time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Named(msgspec.Struct, frozen=True):
    """Something that was done, and that its order tells more about."""

    id: Name


class Refund(msgspec.Struct, frozen=True):
    """`custom_id` is our own id of it, where it was us who asked for it."""

    id: Name
    status: Literal["CANCELLED", "COMPLETED", "FAILED", "PENDING"]
    amount: Money
    custom_id: Text | None = None
    links: list[Link] = []


class Movements(msgspec.Struct, frozen=True):
    """What was held may be captured in several tries, of which one comes through."""

    authorizations: Annotated[list[Authorization], msgspec.Meta(max_length=1)] = []
    captures: Annotated[list[Capture], msgspec.Meta(max_length=100)] = []
    refunds: Annotated[list[Refund], msgspec.Meta(max_length=1_000)] = []


class Unit(msgspec.Struct, frozen=True):
    custom_id: Text | None = None
    payments: Movements = Movements()


class Order(msgspec.Struct, frozen=True):
    id: Name
    status: Literal["CREATED", "SAVED", "APPROVED", "VOIDED", "COMPLETED", "PAYER_ACTION_REQUIRED"]
    purchase_units: Annotated[list[Unit], msgspec.Meta(min_length=1, max_length=1)]
    links: list[Link] = []

    @property
    def unit(self) -> Unit:
        return self.purchase_units[0]

    @property
    def capture(self) -> Capture | None:
        """The one that came through or still may; else any."""
        return min(self.unit.payments.captures, key=_hopeless, default=None)

    @property
    def authorization(self) -> Authorization | None:
        return next(iter(self.unit.payments.authorizations), None)


class Disputed(msgspec.Struct, frozen=True):
    """`seller_transaction_id` is what we know as the capture."""

    seller_transaction_id: Name


class Outcome(msgspec.Struct, frozen=True):
    outcome_code: Text = ""


class Dispute(msgspec.Struct, frozen=True):
    dispute_id: Name
    status: Text
    dispute_amount: Money
    update_time: datetime
    disputed_transactions: Annotated[list[Disputed], msgspec.Meta(min_length=1, max_length=100)]
    reason: Text = ""
    dispute_life_cycle_stage: Text = ""
    seller_response_due_date: datetime | None = None
    dispute_outcome: Outcome = Outcome()


class Transaction(msgspec.Struct, frozen=True):
    """A line of the statement. `custom_field` is the `custom_id` of what moved."""

    transaction_id: Name
    transaction_event_code: Annotated[str, msgspec.Meta(pattern=r"\AT[0-9]{4}\Z")]
    transaction_status: Text
    transaction_initiation_date: datetime
    transaction_amount: Money
    fee_amount: Money | None = None
    custom_field: Text | None = None


class Line(msgspec.Struct, frozen=True):
    transaction_info: Transaction


class Statement(msgspec.Struct, frozen=True):
    """`last_refreshed_datetime` is up to when PayPal has written it."""

    transaction_details: list[Line]
    total_pages: Annotated[int, msgspec.Meta(ge=0)]
    last_refreshed_datetime: datetime


class Detail(msgspec.Struct, frozen=True):
    issue: Text = ""


class Problem(msgspec.Struct, frozen=True):
    """What a refusal says. `issue` is what it is about, in PayPal's own name."""

    name: Text = ""
    details: list[Detail] = []

    @property
    def issue(self) -> str:
        return self.details[0].issue if self.details else self.name


def money(amount_minor: int, currency: str) -> dict[str, str]:
    """As PayPal wants it: exactly so much. Raises CurrencyNotTaken."""
    digits = DIGITS.get(currency)
    if digits is None:
        raise CurrencyNotTaken(currency=currency, taken=sorted(DIGITS))
    amount, rest = divmod(amount_minor, _unit(currency, digits))
    if rest:
        raise CurrencyNotTaken(currency=currency, decimals=digits)
    whole, part = divmod(amount, 10**digits)
    return {
        "currency_code": currency,
        "value": f"{whole}.{part:0{digits}}" if digits else str(whole),
    }


def minor(money: Money) -> tuple[int, str]:
    """The amount in minor units, and its currency. Raises msgspec.ValidationError."""
    found = FIGURES.fullmatch(money.value)
    digits = DIGITS.get(money.currency_code)
    if found is None or digits is None:
        raise msgspec.ValidationError("no amount that PayPal could have taken")
    whole, part = found.group(1), found.group(2) or ""
    kept = part.rstrip("0").ljust(digits, "0")
    if len(kept) != digits:
        raise msgspec.ValidationError("more decimals than the currency has")
    return int(whole + kept) * _unit(money.currency_code, digits), money.currency_code


def signed(money: Money) -> tuple[int, str]:
    """The same, of an amount that may be negative."""
    amount_minor, currency = minor(Money(money.currency_code, money.value.removeprefix(MINUS)))
    return (-amount_minor if money.value.startswith(MINUS) else amount_minor), currency


def _hopeless(capture: Capture) -> int:
    return {"PENDING": 1, "DECLINED": 2, "FAILED": 2}.get(capture.status, 0)


def _unit(currency: str, digits: int) -> int:
    """How many minor units the smallest amount has that PayPal takes."""
    return 10 ** (iso.DIGITS.get(currency, iso.DIGITS_USUAL) - digits)
