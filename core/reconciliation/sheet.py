"""A statement as a CSV file, a line a row: id, kind, reference, amount, currency, at."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import datetime

from .model import Line, LineKind, UnreadableStatement

COLUMNS = ["id", "kind", "reference", "amount", "currency", "at"]
FILE_BYTES_MAX = 16 * 1024 * 1024
LINES_MAX = 100_000
# Of what happened; near the ends of the calendar a time zone alone leads out of it.
YEARS = range(2000, 2201)

TEXT = re.compile(r"[!-~]{1,128}")
AMOUNT = re.compile(r"[1-9][0-9]{0,15}")
CURRENCY = re.compile(r"[A-Z]{3}")


def read(file: bytes) -> list[Line]:
    """`amount` is in minor units, `at` has its offset from UTC. Raises UnreadableStatement."""
    try:
        text = file.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableStatement("The file is not UTF-8.") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return list(_lines(rows))
    except csv.Error as error:
        raise UnreadableStatement(f"{error}.", line=rows.line_num) from None


def write(lines: list[Line]) -> bytes:
    into = io.StringIO(newline="")
    rows = csv.writer(into)
    rows.writerow(COLUMNS)
    for one in lines:
        at = one.moved_at.isoformat()
        rows.writerow([one.id, one.kind, one.reference, one.amount_minor, one.currency, at])
    return into.getvalue().encode()


def _lines(rows: Iterator[list[str]]) -> Iterator[Line]:
    if next(rows, None) != COLUMNS:
        raise UnreadableStatement
    for number, row in enumerate((row for row in rows if row), 1):
        if number > LINES_MAX:
            raise UnreadableStatement(f"It has more than {LINES_MAX} lines.", lines_max=LINES_MAX)
        yield _line(row, number)


def _line(row: list[str], number: int) -> Line:
    if len(row) != len(COLUMNS):
        raise _unfit(number, "cells")
    line_id, kind, reference, amount, currency, at = row
    if not TEXT.fullmatch(line_id):
        raise _unfit(number, "id")
    if kind not in set(LineKind):
        raise _unfit(number, "kind")
    if not (TEXT.fullmatch(reference) or (kind == LineKind.PAYOUT and not reference)):
        raise _unfit(number, "reference")
    if not AMOUNT.fullmatch(amount):
        raise _unfit(number, "amount")
    if not CURRENCY.fullmatch(currency):
        raise _unfit(number, "currency")
    return Line(line_id, kind, reference, int(amount), currency, _moment(at, number))


def _moment(text: str, number: int) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise _unfit(number, "at") from None
    if found.tzinfo is None or found.year not in YEARS:
        raise _unfit(number, "at")
    return found


def _unfit(number: int, column: str) -> UnreadableStatement:
    return UnreadableStatement(f"Line {number} does not fit: {column}.", line=number, column=column)
