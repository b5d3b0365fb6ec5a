"""List the products of a moved category where it stands now, so many in each transaction."""

import msgspec

from core import catalogue
from core.kit import db, outbox

TOPIC = catalogue.RELIST


async def relist(pool: db.Pool, payload: object) -> None:
    """List some, and leave a message for the rest."""
    what = msgspec.convert(payload, catalogue.Relist)
    async with db.transaction(pool) as conn:
        rest = await catalogue.relist_next(conn, what)
        await outbox.add(conn, TOPIC, [rest] if rest else [])
