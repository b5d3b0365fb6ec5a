from datetime import datetime
from typing import Any, Literal, NewType, TypeAlias

import msgspec

from core.kit.refusal import Kind, Refusal

ImportId = NewType("ImportId", int)
ExportId = NewType("ExportId", int)
Format: TypeAlias = Literal["csv", "xlsx"]

FILE_BYTES_MAX = 256 * 1024 * 1024
ROWS_MAX = 1_000_000
CELL_CHARS_MAX = 50_000
# What is longer is the code of nothing.
CODE_CHARS_MAX = 64


class Import(msgspec.Struct, frozen=True):
    """`line` is the last one that was read; `read` counts rows, and the four after it what became
    of them. `problem` says why a whole file was refused: {"reason", "detail", ...facts}.
    """

    id: ImportId
    name: str
    format: str
    is_trial: bool
    state: str
    by_whom: str
    bytes: int
    encoding: str | None
    columns: list[str] | None
    line: int
    read: int
    made: int
    changed: int
    same: int
    refused: int
    problem: Any
    created_at: datetime
    ended_at: datetime | None


class Export(msgspec.Struct, frozen=True):
    """`problem` says why it could not be written: {"reason", "detail"}."""

    id: ExportId
    format: str
    state: str
    by_whom: str
    rows: int
    bytes: int
    problem: Any
    created_at: datetime
    ended_at: datetime | None


class Row(msgspec.Struct, frozen=True):
    """`line` is where it begins in the file, from 1 on."""

    line: int
    cells: list[str]


class Unread(msgspec.Struct, frozen=True):
    """Where a row begins that is none, and why."""

    line: int
    refusal: Refusal


class Bad(msgspec.Struct, frozen=True):
    """A row of the file that was not taken: in which column, why, and what was expected there."""

    line: int
    spu_code: str
    sku_code: str
    at_column: str
    reason: str
    about: str


class Counts(msgspec.Struct, frozen=True):
    """What became of some rows."""

    read: int = 0
    made: int = 0
    changed: int = 0
    same: int = 0


class NoSuchImport(Refusal):
    """There is no such import."""

    kind = Kind.NOT_FOUND


class NoSuchExport(Refusal):
    """There is no such export."""

    kind = Kind.NOT_FOUND


class TooManyExports(Refusal):
    """Too many exports wait to be written. Wait until one is done."""

    kind = Kind.TOO_MANY


class ExportNotWritten(Refusal):
    """The export is not written, or not yet: its state says which."""

    kind = Kind.CONFLICT


class TooManyImports(Refusal):
    """Too many files wait to be imported. Wait until one is done."""

    kind = Kind.TOO_MANY


class SheetTooLarge(Refusal):
    """The file is larger than a sheet may be."""

    kind = Kind.TOO_LARGE


class GoodsMoved(Refusal):
    """The goods changed too often while they were written down. Ask again."""

    kind = Kind.UNAVAILABLE


class EmptySheet(Refusal):
    """The file has no header, or no rows below it."""

    kind = Kind.INVALID


class UnreadableText(Refusal):
    """The file is neither UTF-8 nor GB18030."""

    kind = Kind.INVALID


class UnreadableWorkbook(Refusal):
    """The file is no XLSX workbook that can be read safely."""

    kind = Kind.INVALID


class CutOff(Refusal):
    """The file ends in the middle of a row."""

    kind = Kind.INVALID


class UnreadableRow(Refusal):
    """The row cannot be read: look at its quotation marks and its characters."""

    kind = Kind.INVALID


class WrongCellCount(Refusal):
    """The row has not as many cells as there are columns."""

    kind = Kind.INVALID


class CellTooLong(Refusal):
    """A cell is longer than any cell may be."""

    kind = Kind.INVALID


class DuplicateRow(Refusal):
    """An earlier row has this SKU or this GTIN already."""

    kind = Kind.CONFLICT
