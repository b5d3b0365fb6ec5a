from collections.abc import Mapping, Sequence

from core.kit.db import Conn

PUT = """
    WITH moved AS (
        INSERT INTO inventory.stock AS stock (sku_id, on_hand)
        SELECT * FROM unnest($1::bigint[], $2::bigint[]) ORDER BY 1
        ON CONFLICT (sku_id) DO UPDATE SET on_hand = stock.on_hand + excluded.on_hand
     RETURNING sku_id
    )
    INSERT INTO inventory.movements (sku_id, quantity, reason, reference)
    SELECT wanted.sku_id, wanted.quantity, $3, $4
      FROM unnest($1::bigint[], $2::bigint[]) AS wanted (sku_id, quantity)
      JOIN moved USING (sku_id)
"""


async def put(conn: Conn, units: Mapping[int, int], reason: str, reference: str) -> None:
    await conn.execute(PUT, list(units), list(units.values()), reason, reference)


# The guard sits in the WHERE clause, so two takers can never both have the last unit. Rows are
# locked in one order, as putting does, so that nobody waits in a ring.
TAKE = """
    WITH held AS (
        SELECT sku_id FROM inventory.stock WHERE sku_id = ANY($1::bigint[])
         ORDER BY sku_id FOR UPDATE
    ), moved AS (
        UPDATE inventory.stock SET on_hand = on_hand - wanted.quantity
          FROM unnest($1::bigint[], $2::bigint[]) AS wanted (sku_id, quantity)
          JOIN held USING (sku_id)
         WHERE stock.sku_id = wanted.sku_id AND on_hand >= wanted.quantity
     RETURNING stock.sku_id, wanted.quantity
    )
    INSERT INTO inventory.movements (sku_id, quantity, reason, reference)
    SELECT sku_id, -quantity, $3, $4 FROM moved
 RETURNING sku_id
"""


async def take(conn: Conn, units: Mapping[int, int], reason: str, reference: str) -> set[int]:
    rows = await conn.fetch(TAKE, list(units), list(units.values()), reason, reference)
    return {row["sku_id"] for row in rows}


ON_HAND = "SELECT sku_id, on_hand FROM inventory.stock WHERE sku_id = ANY($1::bigint[])"


async def on_hand(conn: Conn, sku_ids: Sequence[int]) -> dict[int, int]:
    return {row["sku_id"]: row["on_hand"] for row in await conn.fetch(ON_HAND, sku_ids)}
