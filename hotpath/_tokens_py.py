"""Whose token is it? HS256 tokens as our API issues them, and no other kind.

`_tokens.pyx` does the same faster; this is what it means.
"""

import hmac
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable

from hotpath._signing_py import Signer, base64url
from hotpath.claims import ID_MAX

HEADER = base64url(b'{"alg":"HS256","typ":"JWT"}') + b"."

_PLAIN = re.compile(rb"[A-Za-z0-9_-]+")
_MEMBER = re.compile(
    rb'\{"sub":"([1-9][0-9]{0,18})","role":"member",'
    rb'"iat":([1-9][0-9]{0,11}),"exp":([1-9][0-9]{0,11})\}'
)


class Tokens:
    """Checks tokens. `clock` gives seconds since 1970, as they do."""

    def __init__(self, secret: bytes, *, clock: Callable[[], float]) -> None:
        self._signer = Signer(secret)
        self._clock = clock

    def member(self, token: bytes) -> int | None:
        """The member's id, 0 for what is certainly no good, None for what another must judge."""
        if not token.startswith(HEADER):
            return None
        signed, _, signature = token.rpartition(b".")
        if not hmac.compare_digest(signature, base64url(self._signer.sign(signed))):
            # The padded spelling is as good as the plain one, and we do not know it.
            return None if b"=" in token else 0
        payload = signed[len(HEADER) :]
        if _PLAIN.fullmatch(payload) is None or len(payload) % 4 == 1:
            return None
        text = urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        found = _MEMBER.fullmatch(text)
        if found is None or base64url(text) != payload or int(found[1]) > ID_MAX:
            return None
        return int(found[1]) if int(found[2]) <= self._clock() < int(found[3]) else 0
