"""The catalogue leaves as a sheet, page by page."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import BinaryIO

from core import catalogue, sheets
from core.kit import db

PAGE_MAX = 200
TRIES_MAX = 5


async def export_goods(
    pool: db.Pool, file: BinaryIO, *, form: sheets.Format, tell: Callable[[int], None]
) -> int:
    """Write all goods but those that are archived. Return how many SKUs; `tell` hears meanwhile.

    Each product is of one instant. Raises sheets.GoodsMoved, CellTooLong, SheetTooLarge.
    """
    for _ in range(TRIES_MAX):
        file.seek(0)
        file.truncate()
        try:
            return await _write(pool, file, form, tell)
        except _NoColumn:
            continue
    raise sheets.GoodsMoved


async def write_template(pool: db.Pool, file: BinaryIO, *, form: sheets.Format) -> None:
    """Write a header with all that this shop asks of its goods, and no rows."""
    async with db.snapshot(pool) as conn:
        header = await catalogue.header_for_new(conn)
    _writer(file, form, header.names).close()


class _NoColumn(Exception):
    """Goods now say something that the header has no column for."""


class _CsvWriter:
    def __init__(self, file: BinaryIO, header: Sequence[str]) -> None:
        self._file = file
        file.write(sheets.text.BOM)
        self.add([header])

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        self._file.write(sheets.text.write_rows(rows))

    def close(self) -> None:
        self._file.flush()


def _writer(
    file: BinaryIO, form: sheets.Format, header: Sequence[str]
) -> "_CsvWriter | sheets.workbook.Writer":
    return (_CsvWriter if form == "csv" else sheets.workbook.Writer)(file, header)


async def _write(
    pool: db.Pool, file: BinaryIO, form: sheets.Format, tell: Callable[[int], None]
) -> int:
    async with db.snapshot(pool) as conn:
        header = await catalogue.header_in_use(conn)
    writer, written = _writer(file, form, header.names), 0
    async for page in _pages(pool, header):
        await asyncio.to_thread(writer.add, page)
        written += len(page)
        tell(written)
    await asyncio.to_thread(writer.close)
    return written


async def _pages(pool: db.Pool, header: catalogue.Columns) -> AsyncIterator[list[list[str]]]:
    after: catalogue.ProductId | None = catalogue.ProductId(0)
    while after is not None:
        async with db.snapshot(pool) as conn:
            try:
                page, after = await catalogue.rows(conn, header, after=after, page_max=PAGE_MAX)
            except KeyError:
                raise _NoColumn from None
        yield page
