"""How Alipay and its merchants sign what they tell each other: `RSA2`, which is SHA256withRSA.

What is signed are parameters, sorted by name and joined as in a query but not encoded; or the very
text of an answer. Each side has a key of its own.
"""

import base64
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from .model import Forged

KEY_BITS_MIN = 2_048
PEM_FRAME = re.compile("-----(BEGIN|END) [A-Z ]+-----")


class UnreadableKey(Exception):
    """Not Base64 of an RSA key of 2,048 bits or more."""


class Keys:
    """Ours, which signs, and theirs, which checks. Both as Base64 of DER, or as PEM."""

    def __init__(self, *, private_key: str, their_public_key: str) -> None:
        try:
            ours = load_der_private_key(_der(private_key), None)
            theirs = load_der_public_key(_der(their_public_key))
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UnreadableKey from error
        if not isinstance(ours, rsa.RSAPrivateKey) or not isinstance(theirs, rsa.RSAPublicKey):
            raise UnreadableKey
        if min(ours.key_size, theirs.key_size) < KEY_BITS_MIN:
            raise UnreadableKey
        self._ours, self._theirs = ours, theirs

    def sign(self, content: bytes) -> str:
        return base64.b64encode(self._ours.sign(content, padding.PKCS1v15(), SHA256())).decode()

    def check(self, content: bytes, claimed: str) -> None:
        """Raise Forged unless the other side signed this very content."""
        try:
            signature = base64.b64decode(claimed, validate=True)
            self._theirs.verify(signature, content, padding.PKCS1v15(), SHA256())
        except (InvalidSignature, ValueError) as error:
            raise Forged from error


def content_of(fields: Mapping[str, str]) -> bytes:
    return "&".join(f"{name}={value}" for name, value in sorted(fields.items())).encode()


def _der(key: str) -> bytes:
    return base64.b64decode("".join(PEM_FRAME.sub("", key).split()), validate=True)
