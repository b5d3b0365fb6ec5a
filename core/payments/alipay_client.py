"""Alipay, over HTTP: its page, and the open gateway's query, close, refund and bills, by RSA2.

Nothing here asks twice: each verb bears being repeated, and the buyer or a role repeats it. Alipay
knows a payment and a refund by the 32 hex digits of their ids.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import date, datetime, time, timedelta
from typing import Literal
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import httpx
import msgspec
import structlog

from . import alipay_bills as bills
from . import rsa2
from .alipay_bills import CHINA, CURRENCY
from .model import (
    ChannelUnavailable,
    CurrencyNotTaken,
    Event,
    EventKind,
    Forged,
    Movement,
    NoSuchPayment,
    NotUnderstood,
    Payment,
    PaymentId,
)
from .provider import Checkout, ProviderRefused

ALIPAY_GATEWAY = "https://openapi.alipay.com/gateway.do"
# For all that one verb asks.
DEADLINE_S = 4.5
ANSWER_BYTES_MAX = 262_144
FIELDS_MAX = 100
RETRY_AFTER_S = 2
REASON_CHARS_MAX = 256

OK = "10000"
NO_SUCH_TRADE = "ACQ.TRADE_NOT_EXIST"
# Of a day without business there is none, and neither of one that Alipay has not written yet.
NO_SUCH_BILL = "BILL_NOT_EXIST"
WRITTEN_WITHIN = timedelta(days=1)
# Not what was asked is wrong, but Alipay's state, or what is on our account there.
PASSING = frozenset({"ACQ.SYSTEM_ERROR", "ACQ.SELLER_BALANCE_NOT_ENOUGH"})
PASSING_CODES = frozenset({"20000"})

KINDS = {
    "TRADE_SUCCESS": EventKind.CAPTURED,
    "TRADE_FINISHED": EventKind.CAPTURED,
    "TRADE_CLOSED": EventKind.CLOSED,
}
# method and product code
PRODUCTS = {
    "page": ("alipay.trade.page.pay", "FAST_INSTANT_TRADE_PAY"),
    "wap": ("alipay.trade.wap.pay", "QUICK_WAP_WAY"),
}

_YUAN = re.compile(r"(0|[1-9][0-9]{0,10})(?:\.([0-9]{1,2}))?")
_TRADE = re.compile(r"[0-9a-f]{32}")

log = structlog.get_logger()


class _Answer(msgspec.Struct, frozen=True):
    """What the gateway says, whichever verb it was asked for."""

    code: str
    sub_code: str = ""
    sub_msg: str = ""
    out_trade_no: str = ""
    trade_no: str = ""
    trade_status: str = ""
    total_amount: str = ""
    fund_change: str = ""
    out_request_no: str = ""
    refund_status: str = ""
    bill_download_url: str = ""


class _Notice(msgspec.Struct, frozen=True):
    """An asynchronous notification, as far as we read it."""

    notify_id: str
    app_id: str
    seller_id: str
    out_trade_no: str
    trade_no: str
    trade_status: str
    total_amount: str


class AlipayClient:
    """A `Provider` and `Reporter`. `clock` tells the seconds of now; `shop_url` is where Alipay
    finds us.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        keys: rsa2.Keys,
        app_id: str,
        seller_id: str,
        gateway: str,
        product: Literal["page", "wap"],
        shop_url: str,
        clock: Callable[[], float],
    ) -> None:
        self._http = http
        self._shelf = bills.Shelf(gateway)
        self._keys = keys
        self._app_id = app_id
        self._seller_id = seller_id
        self._gateway = gateway
        self._product = product
        self._shop_url = shop_url.rstrip("/")
        self._clock = clock

    async def checkout(self, payment: Payment) -> Checkout:
        """A signed address. Alipay hears of it when the buyer opens it."""
        if payment.currency != CURRENCY or not payment.amount_minor:
            raise CurrencyNotTaken(currency=payment.currency, amount=payment.amount_minor)
        method, product_code = PRODUCTS[self._product]
        trade = {
            "out_trade_no": _number(payment.id),
            "total_amount": yuan(payment.amount_minor),
            "subject": payment.first_order_id,
            "product_code": product_code,
            "time_expire": f"{payment.expires_at.astimezone(CHINA):%Y-%m-%d %H:%M:%S}",
        }
        signed = self._signed(
            method,
            trade,
            return_url=f"{self._shop_url}/?order={payment.first_order_id}",
            notify_url=f"{self._shop_url}/v1/webhooks/alipay",
        )
        return Checkout(trade["out_trade_no"], f"{self._gateway}?{urlencode(signed)}")

    async def look(self, payment: Payment) -> Event | None:
        async with _deadline():
            return await self._look(payment)

    async def close(self, payment: Payment) -> Event:
        """A trade that nobody opened is none yet, and its page opens until `expires_at`."""
        async with _deadline():
            said = await self._ask_of("alipay.trade.close", payment)
            if said.code == OK or said.sub_code == NO_SUCH_TRADE:
                return _event(payment, EventKind.CLOSED, payment.capture_ref, payment.amount_minor)
            event = await self._look(payment)
        if event is None:
            raise ProviderRefused(f"alipay.trade.close: {said.sub_code} {said.sub_msg}")
        return event

    async def refund(
        self, payment: Payment, *, refund_id: str, amount_minor: int, reason: str
    ) -> bool:
        async with _deadline():
            said = _fine(
                await self._ask_of(
                    "alipay.trade.refund",
                    payment,
                    out_request_no=_number(refund_id),
                    refund_amount=yuan(amount_minor),
                    refund_reason=reason[:REASON_CHARS_MAX],
                )
            )
            return said.fund_change == "Y" or await self._is_refunded(payment, refund_id)

    async def is_refunded(self, payment: Payment, *, refund_id: str) -> bool:
        async with _deadline():
            return await self._is_refunded(payment, refund_id)

    def hear(self, body: bytes) -> Event:
        """Read a notification. Raises Forged, NotUnderstood, and NoSuchPayment for another's."""
        fields = _fields(body)
        claimed = fields.pop("sign", "")
        if fields.pop("sign_type", "") != "RSA2":
            raise Forged
        self._keys.check(rsa2.content_of(fields), claimed)
        try:
            notice = msgspec.convert(fields, _Notice)
            amount_minor = minor(notice.total_amount)
        except (msgspec.ValidationError, ValueError) as error:
            raise NotUnderstood(str(error)) from error
        ours = (self._app_id, self._seller_id)
        if (notice.app_id, notice.seller_id) != ours or not _TRADE.fullmatch(notice.out_trade_no):
            raise NoSuchPayment
        return Event(
            channel="alipay",
            id=notice.notify_id,
            kind=KINDS.get(notice.trade_status, notice.trade_status),
            payment_id=PaymentId(str(UUID(notice.out_trade_no))),
            provider_ref=notice.out_trade_no,
            amount_minor=amount_minor,
            currency=CURRENCY,
            capture_ref=notice.trade_no,
        )

    async def statement(self, day: date) -> list[Movement]:
        """Alipay's days are China's. It writes them in the morning after; until then it raises."""
        told: list[Movement] = []
        for bill in (bills.TRADES, bills.ACCOUNT):
            try:
                packed = await self._bill(bill, day)
                if packed is not None:
                    told += await asyncio.to_thread(
                        bills.read, packed, bill, day=day, seller_id=self._seller_id
                    )
            except bills.Unreadable as error:
                log.warning("alipay_bill", bill=bill.bill_type, day=f"{day}", problem=str(error))
                raise ChannelUnavailable(f"Alipay's bill: {error}.") from error
        return told

    async def _bill(self, bill: bills.Bill, day: date) -> bytes | None:
        """A zip. None where Alipay has had time enough, and has nothing to tell."""
        method = "alipay.data.dataservice.bill.downloadurl.query"
        async with _deadline():
            said = await self._ask(method, {"bill_type": bill.bill_type, "bill_date": f"{day}"})
        if said.sub_code.upper().endswith(NO_SUCH_BILL):
            ends = datetime.combine(day + timedelta(days=1), time(), CHINA)
            if self._clock() < (ends + WRITTEN_WITHIN).timestamp():
                raise ChannelUnavailable("Alipay has not written that day yet.")
            return None
        return await self._shelf.download(_fine(said).bill_download_url)

    async def _look(self, payment: Payment) -> Event | None:
        said = await self._ask_of("alipay.trade.query", payment)
        if said.sub_code == NO_SUCH_TRADE or _fine(said).trade_status not in KINDS:
            return None
        try:
            amount_minor = minor(said.total_amount)
        except ValueError as error:
            raise _unavailable() from error
        return _event(payment, KINDS[said.trade_status], said.trade_no, amount_minor)

    async def _is_refunded(self, payment: Payment, refund_id: str) -> bool:
        number = _number(refund_id)
        said = _fine(
            await self._ask_of("alipay.trade.fastpay.refund.query", payment, out_request_no=number)
        )
        return (said.refund_status, said.out_request_no) == ("REFUND_SUCCESS", number)

    async def _ask_of(self, method: str, payment: Payment, **more: str) -> _Answer:
        number = _number(payment.id)
        said = await self._ask(method, {"out_trade_no": number, **more})
        if said.out_trade_no not in {"", number}:
            raise _unavailable()  # An answer to another question.
        return said

    async def _ask(self, method: str, content: Mapping[str, str]) -> _Answer:
        told = await self._post(self._signed(method, content))
        try:
            raw = msgspec.json.decode(told, type=dict[str, msgspec.Raw])
            answer = raw[method.replace(".", "_") + "_response"]
            self._keys.check(bytes(answer), msgspec.json.decode(raw["sign"], type=str))
            said = msgspec.json.decode(answer, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, Forged) as error:
            log.warning("alipay_not_understood", method=method, said=repr(told[:500]))
            raise _unavailable() from error
        if said.code in PASSING_CODES or said.sub_code in PASSING:
            log.warning("alipay_cannot", method=method, code=said.sub_code, why=said.sub_msg)
            raise _unavailable()
        return said

    def _signed(self, method: str, content: Mapping[str, str], **more: str) -> dict[str, str]:
        now = datetime.fromtimestamp(self._clock(), CHINA)
        fields = {
            "app_id": self._app_id,
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": f"{now:%Y-%m-%d %H:%M:%S}",
            "version": "1.0",
            "biz_content": msgspec.json.encode(content).decode(),
            **more,
        }
        return {**fields, "sign": self._keys.sign(rsa2.content_of(fields))}

    async def _post(self, fields: Mapping[str, str]) -> bytes:
        told = b""
        try:
            async with self._http.stream(
                "POST", self._gateway, data=fields, timeout=DEADLINE_S
            ) as answer:
                async for chunk in answer.aiter_bytes():
                    told += chunk
                    if len(told) > ANSWER_BYTES_MAX:
                        raise _unavailable()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unavailable() from error
        if not answer.is_success:
            raise _unavailable()
        return told


def yuan(amount_minor: int) -> str:
    return f"{amount_minor // 100}.{amount_minor % 100:02}"


def minor(amount: str) -> int:
    """Fen, exactly. Raises ValueError for anything but yuan with two decimals or fewer."""
    found = _YUAN.fullmatch(amount)
    if found is None:
        raise ValueError(f"not an amount: {amount!r}")
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))


def _fields(body: bytes) -> dict[str, str]:
    """A form in which each name stands once. Raises Forged."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError as error:
        raise Forged from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Forged
    return fields


def _number(our_id: str) -> str:
    """Alipay takes letters, digits and underscores."""
    return UUID(our_id).hex


def _fine(said: _Answer) -> _Answer:
    if said.code != OK:
        raise ProviderRefused(f"{said.code} {said.sub_code} {said.sub_msg}")
    return said


def _event(payment: Payment, kind: EventKind, trade_no: str | None, amount_minor: int) -> Event:
    return Event(
        channel=payment.channel,
        id=f"look:{kind}:{payment.id}",
        kind=kind,
        payment_id=payment.id,
        provider_ref=_number(payment.id),
        amount_minor=amount_minor,
        currency=CURRENCY,
        capture_ref=trade_no,
    )


@asynccontextmanager
async def _deadline() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield
    except TimeoutError as error:
        raise _unavailable() from error


def _unavailable() -> ChannelUnavailable:
    return ChannelUnavailable(retry_after_s=RETRY_AFTER_S)
