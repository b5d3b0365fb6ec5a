"""Works off the files of goods that staff hand in, one after the other.

One that keeps failing, for whatever reason, lets all others pass.
"""

from core import sheets
from core.flows.import_goods import LostPlace, Reading, apply_goods
from core.kit import db

REST_S = 0.5


class Importer:
    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool
        self._reading: tuple[sheets.ImportId, Reading] | None = None

    async def step(self) -> bool:
        """A batch of the oldest file, after those whose last batch went well."""
        async with db.transaction(self._pool) as conn:
            due = await sheets.try_next(conn)
        if due is None or due.state != sheets.State.READING:
            self._close()
        if due is None:
            return False
        if due.state == sheets.State.APPLYING:
            await apply_goods(self._pool, import_id=due.id)
        else:
            await self._read(due.id)
        async with db.transaction(self._pool) as conn:
            await sheets.went_well(conn, import_id=due.id)
        return True

    async def _read(self, import_id: sheets.ImportId) -> None:
        if self._reading is None or self._reading[0] != import_id:
            self._close()
            self._reading = (import_id, Reading(self._pool, import_id))
        try:
            await self._reading[1].step()
        except LostPlace:
            self._close()
        except BaseException:
            # Rows that were taken from the file and not kept are read again.
            self._close()
            raise

    def _close(self) -> None:
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None
