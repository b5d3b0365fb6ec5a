from core.kit.db import Conn

ENROL_RANGE = """
    INSERT INTO members.members (id)
    SELECT generate_series($1::bigint, $1::bigint + $2::bigint - 1)
    ON CONFLICT (id) DO NOTHING
"""


async def enrol_range(conn: Conn, first: int, count: int) -> None:
    await conn.execute(ENROL_RANGE, first, count)
