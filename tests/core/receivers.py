"""Somebody who wants to be told: a real HTTP server that keeps what it got, and answers as told."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import jsonschema_rs
import msgspec
from standardwebhooks import Webhook

from core import webhooks

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Got(msgspec.Struct, frozen=True):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver(msgspec.Struct):
    """`answer` is what is written back: bytes, or what writes them."""

    port: int = 0
    got: list[Got] = []
    answer: bytes | Answer = OK
    at_once: int = 0
    at_once_most: int = 0
    tasks: list[asyncio.Task] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.got]

    def verified(self, secret: str) -> list[dict]:
        """What the vendor's own library makes of all that came, each by its published schema."""
        told = [Webhook(secret).verify(one.body, one.headers) for one in self.got]
        for got, said in zip(self.got, told, strict=True):
            fit(said, got.headers)
        return told

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.current_task())
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while not writer.is_closing():
                    await self._serve_one(reader, writer)
        finally:
            writer.transport.abort()

    async def _serve_one(self, reader, writer) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[:-1]
        headers = dict(line.lower().split(": ", 1)[:1] + line.split(": ", 1)[1:] for line in lines)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.got.append(Got(first.split()[1], headers, body))
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        try:
            if isinstance(self.answer, bytes):
                writer.write(self.answer)
                await writer.drain()
            else:
                await self.answer(writer)
        finally:
            self.at_once -= 1


DOCUMENT = json.loads(msgspec.json.encode(webhooks.asyncapi()))
MESSAGES = {one["name"]: one for one in DOCUMENT["components"]["messages"].values()}


def fit(said: dict, headers: dict[str, str]) -> None:
    """Hold a message against what the AsyncAPI document says of its kind."""
    message = MESSAGES[said["type"]]
    for part, value in (("payload", said), ("headers", headers)):
        schema = {"components": DOCUMENT["components"], **message[part]}
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(value)


def status(code: int, *lines: str, body: bytes = b"") -> bytes:
    head = [f"HTTP/1.1 {code} Told", *lines, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


@contextlib.asynccontextmanager
async def receiving(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in receiver.tasks:
            task.cancel()
        await asyncio.gather(*receiver.tasks, return_exceptions=True)
