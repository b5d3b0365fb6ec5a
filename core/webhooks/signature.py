"""Standard Webhooks 1.0: what a message is signed with, and how."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping

from hotpath.signing import Signer

from .model import Secret

# No receipt begins like this, so nothing that was signed for a buyer is ever one of our secrets.
PURPOSE = b"webhook secret"
PREFIX = "whsec_"


class Keys:
    """Derives secrets from a keyring's `signers`, so that the database holds none."""

    def __init__(self, signers: Mapping[int, Signer]) -> None:
        self._signers = signers
        self.newest = max(signers)

    def has(self, of: Secret) -> bool:
        """Whether the key that a secret was made with is still kept."""
        return of.key_id in self._signers

    def secret(self, of: Secret) -> bytes:
        return self._signers[of.key_id].sign(PURPOSE + of.salt)


def written(secret: bytes) -> str:
    """A secret as its receiver keeps it."""
    return PREFIX + base64.b64encode(secret).decode()


def headers(
    message_id: str, body: bytes, secrets: Iterable[bytes], *, now_s: int
) -> list[tuple[bytes, bytes]]:
    """Sign with every secret: whoever knows one of them can verify."""
    signed = f"{message_id}.{now_s}.".encode() + body
    signatures = b" ".join(
        b"v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)) for secret in secrets
    )
    return [
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", str(now_s).encode()),
        (b"webhook-signature", signatures),
    ]
