"""Crowds of buyers on raw connections, who do as Retry-After says, and what all of them were told.

A closed loop buys again as soon as it has bought; an open loop comes at its own times, whatever
the shop does. A buyer whose connection is refused or lost dials again after a moment.
"""

import asyncio
import random
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator

import msgspec

REDIAL_S = (0.2, 1.0)
COMING_S = 0.5
DIALS_AT_ONCE = 128
TRIES_MAX = 4
# A shop answers everybody or hangs up; one that does neither must not hold us.
ANSWERED_S_MAX = 30.0


class Heard(msgspec.Struct):
    """By `time.perf_counter`. A 202's latency is that of the request it answers, not of all tries.

    `accepted` holds the times of the 202s in order, `latencies_s` their latencies.
    """

    accepted: list[float] = []
    latencies_s: list[float] = []
    refused: Counter[bytes] = msgspec.field(default_factory=Counter)
    retry_after_s: Counter[int] = msgspec.field(default_factory=Counter)
    lost: int = 0
    gave_up: int = 0

    def accept(self, now: float, latency_s: float) -> None:
        self.accepted.append(now)
        self.latencies_s.append(latency_s)

    def between(self, start: float, end: float) -> list[float]:
        """Return the latencies of what was accepted in that time."""
        found = slice(bisect_left(self.accepted, start), bisect_left(self.accepted, end))
        return self.latencies_s[found]


class Line(asyncio.Protocol):
    """One connection: says a request, and tells who asked what came of it, once."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._told: Callable[[bytes, int], None] | None = None
        self._got = b""

    def connection_made(self, transport):
        self.transport = transport

    def ask(self, request: bytes, told: Callable[[bytes, int], None]) -> None:
        self._told = told
        if self.transport is None or self.transport.is_closing():
            asyncio.get_running_loop().call_soon(self.connection_lost, None)
        else:
            self.transport.write(request)

    def data_received(self, data):
        self._got += data
        head, blank, body = self._got.partition(b"\r\n\r\n")
        lowered = head.lower()
        if not blank or len(body) < int(_header(lowered, b"content-length") or 0):
            return
        self._got = b""
        if b"connection: close" in lowered:
            self.transport.close()
        self._tell(head[9:12], int(_header(lowered, b"retry-after") or 0))

    def connection_lost(self, _):
        self.transport = None
        self._tell(b"", 0)

    def _tell(self, status: bytes, retry_after_s: int) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(status, retry_after_s)


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0]


class Crowd:
    """Everybody who buys at one port. `requests` never ends; each has a key of its own."""

    def __init__(self, port: int, requests: Iterator[bytes], heard: Heard) -> None:
        self.heard = heard
        self._port = port
        self._requests = requests
        self._random = random.Random(1)
        self._dialing = asyncio.Semaphore(DIALS_AT_ONCE)
        self._free: deque[Line] = deque()

    async def dial(self, connections: int) -> list[Line | None]:
        return await asyncio.gather(*(self._dial() for _ in range(connections)))

    async def closed(self, lines: list[Line | None], *, seconds: float) -> None:
        """Every line is a buyer's, who comes in the first instants, keeps it, and buys."""
        until = time.perf_counter() + seconds
        async with asyncio.timeout(seconds + ANSWERED_S_MAX):
            await asyncio.gather(*(self._insist(line, until) for line in lines))

    async def open(self, rate_per_s: float, *, seconds: float) -> None:
        """Poisson arrivals. Who was refused `TRIES_MAX` times goes home."""
        until = time.perf_counter() + seconds
        due = time.perf_counter()
        async with asyncio.timeout(seconds + ANSWERED_S_MAX), asyncio.TaskGroup() as group:
            while (due := due + self._random.expovariate(rate_per_s)) < until:
                if (early_s := due - time.perf_counter()) > 0:
                    await asyncio.sleep(early_s)
                group.create_task(self._try_some_times(until))
        while self._free:
            _close(self._free.popleft())

    async def _insist(self, line: Line | None, until: float) -> None:
        await asyncio.sleep(self._random.uniform(0.0, COMING_S))
        while time.perf_counter() < until:
            request = next(self._requests)
            while time.perf_counter() < until:
                line = line or await self._dial()
                status, wait_s = await self._ask(line, request)
                if line is not None and line.transport is None:
                    line = None
                if status == b"202":
                    break
                await asyncio.sleep(min(wait_s, max(0.0, until - time.perf_counter())))
        _close(line)

    async def _try_some_times(self, until: float) -> None:
        request = next(self._requests)
        for _ in range(TRIES_MAX):
            line = self._free.popleft() if self._free else await self._dial()
            status, wait_s = await self._ask(line, request)
            if line is not None and line.transport is not None:
                self._free.append(line)
            if status == b"202" or time.perf_counter() + wait_s > until:
                return
            await asyncio.sleep(wait_s)
        self.heard.gave_up += 1

    async def _dial(self) -> Line | None:
        async with self._dialing:
            try:
                async with asyncio.timeout(5.0):
                    loop = asyncio.get_running_loop()
                    return (await loop.create_connection(Line, "127.0.0.1", self._port))[1]
            except OSError:
                return None

    async def _ask(self, line: Line | None, request: bytes) -> tuple[bytes, float]:
        """Ask once; return the status, empty for none, and how long to wait before the next try."""
        if line is None:
            self.heard.lost += 1
            return b"", self._random.uniform(*REDIAL_S)
        answer: asyncio.Future[tuple[bytes, int, float]]
        answer = asyncio.get_running_loop().create_future()
        asked_at = time.perf_counter()

        def told(status: bytes, retry_after_s: int) -> None:
            if not answer.done():
                answer.set_result((status, retry_after_s, time.perf_counter()))

        line.ask(request, told)
        status, retry_after_s, now = await answer
        if status == b"202":
            self.heard.accept(now, now - asked_at)
            return status, 0.0
        if not status:
            self.heard.lost += 1
            return status, self._random.uniform(*REDIAL_S)
        self.heard.refused[status] += 1
        self.heard.retry_after_s[retry_after_s] += 1
        return status, float(retry_after_s)


def _close(line: Line | None) -> None:
    if line is not None and line.transport is not None:
        line.transport.close()
