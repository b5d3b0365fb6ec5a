from collections.abc import Collection, Sequence
from datetime import datetime

from core.kit.db import Conn, many, one
from core.kit.tail import Mark

from .model import (
    Attempt,
    BucketCursor,
    Cursor,
    Delivery,
    DeliveryId,
    Due,
    Figures,
    Message,
    Secret,
    Source,
    Subscription,
    SubscriptionId,
)
from .states import DeliveryState

INSERT = """ -- -> Subscription
    INSERT INTO webhooks.subscriptions (url, kinds, state) VALUES ($1, $2, 'active')
 RETURNING id, url, kinds, state, reason, failures, failing_since, rests_until, made_at
"""


async def insert(conn: Conn, url: str, kinds: Sequence[str]) -> Subscription:
    made = one(Subscription, await conn.fetchrow(INSERT, url, kinds))
    assert made is not None
    return made


FIND = """ -- -> Subscription
    SELECT id, url, kinds, state, reason, failures, failing_since, rests_until, made_at
      FROM webhooks.subscriptions WHERE id = $1 AND state <> 'removed'
"""


async def find(conn: Conn, subscription_id: SubscriptionId) -> Subscription | None:
    return one(Subscription, await conn.fetchrow(FIND, subscription_id))


HOLD = """ -- -> Subscription
    SELECT id, url, kinds, state, reason, failures, failing_since, rests_until, made_at
      FROM webhooks.subscriptions WHERE id = $1 AND state <> 'removed' FOR NO KEY UPDATE
"""


async def hold(conn: Conn, subscription_id: SubscriptionId) -> Subscription | None:
    return one(Subscription, await conn.fetchrow(HOLD, subscription_id))


LISTING = """ -- -> Subscription
    SELECT id, url, kinds, state, reason, failures, failing_since, rests_until, made_at
      FROM webhooks.subscriptions
     WHERE ($1::bigint IS NULL OR id < $1) AND state <> 'removed' ORDER BY id DESC LIMIT $2
"""


async def listing(conn: Conn, before: int | None, page_max: int) -> list[Subscription]:
    return many(Subscription, await conn.fetch(LISTING, before, page_max))


COUNT = """
    SELECT count(*) FROM webhooks.subscriptions WHERE state NOT IN ('disabled', 'removed')
"""


async def count(conn: Conn) -> int:
    return await conn.fetchval(COUNT)


CHANGE = "UPDATE webhooks.subscriptions SET url = $2, kinds = $3 WHERE id = $1"


async def change(
    conn: Conn, subscription_id: SubscriptionId, url: str, kinds: Sequence[str]
) -> None:
    await conn.execute(CHANGE, subscription_id, url, kinds)


# Whoever starts again is asked at once. Names the state we read, so a racing mover matches nothing.
MOVE = """
    UPDATE webhooks.subscriptions
       SET state = $3, reason = $4, failures = 0, failing_since = NULL, rests_until = NULL
     WHERE id = $1 AND state = $2 RETURNING true
"""


async def move(conn: Conn, subscription: Subscription, target: str, reason: str | None) -> bool:
    found = await conn.fetchval(MOVE, subscription.id, subscription.state, target, reason)
    return found or False


WANTED = """
    SELECT DISTINCT unnest(kinds) AS kind FROM webhooks.subscriptions
     WHERE state IN ('active', 'paused')
"""


async def wanted(conn: Conn) -> set[str]:
    return {row["kind"] for row in await conn.fetch(WANTED)}


ADD_SALT = """
    INSERT INTO webhooks.secrets (subscription_id, salt, key_id) VALUES ($1, $2, $3)
"""


async def add_secret(conn: Conn, subscription_id: SubscriptionId, salt: bytes, key_id: int) -> None:
    await conn.execute(ADD_SALT, subscription_id, salt, key_id)


END_SECRETS = """
    UPDATE webhooks.secrets SET ends_at = least(ends_at, now() + make_interval(secs => $2))
     WHERE subscription_id = $1
"""


async def end_secrets(conn: Conn, subscription_id: SubscriptionId, overlap_s: float) -> None:
    """All that there are sign for so much longer, and no longer than they would have."""
    await conn.execute(END_SECRETS, subscription_id, overlap_s)


DROP_ALL_SECRETS = "DELETE FROM webhooks.secrets WHERE subscription_id = $1"


async def drop_all_secrets(conn: Conn, subscription_id: SubscriptionId) -> None:
    await conn.execute(DROP_ALL_SECRETS, subscription_id)


DROP_SECRETS = "DELETE FROM webhooks.secrets WHERE subscription_id = $1 AND ends_at <= now()"


async def drop_secrets(conn: Conn, subscription_id: SubscriptionId) -> None:
    await conn.execute(DROP_SECRETS, subscription_id)


SECRETS = """ -- -> Secret
    SELECT subscription_id, salt, key_id, made_at, ends_at FROM webhooks.secrets
     WHERE subscription_id = ANY($1::bigint[]) AND (ends_at IS NULL OR ends_at > now())
     ORDER BY made_at DESC
"""


async def secrets(conn: Conn, subscription_ids: Collection[SubscriptionId]) -> list[Secret]:
    """Newest first."""
    return many(Secret, await conn.fetch(SECRETS, subscription_ids))


# Held until the end: who tells and who begins to want take turns.
HOLD_CURSORS = """ -- -> Cursor
    SELECT source, reached, since, moved_at, seen_id, seen_xact FROM webhooks.cursors
     WHERE source = ANY($1::text[]) ORDER BY source FOR UPDATE
"""


async def hold_cursors(conn: Conn, sources: Collection[Source]) -> list[Cursor]:
    return many(Cursor, await conn.fetch(HOLD_CURSORS, list(sources)))


CURSORS = """ -- -> Cursor
    SELECT source, reached, since, moved_at, seen_id, seen_xact FROM webhooks.cursors
"""


async def cursors(conn: Conn) -> list[Cursor]:
    return many(Cursor, await conn.fetch(CURSORS))


MOVE_CURSOR = """
    UPDATE webhooks.cursors SET reached = $2, since = $3, moved_at = now() WHERE source = $1
"""


async def move_cursor(conn: Conn, source: str, mark: Mark) -> None:
    await conn.execute(MOVE_CURSOR, source, mark.reached, mark.since)


SEE = """
    UPDATE webhooks.cursors
       SET reached = $2, seen_id = $3, seen_xact = $4, moved_at = now()
     WHERE source = $1
"""


async def see(conn: Conn, source: Source, reached: int, seen_id: int, seen_xact: int) -> None:
    await conn.execute(SEE, source, reached, seen_id, seen_xact)


BUCKET_CURSORS = """ -- -> BucketCursor
    SELECT bucket, epoch, position, order_id::text FROM webhooks.buckets ORDER BY bucket, epoch
"""


async def bucket_cursors(conn: Conn) -> list[BucketCursor]:
    return many(BucketCursor, await conn.fetch(BUCKET_CURSORS))


MOVE_BUCKET = """
    INSERT INTO webhooks.buckets (bucket, epoch, position, order_id) VALUES ($1, $2, $3, $4)
    ON CONFLICT (bucket, epoch)
    DO UPDATE SET position = excluded.position, order_id = excluded.order_id
"""


async def move_bucket(conn: Conn, cursor: BucketCursor) -> None:
    where = (cursor.bucket, cursor.epoch)
    await conn.execute(MOVE_BUCKET, *where, cursor.position, cursor.order_id)


FORGET_BUCKETS = "DELETE FROM webhooks.buckets"


async def forget_buckets(conn: Conn) -> None:
    await conn.execute(FORGET_BUCKETS)


TELL = """
    WITH told AS (
        INSERT INTO webhooks.messages (id, kind, happened_at, body)
        SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bytea[])
        ON CONFLICT DO NOTHING
     RETURNING id, kind
    )
    INSERT INTO webhooks.deliveries (subscription_id, message_id, state)
    SELECT subscriptions.id, told.id, 'pending'
      FROM told JOIN webhooks.subscriptions ON told.kind = ANY(kinds)
     WHERE subscriptions.state IN ('active', 'paused')
"""


async def tell(conn: Conn, messages: Sequence[Message]) -> None:
    """A message that was told before is not told again."""
    columns = [[getattr(one, name) for one in messages] for name in Message.__struct_fields__]
    await conn.execute(TELL, *columns)


# Taking a delivery pushes its due time ahead, so a worker that dies with it delays it, no more.
# An endpoint that failed too often is asked by one delivery at a time.
TAKE = """ -- -> Due
    WITH open AS (
        SELECT s.id, url, failures, failing_since,
               CASE WHEN failures >= $3 THEN 1 ELSE $4::int END - coalesce(busy, 0) AS free
          FROM webhooks.subscriptions s
          LEFT JOIN unnest($1::bigint[], $2::int[]) AS hands (subscription_id, busy)
            ON subscription_id = s.id
         WHERE state = 'active' AND (rests_until IS NULL OR rests_until <= now())
    ), picked AS (
        SELECT open.url, failures, failing_since, due.id, due.message_id
          FROM open CROSS JOIN LATERAL (
               SELECT id, message_id FROM webhooks.deliveries
                WHERE subscription_id = open.id AND state = 'pending' AND due_at <= now()
                ORDER BY due_at LIMIT greatest(free, 0) FOR UPDATE SKIP LOCKED) due
         WHERE free > 0
    )
    UPDATE webhooks.deliveries taken
       SET attempts = attempts + 1, tries = tries + 1, due_at = now() + make_interval(secs => $5)
      FROM picked JOIN webhooks.messages ON messages.id = picked.message_id
     WHERE taken.id = picked.id
 RETURNING taken.id, taken.subscription_id, url, taken.message_id, body,
           taken.attempts AS attempt, taken.tries, failures, failing_since
"""


async def take(
    conn: Conn,
    busy: dict[SubscriptionId, int],
    failures_max: int,
    hands_max: int,
    lease_s: float,
) -> list[Due]:
    hands = (list(busy), list(busy.values()))
    return many(Due, await conn.fetch(TAKE, *hands, failures_max, hands_max, lease_s))


LOG = """
    INSERT INTO webhooks.attempts (delivery_id, number, began_at, latency_ms, status, answer, error)
    SELECT $1, $2, $3, $4, $5, $6, $7
     WHERE EXISTS (SELECT FROM webhooks.deliveries WHERE id = $1)
    ON CONFLICT DO NOTHING
"""


async def log(conn: Conn, delivery_id: DeliveryId, attempt: Attempt) -> None:
    """Nothing where the delivery is so old that it is gone."""
    columns = [getattr(attempt, name) for name in Attempt.__struct_fields__]
    await conn.execute(LOG, delivery_id, *columns)


ARRIVE = """
    UPDATE webhooks.deliveries SET state = 'delivered', ended_at = now()
     WHERE id = $1 AND state = 'pending'
"""


async def arrive(conn: Conn, delivery_id: DeliveryId) -> None:
    await conn.execute(ARRIVE, delivery_id)


RECOVER = """
    UPDATE webhooks.subscriptions SET failures = 0, failing_since = NULL, rests_until = NULL
     WHERE id = $1 AND failures > 0
"""


async def recover(conn: Conn, subscription_id: SubscriptionId) -> None:
    await conn.execute(RECOVER, subscription_id)


# Only the latest attempt says when the next is due.
RETRY = """
    UPDATE webhooks.deliveries SET due_at = now() + make_interval(secs => $3)
     WHERE id = $1 AND attempts = $2 AND state = 'pending'
"""


async def retry(conn: Conn, due: Due, pause_s: float) -> None:
    await conn.execute(RETRY, due.id, due.attempt, pause_s)


GIVE_UP = """
    UPDATE webhooks.deliveries SET state = 'given_up', ended_at = now()
     WHERE id = $1 AND attempts = $2 AND state = 'pending'
"""


async def give_up(conn: Conn, due: Due) -> None:
    await conn.execute(GIVE_UP, due.id, due.attempt)


FAIL = """
    UPDATE webhooks.subscriptions
       SET failures = failures + 1, failing_since = coalesce(failing_since, now())
     WHERE id = $1 AND state <> 'removed'
 RETURNING failures, failing_since
"""


async def fail(conn: Conn, subscription_id: SubscriptionId) -> tuple[int, datetime] | None:
    """None where the subscription was removed meanwhile."""
    row = await conn.fetchrow(FAIL, subscription_id)
    return None if row is None else (row["failures"], row["failing_since"])


REST = """
    UPDATE webhooks.subscriptions SET rests_until = now() + make_interval(secs => $2)
     WHERE id = $1
"""


async def rest(conn: Conn, subscription_id: SubscriptionId, rest_s: float) -> None:
    await conn.execute(REST, subscription_id, rest_s)


# State by state, however many there are in another. Where the order names the state, only the index
# that begins with it can give it, whatever the statistics think.
DELIVERIES = """ -- -> Delivery
    SELECT d.id, subscription_id, message_id, kind, state, attempts, happened_at, begun_at, due_at,
           ended_at
      FROM (SELECT its.* FROM unnest($2::text[]) AS wanted (name)
             CROSS JOIN LATERAL (SELECT * FROM webhooks.deliveries
                                  WHERE subscription_id = $1 AND state >= wanted.name
                                    AND (state, id) < (
                                        wanted.name, coalesce($3::bigint, 9223372036854775807))
                                  ORDER BY state DESC, id DESC LIMIT $4) its
             ORDER BY its.id DESC LIMIT $4) d
      JOIN webhooks.messages m ON m.id = message_id
     ORDER BY d.id DESC
"""


async def deliveries(
    conn: Conn,
    subscription_id: SubscriptionId,
    states: Collection[DeliveryState],
    before: int | None,
    page_max: int,
) -> list[Delivery]:
    return many(Delivery, await conn.fetch(DELIVERIES, subscription_id, states, before, page_max))


FIND_DELIVERY = """ -- -> Delivery
    SELECT d.id, subscription_id, message_id, kind, state, attempts, happened_at, begun_at, due_at,
           ended_at
      FROM webhooks.deliveries d JOIN webhooks.messages m ON m.id = message_id
     WHERE d.id = $1
"""


async def find_delivery(conn: Conn, delivery_id: DeliveryId) -> Delivery | None:
    return one(Delivery, await conn.fetchrow(FIND_DELIVERY, delivery_id))


BODY = "SELECT body FROM webhooks.messages WHERE id = $1"


async def body(conn: Conn, message_id: str) -> bytes:
    return await conn.fetchval(BODY, message_id) or b""


ATTEMPTS = """ -- -> Attempt
    SELECT number, began_at, latency_ms, status, answer, error FROM webhooks.attempts
     WHERE delivery_id = $1 ORDER BY number DESC LIMIT $2
"""


async def attempts(conn: Conn, delivery_id: DeliveryId, page_max: int) -> list[Attempt]:
    """Newest first."""
    return many(Attempt, await conn.fetch(ATTEMPTS, delivery_id, page_max))


# What is due within a lease may be in hand, and is left alone.
REPLAY = """
    UPDATE webhooks.deliveries
       SET state = 'pending', tries = 0, due_at = now(), begun_at = now(), ended_at = NULL
     WHERE id = $1 AND (state IN ('delivered', 'given_up')
                        OR state = 'pending' AND due_at > now() + make_interval(secs => $2))
"""


async def replay(conn: Conn, delivery_id: DeliveryId, lease_s: float) -> None:
    await conn.execute(REPLAY, delivery_id, lease_s)


# Also what was told to others only, because this one was not there yet, or disabled.
REPLAY_SINCE = """
    WITH chosen AS (
        SELECT m.id FROM webhooks.messages m
          LEFT JOIN webhooks.deliveries d ON d.message_id = m.id AND d.subscription_id = $1
         WHERE told_at >= $2 AND m.kind = ANY($3::text[])
           AND NOT ($4 AND d.state IS NOT DISTINCT FROM 'delivered')
           AND (d.state IS DISTINCT FROM 'pending'
                OR due_at > now() + make_interval(secs => $5))
         ORDER BY told_at, m.id LIMIT $6
    )
    INSERT INTO webhooks.deliveries AS old (subscription_id, message_id, state)
    SELECT $1, id, 'pending' FROM chosen
    ON CONFLICT (message_id, subscription_id)
    DO UPDATE SET state = 'pending', tries = 0, due_at = now(), begun_at = now(), ended_at = NULL
     WHERE old.state IN ('pending', 'delivered', 'given_up')
 RETURNING true
"""


async def replay_since(
    conn: Conn,
    subscription: Subscription,
    since: datetime,
    missing_only: bool,
    lease_s: float,
    page_max: int,
) -> int:
    asked = (subscription.id, since, subscription.kinds, missing_only, lease_s, page_max)
    return len(await conn.fetch(REPLAY_SINCE, *asked))


FIGURES = """ -- -> Figures
    SELECT count(*) AS pending,
           coalesce(extract(epoch FROM now() - min(begun_at)), 0)::float8 AS oldest_s,
           (SELECT count(*) FROM webhooks.deliveries WHERE state = 'given_up') AS given_up,
           (SELECT count(*) FROM webhooks.subscriptions
             WHERE state = 'active' AND failures > 0) AS failing,
           (SELECT count(*) FROM webhooks.subscriptions WHERE state = 'disabled') AS disabled
      FROM webhooks.deliveries WHERE state = 'pending'
"""


async def figures(conn: Conn) -> Figures:
    found = one(Figures, await conn.fetchrow(FIGURES))
    assert found is not None
    return found


OVERRUN = """ -- -> Subscription
    SELECT id, url, kinds, state, reason, failures, failing_since, rests_until, made_at
      FROM webhooks.subscriptions s
     WHERE state IN ('active', 'paused')
       AND $1::bigint < (SELECT count(*) FROM (SELECT FROM webhooks.deliveries
                                        WHERE subscription_id = s.id AND state = 'pending'
                                        LIMIT $1 + 1) waiting)
"""


async def overrun(conn: Conn, pending_max: int) -> list[Subscription]:
    return many(Subscription, await conn.fetch(OVERRUN, pending_max))


FORGET = """
    DELETE FROM webhooks.messages
     WHERE id IN (SELECT id FROM webhooks.messages
                   WHERE told_at < now() - make_interval(days => $1) ORDER BY told_at LIMIT $2)
 RETURNING true
"""


async def forget(conn: Conn, days: int, batch_max: int) -> int:
    return len(await conn.fetch(FORGET, days, batch_max))


PURGE = """
    DELETE FROM webhooks.deliveries
     WHERE id IN (SELECT d.id FROM webhooks.subscriptions s JOIN webhooks.deliveries d
                      ON d.subscription_id = s.id WHERE s.state = 'removed' LIMIT $1)
 RETURNING true
"""


async def purge(conn: Conn, batch_max: int) -> int:
    return len(await conn.fetch(PURGE, batch_max))


DROP = """
    DELETE FROM webhooks.subscriptions s
     WHERE state = 'removed'
       AND NOT EXISTS (SELECT FROM webhooks.deliveries WHERE subscription_id = s.id)
"""


async def drop(conn: Conn) -> None:
    await conn.execute(DROP)
