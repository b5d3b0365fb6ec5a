"""The AsyncAPI document: what others are told, as OpenAPI tells what they may ask."""

import msgspec
from litestar import Response, get

from core import webhooks

DOCUMENT = msgspec.json.encode(webhooks.asyncapi())


@get("/schema/asyncapi.json", media_type="application/json", include_in_schema=False)
async def document() -> Response[bytes]:
    return Response(DOCUMENT, media_type="application/json")
