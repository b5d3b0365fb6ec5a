"""A file of goods is taken into the catalogue: its rows are read and kept, then decided.

Both go by batches, a transaction each, in which the rows of the batch and the place in the file
move together; so whoever goes on after a crash goes on exactly there.
"""

import asyncio
import hashlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import BinaryIO

from core import catalogue, sheets, staff
from core.kit import db
from core.kit.refusal import Refusal

READ_MAX = 1_000
APPLY_MAX = 500
PART_BYTES = 1 << 20

Found = sheets.Row | sheets.Unread


async def receive_goods(
    pool: db.Pool,
    content: AsyncIterator[bytes],
    *,
    name: str,
    form: sheets.Format,
    is_trial: bool,
    by: str,
    author: staff.Author | None = None,
) -> sheets.Import:
    """Keep a file, to be imported soon. One that waits already is not kept twice.

    Raises sheets.SheetTooLarge, TooManyImports; and whatever `content` does, with nothing kept.
    """
    async with db.transaction(pool) as conn:
        import_id = await sheets.begin(conn, name=name, form=form, is_trial=is_trial, by=by)
    try:
        digest, size_bytes = await _keep_file(pool, content, import_id)
        async with db.transaction(pool) as conn:
            found, is_new = await sheets.received(
                conn, import_id=import_id, digest=digest, size_bytes=size_bytes
            )
            if is_new:
                told = {"name": name, "sha256": digest.hex(), "is_trial": is_trial}
                object_id = str(found.id)
                await staff.note(conn, author, kind="import", object_id=object_id, after=told)
            return found
    except BaseException:
        async with db.transaction(pool) as conn:
            await sheets.drop(conn, import_id=import_id)
        raise


async def apply_goods(pool: db.Pool, *, import_id: sheets.ImportId) -> None:
    """Decide a batch of rows that wait, or finish where none does."""
    async with db.transaction(pool) as conn:
        held = await sheets.hold(conn, import_id=import_id, state=sheets.State.APPLYING)
        if held is None:
            return
        rows = await sheets.take(conn, held, rows_max=APPLY_MAX)
        if not rows:
            await sheets.finish(conn, held)
            return
        header = catalogue.read_header(held.columns or ())
        lines = [catalogue.Line(row.line, row.cells) for row in rows]
        verdicts = await catalogue.put_many(conn, header, lines, is_trial=held.is_trial)
        cells = {row.line: row.cells for row in rows}
        refused = [
            sheets.bad_row(
                one.line,
                one.refusal,
                spu=cells[one.line][header.at[catalogue.SPU]],
                sku=cells[one.line][header.at[catalogue.SKU]],
            )
            for one in verdicts
            if one.refusal is not None
        ]
        done = Counter(one.done for one in verdicts)
        counts = sheets.Counts(made=done["made"], changed=done["changed"], same=done["same"])
        await sheets.decide(conn, held, rows, counts, refused)


class Reading:
    """A file that is being read: its rows from the first that is not kept yet."""

    def __init__(self, pool: db.Pool, import_id: sheets.ImportId) -> None:
        self._pool = pool
        self._import_id = import_id
        self._file: BinaryIO | None = None
        self._rows: Iterator[Found] = iter(())
        self._line = 0
        self._header: catalogue.Columns | None = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    async def step(self) -> None:
        """Keep a batch of rows. A file that is no sheet of goods is refused, whole."""
        try:
            if self._header is None:
                await self._open()
            found = await asyncio.to_thread(lambda: list(islice(self._rows, READ_MAX)))
            new = [one for one in found if one.line > self._line]
            if new or not found:
                await self._keep(new)
        except Refusal as refusal:
            await self._refuse(refusal)

    async def _open(self) -> None:
        async with db.reading(self._pool) as conn:
            found = await sheets.find(conn, import_id=self._import_id)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` ends it
        await _fetch(self._pool, self._file, self._import_id)
        encoding, self._rows = await asyncio.to_thread(_rows_of, self._file, found.format)
        header = await asyncio.to_thread(next, self._rows, None)
        if not isinstance(header, sheets.Row):
            raise sheets.EmptySheet
        self._header = catalogue.read_header(header.cells)
        async with db.transaction(self._pool) as conn:
            await catalogue.check_header(conn, self._header)
            await sheets.begin_reading(
                conn, import_id=self._import_id, encoding=encoding, columns=header.cells
            )
        self._line = found.line

    async def _keep(self, found: list[Found]) -> None:
        assert self._header is not None
        rows, unread = _sorted_out(found, self._header)
        async with db.transaction(self._pool) as conn:
            held = await sheets.hold(conn, import_id=self._import_id, state=sheets.State.READING)
            if held is None or held.line != self._line:
                raise LostPlace
            if not found:
                if not held.read:
                    raise sheets.EmptySheet
                await sheets.read_through(conn, held)
                return
            if held.read + len(found) > sheets.ROWS_MAX:
                raise sheets.SheetTooLarge(rows_max=sheets.ROWS_MAX)
            keys = [_keys(row, self._header) for row in rows]
            self._line = found[-1].line
            await sheets.wait(conn, held, rows, keys, unread, line=self._line)

    async def _refuse(self, refusal: Refusal) -> None:
        async with db.transaction(self._pool) as conn:
            held = await sheets.hold(conn, import_id=self._import_id, state=sheets.State.READING)
            if held is not None:
                await sheets.refuse(conn, held, refusal)


class LostPlace(Exception):
    """Somebody else read on, or ended the import: begin anew with what is kept now."""


async def _keep_file(
    pool: db.Pool, content: AsyncIterator[bytes], import_id: sheets.ImportId
) -> tuple[bytes, int]:
    """Keep a file part by part. Return its SHA-256 and its size."""
    digest, size_bytes, number = hashlib.sha256(), 0, 0
    waiting = bytearray()
    async for chunk in content:
        size_bytes += len(chunk)
        if size_bytes > sheets.FILE_BYTES_MAX:
            raise sheets.SheetTooLarge(bytes_max=sheets.FILE_BYTES_MAX)
        digest.update(chunk)
        waiting += chunk
        while len(waiting) >= PART_BYTES:
            await _keep_part(pool, import_id, number, bytes(waiting[:PART_BYTES]))
            del waiting[:PART_BYTES]
            number += 1
    await _keep_part(pool, import_id, number, bytes(waiting))
    return digest.digest(), size_bytes


async def _keep_part(
    pool: db.Pool, import_id: sheets.ImportId, number: int, content: bytes
) -> None:
    async with db.transaction(pool) as conn:
        await sheets.keep_part(conn, import_id=import_id, number=number, content=content)


async def _fetch(pool: db.Pool, file: BinaryIO, import_id: sheets.ImportId) -> None:
    number = 0
    while True:
        async with db.reading(pool) as conn:
            content = await sheets.part(conn, import_id=import_id, number=number)
        if content is None:
            return
        file.write(content)
        number += 1


def _rows_of(file: BinaryIO, form: str) -> tuple[str | None, Iterator[Found]]:
    if form == "xlsx":
        return None, sheets.workbook.read_rows(file)
    encoding = sheets.text.encoding_of(file)
    return encoding, sheets.text.read_rows(file, encoding)


def _sorted_out(
    found: list[Found], header: catalogue.Columns
) -> tuple[list[sheets.Row], list[sheets.Unread]]:
    """What can be kept as a row, and what cannot."""
    rows, unread = [], []
    for one in found:
        if isinstance(one, sheets.Unread):
            unread.append(one)
        elif len(one.cells) != len(header.names):
            about = f"{len(one.cells)} / {len(header.names)}"
            unread.append(sheets.Unread(one.line, sheets.WrongCellCount(about=about)))
        elif not all(_can_be_kept(cell) for cell in one.cells):
            unread.append(sheets.Unread(one.line, sheets.UnreadableRow()))
        else:
            rows.append(one)
    return rows, unread


def _can_be_kept(cell: str) -> bool:
    """Neither NUL nor half of a surrogate pair: no text column can hold them."""
    return "\0" not in cell and (
        cell.isascii() or not any("\ud800" <= one <= "\udfff" for one in cell)
    )


def _keys(row: sheets.Row, header: catalogue.Columns) -> tuple[str, str | None, str | None]:
    """By what rows are told apart. What is no code, or no GTIN, is refused later."""
    at = header.at.get("gtin")
    gtin = row.cells[at] if at is not None else ""
    spu, sku = (row.cells[header.at[name]] for name in (catalogue.SPU, catalogue.SKU))
    return (
        spu[: sheets.CODE_CHARS_MAX],
        sku if 0 < len(sku) <= sheets.CODE_CHARS_MAX else None,
        catalogue.gtin_14(gtin) if catalogue.is_gtin(gtin) else None,
    )
