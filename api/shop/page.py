"""The sale page and our drawings: a few files of our own, under a strict policy."""

import hashlib
import re
from importlib import resources
from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.problems import AnyRequest, NoSuchPage

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
# As a drawing stands in its file; and as it is asked for, in a colour of one's own.
INK = b'color="#5b6168"'
DRAWING = re.compile(r"([a-z]{1,32})-([0-9a-f]{6})\.svg", re.ASCII)
DRAWING_CACHE = {"Cache-Control": "public, max-age=86400"}


class File(msgspec.Struct, frozen=True):
    content: bytes
    media_type: str
    etag: str


def read(name: str, media_type: str) -> File:
    content = resources.files("api.shop").joinpath(name).read_bytes()
    return File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:20]}"')


def handler(path: str, name: str, media_type: str) -> HTTPRouteHandler:
    """Make the route of one file, read once. A browser that has it is told so."""
    file = read(name, media_type)

    @get(path, include_in_schema=False, name=name, media_type=media_type)
    async def serve(request: AnyRequest) -> Response[Any]:
        headers = HEADERS | {"ETag": file.etag}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(b"", status_code=304, headers=headers, media_type=file.media_type)
        return Response(file.content, media_type=file.media_type, headers=headers)

    return serve


def drawings() -> dict[str, bytes]:
    """Name -> file, read once."""
    folder = resources.files("api.shop").joinpath("pictures")
    return {
        entry.name.removesuffix(".svg"): entry.read_bytes()
        for entry in folder.iterdir()
        if entry.name.endswith(".svg")
    }


DRAWINGS = drawings()


@get("/page/pictures/{name:str}", include_in_schema=False, media_type="image/svg+xml")
async def picture(name: FromPath[str]) -> Response[bytes]:
    """One of our drawings in a colour: goods of the demo shop refer to these. Else NoSuchPage."""
    asked = DRAWING.fullmatch(name)
    drawing = DRAWINGS.get(asked[1]) if asked else None
    if asked is None or drawing is None:
        raise NoSuchPage
    content = drawing.replace(INK, f'color="#{asked[2]}"'.encode(), 1)
    return Response(content, media_type="image/svg+xml", headers=HEADERS | DRAWING_CACHE)


routes = [
    handler("/", "page.html", "text/html"),
    handler("/page/page.css", "page.css", "text/css"),
    handler("/page/page.js", "page.js", "text/javascript"),
    handler("/page/texts.js", "texts.js", "text/javascript"),
    handler("/page/icon.svg", "icon.svg", "image/svg+xml"),
    picture,
]
