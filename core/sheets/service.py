"""The verbs of imports: a file comes in, its rows wait, and what is decided of them is kept."""

from collections.abc import Sequence

from core.kit.db import Conn
from core.kit.refusal import Refusal, slug
from core.kit.states import check_move

from . import store
from .model import (
    CODE_CHARS_MAX,
    Bad,
    Counts,
    DuplicateRow,
    Format,
    Import,
    ImportId,
    NoSuchImport,
    Row,
    TooManyImports,
    Unread,
)
from .states import MOVES, State

OPEN_MAX = 20
KEPT_MAX = 200
ABANDONED_S = 3600.0
# As many rows as an SPU may have SKUs, with room for those that are too many.
SPU_ROWS_MAX = 2_000
ABOUT_CHARS_MAX = 200

Keys = tuple[str, str | None, str | None]


async def begin(conn: Conn, *, name: str, form: Format, is_trial: bool, by: str) -> ImportId:
    """Expect a file. Raises TooManyImports."""
    for import_id in await store.abandoned(conn, ABANDONED_S):
        await store.drop(conn, import_id)
    await store.prune(conn, KEPT_MAX)
    if await store.count_open(conn) >= OPEN_MAX:
        raise TooManyImports(imports_max=OPEN_MAX, retry_after_s=60)
    return await store.begin(conn, name, form, is_trial, by)


async def keep_part(conn: Conn, *, import_id: ImportId, number: int, content: bytes) -> None:
    """Keep the next part of a file, from 0 on. Raises NoSuchImport once nobody expects it."""
    if not await store.keep_part(conn, import_id, number, content):
        raise NoSuchImport


async def part(conn: Conn, *, import_id: ImportId, number: int) -> bytes | None:
    return await store.part(conn, import_id, number)


async def drop(conn: Conn, *, import_id: ImportId) -> None:
    """Forget a file that did not come in whole."""
    await store.drop(conn, import_id)


async def received(
    conn: Conn, *, import_id: ImportId, digest: bytes, size_bytes: int
) -> tuple[Import, bool]:
    """The file is here, and whether it is new: the same file is worked off once at a time."""
    held = await _hold(conn, import_id)
    twin = await store.twin(conn, digest, held.is_trial)
    if twin is not None:
        await store.drop(conn, import_id)
        return await find(conn, import_id=twin), False
    await store.know(conn, import_id, digest, size_bytes)
    await _move(conn, held, State.READING)
    return await find(conn, import_id=import_id), True


async def find(conn: Conn, *, import_id: ImportId) -> Import:
    """Raises NoSuchImport."""
    found = await store.find(conn, import_id)
    if found is None:
        raise NoSuchImport
    return found


async def every(conn: Conn, *, before: ImportId | None, page_max: int) -> list[Import]:
    """The newest first."""
    return await store.every(conn, before, page_max)


async def try_next(conn: Conn) -> Import | None:
    """The oldest import that there is something to do for, of those whose last step went well.

    The caller says when its step has gone well (`went_well`).
    """
    import_id = await store.try_next(conn)
    return None if import_id is None else await store.find(conn, import_id)


async def went_well(conn: Conn, *, import_id: ImportId) -> None:
    await store.went_well(conn, import_id)


async def hold(conn: Conn, *, import_id: ImportId, state: State) -> Import | None:
    """An import that nobody else works on meanwhile; None where it is no longer in this state."""
    found = await store.hold(conn, import_id)
    return found if found is not None and found.state == state else None


async def begin_reading(
    conn: Conn, *, import_id: ImportId, encoding: str | None, columns: Sequence[str]
) -> None:
    await store.begin_reading(conn, import_id, encoding, columns)


async def wait(
    conn: Conn,
    held: Import,
    rows: Sequence[Row],
    keys: Sequence[Keys],
    unread: Sequence[Unread],
    *,
    line: int,
) -> None:
    """Keep rows up to a line, until they are decided; what cannot be one is refused now.

    `keys` are of each row: its SPU's code, its SKU's code and its GTIN, where it has one. Of two
    rows with one of the latter, the first one counts. `held` was held where the last line ended.
    """
    waiting = await store.wait(conn, held.id, rows, keys)
    bad = [bad_row(one.line, one.refusal) for one in unread]
    for row, (spu, sku, gtin) in zip(rows, keys, strict=True):
        if row.line not in waiting:
            before = await store.first(conn, held.id, sku, gtin)
            refusal = DuplicateRow(column="sku_code", about=str(before))
            bad.append(bad_row(row.line, refusal, spu=spu, sku=sku or ""))
    await store.refuse(conn, held.id, bad)
    counts = Counts(read=len(rows) + len(unread))
    advanced = await store.advance(conn, held, line, counts, len(bad))
    assert advanced, "we hold the import"


async def read_through(conn: Conn, held: Import) -> None:
    """The file was read to its end, and is no longer needed."""
    await store.drop_parts(conn, held.id)
    await _move(conn, held, State.APPLYING)


async def refuse(conn: Conn, held: Import, refusal: Refusal) -> None:
    """Take nothing of a file, and say why."""
    facts = {name: fact for name, fact in refusal.facts.items() if fact is not None}
    await store.tell(conn, held.id, {"reason": slug(type(refusal)), "detail": str(refusal)} | facts)
    await _forget(conn, held)
    await _move(conn, held, State.REFUSED)


async def take(conn: Conn, held: Import, *, rows_max: int) -> list[Row]:
    """Rows that wait to be decided, all those of an SPU together."""
    return await store.take(conn, held.id, rows_max, SPU_ROWS_MAX)


async def decide(
    conn: Conn, held: Import, rows: Sequence[Row], counts: Counts, refused: Sequence[Bad]
) -> None:
    """What became of rows that were taken in this transaction."""
    await store.decided(conn, held.id, [row.line for row in rows])
    await store.refuse(conn, held.id, refused)
    await store.advance(conn, held, held.line, counts, len(refused))


async def finish(conn: Conn, held: Import) -> None:
    await _move(conn, held, State.DONE)


async def cancel(conn: Conn, *, import_id: ImportId) -> Import:
    """Take no further row. What was taken stays. Raises NoSuchImport, IllegalMove."""
    held = await _hold(conn, import_id)
    if held.state != State.CANCELLED:
        await _forget(conn, held)
        await _move(conn, held, State.CANCELLED)
    return await find(conn, import_id=import_id)


async def report(conn: Conn, *, import_id: ImportId, after_line: int, page_max: int) -> list[Bad]:
    """The refused rows by their lines. Raises NoSuchImport."""
    await find(conn, import_id=import_id)
    return await store.report(conn, import_id, after_line, page_max)


def bad_row(line: int, refusal: Refusal, *, spu: str = "", sku: str = "") -> Bad:
    """A refused row, for the report."""
    return Bad(
        line=line,
        spu_code=spu[:CODE_CHARS_MAX],
        sku_code=sku[:CODE_CHARS_MAX],
        at_column=str(refusal.facts.get("column", "")),
        reason=slug(type(refusal)),
        about=str(refusal.facts.get("about", ""))[:ABOUT_CHARS_MAX],
    )


async def _hold(conn: Conn, import_id: ImportId) -> Import:
    held = await store.hold(conn, import_id)
    if held is None:
        raise NoSuchImport
    return held


async def _move(conn: Conn, held: Import, target: State) -> None:
    source = State(held.state)
    check_move(MOVES, source, target)
    moved = await store.move(conn, held.id, source, target, ends=not MOVES[target])
    assert moved, "we hold the import"


async def _forget(conn: Conn, held: Import) -> None:
    await store.drop_parts(conn, held.id)
    await store.drop_waiting(conn, held.id)
