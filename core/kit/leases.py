"""Leases: one holder per role, by Postgres' clock. They save work; they never prove being alone."""

from collections.abc import Collection

from core.kit.db import Conn

# An expired lease falls to whoever asks first; a live one only to its holder. In one order, so that
# two who ask never wait for each other.
HOLD = """
    INSERT INTO kit.leases AS held (role, holder, until)
    SELECT role, $2, now() + make_interval(secs => $3) FROM unnest($1::text[]) role ORDER BY role
    ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, until = excluded.until
     WHERE held.holder = excluded.holder OR held.until < now()
 RETURNING role
"""


async def hold(conn: Conn, *, roles: Collection[str], holder: str, ttl_s: float) -> set[str]:
    """Take or renew these leases, and return which are the holder's now."""
    return {row["role"] for row in await conn.fetch(HOLD, roles, holder, ttl_s)}


DROP = "DELETE FROM kit.leases WHERE holder = $1"


async def drop(conn: Conn, *, holder: str) -> None:
    await conn.execute(DROP, holder)
