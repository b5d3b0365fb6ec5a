"""Redis's append-only file after a crash: what may be cut from its end, and what may not.

A power cut can leave the end of the file half-written or filled with zeros: bytes that were
never fsynced, so never acknowledged. Redis refuses to load zeros; cutting them loses nothing.
Damage with data behind it is another matter: there a person decides.
"""

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from core.kit.refusal import Kind, Refusal

from . import process

COMPLAINT = re.compile(r"reading the append only file")
TAIL_BYTES_MAX = 64_000_000
CHECK_S_MAX = 600

OK_UP_TO = re.compile(r"size=(\d+), ok_up_to=(\d+)")
MANIFEST_LINE = re.compile(r"^file (\S+) seq (\d+) type i", re.MULTILINE)
COUNT = re.compile(rb"\*(\d{0,9})(\r(\n)?)?")
LENGTH = re.compile(rb"\$(\d{0,9})(\r(\n)?)?")
NOTE = re.compile(rb"#[^\r\n\0]*(\r(\n)?)?")


class DamagedLog(Refusal):
    """Redis's append-only file is damaged where no crash can have damaged it."""

    kind = Kind.CONFLICT


@dataclass(frozen=True)
class Checker:
    name: str
    "What the program goes by: Valkey's one binary is the checker when it is called so."
    path: Path

    def run(self, *args: str, typed: str = "") -> str:
        done = process.run([self.name, *args], program=self.path, typed=typed, within_s=CHECK_S_MAX)
        return done.stdout + done.stderr


@dataclass(frozen=True)
class Cut:
    file: Path
    kept: int
    lost: int
    copy: Path

    def __str__(self) -> str:
        return (
            f"CUT {self.lost} bytes that a crash left unreadable from the end of {self.file} "
            f"({self.kept} bytes kept); the damaged file is kept as {self.copy}"
        )


def mend_tail(folder: Path, *, checker: Checker) -> Cut:
    """Cut the unreadable end of the newest file, keeping a copy; refuse anything else."""
    file = newest_file(folder)
    found = OK_UP_TO.search(said := checker.run(str(file)))
    if found is None or int(found[2]) == int(found[1]):
        raise DamagedLog(
            f"Redis cannot read its append-only files in {folder}, and {file.name} is not "
            f"at fault: restore them from a backup, or move {folder} away and rebuild each sale",
            said=said,
        )
    size, good = int(found[1]), int(found[2])
    if (why := not_a_tail(file, good)) is not None:
        raise DamagedLog(
            f"{file} is damaged at byte {good} of {size}, and {why}; nothing was cut. Restore the "
            f"file from a backup, or give up all that follows with `{checker.name} --fix {file}`"
        )
    copy = (
        folder.parent / "damaged" / f"{file.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    )
    copy.parent.mkdir(exist_ok=True)
    shutil.copy2(file, copy)
    said = checker.run("--fix", str(file), typed="y\n")
    if file.stat().st_size != good:
        raise DamagedLog(f"{checker.name} did not mend {file}", said=said)
    return Cut(file, good, size - good, copy)


def newest_file(folder: Path) -> Path:
    """The incremental file that Redis was writing to, by the manifest."""
    listed = [
        (int(seq), name)
        for manifest in folder.glob("*.manifest")
        for name, seq in MANIFEST_LINE.findall(manifest.read_text(encoding="utf-8"))
    ]
    if not listed:
        raise DamagedLog(f"{folder} has no manifest that names an append-only file: restore it")
    return folder / max(listed)[1]


def not_a_tail(file: Path, good: int) -> str | None:
    """Why what follows byte `good` cannot be the torn end of a last write; None if it can."""
    if file.stat().st_size - good > TAIL_BYTES_MAX:
        return "more follows than a last write can hold"
    with file.open("rb") as opened:
        opened.seek(good)
        rest = opened.read()
    readable, commands = scan(rest)
    if rest[readable:].strip(b"\0"):
        return "data follows the damage"
    if commands and (commands[0] != b"MULTI" or b"EXEC" in commands):
        return "whole commands follow it"
    return None


def scan(data: bytes) -> tuple[int, list[bytes]]:
    """How far the bytes follow Redis's protocol, and the names of the whole commands in them."""
    commands: list[bytes] = []
    at = 0
    while at < len(data):
        if note := NOTE.match(data, at):
            at = note.end()
            if note[2] is None:
                return at, commands
            continue
        at, name = _command(data, at)
        if name is None:
            return at, commands
        commands.append(name.upper())
    return at, commands


def _command(data: bytes, at: int) -> tuple[int, bytes | None]:
    """The end of the command that starts here and its name, or where it stops making sense."""
    at, count = _number(COUNT, data, at)
    name = b""
    for index in range(count or 0):
        at, length = _number(LENGTH, data, at)
        if length is None:
            return at, None
        word = data[at : at + length]
        at = min(at + length, len(data))
        for expected in b"\r\n":
            if at >= len(data) or data[at] != expected:
                return at, None
            at += 1
        name = name if index else word
    return at, name if count else None


def _number(line: re.Pattern[bytes], data: bytes, at: int) -> tuple[int, int | None]:
    found = line.match(data, at)
    if found is None:
        return at, None
    return found.end(), int(found[1]) if found[1] and found[3] else None
