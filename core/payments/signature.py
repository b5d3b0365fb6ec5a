"""How the sandbox provider and the shop sign what they tell each other.

The header is `Sluice-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`.
"""

import hmac
import re

from .model import Forged

SIGNATURE_HEADER = "Sluice-Signature"
AGE_MAX_S = 300

_HEADER = re.compile(r"t=([1-9][0-9]{0,11}),v1=([0-9a-f]{64})")


def sign(secret: bytes, body: bytes, *, now_s: int) -> str:
    return f"t={now_s},v1={_digest(secret, str(now_s), body)}"


def check_signature(secret: bytes, header: str, body: bytes, *, now_s: int) -> None:
    """Raise Forged unless the holder of the secret signed this very body just now."""
    found = _HEADER.fullmatch(header)
    if found is None:
        raise Forged
    stamp, claimed = found.groups()
    # The signature first: a clock that is off says nothing to somebody who forges.
    if not hmac.compare_digest(_digest(secret, stamp, body), claimed):
        raise Forged
    if abs(now_s - int(stamp)) > AGE_MAX_S:
        raise Forged


def _digest(secret: bytes, stamp: str, body: bytes) -> str:
    return hmac.digest(secret, stamp.encode("ascii") + b"." + body, "sha256").hex()
