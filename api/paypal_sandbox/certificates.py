"""Who signs the webhooks: an authority of our own, and the certificate it gave to the messages."""

import base64
import binascii
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAME = "messageverificationcerts.paypal.com"
KEY_BITS = 2048
DAYS = 825


class Notary:
    """Signs, and shows the certificates that prove it. `folder` is established."""

    def __init__(self, folder: Path) -> None:
        key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._key = key
        self.chain = (folder / "chain.pem").read_bytes()
        leaf = x509.load_pem_x509_certificate(self.chain)
        self.certificate_id = f"CERT-{leaf.serial_number:040x}"

    def sign(self, transmission_id: str, sent_at: str, webhook_id: str, body: bytes) -> str:
        said = f"{transmission_id}|{sent_at}|{webhook_id}|{binascii.crc32(body)}"
        signature = self._key.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signature).decode()


def establish(folder: Path) -> Path:
    """Make what is missing; give the file of whom a merchant has to trust."""
    trusted = folder / "ca.pem"
    if not trusted.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(folder)
    return trusted


def _make(folder: Path) -> None:
    """`ca.pem` is written last: where it is, the rest is."""
    root_key, middle_key, key = (rsa.generate_private_key(65_537, KEY_BITS) for _ in range(3))
    root = _certify("Sluice PayPal root", root_key, "Sluice PayPal root", root_key, depth=1)
    middle = _certify("Sluice PayPal middle", middle_key, "Sluice PayPal root", root_key, depth=0)
    leaf = _certify(NAME, key, "Sluice PayPal middle", middle_key, depth=None)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(folder / "key.pem", private)
    _write(folder / "chain.pem", leaf.public_bytes(pem) + middle.public_bytes(pem))
    _write(folder / "ca.pem", root.public_bytes(pem))


def _certify(
    name: str,
    key: rsa.RSAPrivateKey,
    issuer: str,
    issuer_key: rsa.RSAPrivateKey,
    *,
    depth: int | None,
) -> x509.Certificate:
    """An authority's certificate, or with no `depth` the one of whoever signs messages."""
    now = datetime.now(UTC)
    is_authority = depth is not None
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=depth), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if not is_authority:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        made = made.add_extension(purpose, critical=False)
    return made.sign(issuer_key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)
