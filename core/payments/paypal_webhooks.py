"""Whether PayPal itself sent a webhook, found out here: by its signature, its certificate, and
the authorities that vouch for that.

The signature covers a CRC32 of the body and no more, so whoever holds one genuine webhook can write
another that fits it. A webhook is therefore good for asking PayPal, and for nothing else.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from .model import ChannelUnavailable, Forged

ALGORITHM = "SHA256withRSA"
NAMES = ("messageverificationcerts.paypal.com", "messageverificationcerts.sandbox.paypal.com")
CERTIFICATE_PATH = re.compile(r"/v1/notifications/certs/[A-Za-z0-9-]{1,100}", re.ASCII)
WORD = re.compile(r"[A-Za-z0-9:.+-]{1,64}", re.ASCII)

KEY_BITS_MIN = 2048
KEPT_MAX = 16
KEPT_S = 3600.0
# A webhook is answered within five seconds, whatever PayPal does.
FETCH_S_MAX = 3.0
FETCHES_MAX = 30
FETCHES_WITHIN_S = 60.0
CHAIN_BYTES_MAX = 65_536
CHAIN_MAX = 6
RETRY_AFTER_S = 5
NO_SUCH_PAGE = 404


class Transmission(msgspec.Struct, frozen=True):
    """What the headers of a webhook say, as they came."""

    id: str
    sent_at: str
    signature: str
    algorithm: str
    certificate_url: str


class _Kept(msgspec.Struct, frozen=True):
    """The key of a certificate that somebody we trust vouched for."""

    key: rsa.RSAPublicKey
    until_s: float


class PayPalWebhooks:
    """`url` is where PayPal's API answers; its certificates come from there and nowhere else.

    `roots` are the authorities we trust. `clock` tells the seconds of now.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        url: str,
        webhook_id: str,
        roots: Sequence[x509.Certificate],
        clock: Callable[[], float],
    ) -> None:
        self._http = http
        self._origins = _origins(url)
        self._webhook_id = webhook_id
        self._store = Store(list(roots))
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._fetching = asyncio.Lock()
        self._fetches: list[float] = []

    async def check(self, sent: Transmission, body: bytes) -> None:
        """Raise Forged unless PayPal signed this body for us.

        Raises ChannelUnavailable where its certificate cannot be had now.
        """
        if sent.algorithm != ALGORITHM or not self._is_theirs(sent.certificate_url):
            raise Forged
        if WORD.fullmatch(sent.id) is None or WORD.fullmatch(sent.sent_at) is None:
            raise Forged
        signature = _decoded(sent.signature)
        key = await self._key(sent.certificate_url)
        said = f"{sent.id}|{sent.sent_at}|{self._webhook_id}|{binascii.crc32(body)}"
        try:
            key.verify(signature, said.encode(), padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            raise Forged from None

    def _is_theirs(self, url: str) -> bool:
        return any(
            url.startswith(origin) and CERTIFICATE_PATH.fullmatch(url.removeprefix(origin))
            for origin in self._origins
        )

    async def _key(self, url: str) -> rsa.RSAPublicKey:
        kept = self._fresh(url)
        if kept is None:
            try:
                async with asyncio.timeout(FETCH_S_MAX), self._fetching:
                    kept = self._fresh(url) or await self._fetch(url)
            except (httpx.HTTPError, TimeoutError) as error:
                raise _unavailable() from error
        return kept.key

    def _fresh(self, url: str) -> _Kept | None:
        kept = self._kept.get(url)
        return kept if kept is not None and self._clock() < kept.until_s else None

    async def _fetch(self, url: str) -> _Kept:
        now_s = self._clock()
        self._fetches = [at_s for at_s in self._fetches if now_s - at_s < FETCHES_WITHIN_S]
        if len(self._fetches) >= FETCHES_MAX:
            raise _unavailable()  # Somebody makes addresses up.
        self._fetches.append(now_s)
        async with self._http.stream("GET", url, follow_redirects=False) as answer:
            chain = await _read(answer)
        if answer.status_code == NO_SUCH_PAGE:
            raise Forged
        if not answer.is_success:
            raise _unavailable()
        kept = _Kept(self._vouched(chain, now_s), now_s + KEPT_S)
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[url] = kept
        return kept

    def _vouched(self, chain: bytes, now_s: float) -> rsa.RSAPublicKey:
        """The key of the first certificate, where the rest leads to an authority. Raises Forged."""
        try:
            leaf, *others = x509.load_pem_x509_certificates(chain)[:CHAIN_MAX]
        except ValueError as error:
            raise _unavailable() from error
        at = datetime.fromtimestamp(now_s, UTC)
        policy = PolicyBuilder().store(self._store).time(at).max_chain_depth(CHAIN_MAX)
        for name in NAMES:
            try:
                policy.build_server_verifier(x509.DNSName(name)).verify(leaf, others)
            except VerificationError:
                continue
            key = leaf.public_key()
            if isinstance(key, rsa.RSAPublicKey) and key.key_size >= KEY_BITS_MIN:
                return key
        raise Forged


def _origins(url: str) -> tuple[str, ...]:
    """Where certificates may come from: the API's own host, and its twin without `-m`."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin, origin.replace("://api-m.", "://api.")


def _decoded(signature: str) -> bytes:
    """One signature has one way to write it: what decodes to the same bytes is refused."""
    try:
        found = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise Forged from None
    if base64.b64encode(found).decode() != signature:
        raise Forged
    return found


async def _read(answer: httpx.Response) -> bytes:
    told = b""
    async for chunk in answer.aiter_bytes():
        told += chunk
        if len(told) > CHAIN_BYTES_MAX:
            raise _unavailable()
    return told


def _unavailable() -> ChannelUnavailable:
    return ChannelUnavailable(retry_after_s=RETRY_AFTER_S)
