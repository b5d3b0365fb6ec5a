"""SLUICE_HOME: who owns it now, where its servers answer, and its keys."""

import base64
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from core.kit.refusal import Kind, Refusal

from . import process

SERVICES = "services.json"
SECRET_BYTES = 32
RSA_BITS = 2_048
PORT_FIRST, PORT_LAST = 20_000, 32_000  # below the range the kernel gives to clients
PORT_TRIES_MAX = 200


class AnotherRuns(Refusal):
    """Another `sluice dev` runs in this SLUICE_HOME."""

    kind = Kind.CONFLICT


class NoPort(Refusal):
    """No free port was found."""

    kind = Kind.UNAVAILABLE


@dataclass(frozen=True, kw_only=True)
class Services:
    """Where the servers of a running `sluice dev` answer; whoever may read it may use them."""

    pid: int
    start_ticks: int
    database_url: str
    redis_url: str
    sandbox_url: str
    paypal_url: str
    alipay_gateway: str
    shop_url: str


@dataclass(frozen=True, kw_only=True)
class Keys:
    token_secret: str
    receipt_key: str
    "The first key of the keyring, in Base64."
    sandbox_secret: str
    paypal_secret: str


@dataclass(frozen=True, kw_only=True)
class AlipayKeys:
    """Private keys in PEM: of our app at the Alipay that we play, and that Alipay's own."""

    app: str
    gateway: str


@contextmanager
def owned(home: Path) -> Iterator[None]:
    """Hold the folder for this process alone; it is made, for us only, where missing."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
            raise AnotherRuns(
                f"a `sluice dev` (process {who}) already runs in {home}: "
                "stop it, or set another SLUICE_HOME"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        yield
    finally:
        os.close(lock)


def running(home: Path) -> Services | None:
    """The servers of the `sluice dev` that runs in this folder, if one does."""
    try:
        services = Services(**json.loads((home / SERVICES).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return services if process.start_ticks(services.pid) == services.start_ticks else None


def announce(
    home: Path,
    *,
    database_url: str,
    redis_url: str,
    sandbox_url: str,
    paypal_url: str,
    alipay_gateway: str,
    shop_url: str,
) -> Services:
    """Tell the other verbs where our servers are, for as long as this process lives."""
    services = Services(
        pid=os.getpid(),
        start_ticks=process.start_ticks(os.getpid()) or 0,
        database_url=database_url,
        redis_url=redis_url,
        sandbox_url=sandbox_url,
        paypal_url=paypal_url,
        alipay_gateway=alipay_gateway,
        shop_url=shop_url,
    )
    write_private(home / SERVICES, json.dumps(asdict(services), indent=2))
    return services


def withdraw(home: Path) -> None:
    """Take the announcement back: this dev ends as it should."""
    (home / SERVICES).unlink(missing_ok=True)


def ended_badly(home: Path) -> bool:
    """Whether the last `sluice dev` here was killed, so that parts of it may still be ending."""
    return (home / SERVICES).exists() and running(home) is None


def keys(home: Path) -> Keys:
    """The secrets of this folder, each made once and never changed."""
    folder = home / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Keys(
        token_secret=_kept(folder / "token"),
        receipt_key=_kept(folder / "receipt-1"),
        sandbox_secret=_kept(folder / "sandbox"),
        paypal_secret=_kept(folder / "paypal"),
    )


def alipay_keys(home: Path) -> AlipayKeys:
    """As `keys`. They are costly to make, and few commands need them."""
    folder = home / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return AlipayKeys(
        app=_kept(folder / "alipay-app", make=_rsa_key),
        gateway=_kept(folder / "alipay-gateway", make=_rsa_key),
    )


def public_key(private_key: str) -> str:
    """In PEM, as both are."""
    key = load_pem_private_key(private_key.encode(), None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _secret() -> str:
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _rsa_key() -> str:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS)
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key.private_bytes(*form).decode()


def _kept(path: Path, *, make: Callable[[], str] = _secret) -> str:
    """A secret that is there completely or not at all, also when two processes make it at once."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        write_private(fresh, make())
        try:
            path.hardlink_to(fresh)
            sync_folder(path.parent)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text(encoding="ascii")


def remembered_port(home: Path, name: str) -> int:
    """The port this server had last time, or another one if somebody else has it now."""
    book = home / "ports.json"
    try:
        ports: dict[str, int] = json.loads(book.read_bytes())
    except (OSError, ValueError):
        ports = {}
    if name not in ports or not is_free(ports[name]):
        ports[name] = free_port(avoid=frozenset(ports.values()))
        write_private(book, json.dumps(ports, indent=2))
    return ports[name]


def free_port(*, avoid: frozenset[int] = frozenset()) -> int:
    random = SystemRandom()
    for _ in range(PORT_TRIES_MAX):
        port = random.randint(PORT_FIRST, PORT_LAST)
        if port not in avoid and is_free(port):
            return port
    raise NoPort(f"no free port between {PORT_FIRST} and {PORT_LAST} on 127.0.0.1")


def is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, at once or not at all. A power cut keeps it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last, as an fsync of a file makes its bytes last."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
