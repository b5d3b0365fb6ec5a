from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]


class Notice(msgspec.Struct, frozen=True):
    """What a shop is told, on its way. `headers` is JSON; `tries` counts those before."""

    id: int
    url: str
    headers: bytes
    body: bytes
    tries: int


class Behaviour(msgspec.Struct, frozen=True):
    """How a service misbehaves, as real ones do. Every draw follows from `seed`."""

    seed: int = 1
    duplicate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.25
    "How likely a notice is sent twice."
    delay_s: Seconds = 0
    shuffle_s: Seconds = 0
    "Each copy waits up to this much longer, so that notices overtake each other."
    drop_first: Annotated[int, msgspec.Meta(ge=0, le=25)] = 0
    "So many tries of each copy are lost on the way."
