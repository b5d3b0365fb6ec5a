"""A small HTTP/1.1 client: keep-alive, a bounded number of connections, no pipelining.

The buyers share a machine with the shop they load, so what asking costs is taken from what is
measured. Asking for /health/live sixteen at a time took httpx 1.2 ms of CPU a request and this
0.03: with httpx one core ends at 800 requests a second, and we would measure our own buyers.
Nothing is repeated in here: a buyer decides that.
"""

import asyncio
from time import monotonic
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import msgspec

TIMEOUT_S = 10.0
HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 16 * 1024 * 1024

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Answer(msgspec.Struct, frozen=True):
    """`sent_at` is when it went out, by `time.monotonic`; header names are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    sent_at: float


class NoAddress(Exception):
    """No address that HTTP could be spoken to."""


class NoAnswer(Exception):
    """No whole answer came, in time or at all. Whatever was asked for may have happened."""

    def __init__(self, why: str, sent_at: float) -> None:
        super().__init__(why)
        self.sent_at = sent_at


class Client:
    """Use it with `async with`. `url` may end in a path, which is put before every other."""

    def __init__(self, url: str, *, connections_max: int, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise NoAddress(f"{url!r} is no http:// or https:// address")
        self._host = parts.hostname
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._authority = parts.netloc.rpartition("@")[2]
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(connections_max)
        self._idle: list[Connection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def ask(
        self, method: str, path: str, *, headers: dict[str, str], body: bytes = b""
    ) -> Answer:
        """Raises NoAnswer. Waiting for a free connection has no deadline: count it yourself."""
        request = self._request(method, path, headers, body)
        async with self._free:
            sent_at = monotonic()
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._exchange(request, sent_at)
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
                raise NoAnswer(repr(error), sent_at) from error

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body

    async def _exchange(self, request: bytes, sent_at: float) -> Answer:
        reader, writer = await self._connection()
        whole = False
        try:
            writer.write(request)
            answer = await read_answer(reader, sent_at)
            whole = answer.headers.get(b"connection", b"").lower() != b"close"
        finally:
            if whole:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return answer

    async def _connection(self) -> Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(
            self._host, self._port, ssl=self._tls or None, limit=HEAD_BYTES_MAX
        )


async def read_answer(reader: asyncio.StreamReader, sent_at: float) -> Answer:
    """Raises EOFError for half an answer, ValueError for what is no HTTP."""
    head, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    version, status, *_ = head.split(b" ", 2)
    if not version.startswith(b"HTTP/1."):
        raise ValueError("not HTTP/1.1")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in lines)
    }
    return Answer(int(status), headers, await read_body(reader, headers), sent_at)


async def read_body(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> bytes:
    if headers.get(b"transfer-encoding", b"").lower() != b"chunked":
        return await reader.readexactly(bounded(int(headers.get(b"content-length", b"0"))))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(bounded(len(body) + size) - len(body))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return body


def bounded(size: int) -> int:
    if not 0 <= size <= BODY_BYTES_MAX:
        raise ValueError("the answer is too long")
    return size
