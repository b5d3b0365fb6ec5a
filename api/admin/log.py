"""Read what staff changed, and prove that nobody has rewritten it."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api import auth
from api.problems import InvalidValue, refuses
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import staff
from core.kit import db

OBJECT_MAX = 200
NAME_MAX = 64
# What is verified while somebody waits; `sluice staff verify` goes back to the first.
VERIFIED_MAX = 20_000

AboutObject = Annotated[
    str | None,
    QueryParameter(
        name="object",
        pattern=r"^[a-z]+:[^\x00]+$(?!\n)",
        max_length=OBJECT_MAX,
        description="Only what became of one object, such as `product:7`.",
    ),
]
ByPerson = Annotated[
    str | None,
    QueryParameter(
        pattern=r"^[!-~]+$(?!\n)", max_length=NAME_MAX, description="Only what one person did."
    ),
]


class Note(msgspec.Struct, frozen=True):
    """`before` and `after` hold the members that differ; each is null where there was nothing."""

    note_id: str
    noted_at: datetime
    by: str
    permission: str
    action: str
    object: str
    change: dict[str, Any]
    request_id: str
    seal: str


class Notes(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Note]
    cursor: str | None


class Verdict(msgspec.Struct, frozen=True):
    """`checked` of the newest notes were as they were written; `broken` names the first other."""

    checked: int
    checkpoint: str
    broken: str | None
    detail: str


@get("/log", permission="staff:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def listing(
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
    about: AboutObject = None,
    by: ByPerson = None,
) -> Notes:
    """List what staff changed."""
    of = None if about is None else object_of(about)
    async with db.reading(pool) as conn:
        found = await staff.notes(conn, before=after(cursor), page_max=limit, of=of, by=by)
    items = [shown(note) for note in found]
    return Notes(items, items[-1].note_id if len(items) == limit else None)


@get("/log/verify", permission="staff:read", responses=refuses(*auth.SIGNED_IN))
async def verify(pool: NamedDependency[db.Pool], sealer: NamedDependency[staff.Sealer]) -> Verdict:
    """Hold the newest notes against their seals."""
    async with db.snapshot(pool) as conn:
        return shown_finding(await staff.verify_newest(conn, sealer, notes_max=VERIFIED_MAX))


def object_of(text: str) -> staff.Object:
    kind, _, object_id = text.partition(":")
    return staff.Object(kind, object_id)


def shown(note: staff.Note) -> Note:
    return Note(
        note_id=str(note.id),
        noted_at=note.noted_at,
        by=note.by_whom,
        permission=note.permission,
        action=note.action,
        object=f"{note.kind}:{note.object_id}",
        change=msgspec.json.decode(note.change),
        request_id=note.request_id,
        seal=note.seal.hex(),
    )


def shown_finding(found: staff.Finding) -> Verdict:
    broken = None if found.note_id is None else str(found.note_id)
    return Verdict(found.checked, checkpoint(found.last), broken, found.what)


def checkpoint(of: staff.Checkpoint) -> str:
    """The number and the seal of a note: who keeps it can prove that it, and all before, stays."""
    return f"{of.note_id}:{of.seal.hex()}"


routes = Router(
    "/",
    route_handlers=[listing, verify],
    tags=["staff"],
)
