"""A closed loop of raw connections: each says its next request when it has its answer."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import msgspec

ROUND_S_MAX = 600.0


class Heard(msgspec.Struct):
    statuses: Counter[bytes]
    seconds: float
    latencies_s: list[float]


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], heard: Heard) -> None:
        self.requests, self.heard = requests, heard
        self.ended = asyncio.get_running_loop().create_future()
        self.got = b""
        self.said = 0.0

    def connection_made(self, transport):
        self.transport = transport
        self.say()

    def say(self):
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
        else:
            self.said = time.perf_counter()
            self.transport.write(request)

    def data_received(self, data):
        self.got += data
        head, blank, body = self.got.partition(b"\r\n\r\n")
        if not blank or len(body) < int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        self.got = b""
        self.heard.statuses[head[9:12]] += 1
        self.heard.latencies_s.append(time.perf_counter() - self.said)
        self.say()

    def connection_lost(self, error):
        if not self.ended.done():
            self.ended.set_result(error)


async def run(port: int, requests: list[bytes], *, connections: int) -> Heard:
    """Say all requests over so many connections, and count the answers."""
    heard = Heard(Counter(), 0.0, [])
    waiting = iter(requests)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    async with asyncio.timeout(ROUND_S_MAX):
        made = [
            await loop.create_connection(lambda: _Connection(waiting, heard), "127.0.0.1", port)
            for _ in range(connections)
        ]
        await asyncio.gather(*(connection.ended for _, connection in made))
    heard.seconds = time.perf_counter() - started
    return heard
