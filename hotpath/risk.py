"""The door to risk: chooses the compiled kernel or its twin, and opens the table of this host.

    risk = open_table(path, sizes_for(program), key=..., program=program)
    answer = risk.decide(now_s, ip_hi, ip_lo, member_id, risk.hash_key(key), device)
    if verdict_of(answer) > REVIEW: ...

`decide` takes numbers and gives one; nothing else is made. An address is 128 bits in two halves,
IPv4 as ::ffff:a.b.c.d; `hotpath.address` reads it. `device` is `hash_key` of what the client calls
itself, or 0.

A repeat of what was let through is always let through again. A table forgets the oldest of them
where it is full, and is made anew after a reboot, so a refusal is final only with `remembers`;
otherwise Redis has to be asked for the key's answer first (`core.flows.pass_risk`).
"""

import contextlib
import fcntl
import math
import mmap
import os
from collections.abc import Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

import msgspec

from hotpath import kernels
from hotpath._risk_py import ALLOW, ALLOWED, BLOCK, CHALLENGE, DEVICE, IP, MEMBER, REVIEW, Table

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._risk import Table

        IMPLEMENTATION = "cython"

__all__ = [
    "ALLOW",
    "ALLOWED",
    "BLOCK",
    "CHALLENGE",
    "DEVICE",
    "IMPLEMENTATION",
    "IP",
    "MEMBER",
    "REVIEW",
    "Program",
    "Risk",
    "Sizes",
    "Table",
    "is_repeat",
    "open_table",
    "reasons_of",
    "rule_of",
    "seed_of",
    "sizes_for",
    "verdict_of",
    "version_of",
]

LAYOUT = "risk table 1"
HEADER_BYTES = 4096
BUCKET_BYTES_PER_SUBJECT = 16
SEEN_PER_SUBJECT = 16
RING_MIN = 128
RING_MAX = 8192
BORN_AT, HOST_AT = 32, 40
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Sizes(msgspec.Struct, frozen=True):
    """Powers of two: how many subjects, entries of each, and claims known to have passed."""

    subjects: int
    ring: int
    seen: int

    @property
    def file_bytes(self) -> int:
        per_subject = BUCKET_BYTES_PER_SUBJECT + 8 * self.ring
        return HEADER_BYTES + self.subjects * per_subject + 8 * self.seen


Lists = tuple[Sequence[int], Sequence[int], Sequence[int]]


class Program(msgspec.Struct, frozen=True):
    """Rules as flat numbers: (subject, window_s, limit, verdict, id) each; lists as `obey` says.

    `version` and the ids come back in every answer. Ids below 16 are the kernel's own.
    """

    version: int
    rules: Sequence[int]
    deny: Lists = ((), (), ())
    allow: Lists = ((), (), ())

    @property
    def limit_max(self) -> int:
        return max(self.rules[2::5], default=0)


def sizes_for(program: Program, *, subjects: int) -> Sizes:
    """Round up, with a fifth of each ring to spare. Raises ValueError beyond RING_MAX."""
    ring = max(RING_MIN, _power_of_two(program.limit_max * 5 // 4))
    if ring > RING_MAX:
        raise ValueError(f"a limit of {program.limit_max} is more than a table can count")
    return Sizes(_power_of_two(subjects), ring, _power_of_two(subjects) * SEEN_PER_SUBJECT)


def verdict_of(answer: int) -> int:
    """ALLOW, REVIEW, CHALLENGE or BLOCK, in this order of gravity."""
    return answer & 7


def is_repeat(answer: int) -> bool:
    """Whether this claim was let through before."""
    return bool(answer & 8)


def rule_of(answer: int) -> int:
    """The id of the rule that gave the verdict; 1 to 4 are the lists, 0 is none."""
    return answer >> 4 & 0xFFFF


def reasons_of(answer: int) -> int:
    """All rules that were hit, as bits in the order of the program."""
    return answer >> 20 & 0xFFFF


def version_of(answer: int) -> int:
    return answer >> 36


class Risk(Table):
    """A host's table, with its file."""

    born_s: float = math.inf
    host: bytes = b""

    def remembers(self, member: int, key_hash: int, *, since_s: float) -> bool:
        """Whether this claim must be known here, had it been let through since then."""
        return self.born_s <= since_s and self.knows(member, key_hash, since_s)


def open_table(path: Path, sizes: Sizes, *, key: bytes, program: Program, now_s: float) -> Risk:
    """Map the file that all workers of this host share; make it where it is missing or unfit.

    A file fits if it was made since the last reboot, with these sizes and this key. All its room
    is taken at once: a full disk stops the start, and never a worker in the middle of a claim.
    Only opening takes a lock, the folder's, which the kernel takes back from the dead.
    """
    seed = seed_of(key)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        identity = _identity(sizes, seed)
        if not _fits(path, sizes, identity):
            _make(path, sizes, identity, now_s)
        memory = _map(path, sizes)
    finally:
        os.close(folder)
    risk = Risk(memory, subjects=sizes.subjects, ring=sizes.ring, seen=sizes.seen, seed=seed)
    risk.obey(program.version, program.rules, deny=program.deny, allow=program.allow)
    if IMPLEMENTATION == "cython":  # the twin keeps nothing in the file
        risk.born_s = int.from_bytes(memory[BORN_AT : BORN_AT + 8], "little")
    risk.host = memory[HOST_AT : HOST_AT + 8]
    return risk


def seed_of(key: bytes) -> tuple[int, int]:
    """The same key makes the same hashes on every host."""
    digest = blake2b(key, digest_size=16, person=b"sluice risk").digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _identity(sizes: Sizes, seed: tuple[int, int]) -> bytes:
    try:
        boot = BOOT_ID.read_text(encoding="ascii")
    except OSError:
        boot = ""
    text = f"{LAYOUT},{IMPLEMENTATION},{sizes},{seed},{boot}"
    return blake2b(text.encode(), digest_size=32).digest()


def _fits(path: Path, sizes: Sizes, identity: bytes) -> bool:
    try:
        with path.open("rb") as file:
            same = file.read(len(identity)) == identity
            return same and os.fstat(file.fileno()).st_size == sizes.file_bytes
    except FileNotFoundError:
        return False


def _make(path: Path, sizes: Sizes, identity: bytes, now_s: float) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(file, 0, sizes.file_bytes)
        made = os.fstat(file)
        maker = f"{made.st_dev},{made.st_ino},{made.st_ctime_ns}".encode()
        host = blake2b(identity + maker, digest_size=8).digest()
        os.pwrite(file, identity + int(now_s + 1).to_bytes(8, "little") + host, 0)
    except OSError:
        fresh.unlink()
        raise
    finally:
        os.close(file)
    fresh.replace(path)


def _map(path: Path, sizes: Sizes) -> mmap.mmap:
    with closing(path.open("r+b")) as file:
        return mmap.mmap(file.fileno(), sizes.file_bytes)


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
