"""CSV in and out: RFC 4180, in UTF-8 or, as Chinese spreadsheets save it, in GB18030."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from .model import (
    CELL_CHARS_MAX,
    CellTooLong,
    CutOff,
    Row,
    SheetTooLarge,
    Unread,
    UnreadableRow,
    UnreadableText,
)

CHUNK_BYTES = 1 << 20
LINE_CHARS_MAX = 1 << 20
# With it, spreadsheets know that it is UTF-8.
BOM = codecs.BOM_UTF8
# What takes three bytes in UTF-8: all Chinese.
THREE_BYTES = re.compile("[\u0800-\U0010ffff]")
TRAIL_MIN = 0x80


def encoding_of(file: BinaryIO) -> str:
    """`utf-8-sig` or `gb18030`. Reads the whole file. Raises UnreadableText.

    UTF-8 that is broken somewhere often is GB18030 that makes no sense, and so is Latin-1. So what
    once looked like Chinese in UTF-8 is broken, and GB18030 consists mostly of common characters.
    """
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, is_utf8 = 1, file.read(len(BOM)) == BOM
    file.seek(0)
    while True:
        chunk = file.read(CHUNK_BYTES)
        ahead = decoder.getstate()[0] + chunk
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            good = ahead[: error.start].decode()
            line += good.count("\n")
            if is_utf8 or THREE_BYTES.search(good) or not _is_gb18030(file):
                told = f"Line {line} is neither UTF-8 nor GB18030."
                raise UnreadableText(told, line=line) from None
            return "gb18030"
        if not chunk:
            return "utf-8-sig"
        line += text.count("\n")
        is_utf8 = is_utf8 or THREE_BYTES.search(text) is not None


def read_rows(file: BinaryIO, encoding: str) -> Iterator[Row | Unread]:
    """Rows, the header first and empty ones left out, and what of the file cannot be read as one.

    Raises CutOff, SheetTooLarge.
    """
    csv.field_size_limit(CELL_CHARS_MAX)
    lines = _Lines(file, encoding)
    try:
        yield from _rows(lines, csv.reader(lines, strict=True))
    finally:
        lines.release()


def write_rows(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows as they are always written: quotes only where they are needed, CRLF."""
    into = io.StringIO(newline="")
    csv.writer(into).writerows(rows)
    return into.getvalue().encode()


class _Lines:
    """The lines of a file, each with its end, and no longer than a line may be."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        file.seek(0)
        self._text = io.TextIOWrapper(file, encoding=encoding, newline="\n")
        self.number = 0
        self.last = ""
        self.is_over = False

    def release(self) -> None:
        """Leave the file to who opened it, and may have closed it."""
        if not self._text.closed:
            self._text.detach()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LINE_CHARS_MAX)
        if not line:
            self.is_over = True
            raise StopIteration
        self.number += 1
        if len(line) == LINE_CHARS_MAX:
            told = f"Line {self.number} is too long."
            raise SheetTooLarge(told, line=self.number, chars_max=LINE_CHARS_MAX)
        self.last = line
        return line


def _rows(lines: _Lines, reader: Iterator[list[str]]) -> Iterator[Row | Unread]:
    width = 0
    while True:
        first = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.is_over:
                raise CutOff(f"Line {first} begins a row that has no end.", line=first) from None
            is_long = "field limit" in str(error)
            yield Unread(first, CellTooLong() if is_long else UnreadableRow())
            continue
        if len(cells) < width and not lines.last.endswith("\n"):
            raise CutOff(f"Line {first} begins a row that has no end.", line=first)
        width = width or len(cells)
        if any(cells):
            yield Row(first, cells)


def _is_gb18030(file: BinaryIO) -> bool:
    """Whether all of it can be read so, and most of its characters are in common use."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("gb18030")()
    common = other = 0
    while chunk := file.read(CHUNK_BYTES):
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError:
            return False
        for character in set(re.findall(r"[^\x00-\x7f]", text)):
            pair = character.encode("gb18030")
            if len(pair) == len("ab") and pair[1] >= TRAIL_MIN:
                common += 1
            else:
                other += 1
    return not decoder.getstate()[0] and common > other
