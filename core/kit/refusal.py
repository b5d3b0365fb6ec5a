"""An expected no, with its facts. HTTP is none of its business."""

import re
from enum import Enum
from typing import ClassVar


class Kind(Enum):
    MALFORMED = "malformed"
    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not found"
    CONFLICT = "conflict"
    TOO_LARGE = "too large"
    TOO_MANY = "too many"
    UNAVAILABLE = "unavailable"


class Refusal(Exception):
    """Subclass it: the docstring is the title a caller reads, the facts travel with the problem.

    A fact named `retry_after_s` says after how many seconds another try makes sense.
    """

    kind: ClassVar[Kind]

    def __init__(self, detail: str = "", /, **facts: object) -> None:
        super().__init__(detail or (type(self).__doc__ or "").strip())
        self.facts = facts


def slug(refusal: type[Refusal]) -> str:
    """What a refusal is called outside: `SoldOut` is `sold-out`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", refusal.__name__).lower()
