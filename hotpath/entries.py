"""What an entry of the stream holds: the claims that one call accepted, each at its own position.

The entry's id is the position of its first claim; the next ones count on from there.
"""

import re
from collections.abc import Sequence

import msgspec

from hotpath.claims import DamagedRecord, decode_record

_COUNT = re.compile(rb"([1-9][0-9]{0,4}),\1")
_BEGINNING = re.compile(rb"2,[0-9]{1,3},[0-9]{1,19},[0-9]{1,19},[0-9]{1,7},[0-9]{1,9},")


class Drained(msgspec.Struct, frozen=True, gc=False):
    """One accepted claim, still as the bytes that the stream keeps."""

    position: str
    record: bytes


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Claims of one call, as the stream keeps them. `count` says how many, twice over."""

    position: str
    records: bytes
    count: bytes


def claims_of(entry: Entry) -> list[Drained]:
    """Every claim of an entry, also those that nobody can read."""
    records = split(entry.records, entry.count)
    return [Drained(position_of(entry, n), record) for n, record in enumerate(records)]


def claims_in(entry: Entry) -> int:
    """How many claims an entry holds."""
    lines = entry.records.count(b"\n") + 1
    sound = entry.count == b"%d,%d" % (lines, lines)
    return lines if sound else len(split(entry.records, entry.count))


def position_of(entry: Entry, index: int) -> str:
    ms, _, seq = entry.position.partition("-")
    return f"{ms}-{int(seq) + index}"


def entry_of(claims: Sequence[Drained]) -> Entry:
    """The entry that would hold these claims, which stand one after another, and no others."""
    count = b"%d,%d" % (len(claims), len(claims))
    return Entry(claims[0].position, b"\n".join(claim.record for claim in claims), count)


def split(records: bytes, count: bytes) -> list[bytes]:
    """The records of an entry in the order of their positions.

    Damage is kept where it is: what stands before it is counted from the front, what comes after
    it from the back, so that no sound claim changes its position.
    """
    lines = records.split(b"\n")
    said = _COUNT.fullmatch(count)
    if said is None or int(said[1]) == len(lines):
        return lines
    damaged = [n for n, line in enumerate(lines) if not _is_sound(line)]
    if not damaged:
        return lines
    head, tail = lines[: damaged[0]], lines[damaged[-1] + 1 :]
    torn = b"\n".join(lines[damaged[0] : damaged[-1] + 1])
    return [*head, *_tear(torn, max(int(said[1]) - len(head) - len(tail), 1)), *tail]


def _tear(torn: bytes, count: int) -> list[bytes]:
    """Cut what lost its line ends where records begin, or else call all but the first empty."""
    cuts = [found.start() for found in _BEGINNING.finditer(torn)][1:]
    if count != len(cuts) + 1:
        return [torn, *[b""] * (count - 1)]
    starts, ends = [0, *cuts], [*(cut - 1 for cut in cuts), len(torn)]
    return [torn[start:end] for start, end in zip(starts, ends, strict=True)]


def _is_sound(record: bytes) -> bool:
    try:
        decode_record(record)
    except DamagedRecord:
        return False
    return True
