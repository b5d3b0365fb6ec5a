"""The provider's books, in one SQLite file: what was answered outlives a kill -9."""

import sqlite3
from pathlib import Path
from typing import TypeVar

import msgspec

from api import played

from .model import Authorization, Behaviour, Capture, Dispute, Line, Order, Refund

Kept = TypeVar("Kept", Dispute, Order, Authorization, Capture, Refund)

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id            TEXT PRIMARY KEY,
    intent        TEXT NOT NULL,
    status        TEXT NOT NULL,
    reference_id  TEXT NOT NULL,
    custom_id     TEXT,
    invoice_id    TEXT,
    description   TEXT,
    currency      TEXT NOT NULL,
    amount        INTEGER NOT NULL,
    return_url    TEXT,
    cancel_url    TEXT,
    made_at       TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS authorizations (
    id          TEXT PRIMARY KEY,
    order_id    TEXT NOT NULL UNIQUE REFERENCES orders (id),
    status      TEXT NOT NULL,
    currency    TEXT NOT NULL,
    amount      INTEGER NOT NULL,
    custom_id   TEXT,
    invoice_id  TEXT,
    made_at     TEXT NOT NULL,
    ends_at     TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS captures (
    id          TEXT PRIMARY KEY,
    order_id    TEXT NOT NULL REFERENCES orders (id),
    status      TEXT NOT NULL,
    currency    TEXT NOT NULL,
    amount      INTEGER NOT NULL,
    custom_id   TEXT,
    invoice_id  TEXT,
    made_at     TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS an_order_is_captured_once
    ON captures (order_id) WHERE status <> 'DECLINED';
CREATE UNIQUE INDEX IF NOT EXISTS an_invoice_is_captured_once
    ON captures (invoice_id) WHERE status <> 'DECLINED';
CREATE TABLE IF NOT EXISTS refunds (
    id           TEXT PRIMARY KEY,
    capture_id   TEXT NOT NULL REFERENCES captures (id),
    status       TEXT NOT NULL,
    currency     TEXT NOT NULL,
    amount       INTEGER NOT NULL,
    custom_id    TEXT,
    invoice_id   TEXT,
    note         TEXT,
    is_reversal  INTEGER NOT NULL,
    made_at      TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS refunds_by_capture ON refunds (capture_id);
CREATE TABLE IF NOT EXISTS disputes (
    id          TEXT PRIMARY KEY,
    capture_id  TEXT NOT NULL UNIQUE REFERENCES captures (id),
    status      TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    made_at     TEXT NOT NULL,
    updated_at  TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS fees (
    id          TEXT PRIMARY KEY,
    capture_id  TEXT NOT NULL REFERENCES captures (id),
    currency    TEXT NOT NULL,
    amount      INTEGER NOT NULL,
    made_at     TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS requests (
    key     TEXT PRIMARY KEY,
    digest  TEXT NOT NULL,
    made    TEXT NOT NULL
);
"""


def connect(path: Path) -> sqlite3.Connection:
    return played.connect(path, SCHEMA)


def behaviour(conn: sqlite3.Connection) -> Behaviour:
    return played.behaviour(conn, Behaviour)


ADD_ORDER = "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def add_order(conn: sqlite3.Connection, order: Order) -> None:
    conn.execute(ADD_ORDER, msgspec.structs.astuple(order))


ORDER = "SELECT * FROM orders WHERE id = ?"


def order(conn: sqlite3.Connection, order_id: str) -> Order | None:
    row = conn.execute(ORDER, (order_id,)).fetchone()
    return None if row is None else Order(*row)


# Names the status we read, so a second click changes nothing.
MOVE_ORDER = "UPDATE orders SET status = ? WHERE id = ? AND status = ?"


def move_order(conn: sqlite3.Connection, order: Order, target: str) -> bool:
    return conn.execute(MOVE_ORDER, (target, order.id, order.status)).rowcount == 1


ADD_AUTHORIZATION = "INSERT INTO authorizations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def add_authorization(conn: sqlite3.Connection, held: Authorization) -> None:
    conn.execute(ADD_AUTHORIZATION, msgspec.structs.astuple(held))


AUTHORIZATION = "SELECT * FROM authorizations WHERE ? IN (id, order_id)"


def authorization(conn: sqlite3.Connection, key: str) -> Authorization | None:
    """By its own id, or by its order's."""
    row = conn.execute(AUTHORIZATION, (key,)).fetchone()
    return None if row is None else Authorization(*row)


MOVE_AUTHORIZATION = "UPDATE authorizations SET status = ? WHERE id = ?"


def move_authorization(conn: sqlite3.Connection, authorization_id: str, target: str) -> None:
    conn.execute(MOVE_AUTHORIZATION, (target, authorization_id))


ADD_CAPTURE = "INSERT INTO captures VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def add_capture(conn: sqlite3.Connection, capture: Capture) -> None:
    conn.execute(ADD_CAPTURE, msgspec.structs.astuple(capture))


CAPTURE = "SELECT * FROM captures WHERE id = ?"


def capture(conn: sqlite3.Connection, capture_id: str) -> Capture | None:
    row = conn.execute(CAPTURE, (capture_id,)).fetchone()
    return None if row is None else Capture(*row)


CAPTURES = "SELECT * FROM captures WHERE order_id = ? ORDER BY rowid"


def captures(conn: sqlite3.Connection, order_id: str) -> list[Capture]:
    """Of an order; all but one were declined."""
    return [Capture(*row) for row in conn.execute(CAPTURES, (order_id,))]


INVOICED = """
    SELECT EXISTS (SELECT 1 FROM captures WHERE invoice_id = ? AND status <> 'DECLINED')
"""


def is_invoiced(conn: sqlite3.Connection, invoice_id: str | None) -> bool:
    (found,) = conn.execute(INVOICED, (invoice_id,)).fetchone()
    return bool(found)


MOVE_CAPTURE = "UPDATE captures SET status = ? WHERE id = ?"


def move_capture(conn: sqlite3.Connection, capture_id: str, target: str) -> None:
    conn.execute(MOVE_CAPTURE, (target, capture_id))


ADD_REFUND = "INSERT INTO refunds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def add_refund(conn: sqlite3.Connection, refund: Refund) -> None:
    conn.execute(ADD_REFUND, msgspec.structs.astuple(refund))


REFUND = "SELECT * FROM refunds WHERE id = ?"


def refund(conn: sqlite3.Connection, refund_id: str) -> Refund | None:
    row = conn.execute(REFUND, (refund_id,)).fetchone()
    return None if row is None else Refund(*row)


REFUNDS = "SELECT * FROM refunds WHERE capture_id = ? ORDER BY rowid"


def refunds(conn: sqlite3.Connection, capture_id: str) -> list[Refund]:
    return [Refund(*row) for row in conn.execute(REFUNDS, (capture_id,))]


MOVE_REFUND = "UPDATE refunds SET status = ? WHERE id = ?"


def move_refund(conn: sqlite3.Connection, refund_id: str, target: str) -> None:
    conn.execute(MOVE_REFUND, (target, refund_id))


REQUEST = "SELECT digest, made FROM requests WHERE key = ?"


def request(conn: sqlite3.Connection, key: str) -> tuple[str, str] | None:
    """What a request with this key was, and what it made."""
    return conn.execute(REQUEST, (key,)).fetchone()


ADD_REQUEST = "INSERT INTO requests VALUES (?, ?, ?)"


def add_request(conn: sqlite3.Connection, key: str, digest: str, made: str) -> None:
    conn.execute(ADD_REQUEST, (key, digest, made))


KEEP_DISPUTE = "INSERT OR REPLACE INTO disputes VALUES (?, ?, ?, ?, ?, ?)"


def keep_dispute(conn: sqlite3.Connection, dispute: Dispute) -> None:
    conn.execute(KEEP_DISPUTE, msgspec.structs.astuple(dispute))


DISPUTE = "SELECT * FROM disputes WHERE ? IN (id, capture_id)"


def dispute(conn: sqlite3.Connection, key: str) -> Dispute | None:
    """By its own id, or by its capture's: there is one of each."""
    row = conn.execute(DISPUTE, (key,)).fetchone()
    return None if row is None else Dispute(*row)


ADD_FEE = "INSERT INTO fees VALUES (?, ?, ?, ?, ?)"


def add_fee(conn: sqlite3.Connection, *facts: object) -> None:
    """The columns of `fees`."""
    conn.execute(ADD_FEE, facts)


# PayPal's codes: an express checkout's money, a refund, a reversal, what a chargeback costs.
STATEMENT = """
    SELECT * FROM (
        SELECT id, 'T0006' AS code, NULL AS reference, currency, amount, custom_id, invoice_id,
               made_at
          FROM captures WHERE status NOT IN ('PENDING', 'DECLINED')
         UNION ALL
        SELECT id, CASE WHEN is_reversal THEN 'T1106' ELSE 'T1107' END, capture_id, currency,
               -amount, custom_id, invoice_id, made_at
          FROM refunds WHERE status = 'COMPLETED'
         UNION ALL
        SELECT id, 'T0106', capture_id, currency, -amount, NULL, NULL, made_at FROM fees)
     WHERE made_at BETWEEN ? AND ? ORDER BY made_at, id
"""


def statement(conn: sqlite3.Connection, *, since: str, until: str) -> list[Line]:
    return [Line(*row) for row in conn.execute(STATEMENT, (since, until))]
