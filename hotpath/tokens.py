"""Whose token is it? HS256 tokens as our API issues them, and no other kind."""

import hmac
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import TypeAlias

from hotpath.claims import ID_MAX
from hotpath.signing import Signer, base64url

HEADER = base64url(b'{"alg":"HS256","typ":"JWT"}') + b"."
KNOWN_MAX = 32_768

# Member, issued at and expires at, both in seconds since 1970.
Facts: TypeAlias = tuple[int, int, int]
FORGED: Facts = (0, 0, 0)

_PLAIN = re.compile(rb"[A-Za-z0-9_-]+")
_MEMBER = re.compile(
    rb'\{"sub":"([1-9][0-9]{0,18})","role":"member",'
    rb'"iat":([1-9][0-9]{0,11}),"exp":([1-9][0-9]{0,11})\}'
)


class Tokens:
    """Checks tokens, and remembers the good ones until about `known_max` newer ones have come."""

    def __init__(
        self, secret: bytes, *, clock: Callable[[], float], known_max: int = KNOWN_MAX
    ) -> None:
        self._signer = Signer(secret)
        self._clock = clock
        self._known_max = known_max
        self._known: dict[bytes, Facts] = {}
        self._known_before: dict[bytes, Facts] = {}

    def member(self, token: bytes) -> int | None:
        """The member's id, 0 for what is certainly no good, None for what another must judge."""
        facts = self._known.get(token) or self._recall(token)
        if facts is None:
            return None
        member_id, issued_at_s, expires_at_s = facts
        return member_id if issued_at_s <= self._clock() < expires_at_s else 0

    def _recall(self, token: bytes) -> Facts | None:
        facts = self._known_before.get(token) or self._read(token)
        if facts is not None and facts is not FORGED:
            if len(self._known) >= self._known_max:
                self._known_before, self._known = self._known, {}
            self._known[token] = facts
        return facts

    def _read(self, token: bytes) -> Facts | None:
        if not token.startswith(HEADER):
            return None
        signed, _, signature = token.rpartition(b".")
        right = base64url(self._signer.sign(signed))
        if not hmac.compare_digest(signature, right):
            # The padded spelling is as good as the plain one, and we do not know it.
            return None if b"=" in token else FORGED
        payload = signed[len(HEADER) :]
        if _PLAIN.fullmatch(payload) is None or len(payload) % 4 == 1:
            return None
        text = urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        found = _MEMBER.fullmatch(text)
        if found is None or base64url(text) != payload or int(found[1]) > ID_MAX:
            return None
        return int(found[1]), int(found[2]), int(found[3])
