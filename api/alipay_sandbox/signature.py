"""RSA2 as the gateway does it. Written apart from the shop's, so that each proves the other."""

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

SCHEME = (padding.PKCS1v15(), hashes.SHA256())


class Signer:
    """Signs as the gateway, and knows the app by its public key."""

    def __init__(self, gateway_private_key: str, app_public_key: str) -> None:
        own = serialization.load_pem_private_key(gateway_private_key.encode(), None)
        app = serialization.load_pem_public_key(app_public_key.encode())
        assert isinstance(own, rsa.RSAPrivateKey)
        assert isinstance(app, rsa.RSAPublicKey)
        self._own, self._app = own, app

    def sign(self, text: str) -> str:
        return base64.b64encode(self._own.sign(text.encode(), *SCHEME)).decode()

    def is_from_app(self, fields: dict[str, str]) -> bool:
        """Whether the app signed a request: all of its fields but `sign`, and but empty ones."""
        try:
            claimed = base64.b64decode(fields.get("sign", ""), validate=True)
            text = joined({name: v for name, v in fields.items() if v and name != "sign"})
            self._app.verify(claimed, text.encode(), *SCHEME)
        except (InvalidSignature, binascii.Error):
            return False
        return True


def joined(fields: dict[str, str]) -> str:
    return "&".join(name + "=" + fields[name] for name in sorted(fields))
