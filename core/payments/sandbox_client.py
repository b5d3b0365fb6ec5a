"""The sandbox provider, over HTTP. Nothing here asks twice: both verbs bear being repeated, and
the buyer or the outbox repeats them.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated

import httpx
import msgspec

from .model import ChannelUnavailable, Payment
from .provider import Checkout, ProviderRefused
from .signature import SIGNATURE_HEADER, sign

DEADLINE_S = 5.0
ANSWER_BYTES_MAX = 65_536
RETRY_AFTER_S = 2


class _Opened(msgspec.Struct, frozen=True):
    checkout_id: Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,128}\Z")]
    pay_url: Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://[\x21-\x7e]{1,1000}\Z")]


class SandboxClient:
    """A `Provider`. `clock` tells the seconds of now; `shop_url` is where the provider finds us."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        url: str,
        secret: bytes,
        shop_url: str,
        clock: Callable[[], float],
    ) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._secret = secret
        self._shop_url = shop_url.rstrip("/")
        self._clock = clock

    async def checkout(self, payment: Payment) -> Checkout:
        answer = await self._post(
            "/v1/checkouts",
            {
                "reference": payment.id,
                "amount": payment.amount_minor,
                "currency": payment.currency,
                "description": payment.order_id,
                "return_url": f"{self._shop_url}/?order={payment.order_id}",
                "notify_url": f"{self._shop_url}/v1/webhooks/sandbox",
            },
        )
        try:
            opened = msgspec.json.decode(answer, type=_Opened)
        except msgspec.MsgspecError as error:
            raise _unavailable() from error
        return Checkout(opened.checkout_id, opened.pay_url)

    async def refund(
        self, payment: Payment, *, refund_id: str, amount_minor: int, reason: str
    ) -> None:
        await self._post(
            "/v1/refunds",
            {
                "reference": payment.id,
                "refund_reference": refund_id,
                "amount": amount_minor,
                "currency": payment.captured_currency,
                "reason": reason,
            },
        )

    async def _post(self, path: str, message: object) -> bytes:
        if not self._url:
            raise _unavailable()
        body = msgspec.json.encode(message)
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: sign(self._secret, body, now_s=int(self._clock())),
        }
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._http.stream(
                    "POST", self._url + path, content=body, headers=headers
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


async def _read(answer: httpx.Response) -> bytes:
    said = b""
    async for chunk in answer.aiter_bytes():
        said += chunk
        if len(said) > ANSWER_BYTES_MAX:
            raise _unavailable()
    return said


def _unavailable() -> ChannelUnavailable:
    return ChannelUnavailable(retry_after_s=RETRY_AFTER_S)
