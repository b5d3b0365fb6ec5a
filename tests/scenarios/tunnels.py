"""Between a shop and a provider: a tunnel that breaks what is said on its way, if told to."""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import Iterable

from tests.api.test_payments import Program

HEAD_END = b"\r\n\r\n"
PAGE = (
    b"HTTP/1.1 %d X\r\nContent-Type: text/html\r\nContent-Length: 22\r\n\r\n<html>Try later</html>"
)
# How an answer is spoilt. What is `lost`, `half` or `other` was done all the same.
WAYS = ("page 500", "lost", "half", "page 200", "other", "page 404")
OTHER = (
    b'HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"id": "none"}'
)
# It calls itself by the tunnel's address, and listens behind it.
BEHIND = """
import sys
from api.cli import playing
from api.cli.__main__ import main
serve = playing.serve
playing.serve = lambda app, url: serve(app, "http://127.0.0.1:{port}")
sys.argv = ["sluice", "{verb}"]
main()
"""


class Behind(Program):
    """A provider that we play, at the far end of a tunnel."""

    def __init__(self, verb: str, environment: dict[str, str], port: int) -> None:
        self.port = port
        super().__init__(verb, environment, f"http://127.0.0.1:{port}/health/live")

    def command(self) -> list[str]:
        return [sys.executable, "-c", BEHIND.format(verb=self.verb, port=self.port)]


class Tunnel:
    """`asked` counts what came through."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.ways: itertools.cycle[str] | None = None
        self.asked = 0

    @contextlib.asynccontextmanager
    async def at(self, port: int):
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        async with server:
            yield self

    def spoil(self, ways: Iterable[str]) -> None:
        self.ways = itertools.cycle(ways)

    async def _serve(self, reader, writer) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            writer.write(await self._answer(await read(reader)))
            await writer.drain()
        writer.close()

    async def _answer(self, question: bytes) -> bytes:
        way = next(self.ways) if self.ways else ""
        self.asked += 1
        if way.startswith("page"):
            return PAGE % int(way[5:])
        answer = await self._ask(question)
        match way:
            case "lost":
                return b""
            case "half":
                return answer[: len(answer) - len(answer.partition(HEAD_END)[2]) // 2 - 1]
            case "other":
                return OTHER
            case "flipped":
                middle = (answer.index(HEAD_END) + len(answer)) // 2
                return answer[:middle] + bytes([answer[middle] ^ 1]) + answer[middle + 1 :]
        return answer

    async def _ask(self, question: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        head, _, body = question.partition(HEAD_END)
        kept = [h for h in head.split(b"\r\n") if not h.lower().startswith(b"connection:")]
        writer.write(b"\r\n".join([*kept, b"Connection: close"]) + HEAD_END + body)
        try:
            return await reader.read(-1)
        finally:
            writer.close()


async def read(reader) -> bytes:
    head = await reader.readuntil(HEAD_END)
    lengths = [
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    return head + await reader.readexactly(sum(lengths))
