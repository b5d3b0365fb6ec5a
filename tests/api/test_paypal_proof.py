"""What plays PayPal, proven by PayPal's own client; our check of webhooks, by OpenSSL and lies."""

import asyncio
import binascii
import os
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from api.paypal_sandbox import certificates
from api.paypal_sandbox.certificates import Notary, establish
from core import embedded, payments
from tests.api.test_payments import Program, environment_of, flipped
from tests.patience import PATIENCE_S

CLIENT, SECRET, HOOK = "sluice-test", "p" * 40, "TESTWEBHOOK000001"
PATH = "v1/notifications/certs"
BODY = msgspec.json.encode({"id": "WH-1", "event_type": "X", "resource": {"custom_id": "1"}})


@pytest.fixture(scope="module")
def paypal(tmp_path_factory) -> Iterator[str]:
    """Where PayPal answers. The shop that it sends webhooks to is away."""
    url = f"http://127.0.0.1:{embedded.free_port()}"
    home = tmp_path_factory.mktemp("home")
    environment = environment_of(home, embedded.free_port(), "", "", "") | {
        "SLUICE_PAYPAL_URL": url,
        "SLUICE_PAYPAL_CLIENT_ID": CLIENT,
        "SLUICE_PAYPAL_SECRET": SECRET,
        "SLUICE_PAYPAL_WEBHOOK_ID": HOOK,
    }
    program = Program("paypal", environment, f"{url}/health/live")
    yield url
    program.stop()


def heard(what: str, url: str) -> list[str]:
    """What PayPal's own client hears, in a process of its own: it changes how this one logs."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.api.paypal_client", what, url],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
        env={**os.environ, "PAYPAL_CLIENT": CLIENT, "PAYPAL_SECRET": SECRET},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


def test_paypals_own_client_creates_captures_and_refunds(paypal):
    assert heard("buy", paypal) == [
        "PAYER_ACTION_REQUIRED",
        "ORDER_NOT_APPROVED",
        "APPROVED",
        "COMPLETED",
        "19.99",
        "COMPLETED",
        "PARTIALLY_REFUNDED",
        "REFUND_AMOUNT_EXCEEDED",
        "COMPLETED",
        "REFUNDED",
        "ORDER_ALREADY_CAPTURED",
        "T0006:19.99,T1107:-5.00,T1107:-14.99",
        "RESOURCE_NOT_FOUND",
    ]


def test_paypals_own_client_has_money_held_takes_it_and_lets_it_go(paypal):
    held = ["ORDER_NOT_APPROVED", "ACTION_DOES_NOT_MATCH_INTENT", "COMPLETED", "CREATED", "19.99"]
    held.append("ORDER_ALREADY_AUTHORIZED")
    taken = ["MAX_CAPTURE_AMOUNT_EXCEEDED", "COMPLETED", "AUTHORIZATION_ALREADY_CAPTURED"]
    let_go = ["VOIDED", "AUTHORIZATION_VOIDED", "PREVIOUSLY_VOIDED", "VOIDED"]
    assert heard("hold", paypal) == [
        *(*held, *taken, "PREVIOUSLY_CAPTURED", "CAPTURED"),
        *(*held, *let_go),
    ]


class Hall:
    """A web server with certificates, and a check of webhooks that trusts some."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = establish(folder / "keys")
        (folder / PATH).mkdir(parents=True)
        handler = partial(_Quiet, directory=str(folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def show(self, chain: bytes, name="CERT-1") -> str:
        (self.folder / PATH / name).write_bytes(chain)
        return f"{self.url}/{PATH}/{name}"

    def sent(self, notary: Notary, url: str, body=BODY, *, hook=HOOK) -> payments.Transmission:
        known = (str(uuid4()), "2026-11-22T10:00:00Z")
        signature = notary.sign(*known, hook, body)
        return payments.Transmission(*known, signature, "SHA256withRSA", url)

    async def check(self, sent, body=BODY, *, now: datetime | None = None) -> None:
        at_s = (now or datetime.now(UTC)).timestamp()
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
            check = payments.PayPalWebhooks(
                http,
                url=self.url,
                webhook_id=HOOK,
                roots=x509.load_pem_x509_certificates(self.ca.read_bytes()),
                clock=lambda: at_s,
            )
            await check.check(sent, body)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hall(tmp_path) -> Iterator[Hall]:
    hall = Hall(tmp_path)
    yield hall
    hall.server.shutdown()
    hall.server.server_close()


@pytest.fixture
def notary(hall) -> Notary:
    return Notary(hall.folder / "keys")


async def test_a_genuine_webhook_is_believed_and_no_bit_of_it_can_be_changed(hall, notary):
    url = hall.show(notary.chain)
    sent = hall.sent(notary, url)
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        roots = x509.load_pem_x509_certificates(hall.ca.read_bytes())
        told = {"url": hall.url, "webhook_id": HOOK, "roots": roots}
        check = payments.PayPalWebhooks(http, **told, clock=lambda: datetime.now(UTC).timestamp())
        await check.check(sent, BODY)
        for bit in range(8 * len(BODY)):
            with pytest.raises(payments.Forged):
                await check.check(sent, flipped(BODY, bit))
        for field in ("id", "sent_at", "signature", "algorithm"):
            value = getattr(sent, field).encode()
            for bit in range(8 * len(value)):
                changed = {field: flipped(value, bit).decode("latin-1")}
                with pytest.raises(payments.Forged):
                    await check.check(msgspec.structs.replace(sent, **changed), BODY)
        await check.check(sent, BODY)


async def test_one_signature_is_written_in_one_way(hall, notary):
    sent = hall.sent(notary, hall.show(notary.chain))
    for changed in (
        sent.signature + "=",
        sent.signature + " ",
        sent.signature.replace("=", ""),
        sent.signature[:-3] + chr(ord(sent.signature[-3]) + 1) + "==",
    ):
        assert changed != sent.signature
        with pytest.raises(payments.Forged):
            await hall.check(msgspec.structs.replace(sent, signature=changed))


async def test_certificates_come_from_paypal_and_nowhere_else(hall, notary):
    hall.show(notary.chain)
    port = hall.server.server_port
    for url in (
        f"https://127.0.0.1:{port}/{PATH}/CERT-1",
        f"http://localhost:{port}/{PATH}/CERT-1",
        f"http://127.0.0.1:{port}@evil.example/{PATH}/CERT-1",
        f"http://127.0.0.1:{port}.evil.example/{PATH}/CERT-1",
        f"http://127.0.0.1:{port}/{PATH}/../certs/CERT-1",
        f"http://127.0.0.1:{port}/{PATH}/CERT-1?x",
        f"http://127.0.0.1:{port}/{PATH}/CERT-1\n",
        f"http://127.0.0.1:{port}/other/CERT-1",
        f"http://127.0.0.1:{port}/{PATH}/CERT-2",
        "",
    ):
        with pytest.raises(payments.Forged):
            await hall.check(hall.sent(notary, url))


async def test_a_certificate_has_to_be_vouched_for_and_be_of_its_time_and_name(
    hall, notary, tmp_path, monkeypatch
):
    url = hall.show(notary.chain)
    await hall.check(hall.sent(notary, url))
    for now in (timedelta(days=-2), timedelta(days=certificates.DAYS + 2)):
        with pytest.raises(payments.Forged):
            await hall.check(hall.sent(notary, url), now=datetime.now(UTC) + now)
    leaf = notary.chain.partition(b"-----END CERTIFICATE-----\n")
    hall.show(leaf[0] + leaf[1])
    with pytest.raises(payments.Forged):
        await hall.check(hall.sent(notary, url))
    establish(tmp_path / "forger")
    forger = Notary(tmp_path / "forger")
    hall.show(forger.chain)
    with pytest.raises(payments.Forged):
        await hall.check(hall.sent(forger, url))
    monkeypatch.setattr(certificates, "NAME", "messageverificationcerts.paypal.com.evil.example")
    hall.ca = establish(tmp_path / "misnamed")
    misnamed = Notary(tmp_path / "misnamed")
    hall.show(misnamed.chain)
    with pytest.raises(payments.Forged):
        await hall.check(hall.sent(misnamed, url))


async def test_what_is_no_certificate_is_asked_for_again_later(hall, notary):
    for nonsense in (b"", b"<h1>503</h1>", b"x" * 100_000):
        url = hall.show(nonsense)
        with pytest.raises(payments.ChannelUnavailable):
            await hall.check(hall.sent(notary, url))


async def test_who_makes_addresses_up_is_soon_not_asked_for_any_more(hall, notary):
    url = hall.show(notary.chain)
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        roots = x509.load_pem_x509_certificates(hall.ca.read_bytes())
        told = {"url": hall.url, "webhook_id": HOOK, "roots": roots}
        check = payments.PayPalWebhooks(http, **told, clock=lambda: datetime.now(UTC).timestamp())
        await check.check(hall.sent(notary, url), BODY)
        made_up = [hall.sent(notary, f"{hall.url}/{PATH}/CERT-X{n}") for n in range(50)]
        told = await asyncio.gather(
            *(check.check(one, BODY) for one in made_up), return_exceptions=True
        )
        kinds = [type(one) for one in told]
        assert kinds == [payments.Forged] * 29 + [payments.ChannelUnavailable] * 21
        await check.check(hall.sent(notary, url), BODY)


def test_openssl_agrees_with_the_signature_and_the_chain(hall, notary, tmp_path):
    """The steps that PayPal documents, taken by somebody else's code."""
    sent = hall.sent(notary, "")
    said = f"{sent.id}|{sent.sent_at}|{HOOK}|{binascii.crc32(BODY)}"
    files = {
        "leaf.pem": notary.chain,
        "said": said.encode(),
        "signature": b64decode(sent.signature),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    key = x509.load_pem_x509_certificate(notary.chain).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    public = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "public.pem").write_bytes(public)
    for words in (
        ["verify", "-CAfile", str(hall.ca), "-untrusted", "leaf.pem", "leaf.pem"],
        ["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "said"],
    ):
        done = subprocess.run(
            ["openssl", *words], cwd=tmp_path, capture_output=True, check=False, timeout=PATIENCE_S
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)


def test_the_usual_authorities_can_be_read():
    from api import wiring

    found = wiring.authorities("")
    assert len(found) > 50
    assert len({one.fingerprint(hashes.SHA256()) for one in found}) == len(found)
