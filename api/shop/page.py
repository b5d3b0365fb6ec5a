"""The sale page: a few files of our own, served as they are, under a strict policy."""

import hashlib
from importlib import resources
from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from api.problems import AnyRequest

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


routes = [
    handler("/", "page.html", "text/html"),
    handler("/page/page.css", "page.css", "text/css"),
    handler("/page/page.js", "page.js", "text/javascript"),
    handler("/page/texts.js", "texts.js", "text/javascript"),
    handler("/page/icon.svg", "icon.svg", "image/svg+xml"),
]
