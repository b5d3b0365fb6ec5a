"""Disks whose power can be cut: a FUSE file system or, where FUSE is refused, a preloaded shadow.

    with choose(home) as disk:
        process = start_something(disk.folder, env=disk.environment)
        disk.hold_at(300)            # optional: stop dead at the 300th operation from now
        process.kill()
        disk.cut(seed)               # what was never fsynced is gone; start again on disk.folder

Kill everything that uses the disk before the cut: the kill is its instant. forgetful.py says
what survives; both disks follow it.
"""

import abc
import atexit
import contextlib
import json
import mmap
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Self

from tests.faults import forgetful
from tests.patience import PATIENCE_S

HERE = Path(__file__).parent
NOTHING: Mapping[str, str] = MappingProxyType({})


class Refused(Exception):
    """The machine cannot run that kind of disk; the message says why."""


class PowerCutDisk(abc.ABC):
    name: str
    folder: Path
    "Where the process under test writes."
    environment: Mapping[str, str] = NOTHING
    "What that process needs in its environment."

    @abc.abstractmethod
    def hold_at(self, operation: int) -> None:
        """Stop before the given operation from now on (1 is the next), and all that follow."""

    @abc.abstractmethod
    def is_held(self) -> bool: ...

    def wait_held(self, within_s: float) -> None:
        until = time.monotonic() + within_s
        while not self.is_held():
            if time.monotonic() > until:
                raise TimeoutError("the disk was not held: nobody uses it")
            time.sleep(0.001)

    @abc.abstractmethod
    def operations(self) -> int: ...

    @abc.abstractmethod
    def fsyncs(self) -> int: ...

    @abc.abstractmethod
    def sync(self) -> None:
        """Make durable all that is there. Nothing may run on the disk yet."""

    @abc.abstractmethod
    def cut(self, seed: int, tail: str = "") -> forgetful.Forgotten:
        """Forget. `tail` overrules what the seed chooses; see forgetful.py."""

    @abc.abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FuseDisk(PowerCutDisk):
    name = "fuse"

    def __init__(self, home: Path) -> None:
        self.folder = home / "mount"
        self.backing = home / "backing"
        self.folder.mkdir(parents=True)
        self.backing.mkdir()
        self.log = home / "forgetful.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "forgetful.py", self.backing, self.folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def hold_at(self, operation: int) -> None:
        self._order("hold", operation)

    def is_held(self) -> bool:
        return bool(self._order("stats")["held"])

    def operations(self) -> int:
        return self._order("stats")["operations"]

    def fsyncs(self) -> int:
        return self._order("stats")["fsyncs"]

    def sync(self) -> None:
        self._order("sync")

    def cut(self, seed: int, tail: str = "") -> forgetful.Forgotten:
        return forgetful.Forgotten(**self._order("cut", seed, tail))

    def close(self) -> None:
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        forgetful.unmount(self.folder)

    def _order(self, *words: object) -> dict:
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        return self._answer()

    def _answer(self) -> dict:
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            raise Refused(f"no FUSE file system: {self.log.read_text().strip()[-500:]}")
        return json.loads(line)


class ShadowDisk(PowerCutDisk):
    name = "shadow"
    CONTROL = struct.Struct("=4q")  # struct control of shadow.c

    def __init__(self, home: Path) -> None:
        self.folder = (home / "folder").absolute()
        self.home = (home / "shadow").absolute()
        self.folder.mkdir(parents=True)
        self.home.mkdir()
        with (self.home / "control").open("w+b") as file:
            file.truncate(self.CONTROL.size)
            self.control = mmap.mmap(file.fileno(), self.CONTROL.size)
        self.environment = {
            "LD_PRELOAD": str(shadow_library()),
            "SHADOW_FOLDER": str(self.folder),
            "SHADOW_HOME": str(self.home),
        }
        self._watch()

    def hold_at(self, operation: int) -> None:
        struct.pack_into("=q", self.control, 8, self.operations() + operation)

    def is_held(self) -> bool:
        return bool(self.CONTROL.unpack(self.control)[2])

    def operations(self) -> int:
        return self.CONTROL.unpack(self.control)[0]

    def fsyncs(self) -> int:
        return self.CONTROL.unpack(self.control)[3]

    def sync(self) -> None:
        self._watch()

    def cut(self, seed: int, tail: str = "") -> forgetful.Forgotten:
        disk = self._replay()
        forgotten = disk.cut(seed, tail)
        forgetful.store(disk, self.folder)
        self._watch()
        return forgotten

    def close(self) -> None:
        self.control.close()

    def _watch(self) -> None:
        """Begin anew with all that is in the folder, as durable."""
        self.CONTROL.pack_into(self.control, 0, 0, 0, 0, 0)
        for name in ("kept", "live"):
            shutil.rmtree(self.home / name, ignore_errors=True)
            (self.home / name).mkdir()
        lines = []
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_dir():
                lines.append(f"mkdir\t{name}\n")
                continue
            inode = path.stat().st_ino
            shutil.copyfile(path, self.home / "kept" / str(inode))
            (self.home / "live" / str(inode)).hardlink_to(path)
            lines.append(f"create\t{inode}\t{name}\n")
        lines.append("started\n")
        (self.home / "journal").write_text("".join(lines))

    def _replay(self) -> forgetful.Disk:
        """The journal and the two copies of each file, as the model that decides."""
        disk, files = forgetful.Disk(), {}
        for line in (self.home / "journal").read_text().splitlines():
            match line.split("\t"):
                case ["create", inode, name]:
                    files[inode] = disk.create(name)
                case ["mkdir", name]:
                    disk.make_folder(name)
                case ["rename", old, new]:
                    disk.rename(old, new)
                case ["remove", name]:
                    disk.remove(name)
                case ["sync", name]:
                    disk.sync(disk.folder(name))
                case ["synced", inode]:
                    disk.sync(files[inode])
                case ["started"]:
                    disk.sync_all()
        for inode, file in files.items():
            kept = self.home / "kept" / inode
            file.kept[:] = kept.read_bytes() if kept.exists() else b""
            file.seen[:] = (self.home / "live" / inode).read_bytes()
            file.changes = _difference(file.kept, file.seen)
            file.mode = (self.home / "live" / inode).stat().st_mode & 0o777
        return disk


def _difference(kept: bytearray, seen: bytearray) -> list[tuple[int, int]]:
    """The changes that lead from the kept bytes to the seen: at most one write, then the length."""
    shared = min(len(kept), len(seen))
    if kept[:shared] != seen[:shared]:
        shared = next(i for i in range(shared) if kept[i] != seen[i])
    changes = [(shared, len(seen) - shared)] if shared < len(seen) else []
    return [*changes, (len(seen), -1)] if len(seen) < len(kept) else changes


@lru_cache
def shadow_library() -> Path:
    """Build shadow.c, once a test run, into a folder of its own."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise Refused("no shadow disk: no C compiler here; apt-get install gcc libc6-dev")
    folder = tempfile.mkdtemp(prefix="sluice-shadow-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = Path(folder) / "shadow.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o", library]
    built = subprocess.run(
        [*command, HERE / "shadow.c", "-ldl"], check=False, capture_output=True, text=True
    )
    if built.returncode:
        raise Refused(f"no shadow disk: {built.stderr[-500:]}")
    return library


KINDS: Mapping[str, type[PowerCutDisk]] = {"fuse": FuseDisk, "shadow": ShadowDisk}


def choose(home: Path) -> PowerCutDisk:
    """FUSE, or the shadow where FUSE is refused. TEST_POWER_CUT=fuse|shadow forces one."""
    forced = os.environ.get("TEST_POWER_CUT", "")
    if forced:
        return KINDS[forced](home / forced)
    try:
        return FuseDisk(home / "fuse")
    except Refused as refusal:
        print(f"{refusal}; a preloaded shadow takes its place")
        return ShadowDisk(home / "shadow")
