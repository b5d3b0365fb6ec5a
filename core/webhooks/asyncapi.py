"""The events as an AsyncAPI 3 document, written from the Structs that the messages are made of."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from .events import KINDS, EventKind

VERSION = "3.0.0"
CHANNEL = "webhook"
REF = "#/components/schemas/{name}"

HEADERS = {
    "type": "object",
    "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
    "properties": {
        "webhook-id": {
            "type": "string",
            "pattern": "^[a-z]+_[0-9a-z_-]+$",
            "description": "Which event it is. A message that comes twice has the same.",
        },
        "webhook-timestamp": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "When this attempt was made, in seconds since 1970.",
        },
        "webhook-signature": {
            "type": "string",
            "pattern": "^v1,[A-Za-z0-9+/]+=*( v1,[A-Za-z0-9+/]+=*)*$",
            "description": "HMAC-SHA256 of `id.timestamp.body`, one for each secret of yours.",
        },
    },
}


def document() -> dict[str, Any]:
    """What is sent, and how it looks; where to is the receiver's own URL."""
    bodies = {kind: body_of(kind) for kind in KINDS}
    refs, schemas = msgspec.json.schema_components(bodies.values(), ref_template=REF)
    payloads = dict(zip(bodies, refs, strict=True))
    names = [shape.__name__ for shape in KINDS.values()]
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Sluice",
            "version": "1",
            "description": "What happens in the shop, told to URLs of yours (Standard Webhooks).",
        },
        "defaultContentType": "application/json",
        "channels": {
            CHANNEL: {
                "address": None,
                "description": "The URL of a subscription, which gets the kinds it wants.",
                "messages": {name: ref("components", "messages", name) for name in names},
            }
        },
        "operations": {
            "tell": {
                "action": "send",
                "channel": ref("channels", CHANNEL),
                "summary": "Each message at least once, in no certain order.",
                "messages": [ref("channels", CHANNEL, "messages", name) for name in names],
            }
        },
        "components": {
            "messages": {KINDS[kind].__name__: message_of(kind, payloads[kind]) for kind in KINDS},
            "schemas": {"Headers": HEADERS, **schemas},
        },
    }


def body_of(kind: EventKind) -> type[msgspec.Struct]:
    shape = KINDS[kind]
    fields = [("type", Literal[kind.value]), ("timestamp", datetime), ("data", shape)]
    return msgspec.defstruct(f"{shape.__name__}Message", fields, frozen=True)


def message_of(kind: EventKind, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": kind,
        "summary": " ".join((KINDS[kind].__doc__ or "").split()),
        "headers": {"$ref": REF.format(name="Headers")},
        "payload": payload,
    }


def ref(*parts: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(parts)}
