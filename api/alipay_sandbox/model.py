from typing import Annotated, Literal, TypeAlias

import msgspec

from api import played

Number = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_]{1,64}\Z")]
Yuan = Annotated[str, msgspec.Meta(pattern=r"\A(?=.*[1-9])(0|[1-9][0-9]{0,8})(\.[0-9]{1,2})?\Z")]
Moment = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\Z")]
Spoilt: TypeAlias = Literal[
    "",
    "html",
    "bomb",
    "utf-8",
    "columns",
    "another day",
    "another account",
    "foreign host",
    "private address",
]
Address = Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[!-~]{1,1000}\Z")]


class Merchant(msgspec.Struct, frozen=True):
    """Who may ask, and the keys: the app's public one, and the gateway's own private one. PEM."""

    app_id: str
    seller_id: str
    app_public_key: str
    gateway_private_key: str


class WantTrade(msgspec.Struct, frozen=True):
    """What `alipay.trade.page.pay` and `wap.pay` carry."""

    out_trade_no: Number
    total_amount: Yuan
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    product_code: str
    time_expire: Moment | None = None


class WantRefund(msgspec.Struct, frozen=True):
    """Without an `out_request_no` all of the trade goes back, and the trade names it."""

    refund_amount: Yuan
    out_trade_no: str = ""
    trade_no: str = ""
    out_request_no: Number | None = None
    refund_reason: str = ""


class WantTradeNamed(msgspec.Struct, frozen=True):
    """What query, close and the refund's query carry."""

    out_trade_no: str = ""
    trade_no: str = ""
    out_request_no: str = ""


class WantBill(msgspec.Struct, frozen=True):
    """What `alipay.data.dataservice.bill.downloadurl.query` carries; months are not played."""

    bill_type: Literal["trade", "signcustomer"]
    bill_date: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]


class Move(msgspec.Struct, frozen=True):
    """What moved the merchant's account: in yuan's hundredths, below zero what left it."""

    id: int
    trade_no: str
    out_trade_no: str
    kind: str
    amount: int
    at: str


class Trade(msgspec.Struct, frozen=True):
    trade_no: str
    out_trade_no: str
    amount: int
    subject: str
    notify_url: str
    return_url: str
    expires_at_s: float
    status: str
    created_at: str
    paid_at: str | None
    refunded: int


class Refund(msgspec.Struct, frozen=True):
    out_request_no: str
    trade_no: str
    amount: int
    reason: str
    at: str


class Behaviour(played.Behaviour, frozen=True, forbid_unknown_fields=True):
    down: bool = False
    "Answers 503, and notifies nobody."
    slow_s: played.Seconds = 0
    "Each answer of the gateway waits so long."
    nonsense: Literal["", "html", "half", "unsigned", "other key", "flipped", "endless"] = ""
    fee_bps: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    "What is kept of each payment, in hundredths of a percent."
    writes_today: bool = False
    "There is a bill of today already, of what has happened so far."
    bill: Spoilt = ""
    "What is wrong with a bill, or with its address."
    amount_off: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)] = 0
    "A buyer pays so many fen more than the trade says."
