from collections.abc import Collection, Iterable, Mapping, Sequence

import asyncpg

from core.kit.db import Conn, many, one
from core.kit.tail import Stretch

from .model import (
    Alert,
    Balance,
    Count,
    CountId,
    Done,
    Drift,
    Entry,
    Kept,
    Mark,
    Move,
    Movement,
    Pickup,
    Place,
    PlaceId,
    Raised,
    Reservation,
    Transfer,
    TransferId,
    TransferLine,
    TransferTotal,
)
from .rules import CountLine, Shelf
from .states import CountState, TransferState

ADD_PLACE = """ -- -> Place
    INSERT INTO inventory.places (code, kind, name, region, rank) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (code) DO NOTHING
 RETURNING id, code, kind, name, region, rank
"""


async def add_place(
    conn: Conn, code: str, kind: str, name: dict[str, str], region: str, rank: int
) -> Place | None:
    return one(Place, await conn.fetchrow(ADD_PLACE, code, kind, name, region, rank))


PLACES = """ -- -> Place
    SELECT id, code, kind, name, region, rank FROM inventory.places ORDER BY rank, id
"""


async def places(conn: Conn) -> list[Place]:
    return many(Place, await conn.fetch(PLACES))


# One order for all, so that nobody waits in a ring.
OPEN_BALANCES = """
    INSERT INTO inventory.balances (sku_id, place_id)
    SELECT sku_id, $2 FROM unnest($1::bigint[]) AS wanted (sku_id) ORDER BY sku_id
    ON CONFLICT DO NOTHING
"""


async def open_balances(conn: Conn, sku_ids: Iterable[int], place_id: PlaceId) -> None:
    await conn.execute(OPEN_BALANCES, list(sku_ids), place_id)


HOLD = """ -- -> Balance
    SELECT sku_id, place_id, on_hand, reserved, allocated, in_transit, damaged, free,
           safety_stock, alerted
      FROM inventory.balances WHERE sku_id = ANY($1::bigint[])
     ORDER BY sku_id, place_id FOR UPDATE
"""


async def hold(conn: Conn, sku_ids: Collection[int]) -> dict[Shelf, Balance]:
    """All balances of these SKUs, which nobody else changes until the transaction ends."""
    held = many(Balance, await conn.fetch(HOLD, sku_ids))
    return {(balance.sku_id, balance.place_id): balance for balance in held}


RECORDED = """
    SELECT reference, kept_for, sku_id, place_id, quantity FROM inventory.movements
     WHERE reference = ANY($1::text[]) AND kind = $2 ORDER BY reference, line_no
"""


async def recorded(conn: Conn, kind: Move, references: Collection[str]) -> dict[str, Done]:
    """What was done before under each reference."""
    found: dict[str, Done] = {}
    for reference, kept_for, *kept in await conn.fetch(RECORDED, references, kind):
        done = found.setdefault(reference, Done(reference, kept_for, []))
        done.kept.append(Kept(*kept))
    return found


# The caller holds the balances. A CHECK refuses what nobody here may have let through.
BOOK = """
    WITH moves AS (
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[],
                             $6::int[], $7::text[], $8::text[], $9::text[])
          AS wanted (kind, sku_id, place_id, quantity, reference, line_no, by_whom, kept_for,
                     reason)
          JOIN inventory.kinds USING (kind)
    ), written AS (
        INSERT INTO inventory.movements (kind, sku_id, place_id, quantity, reference, line_no,
                                         by_whom, kept_for, reason)
        SELECT kind, sku_id, place_id, quantity, reference, line_no, by_whom, kept_for, reason
          FROM moves
    ), kept AS (
        INSERT INTO inventory.reservations AS kept (kept_for, sku_id, place_id, reserved)
        SELECT kept_for, sku_id, place_id, sum(quantity)::bigint FROM moves WHERE kind = 'reserve'
         GROUP BY kept_for, sku_id, place_id
        ON CONFLICT (kept_for, sku_id, place_id)
        DO UPDATE SET reserved = kept.reserved + excluded.reserved
    ), turned AS (
        SELECT kept_for, sku_id, place_id, sum(quantity * reserved)::bigint AS reserved,
               sum(quantity * allocated)::bigint AS allocated,
               (sum(quantity) FILTER (WHERE kind = 'ship'))::bigint AS shipped
          FROM moves WHERE kept_for IS NOT NULL AND kind <> 'reserve'
         GROUP BY kept_for, sku_id, place_id
    ), settled AS (
        UPDATE inventory.reservations AS kept
           SET reserved = kept.reserved + turned.reserved,
               allocated = kept.allocated + turned.allocated,
               shipped = kept.shipped + coalesce(turned.shipped, 0)
          FROM turned
         WHERE kept.kept_for = turned.kept_for AND kept.sku_id = turned.sku_id
           AND kept.place_id = turned.place_id
    ), changes AS (
        SELECT sku_id, place_id, sum(quantity * on_hand)::bigint AS on_hand,
               sum(quantity * reserved)::bigint AS reserved,
               sum(quantity * allocated)::bigint AS allocated,
               sum(quantity * in_transit)::bigint AS in_transit,
               sum(quantity * damaged)::bigint AS damaged
          FROM moves GROUP BY sku_id, place_id
    )
    UPDATE inventory.balances AS old
       SET on_hand = old.on_hand + changes.on_hand, reserved = old.reserved + changes.reserved,
           allocated = old.allocated + changes.allocated, damaged = old.damaged + changes.damaged,
           in_transit = old.in_transit + changes.in_transit,
           alerted = free + changes.on_hand - changes.reserved - changes.allocated <= safety_stock
      FROM changes WHERE old.sku_id = changes.sku_id AND old.place_id = changes.place_id
 RETURNING old.sku_id, old.place_id, alerted
"""


async def book(conn: Conn, entries: Sequence[Entry]) -> dict[Shelf, bool] | None:
    """Write movements and what they make of the balances; say which balances are low now.

    None where a reference was used at the same time for other SKUs. The transaction is lost then.
    """
    columns = [[getattr(entry, field) for entry in entries] for field in Entry.__struct_fields__]
    try:
        rows = await conn.fetch(BOOK, *columns)
    except asyncpg.UniqueViolationError:
        return None
    return {(row["sku_id"], row["place_id"]): row["alerted"] for row in rows}


RAISE_ALERTS = """
    INSERT INTO inventory.alerts (sku_id, place_id, free, safety_stock)
    SELECT sku_id, place_id, free, safety_stock
      FROM unnest($1::bigint[], $2::bigint[]) AS turned (sku_id, place_id)
      JOIN inventory.balances USING (sku_id, place_id) WHERE alerted
    ON CONFLICT (sku_id, place_id) WHERE cleared_at IS NULL DO NOTHING
"""


async def raise_alerts(conn: Conn, shelves: Collection[Shelf]) -> None:
    await conn.execute(RAISE_ALERTS, *map(list, zip(*shelves, strict=True)))


CLEAR_ALERTS = """
    UPDATE inventory.alerts SET cleared_at = now()
      FROM unnest($1::bigint[], $2::bigint[]) AS turned (sku_id, place_id)
      JOIN inventory.balances USING (sku_id, place_id)
     WHERE alerts.sku_id = turned.sku_id AND alerts.place_id = turned.place_id
       AND cleared_at IS NULL AND NOT alerted
"""


async def clear_alerts(conn: Conn, shelves: Collection[Shelf]) -> None:
    await conn.execute(CLEAR_ALERTS, *map(list, zip(*shelves, strict=True)))


SET_SAFETY_STOCK = """
    UPDATE inventory.balances SET safety_stock = $3, alerted = free <= $3
     WHERE sku_id = $1 AND place_id = $2
 RETURNING alerted
"""


async def set_safety_stock(conn: Conn, shelf: Shelf, units: int) -> bool:
    """Say whether it is low now."""
    return await conn.fetchval(SET_SAFETY_STOCK, *shelf, units)


# Place by place, however many there are in another. Where the order names the place, only the index
# of what is open can give it, whatever the statistics think.
ALERTS = """ -- -> Alert
    SELECT its.id, sku_id, place_id, free, safety_stock, raised_at, cleared_at
      FROM unnest(coalesce($3::bigint[], ARRAY(SELECT id FROM inventory.places)))
           AS wanted (number)
     CROSS JOIN LATERAL (SELECT * FROM inventory.alerts
                          WHERE cleared_at IS NULL AND place_id <= wanted.number
                            AND (place_id, id) > (wanted.number, $1)
                          ORDER BY place_id, id LIMIT $2) its
     ORDER BY its.id LIMIT $2
"""


async def alerts(
    conn: Conn, after: int, page_max: int, place_ids: Collection[PlaceId] | None
) -> list[Alert]:
    return many(Alert, await conn.fetch(ALERTS, after, page_max, place_ids))


OF_SKUS = """ -- -> Balance
    SELECT sku_id, place_id, on_hand, reserved, allocated, in_transit, damaged, free,
           safety_stock, alerted
      FROM inventory.balances WHERE sku_id = ANY($1::bigint[]) ORDER BY sku_id, place_id
"""


async def of_skus(conn: Conn, sku_ids: Collection[int]) -> list[Balance]:
    return many(Balance, await conn.fetch(OF_SKUS, sku_ids))


OF_STORES = """ -- -> Pickup
    SELECT id AS place_id, code, name, region, coalesce(free, 0) AS free
      FROM inventory.places LEFT JOIN inventory.balances ON place_id = id AND sku_id = $1
     WHERE kind = 'store' AND ($2 = '' OR region = $2) AND id > $3 ORDER BY id LIMIT $4
"""


async def of_stores(
    conn: Conn, sku_id: int, region: str, after: int, page_max: int
) -> list[Pickup]:
    return many(Pickup, await conn.fetch(OF_STORES, sku_id, region, after, page_max))


IN_PLACE = """ -- -> Balance
    SELECT sku_id, place_id, on_hand, reserved, allocated, in_transit, damaged, free,
           safety_stock, alerted
      FROM inventory.balances WHERE place_id = $1 AND sku_id > $2 ORDER BY sku_id LIMIT $3
"""


async def in_place(conn: Conn, place_id: PlaceId, after: int, page_max: int) -> list[Balance]:
    return many(Balance, await conn.fetch(IN_PLACE, place_id, after, page_max))


MOVEMENTS = """ -- -> Movement
    SELECT id, kind, sku_id, place_id, quantity, reference, kept_for, reason, by_whom, moved_at
      FROM inventory.movements WHERE sku_id = $1 AND id > $2 ORDER BY id LIMIT $3
"""


async def movements(conn: Conn, sku_id: int, after: int, page_max: int) -> list[Movement]:
    return many(Movement, await conn.fetch(MOVEMENTS, sku_id, after, page_max))


IN_PLACES = """ -- -> Balance
    SELECT sku_id, place_id, on_hand, reserved, allocated, in_transit, damaged, free,
           safety_stock, alerted
      FROM inventory.balances WHERE place_id = ANY($1::bigint[]) AND (place_id, sku_id) > ($2, $3)
     ORDER BY place_id, sku_id LIMIT $4
"""


async def in_places(
    conn: Conn, place_ids: Collection[PlaceId], after: Shelf, page_max: int
) -> list[Balance]:
    sku_id, place_id = after
    return many(Balance, await conn.fetch(IN_PLACES, place_ids, place_id, sku_id, page_max))


# Whoever writes a movement holds its balance, and so has an xid before the movement has an id: what
# is drawn up to the last id that is seen here has an xid below the one that is drawn after that.
MARK = """ -- -> Mark
    SELECT coalesce((SELECT max(id) FROM inventory.movements), 0) AS last_id,
           pg_current_xact_id()::text::bigint AS xid
"""


async def mark(conn: Conn) -> Mark:
    found = one(Mark, await conn.fetchrow(MARK))
    assert found is not None
    return found


IS_SETTLED = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $1"


async def is_settled(conn: Conn, xid: int) -> bool:
    """Whether every transaction that began to write before this one is over."""
    return await conn.fetchval(IS_SETTLED, xid)


FOLLOW = """ -- -> Movement
    SELECT id, kind, sku_id, place_id, quantity, reference, kept_for, reason, by_whom, moved_at
      FROM inventory.movements WHERE id > $1 AND id <= $2 AND place_id = ANY($3::bigint[])
     ORDER BY id LIMIT $4
"""


async def follow(
    conn: Conn, place_ids: Collection[PlaceId], after: int, upto: int, page_max: int
) -> list[Movement]:
    return many(Movement, await conn.fetch(FOLLOW, after, upto, place_ids, page_max))


RESERVATIONS = """ -- -> Reservation
    SELECT kept_for, sku_id, place_id, reserved, allocated, shipped
      FROM inventory.reservations WHERE kept_for = ANY($1::text[])
     ORDER BY kept_for, sku_id, place_id
"""


async def reservations(conn: Conn, kept_for: Collection[str]) -> list[Reservation]:
    return many(Reservation, await conn.fetch(RESERVATIONS, kept_for))


# Every figure three ways: as shown, from the movements, and (where there are any) from what is kept
# for somebody or under way. Rows only where two of them differ.
DRIFTS = """ -- -> Drift
    WITH moved AS (
        SELECT sku_id, place_id, sum(quantity * on_hand)::bigint AS on_hand,
               sum(quantity * reserved)::bigint AS reserved,
               sum(quantity * allocated)::bigint AS allocated,
               sum(quantity * in_transit)::bigint AS in_transit,
               sum(quantity * damaged)::bigint AS damaged
          FROM inventory.movements JOIN inventory.kinds USING (kind) GROUP BY sku_id, place_id
    ), kept AS (
        SELECT sku_id, place_id, sum(reserved)::bigint AS reserved,
               sum(allocated)::bigint AS allocated
          FROM inventory.reservations GROUP BY sku_id, place_id
    ), under_way AS (
        SELECT sku_id, target_id AS place_id,
               sum(quantity - arrived - lost)::bigint AS in_transit
          FROM inventory.transfers JOIN inventory.transfer_lines ON transfer_id = transfers.id
         WHERE state = 'sent' GROUP BY sku_id, target_id
    )
    SELECT sku_id, place_id, figure, coalesce(shown, 0) AS shown, coalesce(proven, 0) AS proven
      FROM inventory.balances
      LEFT JOIN moved USING (sku_id, place_id)
      FULL JOIN kept USING (sku_id, place_id)
      FULL JOIN under_way USING (sku_id, place_id)
     CROSS JOIN LATERAL (VALUES
           ('on_hand', balances.on_hand, moved.on_hand),
           ('reserved', balances.reserved, moved.reserved),
           ('reserved', balances.reserved, kept.reserved),
           ('allocated', balances.allocated, moved.allocated),
           ('allocated', balances.allocated, kept.allocated),
           ('in_transit', balances.in_transit, moved.in_transit),
           ('in_transit', balances.in_transit, under_way.in_transit),
           ('damaged', balances.damaged, moved.damaged)) AS found (figure, shown, proven)
     WHERE coalesce(shown, 0) <> coalesce(proven, 0)
     ORDER BY sku_id, place_id, figure LIMIT $1
"""


async def drifts(conn: Conn, drifts_max: int) -> list[Drift]:
    return many(Drift, await conn.fetch(DRIFTS, drifts_max))


# Transfers that nobody has sent yet.
PLANNED = """
    SELECT sku_id, source_id, target_id, sum(quantity)::bigint AS quantity
      FROM inventory.transfers JOIN inventory.transfer_lines ON transfer_id = transfers.id
     WHERE state = 'planned' AND sku_id = ANY($1::bigint[])
     GROUP BY sku_id, source_id, target_id
"""


async def planned(conn: Conn, sku_ids: Collection[int]) -> list[tuple[int, PlaceId, PlaceId, int]]:
    """SKU, source, target, units."""
    return [tuple(row) for row in await conn.fetch(PLANNED, sku_ids)]


PLAN_TRANSFER = """ -- -> Transfer
    WITH planned AS (
        INSERT INTO inventory.transfers (source_id, target_id, state, by_whom)
        VALUES ($1, $2, 'planned', $3)
     RETURNING id, source_id, target_id, state, by_whom, planned_at, sent_at, ended_at
    ), lines AS (
        INSERT INTO inventory.transfer_lines (transfer_id, sku_id, quantity)
        SELECT id, sku_id, quantity
          FROM planned, unnest($4::bigint[], $5::bigint[]) AS line (sku_id, quantity)
    )
    SELECT id, source_id, target_id, state, by_whom, planned_at, sent_at, ended_at FROM planned
"""


async def plan_transfer(
    conn: Conn, source: PlaceId, target: PlaceId, by: str, units: Mapping[int, int]
) -> Transfer:
    row = await conn.fetchrow(PLAN_TRANSFER, source, target, by, list(units), list(units.values()))
    planned = one(Transfer, row)
    assert planned is not None
    return planned


FIND_TRANSFER = """ -- -> Transfer
    SELECT id, source_id, target_id, state, by_whom, planned_at, sent_at, ended_at
      FROM inventory.transfers WHERE id = $1
"""


async def find_transfer(conn: Conn, transfer_id: TransferId) -> Transfer | None:
    return one(Transfer, await conn.fetchrow(FIND_TRANSFER, transfer_id))


HOLD_TRANSFER = """ -- -> Transfer
    SELECT id, source_id, target_id, state, by_whom, planned_at, sent_at, ended_at
      FROM inventory.transfers WHERE id = $1 FOR UPDATE
"""


async def hold_transfer(conn: Conn, transfer_id: TransferId) -> Transfer | None:
    return one(Transfer, await conn.fetchrow(HOLD_TRANSFER, transfer_id))


TRANSFERS = """ -- -> Transfer
    SELECT id, source_id, target_id, state, by_whom, planned_at, sent_at, ended_at
      FROM inventory.transfers WHERE id < $1 ORDER BY id DESC LIMIT $2
"""


async def transfers(conn: Conn, before: int, page_max: int) -> list[Transfer]:
    return many(Transfer, await conn.fetch(TRANSFERS, before, page_max))


TOTALS = """ -- -> TransferTotal
    SELECT transfer_id, count(*) AS skus, sum(quantity)::bigint AS quantity,
           sum(arrived)::bigint AS arrived, sum(lost)::bigint AS lost
      FROM inventory.transfer_lines WHERE transfer_id = ANY($1::bigint[]) GROUP BY transfer_id
"""


async def totals(conn: Conn, transfer_ids: Collection[TransferId]) -> list[TransferTotal]:
    return many(TransferTotal, await conn.fetch(TOTALS, transfer_ids))


TRANSFER_LINES = """ -- -> TransferLine
    SELECT transfer_id, sku_id, quantity, arrived, lost FROM inventory.transfer_lines
     WHERE transfer_id = $1 ORDER BY sku_id
"""


async def transfer_lines(conn: Conn, transfer_id: TransferId) -> list[TransferLine]:
    return many(TransferLine, await conn.fetch(TRANSFER_LINES, transfer_id))


# Names the state we read, so a racing writer makes this match nothing.
MOVE_TRANSFER = """ -- -> Transfer
    UPDATE inventory.transfers
       SET state = $3,
           sent_at = CASE WHEN $3 = 'sent' THEN now() ELSE sent_at END,
           ended_at = CASE WHEN $3 <> 'sent' THEN now() END
     WHERE id = $1 AND state = $2
 RETURNING id, source_id, target_id, state, by_whom, planned_at, sent_at, ended_at
"""


async def move_transfer(
    conn: Conn, transfer_id: TransferId, source: TransferState, target: TransferState
) -> Transfer | None:
    return one(Transfer, await conn.fetchrow(MOVE_TRANSFER, transfer_id, source, target))


# The caller holds the transfer. A CHECK refuses what was never sent.
NOTE_ENDED = """
    UPDATE inventory.transfer_lines
       SET arrived = arrived + CASE WHEN $2 = 'arrive' THEN ended.quantity ELSE 0 END,
           lost = lost + CASE WHEN $2 = 'lose' THEN ended.quantity ELSE 0 END
      FROM unnest($3::bigint[], $4::bigint[]) AS ended (sku_id, quantity)
     WHERE transfer_id = $1 AND transfer_lines.sku_id = ended.sku_id
"""


async def note_ended(
    conn: Conn, transfer_id: TransferId, kind: Move, units: Mapping[int, int]
) -> None:
    await conn.execute(NOTE_ENDED, transfer_id, kind, list(units), list(units.values()))


# What an open count found is not in the balance yet: a second count would find it again.
ADD_COUNTS = """ -- -> Count
    INSERT INTO inventory.counts (reference, sku_id, place_id, state, expected, counted,
                                  value_minor, currency, needs_second, counted_by)
    SELECT $1, sku_id, $2, 'proposed', expected, counted, value_minor, currency, needs_second, $3
      FROM unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::bool[])
        AS line (sku_id, expected, counted, value_minor, currency, needs_second)
    ON CONFLICT (sku_id, place_id) WHERE state = 'proposed' DO NOTHING
 RETURNING id, reference, sku_id, place_id, state, expected, counted, value_minor, currency,
           needs_second, counted_by, counted_at, decided_by, decided_at
"""


async def add_counts(
    conn: Conn, reference: str, place_id: PlaceId, by: str, lines: Sequence[CountLine]
) -> list[Count]:
    """Leave out what has an open count."""
    columns = map(list, zip(*lines, strict=True))
    return many(Count, await conn.fetch(ADD_COUNTS, reference, place_id, by, *columns))


COUNTS_OF = """ -- -> Count
    SELECT id, reference, sku_id, place_id, state, expected, counted, value_minor, currency,
           needs_second, counted_by, counted_at, decided_by, decided_at
      FROM inventory.counts WHERE reference = $1 ORDER BY id
"""


async def counts_of(conn: Conn, reference: str) -> list[Count]:
    return many(Count, await conn.fetch(COUNTS_OF, reference))


COUNTS = """ -- -> Count
    SELECT id, reference, sku_id, place_id, state, expected, counted, value_minor, currency,
           needs_second, counted_by, counted_at, decided_by, decided_at
      FROM inventory.counts WHERE id < $1 ORDER BY id DESC LIMIT $2
"""


async def counts(conn: Conn, before: int, page_max: int) -> list[Count]:
    return many(Count, await conn.fetch(COUNTS, before, page_max))


UNDECIDED = """
    SELECT sku_id FROM inventory.counts
     WHERE place_id = $1 AND sku_id = ANY($2::bigint[]) AND state = 'proposed'
"""


async def undecided(conn: Conn, place_id: PlaceId, sku_ids: Collection[int]) -> set[int]:
    return {row["sku_id"] for row in await conn.fetch(UNDECIDED, place_id, sku_ids)}


HOLD_COUNT = """ -- -> Count
    SELECT id, reference, sku_id, place_id, state, expected, counted, value_minor, currency,
           needs_second, counted_by, counted_at, decided_by, decided_at
      FROM inventory.counts WHERE id = $1 FOR UPDATE
"""


async def hold_count(conn: Conn, count_id: CountId) -> Count | None:
    return one(Count, await conn.fetchrow(HOLD_COUNT, count_id))


# Names the state we read, so a racing writer makes this match nothing.
MOVE_COUNT = """ -- -> Count
    UPDATE inventory.counts SET state = $3, decided_by = $4, decided_at = now()
     WHERE id = $1 AND state = $2
 RETURNING id, reference, sku_id, place_id, state, expected, counted, value_minor, currency,
           needs_second, counted_by, counted_at, decided_by, decided_at
"""


async def move_count(
    conn: Conn, count_id: CountId, source: CountState, target: CountState, by: str
) -> Count | None:
    return one(Count, await conn.fetchrow(MOVE_COUNT, count_id, source, target, by))


RAISED = """ -- -> Raised
    SELECT xact, id, sku_id, place_id, free, safety_stock, raised_at FROM inventory.alerts
     WHERE xact >= $1 AND xact < $2 AND raised_at >= $3
     ORDER BY xact FETCH FIRST $4 ROWS WITH TIES
"""


async def raised(conn: Conn, stretch: Stretch, page_max: int) -> list[Raised]:
    where = (stretch.reached, stretch.horizon, stretch.since)
    return many(Raised, await conn.fetch(RAISED, *where, page_max))
