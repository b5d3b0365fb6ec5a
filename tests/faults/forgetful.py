"""A disk that forgets: a FUSE file system that loses in a power cut what a real disk may lose.

Run it as a process of its own: `python forgetful.py BACKING MOUNT`. It reads BACKING, serves it at
MOUNT and takes orders on its standard input, one a line, each answered by one line of JSON:

    hold N            stop dead at the Nth operation from now (write, fsync, create, rename ...),
                      before it is done; every later one waits as well
    cut SEED [TAIL]   the power fails: forget, write what survived to BACKING, serve that
    sync              make all that is there durable
    stats             how many operations and fsyncs there were; where it is stopped

The end of its input is the end of the mount, so it never outlives the test that started it.

What survives a cut:

Bytes. fsync and fdatasync make exactly that file's bytes and its length durable. Of what was
written since, TAIL says how much is still there:

    nothing   all of it is gone
    prefix    a part of it is there, in the order of writing, torn at any byte
    zeros     such a part and then zeros, as when a length reached the disk before its blocks
    all       all of it is there, as after a mere kill -9
    hole      all of it but one block, which is zeros: blocks reached the disk out of order

Without TAIL the seed chooses for each file; it never chooses a hole, which has a test of its own.

Names. create, mkdir, rename, unlink and rmdir go through one ordered journal, as on ext4 or XFS. An
fsync of a file makes the journal durable up to the last entry about that file, an fsync of a
folder up to the last entry in that folder. Of the rest a prefix survives, and the seed chooses
which: a rename that was not fsynced is seen either done or not done. A name can survive its bytes:
a new file whose name was journalled and whose bytes were never fsynced comes back empty or torn.

Not modelled: bytes that rot after their fsync, hard and symbolic links, file modes.
"""

import contextlib
import ctypes
import errno
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLOCK_BYTES = 4096
TAIL_WEIGHTS = {"nothing": 4, "prefix": 4, "zeros": 3, "all": 1}
MNT_DETACH = 2


@dataclass(eq=False)
class File:
    """The bytes a process sees, the bytes a cut leaves, and the way from these to those."""

    seen: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    changes: list[tuple[int, int]] = field(default_factory=list)
    "(offset, length) of each write since the last fsync, in order; (size, -1) is a truncation."
    mode: int = 0o600
    changed_ns: int = 0

    def write(self, offset: int, data: bytes) -> None:
        if offset > len(self.seen):
            self.truncate(offset)
        end = offset + len(data)
        self.seen[offset:end] = data
        if self.changes:
            last, length = self.changes[-1]
            if length >= 0 and last + length == offset:
                self.changes[-1] = (last, length + len(data))
                return
        self.changes.append((offset, len(data)))

    def truncate(self, size: int) -> None:
        _resize(self.seen, size)
        self.changes.append((size, -1))

    def sync(self) -> None:
        self._keep(sys.maxsize)
        self.changes.clear()

    def forget(self, rng: random.Random, tail: str) -> int:
        """Lose what a cut loses; the number of un-fsynced bytes that are gone."""
        written = sum(length for _, length in self.changes if length > 0)
        synced, whole = len(self.kept), len(self.seen)
        if tail in {"prefix", "zeros"}:
            survived = rng.randint(0, written)
        else:
            survived = 0 if tail == "nothing" else written
        if survived or tail in {"hole", "all"}:
            self._keep(survived)
        if tail == "zeros" and len(self.kept) < whole:
            _resize(self.kept, rng.randint(len(self.kept), whole))
        if tail == "hole" and len(self.kept) > synced:
            block = rng.randint(synced, len(self.kept) - 1) // BLOCK_BYTES * BLOCK_BYTES
            start, end = max(block, synced), min(block + BLOCK_BYTES, len(self.kept))
            self.kept[start:end] = bytes(end - start)
        self.changes.clear()
        self.seen[:] = self.kept
        return written - survived

    def _keep(self, budget: int) -> None:
        """Bring the first `budget` bytes of the changes to the kept side, in order."""
        for offset, length in self.changes:
            if length < 0:
                _resize(self.kept, offset)
                continue
            if len(self.kept) < offset:
                _resize(self.kept, offset)
            end = offset + min(length, budget)
            # A later truncation can have cut what was written here; zeros stand in for it.
            piece = self.seen[offset:end]
            self.kept[offset:end] = piece.ljust(end - offset, b"\0")
            budget -= length
            if budget <= 0:
                return


@dataclass(eq=False)
class Folder:
    seen: dict[str, "File | Folder"] = field(default_factory=dict)
    kept: dict[str, "File | Folder"] = field(default_factory=dict)
    mode: int = 0o700
    changed_ns: int = 0


@dataclass(frozen=True)
class Entry:
    """One step of the journal: names set or, with None, removed; all of them or none."""

    steps: tuple[tuple[Folder, str, File | Folder | None], ...]
    about: tuple[File | Folder, ...]

    def redo(self) -> None:
        for folder, name, node in self.steps:
            if node is None:
                folder.kept.pop(name, None)
            else:
                folder.kept[name] = node


@dataclass(frozen=True)
class Forgotten:
    """What a cut took: bytes never fsynced, and steps of the journal never committed."""

    bytes: int
    names: int
    torn: dict[str, str]
    "path -> the tail that was chosen, for each file that had anything to lose"


class Disk:
    """The model by itself: no FUSE, no threads. Paths are relative, "" is the root."""

    def __init__(self) -> None:
        self.root = Folder()
        self.journal: list[Entry] = []

    def find(self, path: str) -> File | Folder:
        node: File | Folder = self.root
        for name in path.split("/") if path else ():
            if isinstance(node, File):
                raise OSError(errno.ENOTDIR, path)
            if name not in node.seen:
                raise OSError(errno.ENOENT, path)
            node = node.seen[name]
        return node

    def file(self, path: str) -> File:
        node = self.find(path)
        if isinstance(node, Folder):
            raise OSError(errno.EISDIR, path)
        return node

    def folder(self, path: str) -> Folder:
        node = self.find(path)
        if isinstance(node, File):
            raise OSError(errno.ENOTDIR, path)
        return node

    def create(self, path: str) -> File:
        folder, name = self._place(path)
        node = File()
        self._enter(Entry(((folder, name, node),), (node, folder)))
        return node

    def make_folder(self, path: str) -> Folder:
        folder, name = self._place(path)
        if name in folder.seen:
            raise OSError(errno.EEXIST, path)
        node = Folder()
        self._enter(Entry(((folder, name, node),), (node, folder)))
        return node

    def rename(self, old: str, new: str) -> None:
        node = self.find(old)
        source, old_name = self._place(old)
        target, new_name = self._place(new)
        replaced = target.seen.get(new_name)
        if replaced is node:
            return
        if isinstance(replaced, Folder) and replaced.seen:
            raise OSError(errno.ENOTEMPTY, new)
        steps = ((source, old_name, None), (target, new_name, node))
        self._enter(Entry(steps, (node, source, target)))

    def remove(self, path: str) -> None:
        node = self.find(path)
        if isinstance(node, Folder) and node.seen:
            raise OSError(errno.ENOTEMPTY, path)
        folder, name = self._place(path)
        self._enter(Entry(((folder, name, None),), (node, folder)))

    def sync(self, node: File | Folder) -> None:
        if isinstance(node, File):
            node.sync()
        last = max((i for i, entry in enumerate(self.journal) if node in entry.about), default=-1)
        self._commit(last + 1)

    def sync_all(self) -> None:
        self._commit(len(self.journal))
        for _, node in walk(self.root):
            if isinstance(node, File):
                node.sync()

    def cut(self, seed: int, tail: str = "") -> Forgotten:
        """Lose what was not fsynced. The same seed on the same state loses the same."""
        rng = random.Random(seed)
        names = len(self.journal)
        if tail != "nothing":
            committed = rng.choice((0, names, rng.randint(0, names)))
            self._commit(names if tail == "all" else committed)
        gone, self.journal = self.journal, []
        _restore(self.root)
        lost, torn = 0, {}
        for path, node in sorted(walk(self.root), key=lambda found: found[0]):
            if isinstance(node, File) and node.changes:
                torn[path] = tail or rng.choices(*zip(*TAIL_WEIGHTS.items(), strict=True))[0]
                lost += node.forget(rng, torn[path])
        return Forgotten(lost, len(gone), torn)

    def _place(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        return self.folder(parent), name

    def _enter(self, entry: Entry) -> None:
        for folder, name, node in entry.steps:
            if node is None:
                folder.seen.pop(name, None)
            else:
                folder.seen[name] = node
        self.journal.append(entry)

    def _commit(self, count: int) -> None:
        for entry in self.journal[:count]:
            entry.redo()
        del self.journal[:count]


def walk(folder: Folder, prefix: str = "") -> Iterator[tuple[str, File | Folder]]:
    for name, node in folder.seen.items():
        yield prefix + name, node
        if isinstance(node, Folder):
            yield from walk(node, f"{prefix}{name}/")


def load(disk: Disk, source: Path) -> None:
    """Take a plain folder in, as durable."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_dir():
            disk.make_folder(name)
        else:
            node = disk.create(name)
            node.mode = stat.S_IMODE(path.stat().st_mode)
            node.write(0, path.read_bytes())
    disk.sync_all()


def store(disk: Disk, target: Path) -> None:
    """Put what a process would see into a plain folder, in place of what was there."""
    for path in target.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, node in walk(disk.root):
        if isinstance(node, Folder):
            (target / name).mkdir()
        else:
            (target / name).write_bytes(node.seen)
            (target / name).chmod(node.mode)


def _resize(data: bytearray, size: int) -> None:
    if len(data) > size:
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


def _restore(folder: Folder) -> None:
    folder.seen = dict(folder.kept)
    for node in folder.seen.values():
        if isinstance(node, Folder):
            _restore(node)


class Mount:
    """The disk as fusepy calls it, from one thread; the orders come from another."""

    use_ns = True
    # Files are known by their handle, so one that was unlinked while open stays whole.
    flag_nullpath_ok = 1
    flag_nopath = 1

    def __init__(self, disk: Disk, backing: Path, mount: Path) -> None:
        self.disk = disk
        self.backing = backing
        self.mount = mount
        self.turn = threading.Condition()
        self.handles: dict[int, File | Folder] = {}
        self.next_handle = 1
        self.operations = 0
        self.fsyncs = 0
        self.hold_at = 0
        self.held = ""
        self.cuts = 0

    def __call__(self, operation: str, *args: object) -> object:
        with self.turn:
            return getattr(self, operation)(*args)

    # Orders.

    def obey(self, order: str, *args: str) -> dict[str, object]:
        with self.turn:
            if order == "hold":
                self.hold_at = self.operations + int(args[0])
            elif order == "sync":
                self.disk.sync_all()
            elif order == "cut":
                return self._cut(int(args[0]), *args[1:])
            return {"held": self.held, "operations": self.operations, "fsyncs": self.fsyncs}

    def _cut(self, seed: int, tail: str = "") -> dict[str, object]:
        forgotten = self.disk.cut(seed, tail)
        store(self.disk, self.backing)
        self.handles.clear()
        self.hold_at, self.held = 0, ""
        self.cuts += 1
        self.turn.notify_all()
        return vars(forgotten)

    def _count(self, what: str) -> None:
        """Stop here when it was ordered. Whoever was stopped finds a machine that is gone."""
        self.operations += 1
        if self.operations == self.hold_at:
            self.held = what
            cuts = self.cuts
            self.turn.wait_for(lambda: self.cuts != cuts)
            raise OSError(errno.EIO, what)

    # Operations that change something.

    def create(self, path: str, mode: int) -> int:
        self._count(f"create {path}")
        node = self.disk.create(path[1:])
        node.mode = stat.S_IMODE(mode)
        return self._handle(node)

    def write(self, path: str | None, data: bytes, offset: int, handle: int) -> int:
        self._count("write")
        node = self._opened(handle)
        node.write(offset, data)
        node.changed_ns = time.time_ns()
        return len(data)

    def truncate(self, path: str | None, size: int, handle: int | None = None) -> None:
        self._count(f"truncate {path}")
        node = self.disk.file((path or "")[1:]) if handle is None else self._opened(handle)
        node.truncate(size)

    def fsync(self, path: str | None, data_only: int, handle: int) -> None:
        self._count("fsync")
        self.fsyncs += 1
        self.disk.sync(self._opened(handle))

    def fsyncdir(self, path: str | None, data_only: int, handle: int) -> None:
        self._count("fsync folder")
        self.fsyncs += 1
        self.disk.sync(self._opened(handle))

    def mkdir(self, path: str, mode: int) -> None:
        self._count(f"mkdir {path}")
        self.disk.make_folder(path[1:]).mode = stat.S_IMODE(mode)

    def rename(self, old: str, new: str) -> None:
        self._count(f"rename {old} {new}")
        self.disk.rename(old[1:], new[1:])

    def unlink(self, path: str) -> None:
        self._count(f"unlink {path}")
        self.disk.remove(path[1:])

    rmdir = unlink

    # Operations that only look, or whose effect this model leaves out.

    def getattr(self, path: str | None, handle: int | None = None) -> dict[str, int]:
        node = self.disk.find((path or "/")[1:]) if handle is None else self._opened(handle)
        folder = isinstance(node, Folder)
        return {
            "st_mode": node.mode | (stat.S_IFDIR if folder else stat.S_IFREG),
            "st_size": BLOCK_BYTES if folder else len(node.seen),
            "st_nlink": 2 if folder else 1,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
            "st_mtime": node.changed_ns,
            "st_ctime": node.changed_ns,
        }

    def open(self, path: str, flags: int) -> int:
        return self._handle(self.disk.file(path[1:]))

    def opendir(self, path: str) -> int:
        return self._handle(self.disk.folder(path[1:]))

    def read(self, path: str | None, size: int, offset: int, handle: int) -> bytes:
        return bytes(self._opened(handle).seen[offset : offset + size])

    def readdir(self, path: str | None, handle: int) -> list[str]:
        return [".", "..", *self._opened(handle).seen]

    def release(self, path: str | None, handle: int) -> None:
        self.handles.pop(handle, None)

    releasedir = release

    def statfs(self, path: str) -> dict[str, int]:
        blocks = 1 << 28
        return {"f_bsize": BLOCK_BYTES, "f_blocks": blocks, "f_bfree": blocks, "f_bavail": blocks}

    def chmod(self, path: str, mode: int) -> None:
        self.disk.find(path[1:]).mode = stat.S_IMODE(mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        pass

    def utimens(self, path: str, times: tuple[int, int] | None) -> None:
        pass

    def init(self, path: str) -> None:
        answer({"ready": True})

    def _handle(self, node: File | Folder) -> int:
        handle = self.next_handle
        self.next_handle += 1
        self.handles[handle] = node
        return handle

    def _opened(self, handle: int) -> "File | Folder":
        """A handle from before a cut belongs to a machine that is gone."""
        try:
            return self.handles[handle]
        except KeyError:
            raise OSError(errno.EIO, "opened before the power cut") from None


def answer(facts: dict[str, object]) -> None:
    print(json.dumps(facts), flush=True)


def take_orders(mount: Mount) -> None:
    try:
        for line in sys.stdin:
            answer(mount.obey(*line.split()))
        # Whoever waits at a hold is let go, or the mount could not end.
        mount.obey("cut", "0", "all")
    finally:
        unmount(mount.mount)


def unmount(mount: Path) -> None:
    """Detach, also when the process that served it is gone. Not mounted is fine."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mount), MNT_DETACH) and ctypes.get_errno() == errno.EPERM:
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(["fusermount", "-u", "-z", mount], check=False, capture_output=True)


def main(backing: str, mount: str) -> None:
    import fuse

    disk = Disk()
    load(disk, Path(backing))
    served = Mount(disk, Path(backing), Path(mount))
    threading.Thread(target=take_orders, args=(served,), daemon=True).start()
    fuse.FUSE(
        served,
        mount,
        foreground=True,
        nothreads=True,
        direct_io=True,
        hard_remove=True,
        attr_timeout=0,
        entry_timeout=0,
        allow_other=os.geteuid() == 0,
        fsname="forgetful",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
