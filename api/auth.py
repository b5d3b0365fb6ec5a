"""Who is asking: bearer tokens, and the two guards."""

from typing import Any

import jwt
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.problems import AnyRequest
from core import staff
from core.kit import db, ids
from core.kit.refusal import Kind, Refusal

ALGORITHM = "HS256"
SECRET_BYTES_MIN = 32
KEY_MAX = 64
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}]

AnyConnection = ASGIConnection[Any, Any, Any, Any]


class Unauthenticated(Refusal):
    """Sign in first: the token is missing or no longer good."""

    kind = Kind.UNAUTHENTICATED


class Forbidden(Refusal):
    """You may not do that."""

    kind = Kind.FORBIDDEN


class MalformedKey(Refusal):
    """Exactly one Idempotency-Key of 1 to 64 visible ASCII characters is needed."""

    kind = Kind.MALFORMED


SIGNED_IN = (Unauthenticated, Forbidden)


def issue(secret: str, *, subject: str, role: str, now_s: int, ttl_s: int) -> str:
    """Sign a token. `subject` is a member's id, or a name of staff."""
    claims = {"sub": subject, "role": role, "iat": now_s, "exp": now_s + ttl_s}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def needs_member(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: let members in, and note who it is."""
    claims = _claims(connection)
    member_id = ids.parse(claims["sub"])
    if claims["role"] != "member" or member_id is None:
        raise Forbidden("Only a member may do that.")
    connection.scope["user"] = member_id


async def needs_permission(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """Guard: let in who has the permission that the route declares, and note who it is.

    An administrator's token has them all. What somebody of staff has is looked up each time, so
    that nothing outlives its revocation; and a route that declares nothing is closed to all.
    """
    claims = _claims(connection)
    permission = handler.opt.get("permission")
    if claims["role"] == "staff":
        held = await _held(connection, claims["sub"])
    else:
        held = staff.EVERYTHING if claims["role"] == "admin" else frozenset()
    if permission not in held:
        raise Forbidden(permission=permission) if held else Forbidden
    connection.scope["user"] = claims["sub"]


async def _held(connection: AnyConnection, name: str) -> frozenset[staff.Permission]:
    async with db.reading(connection.app.state.pool) as conn:
        held = await staff.may(conn, name=name)
    if held is None:
        raise Unauthenticated
    return held


def provide_member_id(request: AnyRequest) -> int:
    """Whoever the guard let in."""
    return int(request.user)


def provide_key(request: AnyRequest) -> str:
    """Read the Idempotency-Key, of which there is exactly one."""
    found = request.headers.getall("idempotency-key", [])
    key = found[0] if len(found) == 1 else ""
    if not 1 <= len(key) <= KEY_MAX or any(not "!" <= character <= "~" for character in key):
        raise MalformedKey
    return key


def _claims(connection: AnyConnection) -> dict[str, str]:
    found = connection.headers.getall("authorization", [])
    scheme, _, token = (found[0] if len(found) == 1 else "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            connection.app.state.settings.token_secret,
            algorithms=[ALGORITHM],
            options={"require": ["sub", "role", "iat", "exp"]},
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise Unauthenticated from None
    if not isinstance(claims["role"], str):
        raise Unauthenticated
    return claims
