"""The books of the Alipay we play, in one SQLite file: what was answered outlives a kill -9."""

import sqlite3
from pathlib import Path

import msgspec

from api import played

from .model import Behaviour, Move, Refund, Trade

SCHEMA = """
CREATE TABLE IF NOT EXISTS trades (
    trade_no      TEXT PRIMARY KEY,
    out_trade_no  TEXT NOT NULL UNIQUE,
    amount        INTEGER NOT NULL,
    subject       TEXT NOT NULL,
    notify_url    TEXT NOT NULL,
    return_url    TEXT NOT NULL,
    expires_at_s  REAL NOT NULL,
    status        TEXT NOT NULL DEFAULT 'WAIT_BUYER_PAY',
    created_at    TEXT NOT NULL,
    paid_at       TEXT
);
CREATE TABLE IF NOT EXISTS refunds (
    out_request_no  TEXT NOT NULL,
    trade_no        TEXT NOT NULL REFERENCES trades (trade_no),
    amount          INTEGER NOT NULL,
    reason          TEXT NOT NULL,
    at              TEXT NOT NULL,
    PRIMARY KEY (trade_no, out_request_no)
);
CREATE TABLE IF NOT EXISTS moves (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    trade_no      TEXT NOT NULL,
    out_trade_no  TEXT NOT NULL,
    kind          TEXT NOT NULL,
    amount        INTEGER NOT NULL,
    at            TEXT NOT NULL
);
"""


def connect(path: Path) -> sqlite3.Connection:
    return played.connect(path, SCHEMA)


def behaviour(conn: sqlite3.Connection) -> Behaviour:
    return played.behaviour(conn, Behaviour)


OPEN = """
    INSERT INTO trades (trade_no, out_trade_no, amount, subject, notify_url, return_url,
                        expires_at_s, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (out_trade_no) DO NOTHING
"""


def open_trade(conn: sqlite3.Connection, *facts: object) -> None:
    """The columns of OPEN. A trade that is there stays as it is."""
    conn.execute(OPEN, facts)


FIND = """
    SELECT trade_no, out_trade_no, amount, subject, notify_url, return_url, expires_at_s, status,
           created_at, paid_at,
           (SELECT coalesce(sum(amount), 0) FROM refunds WHERE refunds.trade_no = trades.trade_no)
      FROM trades WHERE trade_no = ? OR out_trade_no = ?
"""


def find(conn: sqlite3.Connection, *, trade_no: str = "", out_trade_no: str = "") -> Trade | None:
    """By Alipay's number or by the merchant's."""
    row = conn.execute(FIND, (trade_no, out_trade_no)).fetchone()
    return None if row is None else Trade(*row)


# Names the status we read, so a second click changes nothing.
MOVE = """
    UPDATE trades SET status = ?, amount = ?, paid_at = coalesce(paid_at, ?)
     WHERE trade_no = ? AND status = ?
"""


def move(
    conn: sqlite3.Connection, trade: Trade, status: str, *, amount: int, paid_at: str | None
) -> bool:
    facts = (status, amount, paid_at, trade.trade_no, trade.status)
    return conn.execute(MOVE, facts).rowcount == 1


REFUND = """
    INSERT INTO refunds (out_request_no, trade_no, amount, reason, at) VALUES (?, ?, ?, ?, ?)
"""


def refund(conn: sqlite3.Connection, wanted: Refund) -> None:
    conn.execute(REFUND, msgspec.structs.astuple(wanted))


FIND_REFUND = """
    SELECT out_request_no, trade_no, amount, reason, at
      FROM refunds WHERE trade_no = ? AND out_request_no = ?
"""


def find_refund(conn: sqlite3.Connection, trade: Trade, out_request_no: str) -> Refund | None:
    row = conn.execute(FIND_REFUND, (trade.trade_no, out_request_no)).fetchone()
    return None if row is None else Refund(*row)


MOVE_MONEY = """
    INSERT INTO moves (trade_no, out_trade_no, kind, amount, at) VALUES (?, ?, ?, ?, ?)
"""


def move_money(conn: sqlite3.Connection, *facts: object) -> None:
    """The columns of MOVE_MONEY."""
    conn.execute(MOVE_MONEY, facts)


MOVES = """
    SELECT id, trade_no, out_trade_no, kind, amount, at FROM moves
     WHERE substr(at, 1, 10) = ? ORDER BY id
"""


def moves(conn: sqlite3.Connection, day: str) -> list[Move]:
    return [Move(*row) for row in conn.execute(MOVES, (day,))]


BUSINESS = """
    SELECT trade_no, amount, paid_at AS at, '' AS number FROM trades
     WHERE substr(paid_at, 1, 10) = ?
     UNION ALL
    SELECT trade_no, -amount, at, out_request_no FROM refunds WHERE substr(at, 1, 10) = ?
     ORDER BY at
"""


def business(conn: sqlite3.Connection, day: str) -> list[tuple[Trade, int, str, str]]:
    """Payments and refunds of a day: the trade, what came, when, and the refund's number."""
    found = []
    for trade_no, amount, at, number in conn.execute(BUSINESS, (day, day)).fetchall():
        trade = find(conn, trade_no=trade_no)
        assert trade is not None
        found.append((trade, amount, at, number))
    return found
