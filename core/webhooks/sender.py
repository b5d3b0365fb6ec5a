"""Sends a message over HTTP: to a checked address, in bounded time, without following anybody."""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from typing import Self

import httpcore
import msgspec

from core.kit.addresses import USUAL_PORTS, Reach, Target, UnfitUrl, target
from core.kit.pinned import Pinned, Resolve, Resolver

CONNECTIONS_MAX = 256
KEPT_S = 15.0
CONNECT_MAX_S = 5.0
ATTEMPT_MAX_S = 15.0
ANSWER_BYTES_MAX = 1_024
ERROR_CHARS_MAX = 300
RETRY_AFTER_MAX_S = 86_400
DIGITS_MAX = 9

Header = tuple[bytes, bytes]


class Answer(msgspec.Struct, frozen=True):
    """Status and first bytes of an answer; or why there is none."""

    status: int | None = None
    body: bytes = b""
    retry_after_s: int = 0
    error: str | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


class Sender:
    """Use it with `async with`. Proxies of the environment are none of its business."""

    def __init__(
        self, reach: Reach, *, resolve: Resolve | None = None, trust: ssl.SSLContext | None = None
    ) -> None:
        self.reach = reach
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trust or ssl.create_default_context(),
            max_connections=CONNECTIONS_MAX,
            keepalive_expiry=KEPT_S,
            network_backend=Pinned(reach, resolve or Resolver()),
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()

    async def send(self, url: str, headers: Sequence[Header], body: bytes) -> Answer:
        """Post it once. Whatever goes wrong out there is an Answer."""
        try:
            async with asyncio.timeout(ATTEMPT_MAX_S):
                return await self._post(url, headers, body)
        except TimeoutError:
            return Answer(error=f"no whole answer within {ATTEMPT_MAX_S:.0f} s")
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            return Answer(error=f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX])
        except UnfitUrl as refusal:
            return Answer(error=str(refusal)[:ERROR_CHARS_MAX])

    async def _post(self, url: str, headers: Sequence[Header], body: bytes) -> Answer:
        where = target(url, self.reach)
        async with self._pool.stream(
            b"POST",
            httpcore.URL(url),
            headers=[
                (b"host", host_header(where)),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"user-agent", b"sluice"),
                *headers,
            ],
            content=body,
            extensions={"timeout": {"connect": CONNECT_MAX_S}},
        ) as answer:
            first = b""
            async for part in answer.aiter_stream():
                first += part[: ANSWER_BYTES_MAX - len(first)]
                if len(first) == ANSWER_BYTES_MAX:
                    break
            return Answer(answer.status, first, retry_after_s=retry_after_s(answer.headers))


def host_header(where: Target) -> bytes:
    host = f"[{where.host}]" if ":" in where.host else where.host
    is_usual = where.port == USUAL_PORTS[where.scheme]
    return (host if is_usual else f"{host}:{where.port}").encode()


def retry_after_s(headers: Iterable[Header]) -> int:
    """What a receiver asks for in seconds; a date is not waited for."""
    for name, text in headers:
        if name.lower() == b"retry-after" and text.isdigit():
            return min(int(text[:DIGITS_MAX]), RETRY_AFTER_MAX_S)
    return 0
