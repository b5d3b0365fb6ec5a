"""The provider's books, in one SQLite file: what was answered outlives a kill -9."""

import sqlite3
from pathlib import Path

import msgspec

from api import played

from .model import Behaviour, Checkout, Movement, OpenCheckout, WantRefund

SCHEMA = """
CREATE TABLE IF NOT EXISTS checkouts (
    id           TEXT PRIMARY KEY,
    reference    TEXT NOT NULL UNIQUE,
    amount       INTEGER NOT NULL,
    currency     TEXT NOT NULL,
    description  TEXT NOT NULL,
    return_url   TEXT NOT NULL,
    notify_url   TEXT NOT NULL,
    capture      TEXT NOT NULL,
    state        TEXT NOT NULL DEFAULT 'open',
    held_until   TEXT
);
CREATE TABLE IF NOT EXISTS movements (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    kind              TEXT NOT NULL,
    reference         TEXT REFERENCES checkouts (reference),
    refund_reference  TEXT UNIQUE,
    amount            INTEGER NOT NULL,
    currency          TEXT NOT NULL,
    reason            TEXT,
    at                TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS a_checkout_is_captured_once
    ON movements (reference) WHERE kind = 'capture';
"""


def connect(path: Path) -> sqlite3.Connection:
    return played.connect(path, SCHEMA)


def behaviour(conn: sqlite3.Connection) -> Behaviour:
    return played.behaviour(conn, Behaviour)


OPEN = """
    INSERT INTO checkouts (id, reference, amount, currency, description, return_url, notify_url,
                           capture)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (reference) DO NOTHING
"""


def open_checkout(conn: sqlite3.Connection, checkout_id: str, wanted: OpenCheckout) -> None:
    conn.execute(OPEN, (checkout_id, *msgspec.structs.astuple(wanted)))


BY_REFERENCE = """
    SELECT id, reference, amount, currency, description, return_url, notify_url, state, capture,
           held_until
      FROM checkouts WHERE reference = ?
"""


def by_reference(conn: sqlite3.Connection, reference: str) -> Checkout | None:
    row = conn.execute(BY_REFERENCE, (reference,)).fetchone()
    return None if row is None else Checkout(*row)


BY_ID = """
    SELECT id, reference, amount, currency, description, return_url, notify_url, state, capture,
           held_until
      FROM checkouts WHERE id = ?
"""


def by_id(conn: sqlite3.Connection, checkout_id: str) -> Checkout | None:
    row = conn.execute(BY_ID, (checkout_id,)).fetchone()
    return None if row is None else Checkout(*row)


# Names the state we read, so a second click changes nothing.
MOVE = "UPDATE checkouts SET state = ? WHERE id = ? AND state = ?"


def move(conn: sqlite3.Connection, checkout: Checkout, target: str) -> bool:
    return conn.execute(MOVE, (target, checkout.id, checkout.state)).rowcount == 1


HOLD = """
    UPDATE checkouts SET state = 'held', held_until = ? WHERE id = ? AND state = ?
"""


def hold(conn: sqlite3.Connection, checkout: Checkout, *, until: str) -> bool:
    return conn.execute(HOLD, (until, checkout.id, checkout.state)).rowcount == 1


CAPTURE = """
    INSERT INTO movements (kind, reference, amount, currency, at) VALUES ('capture', ?, ?, ?, ?)
"""


def capture(
    conn: sqlite3.Connection, checkout: Checkout, *, amount: int, currency: str, at: str
) -> None:
    conn.execute(CAPTURE, (checkout.reference, amount, currency, at))


REFUND = """
    INSERT INTO movements (kind, reference, refund_reference, amount, currency, reason, at)
    VALUES ('refund', ?, ?, ?, ?, ?, ?)
"""


def refund(conn: sqlite3.Connection, wanted: WantRefund, *, at: str) -> None:
    conn.execute(REFUND, (*msgspec.structs.astuple(wanted), at))


DEDUCT = """
    INSERT INTO movements (kind, reference, refund_reference, amount, currency, at)
    VALUES (?, ?, ?, ?, ?, ?)
"""


def deduct(
    conn: sqlite3.Connection,
    kind: str,
    *,
    reference: str | None,
    event_id: str | None = None,
    amount: int,
    currency: str,
    at: str,
) -> None:
    """A fee, a chargeback or a payout."""
    conn.execute(DEDUCT, (kind, reference, event_id, amount, currency, at))


HELD = """
    SELECT coalesce(sum(CASE kind WHEN 'capture' THEN amount ELSE -amount END), 0)
      FROM movements WHERE currency = ?
"""


def held(conn: sqlite3.Connection, currency: str) -> int:
    (found,) = conn.execute(HELD, (currency,)).fetchone()
    return found


MOVEMENTS_OF = """
    SELECT id, kind, reference, refund_reference, amount, currency, reason, at
      FROM movements WHERE reference = ? ORDER BY id
"""


def movements_of(conn: sqlite3.Connection, reference: str) -> list[Movement]:
    return [Movement(*row) for row in conn.execute(MOVEMENTS_OF, (reference,))]


STATEMENT = """
    SELECT id, kind, reference, refund_reference, amount, currency, reason, at
      FROM movements WHERE id > ? AND substr(at, 1, 10) = coalesce(?, substr(at, 1, 10))
     ORDER BY id LIMIT ?
"""


def statement(
    conn: sqlite3.Connection, *, after: int, day: str | None, page_max: int
) -> list[Movement]:
    return [Movement(*row) for row in conn.execute(STATEMENT, (after, day, page_max))]
