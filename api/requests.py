"""One strict reader of bodies for all routes.

What is no JSON is malformed; what is JSON, but not what the route asked for, is invalid. Python's
own parser is stricter than msgspec's where it matters: it shows us duplicate keys, and it never
passes bytes that are not UTF-8.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Never

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from api.problems import BodyTooLarge, InvalidValue
from core.kit.refusal import Kind, Refusal

BODY_BYTES_MAX = 512 * 1024
BODY_DEADLINE_S = 10.0
PARTS_DEADLINE_S = 900.0
DIGITS_MAX = 400

PATH = re.compile(r" - at `\$(.*)`$", re.DOTALL)
STEP = re.compile(r"\.([^.\[]+)|\[([0-9]+|\.\.\.)\]")


class MalformedBody(Refusal):
    """The request's body is not well-formed JSON."""

    kind = Kind.MALFORMED


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a route's `data` derives from: a field that we do not know is refused."""


READS_BYTES = (MalformedBody, InvalidValue, BodyTooLarge, 408)
READS_BODY = (*READS_BYTES, 415)


class StrictRequest(Request[Any, Any, Any]):
    """Litestar's request, with our own `body` and `json`."""

    __slots__ = ()

    async def body(self) -> bytes:
        """Read the whole body, bounded in size and in time."""
        state = self._connection_state
        if isinstance(state.body, bytes):
            return state.body
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                state.body = await self._read()
        except TimeoutError:
            raise HTTPException(status_code=408) from None
        if not state.body and self.route_handler.parsed_data_field is not None:
            raise MalformedBody("The body is empty.")
        return state.body

    async def parts(self, bytes_max: int) -> AsyncIterator[bytes]:
        """The body as it comes, bounded in size and in time, and in the time between two parts."""
        if self._announced() > bytes_max:
            raise BodyTooLarge(bytes_max=bytes_max)
        clock = asyncio.get_running_loop().time
        size, end_at = 0, clock() + PARTS_DEADLINE_S
        while True:
            try:
                async with asyncio.timeout_at(min(clock() + BODY_DEADLINE_S, end_at)):
                    event = await self.receive()
            except TimeoutError:
                raise HTTPException(status_code=408) from None
            if event["type"] != "http.request":
                raise MalformedBody("The body ended early.")
            size += len(event["body"])
            if size > bytes_max:
                raise BodyTooLarge(bytes_max=bytes_max)
            yield event["body"]
            if not event.get("more_body", False):
                return

    async def _read(self) -> bytes:
        bytes_max = self.route_handler.resolve_request_max_body_size() or BODY_BYTES_MAX
        if self._announced() > bytes_max:
            raise BodyTooLarge(bytes_max=bytes_max)
        chunks: list[bytes] = []
        size = 0
        while True:
            event = await self.receive()
            if event["type"] != "http.request":
                raise MalformedBody("The body ended early.")
            chunks.append(event["body"])
            size += len(event["body"])
            if size > bytes_max:
                raise BodyTooLarge(bytes_max=bytes_max)
            if not event.get("more_body", False):
                return b"".join(chunks)

    def _announced(self) -> int:
        """The Content-Length. What is no number has not come past the server."""
        length = self.headers.get("content-length", "0")
        return int(length) if length.isascii() and length.isdigit() else 0

    async def json(self) -> Any:  # noqa: ANN401 - it is whatever the route's `data` says
        """Decode the body into what the route's `data` asks for."""
        kind = self.content_type[0]
        if kind and kind != "application/json":
            raise HTTPException(status_code=415)
        value = decode(await self.body())
        wanted = self.route_handler.parsed_data_field
        return value if wanted is None else fit(value, wanted.annotation)


def decode(body: bytes) -> object:
    """Decode JSON, or raise MalformedBody, or InvalidValue for what no text column can hold."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except RecursionError:
        raise MalformedBody("The JSON is nested too deeply.") from None
    except UnicodeDecodeError:
        raise MalformedBody("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise MalformedBody(f"{error.msg}, at character {error.pos}.") from None
    if b"\\u" in body:
        for text in _texts(value):
            _check_text(text)
    return value


def fit(value: object, shape: Any) -> Any:  # noqa: ANN401 - any type that msgspec knows
    """Convert strictly, or raise InvalidValue that names the place."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        message = str(error)
        place = PATH.search(message)
        told = PATH.sub("", message)
        pointer = _pointer(place.group(1)) if place else ""
        raise InvalidValue(told, errors=[{"pointer": pointer, "detail": told}]) from None


def _pointer(path: str) -> str:
    """Turn msgspec's `.items[0].quota` into RFC 6901's `/items/0/quota`."""
    return "".join(f"/{name or index}" for name, index in STEP.findall(path))


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedBody("An object has the same key twice.")
    return found


def _no_constant(name: str) -> Never:
    raise MalformedBody(f"{name} is not JSON.")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise InvalidValue("A number is out of range.")
    return number


def _integer(digits: str) -> int:
    # Reading an integer takes the square of its length, so a long one is refused unread.
    if len(digits) > DIGITS_MAX:
        raise InvalidValue("A number is out of range.")
    return int(digits)


def _texts(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _check_text(text: str) -> None:
    if "\0" in text:
        raise InvalidValue("A text holds the character U+0000.")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise MalformedBody("A text holds half of a surrogate pair.") from None
