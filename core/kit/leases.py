"""Leases: one holder per role, by Postgres' clock. They save work; they never prove being alone."""

from core.kit.db import Conn

# An expired lease falls to whoever asks first; a live one only to its holder.
HOLD = """
    INSERT INTO kit.leases AS held (role, holder, until)
    VALUES ($1, $2, now() + make_interval(secs => $3))
    ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, until = excluded.until
     WHERE held.holder = excluded.holder OR held.until < now()
 RETURNING true
"""


async def hold(conn: Conn, *, role: str, holder: str, ttl_s: float) -> bool:
    """Take or renew the lease; false while somebody else holds it."""
    return bool(await conn.fetchval(HOLD, role, holder, ttl_s))


DROP = "DELETE FROM kit.leases WHERE role = $1 AND holder = $2"


async def drop(conn: Conn, *, role: str, holder: str) -> None:
    await conn.execute(DROP, role, holder)
