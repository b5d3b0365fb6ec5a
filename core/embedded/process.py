"""Processes of this machine: tie them to us, find what others left behind, end them."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

PROC = Path("/proc")
POLL_S = 0.02


def run(
    argv: list[str],
    *,
    program: Path | None = None,
    environment: Mapping[str, str] | None = None,
    typed: str = "",
    within_s: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run one of our programs to its end and keep what it says.

    `program` is the file to run where argv[0] is only what it is called.
    """
    return subprocess.run(  # noqa: S603  every caller names its program itself
        argv,
        executable=program,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=within_s,
    )


def tethered(argv: list[str], *, parting: str) -> list[str]:
    """Let the kernel send `parting` (a signal's short name) to the program when we die.

    It has to be the last link before the program: a change of user clears it. "We" are the
    thread that starts it: see `child.STARTER`.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", parting, "--", *argv] if setpriv else argv


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot: with its pid this names it for ever."""
    fields = _fields(pid)
    return None if not fields or fields[0] == "Z" else int(fields[19])


def alive(pid: int) -> bool:
    return start_ticks(pid) is not None


def standing_in(folder: Path, *, names: frozenset[str]) -> list[int]:
    """Processes with one of these names that work in the folder: servers of an earlier start."""
    found = [e for e in _all() if _name(e) in names and _cwd(e) == folder.resolve()]
    return [pid for pid in map(_pid, found) if alive(pid)]


def children(parent: int) -> list[int]:
    pids = map(_pid, _all())
    return [pid for pid in pids if _fields(pid)[1:2] == [str(parent)] and alive(pid)]


def end(pids: Iterable[int], *, by: signal.Signals, within_s: float) -> list[int]:
    """Signal them and wait; returns those that are still there."""
    left = [pid for pid in pids if _signalled(pid, by)]
    deadline = time.monotonic() + within_s
    while (left := [pid for pid in left if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return left


def _all() -> list[Path]:
    return [entry for entry in PROC.iterdir() if entry.name.isdigit()]


def _pid(entry: Path) -> int:
    return int(entry.name)


def _signalled(pid: int, by: signal.Signals) -> bool:
    try:
        os.kill(pid, by)
    except ProcessLookupError:
        return False
    return True


def _fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on; a program's name may hold spaces and brackets."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


def _name(entry: Path) -> str:
    try:
        return (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _cwd(entry: Path) -> Path | None:
    try:
        return (entry / "cwd").readlink()
    except OSError:  # gone meanwhile, or somebody else's
        return None
