"""A file that says all that stands in a place: a row a SKU, as CSV or XLSX."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO

from core import feeds, sheets

BYTES_MAX = 16 * 1024 * 1024
ROWS_MAX = 100_000
DIGITS_MAX = 10
COLUMNS = ("sku_code", "quantity")


async def read_snapshot(content: AsyncIterator[bytes], *, form: sheets.Format) -> list[feeds.Line]:
    """`content` is bounded by BYTES_MAX. Other columns than COLUMNS are left out.

    Raises feeds.UnfitMessage, sheets.SheetTooLarge, and what a file that is no sheet is refused by.
    """
    with tempfile.TemporaryFile() as file:
        async for chunk in content:
            await asyncio.to_thread(file.write, chunk)
        return await asyncio.to_thread(lambda: list(_lines(file, form)))


def _lines(file: BinaryIO, form: sheets.Format) -> Iterator[feeds.Line]:
    if form == "xlsx":
        rows = sheets.workbook.read_rows(file)
    else:
        rows = sheets.text.read_rows(file, sheets.text.encoding_of(file))
    header = next(rows, None)
    names = [cell.strip() for cell in header.cells] if isinstance(header, sheets.Row) else []
    if any(names.count(name) != 1 for name in COLUMNS):
        raise feeds.UnfitMessage("The header names `sku_code` and `quantity`, each once.")
    code_at, quantity_at = map(names.index, COLUMNS)
    for number, row in enumerate(rows, 1):
        if number > ROWS_MAX:
            raise sheets.SheetTooLarge(rows_max=ROWS_MAX)
        if isinstance(row, sheets.Unread) or len(row.cells) != len(names):
            raise feeds.UnfitMessage(f"Line {row.line} cannot be read.", line=row.line)
        code, quantity = row.cells[code_at].strip(), row.cells[quantity_at].strip()
        is_number = quantity.isascii() and quantity.isdecimal() and len(quantity) <= DIGITS_MAX
        if not is_number or not 0 < len(code) <= sheets.CODE_CHARS_MAX or "\0" in code:
            raise feeds.UnfitMessage(f"Line {row.line} is no SKU and its units.", line=row.line)
        yield feeds.Line(code, int(quantity))
