"""How a route of the back office changes something: in a transaction that is noted.

async with changes.of("product", wanted, kept) as change:
    await catalogue.describe(change.conn, ...)
return change.after
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar

from litestar.di import NamedDependency

from api.problems import AnyRequest
from core import staff
from core.kit import db

REQUEST_ID_MAX = 64

Id = TypeVar("Id")
Shape = TypeVar("Shape")
Look = Callable[[db.Conn, Id], Awaitable[Shape]]


class Change(Generic[Id, Shape]):
    """`object_id` is set by whoever adds the object; `after` is there once it is all done."""

    object_id: Id
    after: Shape

    def __init__(self, conn: db.Conn) -> None:
        self.conn = conn


class Changes:
    """What one request of staff changes. `author` is for a flow, which notes by itself."""

    def __init__(self, pool: db.Pool, author: staff.Author) -> None:
        self._pool = pool
        self.author = author

    @contextlib.asynccontextmanager
    async def of(
        self, kind: str, object_id: Id, look: Look[Id, Shape]
    ) -> AsyncIterator[Change[Id, Shape]]:
        """Change an object: `look` reads it before and after, as staff see it."""
        async with db.transaction(self._pool) as conn:
            change: Change[Id, Shape] = Change(conn)
            before = await look(conn, object_id)
            yield change
            change.object_id, change.after = object_id, await look(conn, object_id)
            await self._note(kind, change, before)

    @contextlib.asynccontextmanager
    async def adding(self, kind: str, look: Look[Id, Shape]) -> AsyncIterator[Change[Id, Shape]]:
        """Add an object, and say which by `object_id`."""
        async with db.transaction(self._pool) as conn:
            change: Change[Id, Shape] = Change(conn)
            yield change
            change.after = await look(conn, change.object_id)
            await self._note(kind, change, None)

    @contextlib.asynccontextmanager
    async def removing(
        self, kind: str, object_id: Id, look: Look[Id, Shape]
    ) -> AsyncIterator[Change[Id, Shape]]:
        """Remove an object: `after` is what it was."""
        async with db.transaction(self._pool) as conn:
            change: Change[Id, Shape] = Change(conn)
            change.object_id, change.after = object_id, await look(conn, object_id)
            yield change
            await staff.note(
                conn, self.author, kind=kind, object_id=str(object_id), before=change.after
            )

    async def _note(self, kind: str, change: Change[Any, Any], before: object) -> None:
        await staff.note(
            change.conn,
            self.author,
            kind=kind,
            object_id=str(change.object_id),
            before=before,
            after=change.after,
        )


def provide_changes(
    request: AnyRequest, pool: NamedDependency[db.Pool], sealer: NamedDependency[staff.Sealer]
) -> Changes:
    """The guard has seen to it that the route declares a permission, and that the caller has it."""
    permission = staff.Permission(request.route_handler.opt["permission"])
    author = staff.Author(
        sealer=sealer,
        by=request.user,
        permission=permission,
        action=f"{request.method} {request.scope['path_template']}",
        request_id=_request_id(request),
    )
    return Changes(pool, author)


def _request_id(request: AnyRequest) -> str:
    """The caller's own, so that its log and ours name the same; else one of ours."""
    told = request.headers.get("x-request-id", "")
    plain = 1 <= len(told) <= REQUEST_ID_MAX and all("!" <= c <= "~" for c in told)
    return told if plain else str(uuid.uuid4())
