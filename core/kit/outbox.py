"""The outbox: what must happen outside, written down in the transaction that decided it.

Delivery is at least once, so every handler bears being called twice. A message that fails is tried
again later and later; after `ATTEMPTS_MAX` it is parked for a person, and `/metrics` counts it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from core.kit.db import Conn, many

ATTEMPTS_MAX = 50
DELAY_MAX_S = 30.0
LOOK_AGAIN_S = 2.0
ERROR_CHARS_MAX = 500


class TryLater(Exception):
    """What a handler raises when its time has not come: no failure, the message stays."""


class Message(msgspec.Struct, frozen=True):
    id: int
    topic: str
    payload: Any
    attempts: int


class Parked(msgspec.Struct, frozen=True):
    """A message that waits for a person, and what went wrong last."""

    id: int
    topic: str
    payload: Any
    error: str | None
    parked_at: datetime | None


ADD = "INSERT INTO kit.outbox (topic, payload) SELECT $1, unnest($2::jsonb[])"


async def add(conn: Conn, topic: str, payloads: Sequence[object]) -> None:
    """`payloads` are anything msgspec can write as JSON."""
    if payloads:
        await conn.execute(ADD, topic, payloads)


# Taking a message pushes its due time ahead, so a worker that dies holding it delays it, no more.
TAKE = """ -- -> Message
    UPDATE kit.outbox SET attempts = attempts + 1, due_at = now() + make_interval(secs => $3)
     WHERE id IN (SELECT due.id
                    FROM unnest($1::text[]) AS asked (topic) CROSS JOIN LATERAL (
                         SELECT id FROM kit.outbox
                          WHERE parked_at IS NULL AND due_at <= now() AND topic = asked.topic
                          ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) due)
 RETURNING id, topic, payload, attempts
"""


async def take(conn: Conn, *topics: str, each_max: int, lease_s: float) -> list[Message]:
    """What is due of these topics, at most so many of each."""
    return many(Message, await conn.fetch(TAKE, topics, each_max, lease_s))


DONE = "DELETE FROM kit.outbox WHERE id = ANY($1::bigint[])"


async def done(conn: Conn, ids: Sequence[int]) -> None:
    await conn.execute(DONE, ids)


# Waiting is no failing: it raises `attempts` no further than its own pauses need.
LATER = """
    UPDATE kit.outbox
       SET error = $2,
           attempts = CASE WHEN $4::int IS NULL THEN least(attempts, 5) ELSE attempts END,
           due_at = now() + make_interval(secs => least($3::float8, 0.2 * 2 ^ least(attempts, 20))),
           parked_at = CASE WHEN attempts >= $4::int THEN now() END
     WHERE id = ANY($1::bigint[])
"""


async def later(conn: Conn, ids: Sequence[int], *, error: str) -> None:
    """Nothing failed, its time has not come: look again soon, for as long as it takes."""
    await conn.execute(LATER, ids, error[:ERROR_CHARS_MAX], LOOK_AGAIN_S, None)


async def failed(conn: Conn, ids: Sequence[int], *, error: str) -> None:
    """Try again after a pause that doubles, and park what has failed too often."""
    await conn.execute(LATER, ids, error[:ERROR_CHARS_MAX], DELAY_MAX_S, ATTEMPTS_MAX)


IS_WAITING = """
    SELECT EXISTS (SELECT FROM kit.outbox
                    WHERE topic = $1 AND payload @> $2 AND parked_at IS NULL)
"""


async def is_waiting(conn: Conn, topic: str, payload: object) -> bool:
    """Tell whether a message still waits whose payload contains this one. Reads the whole topic."""
    return await conn.fetchval(IS_WAITING, topic, payload) or False


SUMS = """
    SELECT payload ->> $3 AS of_what, sum((payload ->> $4)::bigint)::bigint AS amount
      FROM kit.outbox WHERE topic = $1 AND payload @> $2 GROUP BY 1
"""


async def sums(conn: Conn, topic: str, payload: object, *, by: str, amount: str) -> dict[str, int]:
    """Add up one field of every message, parked ones too, whose payload contains this one."""
    rows = await conn.fetch(SUMS, topic, payload, by, amount)
    return {row["of_what"]: row["amount"] for row in rows}


PARKED = """ -- -> Parked
    SELECT id, topic, payload, error, parked_at
      FROM kit.outbox WHERE parked_at IS NOT NULL ORDER BY id LIMIT $1
"""


async def parked(conn: Conn, *, page_max: int) -> list[Parked]:
    """What failed too often, oldest first."""
    return many(Parked, await conn.fetch(PARKED, page_max))


RETRY = """
    UPDATE kit.outbox SET parked_at = NULL, attempts = 0, due_at = now()
     WHERE parked_at IS NOT NULL AND ($1::bigint IS NULL OR id = $1) RETURNING id
"""


async def retry(conn: Conn, message_id: int | None) -> list[int]:
    """Let a parked message, or every one, be tried anew; return which."""
    return [row["id"] for row in await conn.fetch(RETRY, message_id)]


COUNT = """
    SELECT count(*) FILTER (WHERE parked_at IS NULL) AS waiting,
           count(*) FILTER (WHERE parked_at IS NOT NULL) AS parked
      FROM kit.outbox
"""


async def count(conn: Conn) -> tuple[int, int]:
    """Messages waiting, messages parked."""
    waiting, parked = await conn.fetchrow(COUNT) or (0, 0)
    return waiting, parked
