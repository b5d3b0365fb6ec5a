"""XLSX in and out. What comes in is looked at before it is unpacked: a workbook is a zip of XML.

openpyxl reads row by row and follows no entities (defusedxml sees to it), but it holds all shared
texts, and each row as a tree; so the sizes of both are bounded here.
"""

import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import BinaryIO, Self
from zipfile import ZipFile

import xlsxwriter
from openpyxl.packaging.manifest import Manifest
from openpyxl.reader.excel import ExcelReader
from openpyxl.xml import DEFUSEDXML
from openpyxl.xml.constants import SHARED_STRINGS

from core.kit.refusal import Refusal

from .model import (
    CELL_CHARS_MAX,
    CellTooLong,
    Row,
    SheetTooLarge,
    Unread,
    UnreadableRow,
    UnreadableWorkbook,
)

assert DEFUSEDXML, "without it, openpyxl would follow entities"
# It warns of whatever it leaves out: styles, checks, pictures. We want the texts and nothing else.
warnings.filterwarnings("ignore", module="openpyxl")

MEMBERS_MAX = 1_000
SHEET_BYTES_MAX = 1 << 30
TEXTS_BYTES_MAX = 64 << 20
OTHER_BYTES_MAX = 8 << 20
ROW_BYTES_MAX = 4 << 20
CHUNK_BYTES = 1 << 20
# What Excel can open.
CELL_CHARS_SHOWN_MAX = 32_767
ROWS_SHOWN_MAX = 1_048_576
WIDTH_CHARS = 18
# What Excel shows of a number; more digits are the noise of binary fractions.
DIGITS_SHOWN = 15

ROW_BEGINS = re.compile(rb"<(?:\w+:)?row[\s/>]")
# Where a row could seem to begin and does not: comments, CDATA, a document type, instructions.
NO_ELEMENT = re.compile(rb"<(?:!|\?(?!xml ))")
OVERLAP_BYTES = 64
ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
FAILED = frozenset(["#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"])


def read_rows(file: BinaryIO) -> Iterator[Row | Unread]:
    """Rows of the first sheet, as `text.read_rows` gives those of a CSV file.

    Raises UnreadableWorkbook, SheetTooLarge.
    """
    width = 0
    for line, values in enumerate(_guarded(_open(file)), 1):
        cells = [_text(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        width = width or len(cells)
        if any(len(cell) > CELL_CHARS_MAX for cell in cells):
            yield Unread(line, CellTooLong())
        elif FAILED.isdisjoint(cells):
            yield Row(line, cells + [""] * (width - len(cells)))
        else:
            yield Unread(line, UnreadableRow("A formula in this row failed."))


class Writer:
    """A workbook of one sheet, written row by row. It is in the file when `with` ends well."""

    def __init__(self, file: BinaryIO, header: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        options = {"constant_memory": True, "tmpdir": self._folder.name}
        self._book = xlsxwriter.Workbook(file, options)
        self._sheet = self._book.add_worksheet("goods")
        # All cells are texts, so that nobody's spreadsheet takes the zeros off a GTIN.
        as_text = self._book.add_format({"num_format": "@"})
        self._sheet.set_column(0, len(header) - 1, WIDTH_CHARS, as_text)
        self._sheet.freeze_panes(1, 0)
        self._rows = 0
        self.add([header])

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Raises CellTooLong, SheetTooLarge for what Excel could not open."""
        for row in rows:
            if self._rows == ROWS_SHOWN_MAX:
                raise SheetTooLarge("An XLSX sheet has no room for so many rows: take CSV.")
            for at, text in enumerate(row):
                if len(text) > CELL_CHARS_SHOWN_MAX:
                    raise CellTooLong("An XLSX cell has no room for so long a text: take CSV.")
                if text:
                    self._sheet.write_string(self._rows, at, text)
            self._rows += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._book.close()
        else:
            self._sheet._opt_close()  # noqa: SLF001 - it knows no other way to give up
        self._folder.cleanup()


def _open(file: BinaryIO) -> Iterator[tuple[object, ...]]:
    """The values of the first sheet, once the sizes of all that is unpacked are known."""
    with ZipFile(file) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
    if len(sizes) > MEMBERS_MAX or sizes.get("[Content_Types].xml", 0) > OTHER_BYTES_MAX:
        raise SheetTooLarge("The workbook unpacks into too much.")
    reader = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
    reader.read_manifest()
    texts = _texts_name(reader.package)
    for name, size in sizes.items():
        is_sheet = name.startswith("xl/worksheets/") and name != texts
        size_max = SHEET_BYTES_MAX if is_sheet else OTHER_BYTES_MAX
        if size > (TEXTS_BYTES_MAX if name == texts else size_max):
            told = f"{name[:100]} unpacks into too much."
            raise SheetTooLarge(told, bytes=size)
    reader.read()
    sheets = reader.wb.worksheets
    if not sheets:
        raise UnreadableWorkbook("The workbook has no sheet.")
    with sheets[0]._get_source() as source:  # noqa: SLF001 - it is what the rows are read from
        _check_rows(source)
    sheets[0].reset_dimensions()
    yield from sheets[0].iter_rows(values_only=True)


def _guarded(values: Iterator[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """What is broken breaks its reader in any way there is; we call it by one name."""
    try:
        yield from values
    except Refusal:
        raise
    except Exception as error:  # noqa: BLE001 - zip, XML and openpyxl have many names for it
        raise UnreadableWorkbook(f"The workbook is broken: {type(error).__name__}.") from None


def _texts_name(package: Manifest) -> str:
    part = package.find(SHARED_STRINGS)
    return "" if part is None else str(part.PartName[1:])


def _check_rows(source: BinaryIO) -> None:
    """Each row is held in memory as a tree, so none may be endless."""
    ahead, since = b"", 0
    while chunk := source.read(CHUNK_BYTES):
        seen = ahead + chunk
        if NO_ELEMENT.search(seen):
            raise UnreadableWorkbook("The sheet holds what no spreadsheet writes.")
        begins = [0, *(found.start() for found in ROW_BEGINS.finditer(seen)), len(seen)]
        gaps = [after - before for before, after in pairwise(begins)]
        gaps[0] += since
        if max(gaps) > ROW_BYTES_MAX:
            raise SheetTooLarge("A row of the sheet unpacks into too much.")
        ahead = seen[-OVERLAP_BYTES:]
        since = gaps[-1] if len(gaps) > 1 else gaps[0]


def _text(value: object) -> str:
    """A cell as a spreadsheet would show it, without a country's habits."""
    if isinstance(value, str):
        return ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{Decimal(f'{value:.{DIGITS_SHOWN}g}'):f}"
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return "" if value is None else str(value)
