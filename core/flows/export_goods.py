"""The catalogue leaves as a sheet, page by page."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import BinaryIO, Self

from core import catalogue, sheets
from core.kit import db

PAGE_MAX = 200
TRIES_MAX = 5


async def export_goods(
    pool: db.Pool, file: BinaryIO, *, form: sheets.Format
) -> AsyncGenerator[int, None]:
    """Write all goods but those that are archived. Yield after each page how many SKUs there are.

    Each product is of one instant. Raises sheets.GoodsMoved, CellTooLong, SheetTooLarge.
    """
    for _ in range(TRIES_MAX):
        file.seek(0)
        file.truncate()
        try:
            async with aclosing(_write(pool, file, form)) as pages:
                async for written in pages:
                    yield written
        except _NoColumn:
            continue
        return
    raise sheets.GoodsMoved


async def write_template(pool: db.Pool, file: BinaryIO, *, form: sheets.Format) -> None:
    """Write a header with all that this shop asks of its goods, and no rows."""
    async with db.snapshot(pool) as conn:
        header = await catalogue.header_for_new(conn)
    with _writer(file, form, header.names):
        pass


class _NoColumn(Exception):
    """Goods now say something that the header has no column for."""


class _CsvWriter:
    def __init__(self, file: BinaryIO, header: Sequence[str]) -> None:
        self._file = file
        file.write(sheets.text.BOM)
        self.add([header])

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        self._file.write(sheets.text.write_rows(rows))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()


def _writer(
    file: BinaryIO, form: sheets.Format, header: Sequence[str]
) -> "_CsvWriter | sheets.workbook.Writer":
    return (_CsvWriter if form == "csv" else sheets.workbook.Writer)(file, header)


async def _write(pool: db.Pool, file: BinaryIO, form: sheets.Format) -> AsyncGenerator[int, None]:
    async with db.snapshot(pool) as conn:
        header = await catalogue.header_in_use(conn)
    written = 0
    after: catalogue.ProductId | None = catalogue.ProductId(0)
    with _writer(file, form, header.names) as writer:
        while after is not None:
            async with db.snapshot(pool) as conn:
                try:
                    page, after = await catalogue.rows(conn, header, after=after, page_max=PAGE_MAX)
                except KeyError:
                    raise _NoColumn from None
            await asyncio.to_thread(writer.add, page)
            written += len(page)
            yield written
