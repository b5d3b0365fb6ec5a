from collections.abc import Sequence
from typing import Any

import msgspec

from core.kit.db import Conn, many, one

from .model import Bad, Counts, Export, ExportId, Format, Import, ImportId, Row
from .states import ExportState, State

BEGIN = """
    INSERT INTO sheets.imports (name, format, is_trial, by_whom) VALUES ($1, $2, $3, $4)
 RETURNING id
"""


async def begin(conn: Conn, name: str, form: Format, is_trial: bool, by: str) -> ImportId:
    return await conn.fetchval(BEGIN, name, form, is_trial, by)


COUNT_OPEN = """
    SELECT count(*) FROM sheets.imports WHERE state IN ('receiving', 'reading', 'applying')
"""


async def count_open(conn: Conn) -> int:
    return await conn.fetchval(COUNT_OPEN)


# What is over is kept for its report, and only so many of them.
PRUNE = """
    DELETE FROM sheets.imports
     WHERE id IN (SELECT id FROM sheets.imports WHERE ended_at IS NOT NULL
                   ORDER BY ended_at DESC OFFSET $1)
"""


async def prune(conn: Conn, kept_max: int) -> None:
    await conn.execute(PRUNE, kept_max)


ABANDONED = """
    SELECT id FROM sheets.imports
     WHERE state = 'receiving' AND touched_at < now() - make_interval(secs => $1)
"""


async def abandoned(conn: Conn, after_s: float) -> list[ImportId]:
    return [row["id"] for row in await conn.fetch(ABANDONED, after_s)]


KEEP_PART = """
    WITH kept AS (
        UPDATE sheets.imports SET touched_at = now() WHERE id = $1 AND state = 'receiving'
     RETURNING id
    )
    INSERT INTO sheets.parts (import_id, number, content) SELECT id, $2, $3 FROM kept
 RETURNING true
"""


async def keep_part(conn: Conn, import_id: ImportId, number: int, content: bytes) -> bool:
    return await conn.fetchval(KEEP_PART, import_id, number, content) or False


PART = "SELECT content FROM sheets.parts WHERE import_id = $1 AND number = $2"


async def part(conn: Conn, import_id: ImportId, number: int) -> bytes | None:
    return await conn.fetchval(PART, import_id, number)


DROP_PARTS = "DELETE FROM sheets.parts WHERE import_id = $1"


async def drop_parts(conn: Conn, import_id: ImportId) -> None:
    await conn.execute(DROP_PARTS, import_id)


DROP_WAITING = "DELETE FROM sheets.waiting WHERE import_id = $1"


async def drop_waiting(conn: Conn, import_id: ImportId) -> None:
    await conn.execute(DROP_WAITING, import_id)


DROP = "DELETE FROM sheets.imports WHERE id = $1 AND state = 'receiving'"


async def drop(conn: Conn, import_id: ImportId) -> None:
    await conn.execute(DROP, import_id)


KNOW = "UPDATE sheets.imports SET digest = $2, bytes = $3 WHERE id = $1"


async def know(conn: Conn, import_id: ImportId, digest: bytes, size_bytes: int) -> None:
    await conn.execute(KNOW, import_id, digest, size_bytes)


TWIN = """
    SELECT id FROM sheets.imports
     WHERE digest = $1 AND is_trial = $2 AND state IN ('reading', 'applying')
"""


async def twin(conn: Conn, digest: bytes, is_trial: bool) -> ImportId | None:
    """The import that works off the same file."""
    return await conn.fetchval(TWIN, digest, is_trial)


FIND = """ -- -> Import
    SELECT id, name, format, is_trial, state, by_whom, bytes, encoding, columns, line, read, made,
           changed, same, refused, problem, created_at, ended_at
      FROM sheets.imports WHERE id = $1
"""


async def find(conn: Conn, import_id: ImportId) -> Import | None:
    return one(Import, await conn.fetchrow(FIND, import_id))


HOLD = """ -- -> Import
    SELECT id, name, format, is_trial, state, by_whom, bytes, encoding, columns, line, read, made,
           changed, same, refused, problem, created_at, ended_at
      FROM sheets.imports WHERE id = $1 FOR NO KEY UPDATE
"""


async def hold(conn: Conn, import_id: ImportId) -> Import | None:
    """An import that nobody else works on until the transaction ends."""
    return one(Import, await conn.fetchrow(HOLD, import_id))


# Whoever is killed by a file leaves its try behind.
TRY_NEXT = """
    UPDATE sheets.imports SET tries = tries + 1
     WHERE id = (SELECT id FROM sheets.imports WHERE state IN ('reading', 'applying')
                  ORDER BY tries, id LIMIT 1)
 RETURNING id
"""


async def try_next(conn: Conn) -> ImportId | None:
    return await conn.fetchval(TRY_NEXT)


WENT_WELL = "UPDATE sheets.imports SET tries = 0 WHERE id = $1"


async def went_well(conn: Conn, import_id: ImportId) -> None:
    await conn.execute(WENT_WELL, import_id)


EVERY = """ -- -> Import
    SELECT id, name, format, is_trial, state, by_whom, bytes, encoding, columns, line, read, made,
           changed, same, refused, problem, created_at, ended_at
      FROM sheets.imports WHERE $1::bigint IS NULL OR id < $1 ORDER BY id DESC LIMIT $2
"""


async def every(conn: Conn, before: ImportId | None, page_max: int) -> list[Import]:
    return many(Import, await conn.fetch(EVERY, before, page_max))


# Names the state we read, so a racing writer makes this match nothing.
MOVE = """
    UPDATE sheets.imports
       SET state = $3, touched_at = now(), ended_at = CASE WHEN $4 THEN now() END
     WHERE id = $1 AND state = $2
 RETURNING true
"""


async def move(
    conn: Conn, import_id: ImportId, source: State, target: State, *, ends: bool
) -> bool:
    return await conn.fetchval(MOVE, import_id, source, target, ends) or False


TELL = "UPDATE sheets.imports SET problem = $2 WHERE id = $1"


async def tell(conn: Conn, import_id: ImportId, problem: dict[str, Any]) -> None:
    await conn.execute(TELL, import_id, problem)


BEGIN_READING = """
    UPDATE sheets.imports SET encoding = $2, columns = $3 WHERE id = $1 AND columns IS NULL
"""


async def begin_reading(
    conn: Conn, import_id: ImportId, encoding: str | None, columns: Sequence[str]
) -> None:
    await conn.execute(BEGIN_READING, import_id, encoding, list(columns))


# A SKU or a GTIN that waits already keeps the second row out.
WAIT = """
    INSERT INTO sheets.waiting (import_id, line, spu_code, sku_code, gtin, cells)
    SELECT $1, line, spu_code, sku_code, gtin, cells
      FROM jsonb_to_recordset($2::jsonb)
        AS told (line bigint, spu_code text, sku_code text, gtin text, cells jsonb)
     ORDER BY line
    ON CONFLICT DO NOTHING
 RETURNING line
"""


async def wait(
    conn: Conn,
    import_id: ImportId,
    rows: Sequence[Row],
    keys: Sequence[tuple[str, str | None, str | None]],
) -> set[int]:
    """`keys` are of each row: its SPU's code, its SKU's code, its GTIN. Return what waits now."""
    told = [
        {"line": row.line, "spu_code": spu, "sku_code": sku, "gtin": gtin, "cells": row.cells}
        for row, (spu, sku, gtin) in zip(rows, keys, strict=True)
    ]
    return {row["line"] for row in await conn.fetch(WAIT, import_id, told)}


FIRST = """
    SELECT least((SELECT line FROM sheets.waiting WHERE import_id = $1 AND sku_code = $2),
                 (SELECT line FROM sheets.waiting WHERE import_id = $1 AND gtin = $3))
"""


async def first(conn: Conn, import_id: ImportId, sku: str | None, gtin: str | None) -> int:
    """The line that keeps a SKU or a GTIN out."""
    return await conn.fetchval(FIRST, import_id, sku, gtin) or 0


REFUSE = """
    INSERT INTO sheets.refused (import_id, line, spu_code, sku_code, at_column, reason, about)
    SELECT $1, line, spu_code, sku_code, at_column, reason, about
      FROM jsonb_to_recordset($2::jsonb)
        AS told (line bigint, spu_code text, sku_code text, at_column text, reason text, about text)
"""


async def refuse(conn: Conn, import_id: ImportId, bad: Sequence[Bad]) -> None:
    await conn.execute(REFUSE, import_id, msgspec.to_builtins(bad))


ADVANCE = """
    UPDATE sheets.imports
       SET line = $3, read = read + $4, made = made + $5, changed = changed + $6, same = same + $7,
           refused = refused + $8, touched_at = now()
     WHERE id = $1 AND line = $2
 RETURNING true
"""


async def advance(conn: Conn, held: Import, line: int, counts: Counts, refused: int) -> bool:
    facts = (counts.read, counts.made, counts.changed, counts.same, refused)
    return await conn.fetchval(ADVANCE, held.id, held.line, line, *facts) or False


# The SPUs of the next rows in the file, and of these so many as fit with all their rows, wherever
# they stand. The first one always fits.
TAKE = """ -- -> Row
    WITH ahead AS (
        SELECT spu_code, line FROM sheets.waiting WHERE import_id = $1 ORDER BY line LIMIT $2
    ), spus AS (
        SELECT spu_code, min(line) AS first FROM ahead GROUP BY spu_code
    ), sized AS (
        SELECT spu_code, first, sum(size) OVER (ORDER BY first) - size AS before
          FROM spus, LATERAL (
              SELECT count(*) AS size
                FROM (SELECT FROM sheets.waiting
                       WHERE import_id = $1 AND waiting.spu_code = spus.spu_code LIMIT $3) AS its
          ) AS counted
    )
    SELECT line, cells FROM sized JOIN sheets.waiting USING (spu_code)
     WHERE import_id = $1 AND before < $2
     ORDER BY first, line LIMIT $3
"""


async def take(conn: Conn, import_id: ImportId, rows_max: int, spu_max: int) -> list[Row]:
    """About `rows_max` rows; `spu_max` bounds how many more an SPU may bring."""
    return many(Row, await conn.fetch(TAKE, import_id, rows_max, rows_max + spu_max))


DECIDED = "DELETE FROM sheets.waiting WHERE import_id = $1 AND line = ANY($2::bigint[])"


async def decided(conn: Conn, import_id: ImportId, lines: Sequence[int]) -> None:
    await conn.execute(DECIDED, import_id, lines)


REPORT = """ -- -> Bad
    SELECT line, spu_code, sku_code, at_column, reason, about FROM sheets.refused
     WHERE import_id = $1 AND line > $2 ORDER BY line LIMIT $3
"""


async def report(conn: Conn, import_id: ImportId, after: int, page_max: int) -> list[Bad]:
    return many(Bad, await conn.fetch(REPORT, import_id, after, page_max))


# Only what is over is given up, with its file.
PRUNE_EXPORTS = """
    DELETE FROM sheets.exports
     WHERE id IN (SELECT id FROM sheets.exports WHERE ended_at IS NOT NULL
                   ORDER BY ended_at DESC OFFSET $1)
"""


async def prune_exports(conn: Conn, kept_max: int) -> None:
    await conn.execute(PRUNE_EXPORTS, kept_max)


COUNT_WRITING = "SELECT count(*) FROM sheets.exports WHERE state = 'writing'"


async def count_writing(conn: Conn) -> int:
    return await conn.fetchval(COUNT_WRITING)


WANT_EXPORT = "INSERT INTO sheets.exports (format, by_whom) VALUES ($1, $2) RETURNING id"


async def want_export(conn: Conn, form: Format, by: str) -> ExportId:
    return await conn.fetchval(WANT_EXPORT, form, by)


FIND_EXPORT = """ -- -> Export
    SELECT id, format, state, by_whom, rows, bytes, problem, created_at, ended_at
      FROM sheets.exports WHERE id = $1
"""


async def find_export(conn: Conn, export_id: ExportId) -> Export | None:
    return one(Export, await conn.fetchrow(FIND_EXPORT, export_id))


HOLD_EXPORT = """ -- -> Export
    SELECT id, format, state, by_whom, rows, bytes, problem, created_at, ended_at
      FROM sheets.exports WHERE id = $1 FOR UPDATE
"""


async def hold_export(conn: Conn, export_id: ExportId) -> Export | None:
    return one(Export, await conn.fetchrow(HOLD_EXPORT, export_id))


EXPORTS = """ -- -> Export
    SELECT id, format, state, by_whom, rows, bytes, problem, created_at, ended_at
      FROM sheets.exports WHERE $1::bigint IS NULL OR id < $1 ORDER BY id DESC LIMIT $2
"""


async def exports(conn: Conn, before: ExportId | None, page_max: int) -> list[Export]:
    return many(Export, await conn.fetch(EXPORTS, before, page_max))


EXPORT_DUE = """ -- -> Export
    SELECT id, format, state, by_whom, rows, bytes, problem, created_at, ended_at
      FROM sheets.exports WHERE state = 'writing' ORDER BY id LIMIT 1
"""


async def export_due(conn: Conn) -> Export | None:
    return one(Export, await conn.fetchrow(EXPORT_DUE))


COUNT_EXPORT = "UPDATE sheets.exports SET rows = $2 WHERE id = $1 AND state <> 'cancelled'"


async def count_export(conn: Conn, export_id: ExportId, rows: int) -> None:
    await conn.execute(COUNT_EXPORT, export_id, rows)


DROP_WRITTEN = "DELETE FROM sheets.written WHERE export_id = $1"


async def drop_written(conn: Conn, export_id: ExportId) -> None:
    await conn.execute(DROP_WRITTEN, export_id)


WRITE_PART = "INSERT INTO sheets.written (export_id, number, content) VALUES ($1, $2, $3)"


async def write_part(conn: Conn, export_id: ExportId, number: int, content: bytes) -> None:
    await conn.execute(WRITE_PART, export_id, number, content)


WRITTEN_PART = "SELECT content FROM sheets.written WHERE export_id = $1 AND number = $2"


async def written_part(conn: Conn, export_id: ExportId, number: int) -> bytes | None:
    return await conn.fetchval(WRITTEN_PART, export_id, number)


# Names the state we read, so a racing writer makes this match nothing.
MOVE_EXPORT = """
    UPDATE sheets.exports SET state = $3, bytes = $4, problem = $5, ended_at = now()
     WHERE id = $1 AND state = $2
"""


async def move_export(
    conn: Conn,
    export_id: ExportId,
    source: ExportState,
    target: ExportState,
    size_bytes: int,
    problem: dict[str, Any] | None,
) -> None:
    await conn.execute(MOVE_EXPORT, export_id, source, target, size_bytes, problem)
