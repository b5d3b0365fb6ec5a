"""Hand files of goods in, follow them, and fetch the catalogue as one."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream

from api import auth
from api import sheets as told
from api.admin.changes import Changes
from api.openapi import SHEETS
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, READS_BYTES, Body, StrictRequest
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import sheets
from core.flows.import_goods import receive_goods
from core.kit import db, ids
from core.kit.refusal import Kind, Refusal
from core.kit.states import IllegalMove

NAME_MAX = 200
CSV, XLSX = SHEETS["/v1/admin/imports"]
FILE = "application/octet-stream"
FORMATS: dict[str, sheets.Format] = {CSV: "csv", XLSX: "xlsx"}

Name = Annotated[
    str,
    QueryParameter(
        min_length=1,
        max_length=NAME_MAX,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="What the file is called.",
    ),
]
IsTrial = Annotated[
    bool, QueryParameter(name="dry_run", description="Judge every row, and change nothing.")
]


class NoSheet(Refusal):
    """A sheet is sent as text/csv, or as an XLSX workbook by its media type."""

    kind = Kind.INVALID


class Reason(msgspec.Struct, frozen=True):
    """Why a whole file was refused, or could not be written, with its title in each language."""

    type: str
    detail: str
    en: str
    zh: str


class Rows(msgspec.Struct, frozen=True):
    """What became of the rows that were read: each made a SKU, changed one, or neither."""

    read: int
    made: int
    changed: int
    same: int
    refused: int


class Import(msgspec.Struct, frozen=True):
    """`encoding` is what a CSV file was read as; `bytes` is the size of the file."""

    import_id: str
    name: str
    format: str
    dry_run: bool
    state: sheets.State
    by: str
    bytes: int
    encoding: str | None
    rows: Rows
    problem: Reason | None
    created_at: datetime
    ended_at: datetime | None


class Imports(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Import]
    cursor: str | None


class NewExport(Body, frozen=True):
    format: Literal["csv", "xlsx"] = "csv"


class Export(msgspec.Struct, frozen=True):
    """`rows` are written so far; the file is there once `state` is done."""

    export_id: str
    format: str
    state: sheets.ExportState
    by: str
    rows: int
    bytes: int
    problem: Reason | None
    created_at: datetime
    ended_at: datetime | None


class Exports(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Export]
    cursor: str | None


@post(
    "/imports",
    permission="catalogue:import",
    status_code=202,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BYTES,
        NoSheet,
        sheets.TooManyImports,
    ),
)
async def hand_in(
    request: StrictRequest,
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
    name: Name,
    is_trial: IsTrial = False,
) -> Response[Import]:
    """Hand in a sheet of goods, a row a SKU. It is worked off soon after; follow it by its id.

    The same file, while it is being worked off, is the same import.
    """
    form = FORMATS.get(request.content_type[0])
    if form is None:
        raise NoSheet
    found = await receive_goods(
        pool,
        request.parts(sheets.FILE_BYTES_MAX),
        name=name,
        form=form,
        is_trial=is_trial,
        by=changes.author.by,
        author=changes.author,
    )
    where = {"Location": f"/v1/admin/imports/{found.id}"}
    return Response(shown(found), status_code=202, headers=where)


@get("/imports", permission="catalogue:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_imports(
    pool: NamedDependency[db.Pool], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Imports:
    before = after(cursor)
    async with db.reading(pool) as conn:
        found = await sheets.every(
            conn, before=None if before is None else sheets.ImportId(before), page_max=limit
        )
    items = [shown(one) for one in found]
    return Imports(items, items[-1].import_id if len(items) == limit else None)


@get(
    "/imports/{import_id:str}",
    permission="catalogue:read",
    responses=refuses(*auth.SIGNED_IN, sheets.NoSuchImport),
)
async def find_import(import_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Import:
    async with db.reading(pool) as conn:
        return await kept(conn, import_of(import_id))


@get(
    "/imports/{import_id:str}/report",
    permission="catalogue:read",
    media_type=CSV,
    responses=refuses(*auth.SIGNED_IN, sheets.NoSuchImport),
)
async def fetch_report(import_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Stream:
    """Fetch every refused row with its line and reason, in English and Chinese, as CSV."""
    wanted = import_of(import_id)
    async with db.reading(pool) as conn:
        await sheets.find(conn, import_id=wanted)
    return attached(told.report(pool, wanted), f"import-{wanted}-refused.csv", CSV)


@post(
    "/imports/{import_id:str}/cancel",
    permission="catalogue:import",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, sheets.NoSuchImport, IllegalMove),
)
async def cancel(import_id: FromPath[str], changes: NamedDependency[Changes]) -> Import:
    """Take no further row. What was taken stays."""
    wanted = import_of(import_id)
    async with changes.of("import", wanted, kept) as change:
        await sheets.cancel(change.conn, import_id=wanted)
    return change.after


@post(
    "/exports",
    permission="catalogue:export",
    status_code=202,
    responses=refuses(*auth.SIGNED_IN, *READS_BODY, sheets.TooManyExports),
)
async def want_export(
    data: JSONBody[NewExport], changes: NamedDependency[Changes]
) -> Response[Export]:
    """Ask for all goods but those that are archived. Follow it by its id, then fetch the file."""
    async with changes.adding("export", kept_export) as change:
        export = await sheets.want_export(change.conn, form=data.format, by=changes.author.by)
        change.object_id = export.id
    where = {"Location": f"/v1/admin/exports/{export.id}"}
    return Response(change.after, status_code=202, headers=where)


@get("/exports", permission="catalogue:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_exports(
    pool: NamedDependency[db.Pool], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Exports:
    before = after(cursor)
    async with db.reading(pool) as conn:
        found = await sheets.exports(
            conn, before=None if before is None else sheets.ExportId(before), page_max=limit
        )
    items = [shown_export(one) for one in found]
    return Exports(items, items[-1].export_id if len(items) == limit else None)


@get(
    "/exports/{export_id:str}",
    permission="catalogue:read",
    responses=refuses(*auth.SIGNED_IN, sheets.NoSuchExport),
)
async def find_export(export_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Export:
    async with db.reading(pool) as conn:
        return await kept_export(conn, export_of(export_id))


@get(
    "/exports/{export_id:str}/file",
    permission="catalogue:read",
    media_type=FILE,
    responses=refuses(*auth.SIGNED_IN, sheets.NoSuchExport, sheets.ExportNotWritten),
)
async def fetch_export(export_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Stream:
    """Fetch the sheet in the format that was asked for."""
    wanted = export_of(export_id)
    async with db.reading(pool) as conn:
        found = await sheets.find_export(conn, export_id=wanted)
    if found.state != sheets.ExportState.DONE:
        raise sheets.ExportNotWritten
    return attached(parts(pool, wanted), f"goods-{wanted}.{found.format}", FILE)


@post(
    "/exports/{export_id:str}/cancel",
    permission="catalogue:export",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, sheets.NoSuchExport, IllegalMove),
)
async def cancel_export(export_id: FromPath[str], changes: NamedDependency[Changes]) -> Export:
    """Write it no further: another is written in its place."""
    wanted = export_of(export_id)
    async with changes.of("export", wanted, kept_export) as change:
        await sheets.cancel_export(change.conn, export_id=wanted)
    return change.after


async def parts(pool: db.Pool, export_id: sheets.ExportId) -> AsyncIterator[bytes]:
    number = 0
    while True:
        async with db.reading(pool) as conn:
            content = await sheets.written_part(conn, export_id=export_id, number=number)
        if content is None:
            return
        yield content
        number += 1


def attached(content: AsyncIterator[bytes], name: str, media_type: str) -> Stream:
    """A download: nobody's browser shows, or guesses at, what a sheet holds."""
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
    }
    return Stream(content, media_type=media_type, headers=headers)


async def kept(conn: db.Conn, import_id: sheets.ImportId) -> Import:
    return shown(await sheets.find(conn, import_id=import_id))


async def kept_export(conn: db.Conn, export_id: sheets.ExportId) -> Export:
    return shown_export(await sheets.find_export(conn, export_id=export_id))


def shown(one: sheets.Import) -> Import:
    return Import(
        import_id=str(one.id),
        name=one.name,
        format=one.format,
        dry_run=one.is_trial,
        state=sheets.State(one.state),
        by=one.by_whom,
        bytes=one.bytes,
        encoding=one.encoding,
        rows=Rows(one.read, one.made, one.changed, one.same, one.refused),
        problem=reason(one.problem),
        created_at=one.created_at,
        ended_at=one.ended_at,
    )


def shown_export(one: sheets.Export) -> Export:
    return Export(
        export_id=str(one.id),
        format=one.format,
        state=sheets.ExportState(one.state),
        by=one.by_whom,
        rows=one.rows,
        bytes=one.bytes,
        problem=reason(one.problem),
        created_at=one.created_at,
        ended_at=one.ended_at,
    )


def reason(problem: dict[str, str] | None) -> Reason | None:
    if problem is None:
        return None
    slug = problem["reason"]
    return Reason(f"/problems/{slug}", problem["detail"], *told.titles(slug))


def import_of(text: str) -> sheets.ImportId:
    import_id = ids.parse(text)
    if import_id is None:
        raise sheets.NoSuchImport
    return sheets.ImportId(import_id)


def export_of(text: str) -> sheets.ExportId:
    export_id = ids.parse(text)
    if export_id is None:
        raise sheets.NoSuchExport
    return sheets.ExportId(export_id)


routes = Router(
    "",
    route_handlers=[
        hand_in,
        list_imports,
        find_import,
        fetch_report,
        cancel,
        want_export,
        list_exports,
        find_export,
        fetch_export,
        cancel_export,
    ],
    tags=["sheets"],
)
