from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from core.kit.db import Conn, many, one

from .model import (
    Consignment,
    ConsignmentId,
    Draft,
    Lead,
    LeadTimes,
    Line,
    Loaded,
    PaidOrder,
    Parcel,
    Waiting,
)
from .states import State

ADD_LEAD = """
    INSERT INTO fulfilment.leads (order_id, paid_at) VALUES ($1, $2)
    ON CONFLICT DO NOTHING RETURNING true
"""


async def add_lead(conn: Conn, order_id: str, paid_at: datetime) -> bool:
    """False where the order is planned already."""
    return await conn.fetchval(ADD_LEAD, order_id, paid_at) or False


ADD = """
    INSERT INTO fulfilment.consignments (seller_id, place_id, member_id, currency)
    VALUES ($1, $2, $3, $4) RETURNING id
"""


async def add(conn: Conn, order: PaidOrder, draft: Draft) -> None:
    whose = (order.member_id, order.currency)
    added = await conn.fetchval(ADD, draft.seller_id, draft.place_id, *whose)
    await add_lines(conn, added, draft.lines)


# A part of a consignment is as far as the consignment is.
ADD_BESIDE = """
    INSERT INTO fulfilment.consignments (state, seller_id, place_id, member_id, currency,
                                         planned_at, allocated_at)
    SELECT state, seller_id, place_id, member_id, currency, planned_at, allocated_at
      FROM fulfilment.consignments WHERE id = $1
 RETURNING id
"""


async def add_beside(conn: Conn, other: ConsignmentId, lines: Sequence[Line]) -> ConsignmentId:
    added = ConsignmentId(await conn.fetchval(ADD_BESIDE, other))
    await add_lines(conn, added, lines)
    return added


ADD_LINES = """
    INSERT INTO fulfilment.lines (consignment_id, order_id, line_no, sku_id, kept_for, quantity,
                                  goods_minor, discount_minor, tax_minor, shipping_minor)
    SELECT $1, * FROM unnest($2::uuid[], $3::smallint[], $4::bigint[], $5::text[], $6::int[],
                             $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
"""


async def add_lines(conn: Conn, consignment_id: ConsignmentId, lines: Sequence[Line]) -> None:
    rows = [msgspec.structs.astuple(line) for line in lines]
    await conn.execute(ADD_LINES, consignment_id, *map(list, zip(*rows, strict=True)))


EMPTY = "DELETE FROM fulfilment.lines WHERE consignment_id = ANY($1::bigint[])"


async def empty(conn: Conn, ids: Collection[ConsignmentId]) -> None:
    await conn.execute(EMPTY, ids)


FIND = """ -- -> Consignment
    SELECT id, state, seller_id, place_id, member_id, currency, carrier, tracking,
           merged_into, planned_at, allocated_at, shipped_at, shipped_by, delivered_at,
           delivered_by, cancelled_at
      FROM fulfilment.consignments WHERE id = $1
"""


async def find(conn: Conn, consignment_id: ConsignmentId) -> Consignment | None:
    return one(Consignment, await conn.fetchrow(FIND, consignment_id))


# One order for all, so that nobody waits in a ring.
HOLD = """ -- -> Consignment
    SELECT id, state, seller_id, place_id, member_id, currency, carrier, tracking,
           merged_into, planned_at, allocated_at, shipped_at, shipped_by, delivered_at,
           delivered_by, cancelled_at
      FROM fulfilment.consignments WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE
"""


async def hold(conn: Conn, ids: Collection[ConsignmentId]) -> list[Consignment]:
    return many(Consignment, await conn.fetch(HOLD, ids))


OF_ORDERS = """ -- -> Consignment
    SELECT id, state, seller_id, place_id, member_id, currency, carrier, tracking,
           merged_into, planned_at, allocated_at, shipped_at, shipped_by, delivered_at,
           delivered_by, cancelled_at
      FROM fulfilment.consignments
     WHERE id IN (SELECT consignment_id FROM fulfilment.lines WHERE order_id = ANY($1::uuid[]))
     ORDER BY id
"""


async def of_orders(conn: Conn, order_ids: Collection[str]) -> list[Consignment]:
    return many(Consignment, await conn.fetch(OF_ORDERS, order_ids))


# So few or so many stand in one state or place that no plan serves all.
PLAN_ANEW = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"


async def plan_anew(conn: Conn) -> None:
    """Until the transaction ends, plan each statement for what it is asked."""
    await conn.execute(PLAN_ANEW)


LISTING = """ -- -> Consignment
    SELECT id, state, seller_id, place_id, member_id, currency, carrier, tracking,
           merged_into, planned_at, allocated_at, shipped_at, shipped_by, delivered_at,
           delivered_by, cancelled_at
      FROM fulfilment.consignments
     WHERE ($1::text IS NULL OR state = $1) AND ($2::bigint IS NULL OR place_id = $2) AND id < $3
     ORDER BY id DESC LIMIT $4
"""


async def listing(
    conn: Conn, state: State | None, place_id: int | None, before: int, page_max: int
) -> list[Consignment]:
    return many(Consignment, await conn.fetch(LISTING, state, place_id, before, page_max))


LINES = """
    SELECT consignment_id, order_id::text, line_no, sku_id, kept_for, quantity, goods_minor,
           discount_minor, tax_minor, shipping_minor
      FROM fulfilment.lines WHERE consignment_id = ANY($1::bigint[])
     ORDER BY consignment_id, lines.order_id, line_no
"""


async def load(conn: Conn, consignments: Sequence[Consignment]) -> list[Loaded]:
    """With what is in each."""
    found: dict[int, list[Line]] = {one.id: [] for one in consignments}
    for consignment_id, *line in await conn.fetch(LINES, list(found)):
        found[consignment_id].append(Line(*line))
    return [Loaded(one, found[one.id]) for one in consignments]


PLANNED_UNITS = """
    SELECT sku_id, place_id, sum(quantity)::bigint AS quantity
      FROM fulfilment.consignments JOIN fulfilment.lines ON consignment_id = id
     WHERE state = 'planned' AND kept_for = $1 GROUP BY sku_id, place_id
"""


async def planned_units(conn: Conn, kept_for: str) -> dict[tuple[int, int], int]:
    """(SKU, place) -> units that are meant for a consignment and not allocated yet."""
    rows = await conn.fetch(PLANNED_UNITS, kept_for)
    return {(row["sku_id"], row["place_id"]): row["quantity"] for row in rows}


ALLOCATE = """
    UPDATE fulfilment.consignments SET state = 'allocated', allocated_at = clock_timestamp()
     WHERE id = ANY($1::bigint[]) AND state = 'planned'
"""


async def allocate(conn: Conn, ids: Collection[ConsignmentId]) -> None:
    await conn.execute(ALLOCATE, ids)


SHIP = """
    UPDATE fulfilment.consignments
       SET state = 'shipped', carrier = $2, tracking = $3, shipped_by = $4,
           shipped_at = clock_timestamp()
     WHERE id = $1 AND state = 'allocated'
 RETURNING true
"""


async def ship(conn: Conn, consignment_id: ConsignmentId, parcel: Parcel, by: str) -> bool:
    return await conn.fetchval(SHIP, consignment_id, *parcel, by) or False


DELIVER = """
    UPDATE fulfilment.consignments
       SET state = 'delivered', delivered_by = $2, delivered_at = clock_timestamp()
     WHERE id = $1 AND state = 'shipped'
 RETURNING true
"""


async def deliver(conn: Conn, consignment_id: ConsignmentId, by: str) -> bool:
    return await conn.fetchval(DELIVER, consignment_id, by) or False


CANCEL = """
    UPDATE fulfilment.consignments
       SET state = 'cancelled', merged_into = $2, cancelled_at = clock_timestamp()
     WHERE id = ANY($1::bigint[]) AND state IN ('planned', 'allocated')
"""


async def cancel(
    conn: Conn, ids: Collection[ConsignmentId], merged_into: ConsignmentId | None = None
) -> None:
    await conn.execute(CANCEL, ids, merged_into)


# An order is where all of its consignments are that nobody cancelled.
OPEN_ORDERS = """
    SELECT DISTINCT order_id::text
      FROM fulfilment.lines JOIN fulfilment.consignments ON id = consignment_id
     WHERE order_id = ANY($1::uuid[]) AND state = ANY($2::text[])
"""


async def orders_with(
    conn: Conn, order_ids: Collection[str], states: Collection[State]
) -> set[str]:
    """Those of the orders that have a consignment in one of these states."""
    return {row["order_id"] for row in await conn.fetch(OPEN_ORDERS, order_ids, states)}


END_LEADS = """
    UPDATE fulfilment.leads
       SET shipped_at = CASE WHEN $2 = 'shipped' THEN clock_timestamp() ELSE shipped_at END,
           delivered_at = CASE WHEN $2 = 'delivered' THEN clock_timestamp() ELSE delivered_at END,
           cancelled_at = CASE WHEN $2 = 'cancelled' THEN clock_timestamp() ELSE cancelled_at END
     WHERE order_id = ANY($1::uuid[])
"""


async def end_leads(conn: Conn, order_ids: Collection[str], end: State) -> None:
    """Note that these orders are shipped, delivered or cancelled now."""
    await conn.execute(END_LEADS, order_ids, end)


LEAD = """ -- -> Lead
    SELECT order_id::text, paid_at, planned_at, shipped_at, delivered_at, cancelled_at
      FROM fulfilment.leads WHERE order_id = $1
"""


async def lead(conn: Conn, order_id: str) -> Lead | None:
    return one(Lead, await conn.fetchrow(LEAD, order_id))


# Behind the sums, order by order. A band is told by the most that it holds.
TIMES = """ -- -> LeadTimes
    WITH counted AS (
        SELECT band, sum(orders) AS orders
          FROM (SELECT band, orders FROM fulfilment.lead_days
                 WHERE kind = $1 AND day >= (now() AT TIME ZONE 'UTC')::date - $2::int
                 UNION ALL
                SELECT band, 1 FROM fulfilment.ends
                 WHERE kind = $1
                   AND ended_at BETWEEN (SELECT upto FROM fulfilment.summed) AND now()) AS every
         GROUP BY band
    ), ranked AS (
        SELECT fulfilment.longest(band) AS took_s, sum(orders) OVER (ORDER BY band) AS upto,
               sum(orders) OVER () AS orders
          FROM counted
    )
    SELECT coalesce(max(orders), 0)::bigint AS orders,
           min(took_s) FILTER (WHERE upto >= 0.5 * orders) AS p50_s,
           min(took_s) FILTER (WHERE upto >= 0.9 * orders) AS p90_s,
           min(took_s) FILTER (WHERE upto >= 0.99 * orders) AS p99_s
      FROM ranked
"""


async def times(conn: Conn, end: State, days: int) -> LeadTimes | None:
    return one(LeadTimes, await conn.fetchrow(TIMES, end, days))


# A day at a time, so that no statement is long after a rest of weeks.
MOVE_ON = """
    WITH old AS (
        SELECT upto FROM fulfilment.summed
         WHERE upto < now() - make_interval(secs => $1) FOR UPDATE
    )
    UPDATE fulfilment.summed
       SET upto = least(now() - make_interval(secs => $1), old.upto + interval '1 day')
      FROM old
 RETURNING old.upto AS since, summed.upto
"""
SUM_UP = """
    INSERT INTO fulfilment.lead_days AS kept (kind, day, band, orders)
    SELECT kind, (ended_at AT TIME ZONE 'UTC')::date AS day, band, count(*)
      FROM fulfilment.ends WHERE ended_at >= $1 AND ended_at < $2
     GROUP BY 1, 2, 3
    ON CONFLICT (kind, day, band) DO UPDATE SET orders = kept.orders + excluded.orders
"""


async def sum_up(conn: Conn, fresh_s: float) -> None:
    stretch = await conn.fetchrow(MOVE_ON, fresh_s)
    if stretch is not None:
        await conn.execute(SUM_UP, *stretch)


WAITING = """ -- -> Waiting
    SELECT count(*) AS orders,
           coalesce(extract(epoch FROM now() - min(paid_at)), 0)::float8 AS oldest_s
      FROM fulfilment.leads WHERE shipped_at IS NULL AND cancelled_at IS NULL
"""


async def waiting(conn: Conn) -> Waiting | None:
    return one(Waiting, await conn.fetchrow(WAITING))
