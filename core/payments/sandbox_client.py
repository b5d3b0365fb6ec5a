"""The sandbox provider, over HTTP. Nothing here asks twice: each verb bears being repeated, and
the buyer or a role repeats it.
"""

import asyncio
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Literal, TypeVar

import httpx
import msgspec

from .model import ChannelUnavailable, Event, EventKind, Movement, Payment, Taking
from .provider import Checkout, ProviderRefused
from .signature import SIGNATURE_HEADER, sign

DEADLINE_S = 5.0
ANSWER_BYTES_MAX = 65_536
RETRY_AFTER_S = 2
PAGE_MAX = 100
PAGES_MAX = 1_000


class _Opened(msgspec.Struct, frozen=True):
    checkout_id: Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,128}\Z")]
    pay_url: Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[\x21-\x7e]{1,1000}\Z")]


class _Moved(msgspec.Struct, frozen=True):
    id: int
    kind: Literal["capture", "refund", "fee", "chargeback", "payout"]
    reference: str | None
    refund_reference: str | None
    amount: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    currency: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]
    at: Annotated[datetime, msgspec.Meta(tz=True)]


class _Page(msgspec.Struct, frozen=True):
    items: Annotated[list[_Moved], msgspec.Meta(max_length=PAGE_MAX)]
    cursor: str | None


class _Standing(msgspec.Struct, frozen=True):
    checkout_id: Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,128}\Z")]
    state: Literal["open", "declined", "closed", "held", "voided", "paid"]
    amount: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    currency: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]
    held_until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Sent(msgspec.Struct, frozen=True):
    refund_reference: str


class _Refunds(msgspec.Struct, frozen=True):
    count: int


_Answer = TypeVar("_Answer")

KINDS = {
    "declined": EventKind.DECLINED,
    "closed": EventKind.CLOSED,
    "held": EventKind.AUTHORIZED,
    "voided": EventKind.VOIDED,
    "paid": EventKind.CAPTURED,
}


class SandboxClient:
    """A `Holder`. `clock` tells the seconds of now; `shop_url` is where the provider finds us."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        url: str,
        secret: bytes,
        shop_url: str,
        clock: Callable[[], float],
        taking: Taking = Taking.AT_ONCE,
    ) -> None:
        self.taking = taking
        self._http = http
        self._url = url.rstrip("/")
        self._secret = secret
        self._shop_url = shop_url.rstrip("/")
        self._clock = clock

    async def checkout(self, payment: Payment) -> Checkout:
        opened = await self._post(
            "/v1/checkouts",
            {
                "reference": payment.id,
                "amount": payment.amount_minor,
                "currency": payment.currency,
                "capture": payment.taking,
                "description": payment.order_id,
                "return_url": f"{self._shop_url}/?order={payment.order_id}",
                "notify_url": f"{self._shop_url}/v1/webhooks/sandbox",
            },
            _Opened,
        )
        return Checkout(opened.checkout_id, opened.pay_url)

    async def look(self, payment: Payment) -> Event | None:
        if payment.pay_url is None:
            return None  # The page was never asked for, or its answer never came.
        standing = await self._standing("look", payment)
        return None if standing.state == "open" else _told(payment, standing)

    async def close(self, payment: Payment) -> Event:
        # Opened first: a page whose answer never came is closed as well.
        await self.checkout(payment)
        return _told(payment, await self._standing("close", payment))

    async def capture(self, payment: Payment) -> Event:
        return _told(payment, await self._standing("capture", payment))

    async def void(self, payment: Payment) -> Event:
        return _told(payment, await self._standing("void", payment))

    async def is_refunded(self, payment: Payment, *, refund_id: str) -> bool:
        message = {"reference": payment.id, "refund_reference": refund_id}
        return bool((await self._post("/v1/refunds/look", message, _Refunds)).count)

    async def refund(
        self, payment: Payment, *, refund_id: str, amount_minor: int, reason: str
    ) -> bool:
        await self._post(
            "/v1/refunds",
            {
                "reference": payment.id,
                "refund_reference": refund_id,
                "amount": amount_minor,
                "currency": payment.captured_currency,
                "reason": reason,
            },
            _Sent,
        )
        return True

    async def statement(self, day: date) -> list[Movement]:
        found: list[Movement] = []
        after: str | None = "0"
        for _ in range(PAGES_MAX):
            path = f"/v1/statement?day={day.isoformat()}&after={after}&limit={PAGE_MAX}"
            page = await self._ask("GET", path, b"", _Page)
            found += [_movement(one) for one in page.items if one.amount]
            after = page.cursor
            if after is None:
                return found
        raise _unavailable()

    async def _standing(self, verb: str, payment: Payment) -> _Standing:
        return await self._post(f"/v1/checkouts/{verb}", {"reference": payment.id}, _Standing)

    async def _post(self, path: str, message: object, shape: type[_Answer]) -> _Answer:
        return await self._ask("POST", path, msgspec.json.encode(message), shape)

    async def _ask(self, method: str, path: str, body: bytes, shape: type[_Answer]) -> _Answer:
        try:
            return msgspec.json.decode(await self._send(method, path, body), type=shape)
        except msgspec.MsgspecError as error:
            raise _unavailable() from error

    async def _send(self, method: str, path: str, body: bytes) -> bytes:
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: sign(self._secret, body, now_s=int(self._clock())),
        }
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._http.stream(
                    method, self._url + path, content=body, headers=headers
                ) as answer,
            ):
                said = await _read(answer)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise _unavailable() from error
        if answer.is_client_error:
            raise ProviderRefused(f"{path} answered {answer.status_code}: {said[:200]!r}")
        if not answer.is_success:
            raise _unavailable()
        return said


def _told(payment: Payment, standing: _Standing) -> Event:
    return Event(
        channel=payment.channel,
        id=f"look:{standing.state}:{payment.id}",
        kind=KINDS[standing.state],
        payment_id=payment.id,
        provider_ref=standing.checkout_id,
        amount_minor=standing.amount,
        currency=standing.currency,
        capture_ref=standing.checkout_id,
        authorized_until=standing.held_until,
    )


async def _read(answer: httpx.Response) -> bytes:
    said = b""
    async for chunk in answer.aiter_bytes():
        said += chunk
        if len(said) > ANSWER_BYTES_MAX:
            raise _unavailable()
    return said


def _movement(moved: _Moved) -> Movement:
    is_refund, is_chargeback = moved.kind == "refund", moved.kind == "chargeback"
    return Movement(
        id=(moved.refund_reference or "") if is_chargeback else str(moved.id),
        kind=moved.kind,
        reference=(moved.refund_reference if is_refund else moved.reference) or "",
        amount_minor=moved.amount,
        currency=moved.currency,
        moved_at=moved.at,
    )


def _unavailable() -> ChannelUnavailable:
    return ChannelUnavailable(retry_after_s=RETRY_AFTER_S)
