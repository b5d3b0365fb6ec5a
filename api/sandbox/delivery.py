"""Webhooks: what happened here, as the shop is told of it, signed whenever it is sent."""

import secrets
import sqlite3
import time
from datetime import UTC, datetime, timedelta

import httpx
import msgspec

from api import played

from . import signature, store
from .model import Checkout, Event


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
        held_until=checkout.held_until,
    )
    headers, body = {"Content-Type": "application/json"}, msgspec.json.encode(event)
    for due_at_s in played.due_times_s(store.behaviour(conn), f"{checkout.reference} {kind}"):
        played.send(conn, checkout.notify_url, headers, body, due_at_s=due_at_s)
    return event.event_id


class Courier(played.Courier):
    def __init__(self, conn: sqlite3.Connection, http: httpx.AsyncClient, secret: bytes) -> None:
        super().__init__(conn, http)
        self._secret = secret

    def headers(self, notice: played.Notice) -> dict[str, str]:
        signed = signature.header(self._secret, notice.body, now_s=int(time.time()))
        return {**super().headers(notice), signature.HEADER: signed}


def now_text() -> str:
    return later_text(0)


def later_text(wait_s: float) -> str:
    """Texts of moments sort as the moments do."""
    then = datetime.now(UTC) + timedelta(seconds=wait_s)
    return then.isoformat(timespec="microseconds").replace("+00:00", "Z")
