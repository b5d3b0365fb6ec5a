"""Writes the sheets of goods that staff ask for, one after the other.

A sheet grows in a file of our own and is handed over when it is whole; who goes on after a crash
begins it anew.
"""

import tempfile
from contextlib import suppress
from typing import BinaryIO, cast

from core import sheets
from core.flows.export_goods import export_goods
from core.flows.import_goods import PART_BYTES
from core.kit import db
from core.kit.refusal import Refusal

REST_S = 0.5
PAGES_MAX = 5


class Exporter:
    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool
        self._writing: _Writing | None = None

    async def step(self) -> bool:
        """Some pages of the oldest sheet."""
        async with db.reading(self._pool) as conn:
            due = await sheets.export_due(conn)
        if due is None:
            await self._close()
            return False
        if self._writing is None or self._writing.export.id != due.id:
            await self._close()
            self._writing = _Writing(self._pool, due)
        try:
            await self._writing.step()
        except BaseException:
            await self._close()
            raise
        return True

    async def _close(self) -> None:
        if self._writing is not None:
            await self._writing.close()
            self._writing = None


class _Writing:
    def __init__(self, pool: db.Pool, export: sheets.Export) -> None:
        self.export = export
        self._pool = pool
        self._file: BinaryIO = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - `close`
        form: sheets.Format = "csv" if export.format == "csv" else "xlsx"
        self._rows = export_goods(pool, self._file, form=form)

    async def step(self) -> None:
        rows = 0
        try:
            for _ in range(PAGES_MAX):
                rows = await anext(self._rows)
        except StopAsyncIteration:
            await self._hand_over()
        except Refusal as refusal:
            async with db.transaction(self._pool) as conn:
                await sheets.end_export(
                    conn, export_id=self.export.id, size_bytes=0, refusal=refusal
                )
        if rows:
            async with db.transaction(self._pool) as conn:
                await sheets.count_export(conn, export_id=self.export.id, rows=rows)

    async def _hand_over(self) -> None:
        async with db.transaction(self._pool) as conn:
            await sheets.begin_export(conn, export_id=self.export.id)
        self._file.seek(0)
        number, size_bytes = 0, 0
        while content := self._file.read(PART_BYTES):
            async with db.transaction(self._pool) as conn:
                await sheets.write_part(
                    conn, export_id=self.export.id, number=number, content=content
                )
            number, size_bytes = number + 1, size_bytes + len(content)
        async with db.transaction(self._pool) as conn:
            await sheets.end_export(conn, export_id=self.export.id, size_bytes=size_bytes)

    async def close(self) -> None:
        with suppress(RuntimeError):
            await self._rows.aclose()
        self._file.close()
