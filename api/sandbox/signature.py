"""The provider's own signing. Written apart from the shop's, so that each proves the other."""

import hashlib
import hmac

HEADER = "Sluice-Signature"
AGE_MAX_S = 300


def header(secret: bytes, body: bytes, *, now_s: int) -> str:
    mac = hmac.new(secret, f"{now_s}.".encode(), hashlib.sha256)
    mac.update(body)
    return f"t={now_s},v1={mac.hexdigest()}"


def is_signed(secret: bytes, claimed: str, body: bytes, *, now_s: int) -> bool:
    stamp = claimed.removeprefix("t=").partition(",")[0]
    if not (stamp.isascii() and stamp.isdigit() and abs(now_s - int(stamp[:12])) <= AGE_MAX_S):
        return False
    expected = header(secret, body, now_s=int(stamp[:12]))
    return hmac.compare_digest(expected.encode(), claimed.encode())
