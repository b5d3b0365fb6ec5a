"""Proves the log of staff as it grows, and tells where it came to.

What it remembers, and what it tells to the log of its process, is out of the database's reach: a
log of staff that is cut short is found by it, as one that is rewritten is found by its seals. Its
last word stands in the database too, for the metrics and for whoever asks after our health.
"""

import asyncio

import structlog

from core import staff
from core.kit import db

REST_S = 10.0
WHOLE_REST_S = 3_600.0

log = structlog.get_logger()


class Notary:
    def __init__(self, pool: db.Pool, sealer: staff.Sealer) -> None:
        self._pool = pool
        self._sealer = sealer
        self._clock = asyncio.get_running_loop().time
        self._whole_due = 0.0
        self._known = staff.START

    async def step(self) -> bool:
        """Prove what is new; everything once an hour, and to name the first note that is wrong."""
        is_whole = self._clock() >= self._whole_due
        found = await self._prove(staff.START if is_whole else self._known)
        if found.note_id is not None and not is_whole:
            found = await self._prove(staff.START)
        async with db.transaction(self._pool) as conn:
            await staff.record_proof(conn, found)
        if found.note_id is not None:
            log.error("staff_log_broken", what=found.what)
            return False
        if is_whole:
            self._whole_due = self._clock() + WHOLE_REST_S
        if found.last != self._known:
            self._known = found.last
            log.info("staff_log", checkpoint=f"{found.last.note_id}:{found.last.seal.hex()}")
        return False

    async def _prove(self, since: staff.Checkpoint) -> staff.Finding:
        known = [self._known] if self._known != staff.START else []
        async with db.snapshot(self._pool) as conn:
            return await staff.verify(conn, self._sealer, checkpoints=known, since=since)
