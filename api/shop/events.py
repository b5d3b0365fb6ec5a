"""Server-sent events of a sale: its state and what is left, at most once a second.

One poller serves every watcher of this process; it reads what the directory knows, so that ten
thousand watchers cost Redis and Postgres nothing.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from api import shapes
from core.flows.directory import Directory, SaleView
from core.kit.refusal import Kind, Refusal

TICK_S = 1.0
HEARTBEAT_S = 10.0
WATCHERS_MAX = 1_000
RETRY_AFTER_S = 5
HEARTBEAT = b": still here\n\n"
ENDED = frozenset({"closed", "retired"})


class TooManyWatchers(Refusal):
    """Too many are watching already. Ask again in a moment."""

    kind = Kind.UNAVAILABLE


class Standing(msgspec.Struct, frozen=True):
    """What watchers are told, without the time."""

    state: str
    left: dict[str, int]


class Event(msgspec.Struct, frozen=True):
    state: str
    left: dict[str, int]
    server_time: datetime


class Watch:
    """The poller and its watchers. `run` it beside the directory; `stop` ends every stream."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._watched: Counter[int] = Counter()
        self._standing: dict[int, Standing] = {}
        self._changed = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        while not self._stopping:
            await asyncio.sleep(TICK_S)
            seen = {sale_id: self._look(sale_id) for sale_id in self._watched}
            if seen != self._standing:
                self._standing = seen
                self._wake()

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    def refuse_when_full(self) -> None:
        if self._stopping or self._watched.total() >= WATCHERS_MAX:
            raise TooManyWatchers(retry_after_s=RETRY_AFTER_S)

    async def stream(self, sale: SaleView) -> AsyncIterator[bytes]:
        """Events of one sale until it ends or the server stops."""
        self._watched[sale.id] += 1
        try:
            told = standing(sale)
            yield event(told)
            while told.state not in ENDED and not self._stopping:
                now = await self._next(sale.id, told)
                if now == told:
                    yield HEARTBEAT
                else:
                    told = now
                    yield event(told)
        finally:
            self._watched[sale.id] -= 1
            if not self._watched[sale.id]:
                del self._watched[sale.id]

    async def _next(self, sale_id: int, told: Standing) -> Standing:
        """Wait for news; the same again after a while without any."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                while self._standing.get(sale_id, told) == told and not self._stopping:
                    await self._changed.wait()
        except TimeoutError:
            return told
        return self._standing.get(sale_id, told)

    def _look(self, sale_id: int) -> Standing:
        sale = self._directory.sale(sale_id)
        return Standing("retired", {}) if sale is None else standing(sale)

    def _wake(self) -> None:
        # Whoever waits holds this event; whoever waits next holds the new one.
        self._changed.set()
        self._changed = asyncio.Event()


def standing(sale: SaleView) -> Standing:
    return Standing(sale.state, {str(item.sku_id): item.left for item in sale.items})


def event(told: Standing) -> bytes:
    data = msgspec.json.encode(Event(told.state, told.left, shapes.server_time()))
    return b"event: sale\ndata: " + data + b"\n\n"
