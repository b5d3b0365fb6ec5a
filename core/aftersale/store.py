from collections.abc import Collection

import msgspec

from core.kit.db import Conn, many, one

from .model import Case, CaseId, Sold, Step, Wish
from .states import State

ASK = """
    INSERT INTO aftersale.cases (order_id, line_no, member_id, seller_id, sku_id, currency, kind,
                                 quantity, wanted_minor, reason, key)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (order_id, key) DO NOTHING RETURNING id
"""


async def ask(conn: Conn, sold: Sold, wish: Wish, key: str) -> CaseId | None:
    """None where the key is taken."""
    return await conn.fetchval(
        ASK,
        sold.order_id,
        sold.line_no,
        sold.member_id,
        sold.seller_id,
        sold.sku_id,
        sold.currency,
        wish.kind,
        wish.quantity,
        wish.wanted_minor,
        wish.reason,
        key,
    )


FIND = """ -- -> Case
    SELECT id, order_id::text, line_no, member_id, seller_id, sku_id, kind, quantity, wanted_minor,
           currency, state, reason, answer, carrier, tracking, place_id, condition,
           refund_id::text, refunded_minor, follow_up::text, asked_at, ended_at
      FROM aftersale.cases WHERE id = $1
"""


async def find(conn: Conn, case_id: CaseId) -> Case | None:
    return one(Case, await conn.fetchrow(FIND, case_id))


FIND_BY_KEY = """ -- -> Case
    SELECT id, order_id::text, line_no, member_id, seller_id, sku_id, kind, quantity, wanted_minor,
           currency, state, reason, answer, carrier, tracking, place_id, condition,
           refund_id::text, refunded_minor, follow_up::text, asked_at, ended_at
      FROM aftersale.cases WHERE order_id = $1 AND key = $2
"""


async def find_by_key(conn: Conn, order_id: str, key: str) -> Case | None:
    return one(Case, await conn.fetchrow(FIND_BY_KEY, order_id, key))


OF_ORDER = """ -- -> Case
    SELECT id, order_id::text, line_no, member_id, seller_id, sku_id, kind, quantity, wanted_minor,
           currency, state, reason, answer, carrier, tracking, place_id, condition,
           refund_id::text, refunded_minor, follow_up::text, asked_at, ended_at
      FROM aftersale.cases WHERE order_id = $1 ORDER BY id LIMIT $2
"""


async def of_order(conn: Conn, order_id: str, page_max: int) -> list[Case]:
    return many(Case, await conn.fetch(OF_ORDER, order_id, page_max))


# State by state, however many there are in another. Where the order names the state, only the index
# that begins with it can give it, whatever the statistics think.
LISTING = """ -- -> Case
    SELECT its.id, order_id::text, line_no, member_id, seller_id, sku_id, kind, quantity,
           wanted_minor, currency, state, reason, answer, carrier, tracking, place_id, condition,
           refund_id::text, refunded_minor, follow_up::text, asked_at, ended_at
      FROM unnest($1::text[]) AS wanted (name)
     CROSS JOIN LATERAL (SELECT * FROM aftersale.cases
                          WHERE state >= wanted.name AND (state, id) < (
                                    wanted.name, coalesce($2::bigint, 9223372036854775807))
                          ORDER BY state DESC, id DESC LIMIT $3) its
     ORDER BY its.id DESC LIMIT $3
"""


async def listing(
    conn: Conn, states: Collection[State], before: CaseId | None, page_max: int
) -> list[Case]:
    return many(Case, await conn.fetch(LISTING, states, before, page_max))


# Names the state we read, so a racing writer makes this match nothing.
MOVE = """
    UPDATE aftersale.cases
       SET state = $3, answer = coalesce($5, answer), carrier = coalesce($6, carrier),
           tracking = coalesce($7, tracking), place_id = coalesce($8, place_id),
           condition = coalesce($9, condition), refund_id = coalesce($10, refund_id),
           refunded_minor = coalesce($11, refunded_minor), follow_up = coalesce($12, follow_up),
           ended_at = CASE WHEN $4 THEN now() END
     WHERE id = $1 AND state = $2 RETURNING true
"""


async def move(conn: Conn, case: Case, target: State, step: Step, *, is_end: bool) -> bool:
    rest = msgspec.structs.astuple(step)
    return await conn.fetchval(MOVE, case.id, case.state, target, is_end, *rest) or False
