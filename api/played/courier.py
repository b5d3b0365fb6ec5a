"""Notices: each is sent until the shop has heard it, later and later; now and then twice."""

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import msgspec

from . import store
from .model import Behaviour, Notice

PAUSE_S = 0.5
PAUSE_MAX_S = 3600.0
BATCH_MAX = 32
IDLE_S = 5.0


def due_times_s(behaviour: Behaviour, about: str) -> list[float]:
    """When each copy of a notice is due.

    What it is `about` draws, and not the notice's own id, so that one seed misbehaves the same
    way again.
    """
    draw = random.Random(f"{behaviour.seed} {about}")  # noqa: S311
    copies = 1 + (draw.random() < behaviour.duplicate)
    since_s = time.time() + behaviour.delay_s
    return [since_s + draw.random() * behaviour.shuffle_s for _ in range(copies)]


class Courier:
    """Delivers what is due, a batch at a time. `wake` it when there is something new."""

    tries_max = 24
    deadline_s = 5.0

    def __init__(self, conn: sqlite3.Connection, http: httpx.AsyncClient) -> None:
        self._conn = conn
        self._http = http
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        delivering = asyncio.create_task(self._run())
        try:
            yield
        finally:
            delivering.cancel()
            with suppress(asyncio.CancelledError):
                await delivering

    def headers(self, notice: Notice) -> dict[str, str]:
        return msgspec.json.decode(notice.headers, type=dict[str, str])

    def is_lost(self, notice: Notice) -> bool:
        return notice.tries < store.behaviour(self._conn, Behaviour).drop_first

    async def is_heard(self, answer: httpx.Response) -> bool:
        return answer.is_success

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._round()
            except sqlite3.Error:
                # A full disk or a lock held too long: what was not noted is delivered again.
                await asyncio.sleep(IDLE_S)

    async def _round(self) -> None:
        batch = store.due(self._conn, now_s=time.time(), batch_max=BATCH_MAX)
        if batch:
            await asyncio.gather(*map(self._deliver, batch))
        else:
            await self._idle()

    async def _idle(self) -> None:
        due_at_s = store.next_due(self._conn)
        wait_s = IDLE_S if due_at_s is None else due_at_s - time.time()
        try:
            async with asyncio.timeout(min(max(wait_s, 0.0), IDLE_S)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _deliver(self, notice: Notice) -> None:
        heard = not self.is_lost(notice) and await self._post(notice)
        tries = notice.tries + 1
        ended = "heard" if heard else "given up" if tries >= self.tries_max else None
        pause_s = min(PAUSE_MAX_S, PAUSE_S * 2**notice.tries)
        with self._conn:
            store.tried(self._conn, notice, due_at_s=time.time() + pause_s, ended=ended)

    async def _post(self, notice: Notice) -> bool:
        content, headers = notice.body, self.headers(notice)
        try:
            async with (
                asyncio.timeout(self.deadline_s),
                self._http.stream("POST", notice.url, content=content, headers=headers) as answer,
            ):
                return await self.is_heard(answer)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False
