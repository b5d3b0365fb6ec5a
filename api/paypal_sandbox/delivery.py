"""Webhooks: signed when they are written, sent until the shop says 2xx; now and then twice."""

import asyncio
import random
import secrets
import sqlite3
import time
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import msgspec

from . import store
from .certificates import Notary
from .model import Delivery

TRIES_MAX = 25
PAUSE_S = 0.5
PAUSE_MAX_S = 3600.0
DEADLINE_S = 20.0
BATCH_MAX = 32
IDLE_S = 5.0


class Courier:
    """Signs what happened and delivers it to `hook_url`, which PayPal knows as `webhook_id`."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        http: httpx.AsyncClient,
        notary: Notary,
        *,
        url: str,
        hook_url: str,
        webhook_id: str,
    ) -> None:
        self._conn = conn
        self._http = http
        self._notary = notary
        self._url = url
        self._hook_url = hook_url
        self._webhook_id = webhook_id
        self._news = asyncio.Event()

    def announce(self, event_type: str, kind: str, resource: dict[str, object]) -> None:
        """Write an event down. The caller's transaction is also what it tells of."""
        behaviour = store.behaviour(self._conn)
        if behaviour.is_mute:
            return
        event_id = f"WH-{secrets.token_hex(9).upper()}-{secrets.token_hex(9).upper()}"
        event = {
            "id": event_id,
            "event_version": "1.0",
            "create_time": now_text(),
            "resource_type": kind,
            "resource_version": "2.0",
            "event_type": event_type,
            "summary": f"A {kind} was changed",
            "resource": resource,
            "links": [
                {
                    "href": f"{self._url}/v1/notifications/webhooks-events/{event_id}",
                    "rel": "self",
                    "method": "GET",
                }
            ],
        }
        body = msgspec.json.encode(event)
        # What it tells of draws, not the event's id: one seed misbehaves the same way again.
        draw = random.Random(f"{behaviour.seed} {resource.get('custom_id')} {event_type}")  # noqa: S311
        for _ in range(1 + (draw.random() < behaviour.duplicate)):
            due_at_s = time.time() + draw.random() * behaviour.shuffle_s
            headers = msgspec.json.encode(self.signed(body))
            store.send(self._conn, headers, body, due_at_s=due_at_s)
        self._news.set()

    def signed(self, body: bytes) -> dict[str, str]:
        """The headers of one transmission. Each has an id of its own, also of the same event."""
        transmission_id, sent_at = str(uuid4()), now_text()
        signature = self._notary.sign(transmission_id, sent_at, self._webhook_id, body)
        return {
            "Content-Type": "application/json",
            "PayPal-Auth-Algo": "SHA256withRSA",
            "PayPal-Auth-Version": "v2",
            "PayPal-Cert-Url": (
                f"{self._url}/v1/notifications/certs/{self._notary.certificate_id}"
            ),
            "PayPal-Transmission-Id": transmission_id,
            "PayPal-Transmission-Sig": signature,
            "PayPal-Transmission-Time": sent_at,
        }

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
        headers = msgspec.json.decode(delivery.headers, type=dict[str, str])
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._http.stream(
                    "POST", self._hook_url, content=delivery.body, headers=headers
                ) as answer,
            ):
                return answer.is_success
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
