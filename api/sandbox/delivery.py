"""Webhooks: each event is sent until the shop says 2xx, later and later; now and then twice."""

import asyncio
import random
import secrets
import sqlite3
import time
from datetime import UTC, datetime

import httpx
import msgspec

from . import signature, store
from .model import Checkout, Delivery, Event

TRIES_MAX = 24
PAUSE_S = 0.5
PAUSE_MAX_S = 3600.0
DEADLINE_S = 5.0
BATCH_MAX = 32
IDLE_S = 5.0


def announce(
    conn: sqlite3.Connection, checkout: Checkout, kind: str, *, amount: int, currency: str
) -> str:
    """Write an event down for the shop, and return its id.

    The caller's transaction is also what it tells of.
    """
    event = Event(
        event_id=f"evt_{secrets.token_hex(16)}",
        kind=kind,
        checkout_id=checkout.id,
        reference=checkout.reference,
        amount=amount,
        currency=currency,
        at=now_text(),
    )
    body = msgspec.json.encode(event)
    behaviour = store.behaviour(conn)
    # The reference draws, not the event's id, so that one seed misbehaves the same way again.
    draw = random.Random(f"{behaviour.seed} {checkout.reference} {kind}")  # noqa: S311
    for _ in range(1 + (draw.random() < behaviour.duplicate)):
        wait_s = behaviour.delay_s + draw.random() * behaviour.shuffle_s
        store.send(conn, checkout.notify_url, body, due_at_s=time.time() + wait_s)
    return event.event_id


class Courier:
    """Delivers what is due, a batch at a time. `wake` it when there is something new."""

    def __init__(self, conn: sqlite3.Connection, http: httpx.AsyncClient, secret: bytes) -> None:
        self._conn = conn
        self._http = http
        self._secret = secret
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()

    async def run(self) -> None:
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

    async def _deliver(self, delivery: Delivery) -> None:
        arrived = await self._post(delivery)
        tries = delivery.tries + 1
        pause_s = min(PAUSE_MAX_S, PAUSE_S * 2**delivery.tries)
        ended = "delivered" if arrived else "given up" if tries >= TRIES_MAX else None
        with self._conn:
            store.tried(self._conn, delivery, due_at_s=time.time() + pause_s, ended=ended)

    async def _post(self, delivery: Delivery) -> bool:
        if delivery.tries < store.behaviour(self._conn).drop_first:
            return False
        signed = signature.header(self._secret, delivery.body, now_s=int(time.time()))
        headers = {"Content-Type": "application/json", signature.HEADER: signed}
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._http.stream(
                    "POST", delivery.url, content=delivery.body, headers=headers
                ) as answer,
            ):
                return answer.is_success
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False


def now_text() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
