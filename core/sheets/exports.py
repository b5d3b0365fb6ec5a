"""The verbs of exports: one is wanted, written, and fetched part by part."""

from core.kit.db import Conn
from core.kit.refusal import Refusal, slug
from core.kit.states import check_move

from . import store
from .model import Export, ExportId, Format, NoSuchExport, TooManyExports
from .states import EXPORT_MOVES, ExportState

WRITING_MAX = 5
# They are as large as the catalogue, and easily made again.
EXPORTS_KEPT_MAX = 10


async def want_export(conn: Conn, *, form: Format, by: str) -> Export:
    """Raises TooManyExports."""
    await store.prune_exports(conn, EXPORTS_KEPT_MAX)
    if await store.count_writing(conn) >= WRITING_MAX:
        raise TooManyExports(exports_max=WRITING_MAX, retry_after_s=60)
    export_id = await store.want_export(conn, form, by)
    return await find_export(conn, export_id=export_id)


async def find_export(conn: Conn, *, export_id: ExportId) -> Export:
    """Raises NoSuchExport."""
    found = await store.find_export(conn, export_id)
    if found is None:
        raise NoSuchExport
    return found


async def exports(conn: Conn, *, before: ExportId | None, page_max: int) -> list[Export]:
    """The newest first."""
    return await store.exports(conn, before, page_max)


async def export_due(conn: Conn) -> Export | None:
    """The oldest that is to be written."""
    return await store.export_due(conn)


async def count_export(conn: Conn, *, export_id: ExportId, rows: int) -> None:
    await store.count_export(conn, export_id, rows)


async def begin_export(conn: Conn, *, export_id: ExportId) -> None:
    """Forget what somebody wrote who never came to the end."""
    await store.drop_written(conn, export_id)


async def write_part(conn: Conn, *, export_id: ExportId, number: int, content: bytes) -> None:
    await store.write_part(conn, export_id, number, content)


async def written_part(conn: Conn, *, export_id: ExportId, number: int) -> bytes | None:
    return await store.written_part(conn, export_id, number)


async def end_export(
    conn: Conn, *, export_id: ExportId, size_bytes: int, refusal: Refusal | None = None
) -> None:
    """It is whole, or there is a reason why it never will be. What is cancelled stays so."""
    export = await _hold(conn, export_id)
    if export.state == ExportState.CANCELLED:
        await store.drop_written(conn, export_id)
        return
    source = ExportState(export.state)
    target = ExportState.DONE if refusal is None else ExportState.FAILED
    check_move(EXPORT_MOVES, source, target)
    problem = None
    if refusal is not None:
        problem = {"reason": slug(type(refusal)), "detail": str(refusal)}
    await store.move_export(conn, export_id, source, target, size_bytes, problem)


async def cancel_export(conn: Conn, *, export_id: ExportId) -> None:
    """Write it no further. Raises NoSuchExport, IllegalMove."""
    export = await _hold(conn, export_id)
    source, target = ExportState(export.state), ExportState.CANCELLED
    if source is target:
        return
    check_move(EXPORT_MOVES, source, target)
    await store.drop_written(conn, export_id)
    await store.move_export(conn, export_id, source, target, 0, None)


async def _hold(conn: Conn, export_id: ExportId) -> Export:
    found = await store.hold_export(conn, export_id)
    if found is None:
        raise NoSuchExport
    return found
