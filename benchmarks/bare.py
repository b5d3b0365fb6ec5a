"""What a claim is measured against: the least that a framework and a server do for any request."""

from typing import Annotated

import msgspec
from litestar import Litestar, get, post
from litestar.params import JSONBody

ANSWER = b'{"ok":true}'
HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"11")],
}


class Buy(msgspec.Struct, frozen=True):
    sku_id: str
    quantity: Annotated[int, msgspec.Meta(ge=1)]


class Done(msgspec.Struct, frozen=True):
    ok: bool


@get("/")
async def look() -> Done:
    return Done(ok=True)


@post("/", status_code=202)
async def buy(data: JSONBody[Buy]) -> Done:
    return Done(ok=data.quantity > 0)


litestar = Litestar([look, buy], openapi_config=None, logging_config=None)


async def asgi(_scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send(HEAD)
    await send({"type": "http.response.body", "body": ANSWER})
