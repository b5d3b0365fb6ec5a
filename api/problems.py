"""Refusals, and whatever else goes wrong, as RFC 9457 problem details."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, TypeAlias

import asyncpg
import msgspec
import redis.exceptions
import structlog
from litestar import Request, Response, get
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.types import ExceptionHandlersMap

from api import texts
from core.kit.refusal import Kind, Refusal, slug

log = structlog.get_logger()

AnyRequest: TypeAlias = Request[Any, Any, Any]

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

STATUS = {
    Kind.MALFORMED: 400,
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.TOO_MANY: 429,
    Kind.UNAVAILABLE: 503,
}
assert STATUS.keys() == set(Kind)

RETRYABLE = frozenset({Kind.TOO_MANY, Kind.UNAVAILABLE})

# Postgres or Redis cannot be reached, or cannot serve now. It is not the caller's fault, nor a bug.
AWAY: tuple[type[Exception], ...] = (
    OSError,  # covers refused and broken connections, and every kind of timeout
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke in the middle of a command
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ClusterDownError,
)


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457. Facts about the refusal follow as further members."""

    type: str
    title: str
    status: int
    detail: str


class InvalidValue(Refusal):
    """A value in the request does not fit."""

    kind = Kind.INVALID


class MalformedRequest(Refusal):
    """The request is malformed."""

    kind = Kind.MALFORMED


class NoSuchPage(Refusal):
    """There is no such page."""

    kind = Kind.NOT_FOUND


class NoSuchProblem(Refusal):
    """There is no such problem."""

    kind = Kind.NOT_FOUND


class BodyTooLarge(Refusal):
    """The request's body is too large."""

    kind = Kind.TOO_LARGE


class Unavailable(Refusal):
    """A part of the shop cannot be reached right now. Ask again."""

    kind = Kind.UNAVAILABLE


# What has no kind of its own, because only HTTP knows of it.
PLAIN = {
    405: ("method-not-allowed", "This address does not know that method."),
    408: ("slow-body", "The request's body came too slowly."),
    415: ("unsupported-media-type", "The request's body must be application/json."),
    500: ("internal-error", "Something broke on our side. It has been logged."),
}
OF_STATUS: dict[int, type[Refusal]] = {
    404: NoSuchPage,
    413: BodyTooLarge,
    503: Unavailable,
}


def title(refusal: type[Refusal]) -> str:
    return " ".join((refusal.__doc__ or "").split())


def refuses(*noes: type[Refusal] | int) -> dict[int, ResponseSpec]:
    """Say in the OpenAPI document how a route can refuse. A number is a status of `PLAIN`."""
    told: dict[int, list[str]] = {no: [PLAIN[no][0]] for no in noes if isinstance(no, int)}
    for no in (*noes, Unavailable):
        if not isinstance(no, int):
            slugs = told.setdefault(STATUS[no.kind], [])
            slugs += [] if slug(no) in slugs else [slug(no)]
    return {
        status: ResponseSpec(
            Problem, description=", ".join(slugs), generate_examples=False, media_type=MEDIA_TYPE
        )
        for status, slugs in sorted(told.items())
    }


class Told(msgspec.Struct, frozen=True):
    """A problem before it has a language."""

    status: int
    name: str
    english: str
    detail: str
    facts: dict[str, object]
    headers: dict[str, str]

    def body(self, language: texts.Language) -> dict[str, object]:
        told = texts.ZH.get(self.name, self.english) if language == "zh" else self.english
        # A detail that says more than the title is not in the table, and stays as it is.
        plain = " ".join(self.detail.split()) == self.english
        body = {
            "type": f"/problems/{self.name}",
            "title": told,
            "status": self.status,
            "detail": told if plain else self.detail,
        }
        return {**body, **{name: fact for name, fact in self.facts.items() if name not in body}}

    def every_header(self, language: texts.Language) -> dict[str, str]:
        return {**self.headers, "Content-Language": language, "Vary": "Accept-Language"}


def tell(refusal: Refusal) -> Told:
    """Say no, with the refusal's facts as further members."""
    kind = refusal.kind
    facts = dict(refusal.facts)
    headers = {}
    if kind in RETRYABLE:
        facts.setdefault("retry_after_s", RETRY_AFTER_S)
    if "retry_after_s" in facts:
        headers["Retry-After"] = str(facts["retry_after_s"])
    if kind is Kind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="sluice"'
    name = slug(type(refusal))
    return Told(STATUS[kind], name, title(type(refusal)), str(refusal), facts, headers)


def answer_refusal(request: AnyRequest, refusal: Refusal) -> Response[Any]:
    return _answer(request, tell(refusal))


def answer_http_exception(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Translate what Litestar itself refuses."""
    status = error.status_code
    if isinstance(error, ValidationException):
        return answer_refusal(request, InvalidValue(errors=list(_parameter_errors(error))))
    if status in OF_STATUS:
        return answer_refusal(request, OF_STATUS[status]())
    if status not in PLAIN and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer_refusal(request, MalformedRequest())
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer_bug(request, error)
    headers = dict(error.headers or {})
    if status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"
    name, text = PLAIN[status]
    return _answer(request, Told(status, name, text, text, {}, headers))


def answer_away(request: AnyRequest, error: Exception) -> Response[Any]:
    """Postgres or Redis is away: say so, and that another try makes sense."""
    log.warning("a server is away", path=request.scope["path"], error=repr(error))
    return answer_refusal(request, Unavailable())


def answer_bug(request: AnyRequest, error: Exception) -> Response[Any]:
    """Tell the log everything and the caller nothing."""
    log.error("unhandled exception", path=request.scope["path"], exc_info=error)
    name, text = PLAIN[500]
    return _answer(request, Told(500, name, text, text, {}, {}))


HANDLERS: ExceptionHandlersMap = {
    Refusal: answer_refusal,
    HTTPException: answer_http_exception,
    **dict.fromkeys(AWAY, answer_away),
    Exception: answer_bug,
}


def _answer(request: AnyRequest, told: Told) -> Response[Any]:
    language = texts.language(request.headers.get("accept-language", ""))
    return Response(
        told.body(language),
        status_code=told.status,
        headers=told.every_header(language),
        media_type=MEDIA_TYPE,
    )


def _parameter_errors(error: ValidationException) -> Iterator[dict[str, str]]:
    found = error.extra if isinstance(error.extra, list) else []
    for one in found:
        yield {"parameter": str(one.get("key", "")), "detail": str(one.get("message", ""))}


def known() -> dict[str, tuple[int, str]]:
    """Every problem there is: slug -> status and English title."""
    found = {name: (status, text) for status, (name, text) in PLAIN.items()}
    waiting = list(Refusal.__subclasses__())
    while waiting:
        refusal = waiting.pop()
        waiting += refusal.__subclasses__()
        if hasattr(refusal, "kind"):
            found[slug(refusal)] = (STATUS[refusal.kind], title(refusal))
    return found


class Explanation(msgspec.Struct, frozen=True):
    """What a problem means, in each language."""

    type: str
    status: int
    en: str
    zh: str


@get("/problems/{name:str}", responses=refuses(NoSuchProblem), tags=["problems"])
async def explain(name: FromPath[str]) -> Explanation:
    found = known().get(name)
    if found is None:
        raise NoSuchProblem
    status, english = found
    return Explanation(f"/problems/{name}", status, english, texts.ZH.get(name, english))
