from collections.abc import Collection

from core.kit.db import Conn, many, one
from core.kit.tail import Stretch

from .model import Dispute, DisputeId, Happened, Standing, Told
from .states import State

OPEN = """
    INSERT INTO disputes.disputes (channel, provider_ref, payment_id, order_id, state, stage,
                                   reason, amount_minor, currency, is_our_turn, respond_by,
                                   told_at, look_at, ended_at)
    VALUES ($1, $2, $3, $12, $4, $5, $6, $7, $8, $9, $10, $11,
            now() + make_interval(secs => $13),
            CASE WHEN $4::text <> 'open' THEN now() END)
    ON CONFLICT (channel, provider_ref) DO NOTHING RETURNING true
"""


async def open(conn: Conn, told: Told, order_id: str, pause_s: float) -> bool:  # noqa: A001
    """False where it is known."""
    facts = (told.channel, told.provider_ref, told.payment_id, told.state, told.stage)
    claim = (told.reason, told.amount_minor, told.currency, told.is_our_turn, told.respond_by)
    return await conn.fetchval(OPEN, *facts, *claim, told.told_at, order_id, pause_s) or False


HOLD_TOLD = """ -- -> Dispute
    SELECT id, channel, provider_ref, payment_id::text, order_id::text, state, stage, reason,
           amount_minor, currency, is_our_turn, respond_by, told_at, is_holding, opened_at,
           ended_at
      FROM disputes.disputes WHERE channel = $1 AND provider_ref = $2 FOR UPDATE
"""


async def hold_told(conn: Conn, channel: str, provider_ref: str) -> Dispute | None:
    return one(Dispute, await conn.fetchrow(HOLD_TOLD, channel, provider_ref))


FIND = """ -- -> Dispute
    SELECT id, channel, provider_ref, payment_id::text, order_id::text, state, stage, reason,
           amount_minor, currency, is_our_turn, respond_by, told_at, is_holding, opened_at,
           ended_at
      FROM disputes.disputes WHERE id = $1
"""


async def find(conn: Conn, dispute_id: DisputeId) -> Dispute | None:
    return one(Dispute, await conn.fetchrow(FIND, dispute_id))


FIND_ALL = """ -- -> Dispute
    SELECT id, channel, provider_ref, payment_id::text, order_id::text, state, stage, reason,
           amount_minor, currency, is_our_turn, respond_by, told_at, is_holding, opened_at,
           ended_at
      FROM disputes.disputes WHERE id = ANY($1::bigint[])
"""


async def find_all(conn: Conn, dispute_ids: Collection[DisputeId]) -> list[Dispute]:
    return many(Dispute, await conn.fetch(FIND_ALL, dispute_ids))


# State by state, however many there are in another. Where the order names the state, only the index
# that begins with it can give it, whatever the statistics think.
LISTING = """ -- -> Dispute
    SELECT its.id, channel, provider_ref, payment_id::text, order_id::text, state, stage, reason,
           amount_minor, currency, is_our_turn, respond_by, told_at, is_holding, opened_at,
           ended_at
      FROM unnest($1::text[]) AS wanted (name)
     CROSS JOIN LATERAL (SELECT * FROM disputes.disputes
                          WHERE state >= wanted.name AND (state, id) < (
                                wanted.name, coalesce($2::bigint, 9223372036854775807))
                          ORDER BY state DESC, id DESC LIMIT $3) its
     ORDER BY its.id DESC LIMIT $3
"""


async def listing(
    conn: Conn, states: Collection[State], before: DisputeId | None, page_max: int
) -> list[Dispute]:
    return many(Dispute, await conn.fetch(LISTING, states, before, page_max))


# The caller holds it. While it holds an order's money, that stays its order.
MOVE = """
    UPDATE disputes.disputes
       SET state = $3, stage = $4, reason = $5, amount_minor = $6, currency = $7,
           is_our_turn = $8, respond_by = $9, told_at = $10,
           order_id = CASE WHEN is_holding THEN order_id ELSE $11 END,
           ended_at = CASE WHEN $12 THEN coalesce(ended_at, now()) END
     WHERE id = $1 AND state = $2
"""


async def move(conn: Conn, dispute: Dispute, told: Told, order_id: str, *, is_end: bool) -> None:
    claim = (told.reason, told.amount_minor, told.currency, told.is_our_turn, told.respond_by)
    facts = (told.state, told.stage, *claim, told.told_at, order_id, is_end)
    await conn.execute(MOVE, dispute.id, dispute.state, *facts)


# The caller holds it.
HOLD = "UPDATE disputes.disputes SET is_holding = $2 WHERE id = $1"


async def hold(conn: Conn, dispute_id: DisputeId, is_holding: bool) -> None:
    await conn.execute(HOLD, dispute_id, is_holding)


ADD_EVENT = "INSERT INTO disputes.events (dispute_id, state) VALUES ($1, $2)"


async def add_event(conn: Conn, dispute_id: DisputeId, state: str) -> None:
    await conn.execute(ADD_EVENT, dispute_id, state)


TAKE_DUE = """ -- -> Dispute
    WITH due AS (
        SELECT id AS due_id FROM disputes.disputes WHERE state = 'open' AND look_at <= now()
         ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE disputes.disputes SET look_at = now() + make_interval(secs => $2)
      FROM due WHERE id = due_id
 RETURNING id, channel, provider_ref, payment_id::text, order_id::text, state, stage, reason,
           amount_minor, currency, is_our_turn, respond_by, told_at, is_holding, opened_at,
           ended_at
"""


async def take_due(conn: Conn, batch_max: int, pause_s: float) -> list[Dispute]:
    return many(Dispute, await conn.fetch(TAKE_DUE, batch_max, pause_s))


# Of the last transaction all.
HAPPENED = """ -- -> Happened
    SELECT id, xact, dispute_id, state, happened_at FROM disputes.events
     WHERE xact >= $1 AND xact < $2 AND happened_at >= $3
     ORDER BY xact FETCH FIRST $4 ROWS WITH TIES
"""


async def happened(conn: Conn, stretch: Stretch, page_max: int) -> list[Happened]:
    where = (stretch.reached, stretch.horizon, stretch.since)
    return many(Happened, await conn.fetch(HAPPENED, *where, page_max))


STANDING = """ -- -> Standing
    SELECT count(*) AS open, count(*) FILTER (WHERE is_our_turn) AS ours,
           extract(epoch FROM min(respond_by) FILTER (WHERE is_our_turn) - now())::float8 AS due_s
      FROM disputes.disputes WHERE state = 'open'
"""


async def standing(conn: Conn) -> Standing:
    found = one(Standing, await conn.fetchrow(STANDING))
    assert found is not None
    return found
