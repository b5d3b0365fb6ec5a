"""Webhooks: signed when they are written, sent until the shop says 2xx; now and then twice."""

import secrets
import sqlite3
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import msgspec

from api import played

from . import store
from .certificates import Notary


class Courier(played.Courier):
    """Signs what happened and delivers it to `hook_url`, which PayPal knows as `webhook_id`."""

    tries_max = 25
    deadline_s = 20.0

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
        super().__init__(conn, http)
        self._notary = notary
        self._url = url
        self._hook_url = hook_url
        self._webhook_id = webhook_id

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
        for due_at_s in played.due_times_s(behaviour, f"{resource.get('custom_id')} {event_type}"):
            played.send(self._conn, self._hook_url, self.signed(body), body, due_at_s=due_at_s)
        self.wake()

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


def now_text() -> str:
    return later_text(0)


def later_text(wait_s: float) -> str:
    """Texts of moments sort as the moments do."""
    then = datetime.now(UTC) + timedelta(seconds=wait_s)
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
