from collections.abc import Collection
from datetime import datetime

from core.kit.db import Conn, many, one

from .model import Booked, Event, Look, Payment, PaymentId, Refund, RefundId

START = """
    INSERT INTO payments.payments (id, first_order_id, order_id, member_id, channel, amount_minor,
                                   currency, taking, state, expires_at, look_at)
    VALUES ($1, $2, $2, $3, $4, $5, $6, $7, 'started', $8, now() + make_interval(secs => $9))
    ON CONFLICT (order_id) WHERE state = 'started' DO NOTHING
"""


async def start(
    conn: Conn,
    payment_id: PaymentId,
    order_id: str,
    member_id: int,
    channel: str,
    amount_minor: int,
    currency: str,
    taking: str,
    expires_at: datetime,
    first_look_s: float,
) -> None:
    """Does nothing where the order has an open payment."""
    who = (payment_id, order_id, member_id)
    what = (channel, amount_minor, currency, taking)
    await conn.execute(START, *who, *what, expires_at, first_look_s)


OPEN = """ -- -> Payment
    SELECT id::text, first_order_id::text, order_id::text, member_id, channel, amount_minor,
           currency, taking, state, reason, captured_minor, captured_currency, provider_ref,
           pay_url, capture_ref, started_at, expires_at, authorized_until, captured_at,
           refunded_at, refunded_minor
      FROM payments.payments WHERE order_id = $1 AND state = 'started'
"""


async def open_for(conn: Conn, order_id: str) -> Payment | None:
    return one(Payment, await conn.fetchrow(OPEN, order_id))


FIND = """ -- -> Payment
    SELECT id::text, first_order_id::text, order_id::text, member_id, channel, amount_minor,
           currency, taking, state, reason, captured_minor, captured_currency, provider_ref,
           pay_url, capture_ref, started_at, expires_at, authorized_until, captured_at,
           refunded_at, refunded_minor
      FROM payments.payments WHERE id = $1
"""


async def find(conn: Conn, payment_id: PaymentId) -> Payment | None:
    return one(Payment, await conn.fetchrow(FIND, payment_id))


# In the order of their ids, so two settlements of one order never wait for each other in a ring.
HOLD_SIBLINGS = """ -- -> Payment
    SELECT id::text, first_order_id::text, order_id::text, member_id, channel, amount_minor,
           currency, taking, state, reason, captured_minor, captured_currency, provider_ref,
           pay_url, capture_ref, started_at, expires_at, authorized_until, captured_at,
           refunded_at, refunded_minor
      FROM payments.payments WHERE first_order_id = $1
     ORDER BY payments.id FOR UPDATE
"""


async def hold_siblings(conn: Conn, first_order_id: str) -> list[Payment]:
    return many(Payment, await conn.fetch(HOLD_SIBLINGS, first_order_id))


HOLD_KEPT = """ -- -> Payment
    SELECT id::text, first_order_id::text, order_id::text, member_id, channel, amount_minor,
           currency, taking, state, reason, captured_minor, captured_currency, provider_ref,
           pay_url, capture_ref, started_at, expires_at, authorized_until, captured_at,
           refunded_at, refunded_minor
      FROM payments.payments
     WHERE order_id = $1 AND state IN ('authorized', 'captured') FOR UPDATE
"""


async def hold_kept(conn: Conn, order_id: str) -> Payment | None:
    return one(Payment, await conn.fetchrow(HOLD_KEPT, order_id))


HELD_UNTIL = """
    SELECT authorized_until FROM payments.payments WHERE order_id = $1 AND state = 'authorized'
"""


async def held_until(conn: Conn, order_id: str) -> datetime | None:
    return await conn.fetchval(HELD_UNTIL, order_id)


TAKEN = """ -- -> Payment
    SELECT id::text, first_order_id::text, order_id::text, member_id, channel, amount_minor,
           currency, taking, state, reason, captured_minor, captured_currency, provider_ref,
           pay_url, capture_ref, started_at, expires_at, authorized_until, captured_at,
           refunded_at, refunded_minor
      FROM payments.payments WHERE id > $1 AND captured_minor > 0
     ORDER BY payments.id LIMIT $2
"""


async def taken(conn: Conn, after: PaymentId, page_max: int) -> list[Payment]:
    return many(Payment, await conn.fetch(TAKEN, after, page_max))


# Taking a look pushes the next one ahead, but never past the last moment before the order's hold
# ends, nor past that end; of money that is held, before and past the end of that.
TAKE_LOOKS = """ -- -> Look
    WITH due AS (
        SELECT id, state = 'authorized' AS is_held,
               CASE state WHEN 'authorized' THEN authorized_until ELSE expires_at END AS ends_at
          FROM payments.payments
         WHERE look_at <= now() AND channel = ANY($6::text[])
         ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE payments.payments p
       SET look_at = least(
               now() + make_interval(secs => least(
                   CASE WHEN is_held THEN $4::float8 ELSE $3::float8 END, greatest(
                   $2::float8, extract(epoch FROM now() - started_at)::float8 / 4))),
               CASE WHEN now() < ends_at - make_interval(secs => $5)
                    THEN ends_at - make_interval(secs => $5)
                    WHEN now() < ends_at THEN ends_at ELSE 'infinity' END)
      FROM due WHERE p.id = due.id
 RETURNING p.id::text AS payment_id, called_off_at IS NOT NULL OR ends_at <= now() AS is_unwanted,
           ends_at <= now() AS is_over
"""


async def take_looks(
    conn: Conn,
    batch_max: int,
    pause_s: float,
    pause_max_s: float,
    held_pause_max_s: float,
    last_look_s: float,
    channels: Collection[str],
) -> list[Look]:
    pauses = (pause_s, pause_max_s, held_pause_max_s, last_look_s)
    return many(Look, await conn.fetch(TAKE_LOOKS, batch_max, *pauses, channels))


WAKE = """
    UPDATE payments.payments SET look_at = now()
     WHERE id = $1 AND state IN ('started', 'failed', 'authorized')
"""


async def wake(conn: Conn, payment_id: PaymentId) -> None:
    await conn.execute(WAKE, payment_id)


# Whoever was woken meanwhile is looked at once more, and what is held by now has another end.
LOOK_NO_MORE = """
    UPDATE payments.payments SET look_at = NULL
     WHERE id = $1 AND look_at > now() AND state <> 'authorized'
"""


async def look_no_more(conn: Conn, payment_id: PaymentId) -> None:
    await conn.execute(LOOK_NO_MORE, payment_id)


# In the order of their ids, as in HOLD_SIBLINGS.
CALL_OFF = """
    UPDATE payments.payments SET look_at = now(), called_off_at = now()
     WHERE id IN (SELECT id FROM payments.payments
                   WHERE first_order_id = $1 AND look_at IS NOT NULL ORDER BY id FOR UPDATE)
"""


async def call_off(conn: Conn, order_id: str) -> None:
    await conn.execute(CALL_OFF, order_id)


ATTACH = """
    UPDATE payments.payments SET provider_ref = $2, pay_url = $3 WHERE id = $1 AND pay_url IS NULL
"""


async def attach(conn: Conn, payment_id: PaymentId, provider_ref: str, pay_url: str) -> None:
    await conn.execute(ATTACH, payment_id, provider_ref, pay_url)


RECORD = """
    INSERT INTO payments.events (channel, event_id, payment_id, kind) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING RETURNING true
"""


async def record(conn: Conn, channel: str, event_id: str, payment_id: PaymentId, kind: str) -> bool:
    return await conn.fetchval(RECORD, channel, event_id, payment_id, kind) or False


TOLD_OF = """
    SELECT payment_id::text FROM payments.events WHERE channel = $1 AND event_id = $2
"""


async def told_of(conn: Conn, channel: str, event_id: str) -> PaymentId | None:
    return await conn.fetchval(TOLD_OF, channel, event_id)


# Names the state we read, so a racing writer makes this match nothing.
TAKE = """
    UPDATE payments.payments
       SET state = $3, reason = $4, captured_minor = $5, captured_currency = $6,
           provider_ref = coalesce(provider_ref, $7), capture_ref = $8, captured_at = now(),
           look_at = NULL
     WHERE id = $1 AND state = $2 RETURNING true
"""


async def take(conn: Conn, payment: Payment, target: str, reason: str | None, event: Event) -> bool:
    found = await conn.fetchval(
        TAKE,
        payment.id,
        payment.state,
        target,
        reason,
        event.amount_minor,
        event.currency,
        event.provider_ref,
        event.capture_ref,
    )
    return found or False


# Whoever called it off did not know that its money was held already.
AUTHORIZE = """
    UPDATE payments.payments
       SET state = $3, provider_ref = coalesce(provider_ref, $4), authorized_until = $5,
           look_at = least(now() + make_interval(secs => $6), $5), called_off_at = NULL
     WHERE id = $1 AND state = $2 RETURNING true
"""


async def authorize(
    conn: Conn, payment: Payment, target: str, event: Event, pause_s: float
) -> bool:
    seen = (payment.id, payment.state)
    held = (event.provider_ref, event.authorized_until, pause_s)
    return await conn.fetchval(AUTHORIZE, *seen, target, *held) or False


MOVE = """
    UPDATE payments.payments
       SET state = $3, reason = coalesce($4, reason),
           refunded_at = CASE WHEN $3 = 'refunded' THEN now() END,
           look_at = CASE WHEN $3 NOT IN ('voiding', 'voided') THEN look_at END
     WHERE id = $1 AND state = $2 RETURNING true
"""


async def move(conn: Conn, payment: Payment, target: str, reason: str | None) -> bool:
    return await conn.fetchval(MOVE, payment.id, payment.state, target, reason) or False


MOVE_TO_ORDER = """
    UPDATE payments.payments SET order_id = $2
     WHERE id = $1 AND state = 'captured' AND order_id = first_order_id RETURNING true
"""


async def move_to_order(conn: Conn, payment_id: PaymentId, order_id: str) -> bool:
    return await conn.fetchval(MOVE_TO_ORDER, payment_id, order_id) or False


# Owes no more than there is, whoever else refunds it at the same moment.
OWE = """
    WITH taken AS (
        UPDATE payments.payments SET refunded_minor = refunded_minor + $3
         WHERE id = $2 AND state = 'captured' AND refunded_minor + $3 <= captured_minor
     RETURNING id, order_id
    )
    INSERT INTO payments.refunds (id, payment_id, order_id, amount_minor, reason, state)
    SELECT $1, id, order_id, $3, $4, 'owed' FROM taken
 RETURNING true
"""


async def owe(
    conn: Conn, refund_id: RefundId, payment_id: PaymentId, amount_minor: int, reason: str
) -> bool:
    return await conn.fetchval(OWE, refund_id, payment_id, amount_minor, reason) or False


FIND_REFUND = """ -- -> Refund
    SELECT r.id::text, payment_id::text, r.order_id::text, r.amount_minor, currency, r.reason,
           r.state, asked_at, paid_at
      FROM payments.refunds r JOIN payments.payments p ON p.id = payment_id
     WHERE r.id = $1
"""


async def find_refund(conn: Conn, refund_id: RefundId) -> Refund | None:
    return one(Refund, await conn.fetchrow(FIND_REFUND, refund_id))


REFUNDS = """ -- -> Refund
    SELECT r.id::text, payment_id::text, r.order_id::text, r.amount_minor, currency, r.reason,
           r.state, asked_at, paid_at
      FROM payments.refunds r JOIN payments.payments p ON p.id = payment_id
     WHERE r.order_id = $1 ORDER BY asked_at, r.id LIMIT $2
"""


async def refunds(conn: Conn, order_id: str, page_max: int) -> list[Refund]:
    return many(Refund, await conn.fetch(REFUNDS, order_id, page_max))


OWED = """ -- -> Refund
    SELECT r.id::text, payment_id::text, r.order_id::text, r.amount_minor, currency, r.reason,
           r.state, asked_at, paid_at
      FROM payments.refunds r JOIN payments.payments p ON p.id = payment_id
     WHERE (r.order_id, r.id) > ($1::uuid, $2::uuid) ORDER BY r.order_id, r.id LIMIT $3
"""


async def owed(conn: Conn, order_id: str, refund_id: RefundId, page_max: int) -> list[Refund]:
    return many(Refund, await conn.fetch(OWED, order_id, refund_id, page_max))


MOVE_REFUND = """
    UPDATE payments.refunds
       SET state = $3, paid_at = CASE WHEN $3 = 'paid' THEN now() END
     WHERE id = $1 AND state = $2 RETURNING true
"""


async def move_refund(conn: Conn, refund: Refund, target: str) -> bool:
    return await conn.fetchval(MOVE_REFUND, refund.id, refund.state, target) or False


# A payment that could never be kept went back under its own id. What is owed may have gone by now.
BOOKED = """ -- -> Booked
    SELECT 'capture' AS kind, id::text AS reference, captured_minor AS amount_minor,
           captured_currency AS currency, captured_at AS booked_at
      FROM payments.payments
     WHERE channel = $1 AND id = ANY($2::uuid[]) AND captured_minor > 0
     UNION ALL
    SELECT 'refund', id::text, captured_minor, captured_currency, coalesce(refunded_at, now())
      FROM payments.payments
     WHERE channel = $1 AND id = ANY($2::uuid[]) AND state IN ('refunding', 'refunded')
     UNION ALL
    SELECT 'refund', r.id::text, r.amount_minor, currency, coalesce(paid_at, now())
      FROM payments.refunds r JOIN payments.payments p ON p.id = payment_id
     WHERE channel = $1 AND r.id = ANY($2::uuid[])
"""


async def booked(conn: Conn, channel: str, ids: Collection[str]) -> list[Booked]:
    return many(Booked, await conn.fetch(BOOKED, channel, ids))


BOOKED_IN = """ -- -> Booked
    SELECT 'capture' AS kind, id::text AS reference, captured_minor AS amount_minor,
           captured_currency AS currency, captured_at AS booked_at
      FROM payments.payments
     WHERE channel = $1 AND captured_at >= $2 AND captured_at < $3 AND captured_minor > 0
     UNION ALL
    SELECT 'refund', id::text, captured_minor, captured_currency, refunded_at
      FROM payments.payments
     WHERE channel = $1 AND refunded_at >= $2 AND refunded_at < $3 AND captured_minor > 0
     UNION ALL
    SELECT 'refund', r.id::text, r.amount_minor, currency, paid_at
      FROM payments.refunds r JOIN payments.payments p ON p.id = payment_id
     WHERE channel = $1 AND paid_at >= $2 AND paid_at < $3
     ORDER BY booked_at, reference LIMIT $4
"""


async def booked_in(
    conn: Conn, channel: str, since: datetime, until: datetime, page_max: int
) -> list[Booked]:
    return many(Booked, await conn.fetch(BOOKED_IN, channel, since, until, page_max))
