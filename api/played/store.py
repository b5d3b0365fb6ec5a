"""The books of a service we play, in one SQLite file: what was answered outlives a kill -9."""

import sqlite3
from pathlib import Path
from typing import TypeVar

import msgspec

from .model import Behaviour, Notice

Said = TypeVar("Said", bound=Behaviour)

SCHEMA = """
CREATE TABLE IF NOT EXISTS notices (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    url       TEXT NOT NULL,
    headers   BLOB NOT NULL,
    body      BLOB NOT NULL,
    due_at_s  REAL NOT NULL,
    tries     INTEGER NOT NULL DEFAULT 0,
    ended     TEXT
);
CREATE INDEX IF NOT EXISTS notices_by_due ON notices (due_at_s) WHERE ended IS NULL;
CREATE TABLE IF NOT EXISTS behaviour (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    said  BLOB NOT NULL
);
"""


def connect(path: Path, schema: str) -> sqlite3.Connection:
    """Open the books, with the service's own tables beside ours.

    `with conn:` is a transaction; each is on disk when it ends.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    conn = sqlite3.connect(path, timeout=5)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    conn.executescript(SCHEMA + schema)
    return conn


SEND = "INSERT INTO notices (url, headers, body, due_at_s) VALUES (?, ?, ?, ?)"


def send(
    conn: sqlite3.Connection, url: str, headers: dict[str, str], body: bytes, *, due_at_s: float
) -> None:
    conn.execute(SEND, (url, msgspec.json.encode(headers), body, due_at_s))


DUE = """
    SELECT id, url, headers, body, tries FROM notices
     WHERE ended IS NULL AND due_at_s <= ? ORDER BY due_at_s LIMIT ?
"""


def due(conn: sqlite3.Connection, *, now_s: float, batch_max: int) -> list[Notice]:
    return [Notice(*row) for row in conn.execute(DUE, (now_s, batch_max))]


NEXT_DUE = "SELECT min(due_at_s) FROM notices WHERE ended IS NULL"


def next_due(conn: sqlite3.Connection) -> float | None:
    (found,) = conn.execute(NEXT_DUE).fetchone()
    return found


TRIED = "UPDATE notices SET tries = tries + 1, due_at_s = ?, ended = ? WHERE id = ?"


def tried(conn: sqlite3.Connection, notice: Notice, *, due_at_s: float, ended: str | None) -> None:
    conn.execute(TRIED, (due_at_s, ended, notice.id))


SENT = "SELECT id, url, headers, body, tries FROM notices ORDER BY id DESC LIMIT ?"


def sent(conn: sqlite3.Connection, *, page_max: int) -> list[Notice]:
    """The newest first."""
    return [Notice(*row) for row in conn.execute(SENT, (page_max,))]


BEHAVIOUR = "SELECT said FROM behaviour"


def behaviour(conn: sqlite3.Connection, shape: type[Said]) -> Said:
    row = conn.execute(BEHAVIOUR).fetchone()
    return shape() if row is None else msgspec.json.decode(row[0], type=shape)


BEHAVE = """
    INSERT INTO behaviour (id, said) VALUES (1, ?)
    ON CONFLICT (id) DO UPDATE SET said = excluded.said
"""


def behave(conn: sqlite3.Connection, said: Behaviour) -> None:
    conn.execute(BEHAVE, (msgspec.json.encode(said),))
