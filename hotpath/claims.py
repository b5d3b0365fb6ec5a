"""What a claim is, how it is written down, and what can come of it.

A claim's facts are the text `2,<epoch>,<member>,<sku>,<quantity>,<key id>,<crc>`, where 2 is the
version of this format. Its record is `<facts>,<key>`: that is what claim.lua is given, and what the
stream keeps; the answers keep `<position>,<facts>`. The CRC covers the key as well, because Redis
loads a flipped byte in silence.
"""

import enum
import re
from collections.abc import Sequence
from zlib import crc32

import msgspec

QUANTITY_MAX = 1_000_000
KEY_MAX = 64
EPOCH_MAX = 255
ID_MAX = 2**63 - 1

# By these words Redis, or our script, says that it refused before the first write.
CERTAIN_ERRORS = frozenset(
    {"EPOCH", "CLAIM", "LOADING", "OOM", "MISCONF", "READONLY", "MASTERDOWN", "CLUSTERDOWN"}
    | {"NOAUTH", "BUSY", "NOSCRIPT", "MOVED", "ASK", "TRYAGAIN"}
)


class Claim(msgspec.Struct, frozen=True, gc=False):
    """One member's wish for units of one SKU. `key` is the idempotency key."""

    sale_id: int
    member_id: int
    key: str
    sku_id: int
    quantity: int


class BucketFacts(msgspec.Struct, frozen=True):
    """What Postgres says of a bucket: its epoch, and the one Redis process it trusts."""

    number: int
    epoch: int
    stamp: str
    run_id: str


class SaleFacts(msgspec.Struct, frozen=True):
    """The buckets of a sale, in the order that routing counts them."""

    buckets: list[BucketFacts]


class Record(msgspec.Struct, frozen=True, gc=False):
    """An accepted claim, as the stream keeps it."""

    epoch: int
    member_id: int
    sku_id: int
    quantity: int
    key_id: int
    key: str


class DamagedRecord(Exception):
    """These bytes are not a claim that we wrote."""


class Kind(enum.IntEnum):
    """Accepted says it is durable; unknown says it may be; all others say nothing happened."""

    ACCEPTED = 1
    KEY_REUSED = 2
    NOT_OPEN = 3
    NO_SUCH_SALE = 4
    NO_SUCH_SKU = 5
    MEMBER_LIMIT = 6
    SOLD_OUT = 7
    BUSY = 8
    UNAVAILABLE = 9
    UNKNOWN = 10


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What came of a claim. `left` belongs to sold out, `retry_after_s` to busy.

    All other facts belong to accepted.

    A repeat is accepted with the epoch, position and key id of the first time, so that its receipt
    can be signed again byte for byte.
    """

    kind: Kind
    bucket: int = 0
    epoch: int = 0
    position: str = ""
    key_id: int = 0
    left: int = 0
    retry_after_s: int = 0


KEY_REUSED = Verdict(Kind.KEY_REUSED)
NOT_OPEN = Verdict(Kind.NOT_OPEN)
NO_SUCH_SALE = Verdict(Kind.NO_SUCH_SALE)
NO_SUCH_SKU = Verdict(Kind.NO_SUCH_SKU)
MEMBER_LIMIT = Verdict(Kind.MEMBER_LIMIT)
SOLD_OUT = Verdict(Kind.SOLD_OUT)
BUSY = Verdict(Kind.BUSY)
UNAVAILABLE = Verdict(Kind.UNAVAILABLE)
UNKNOWN = Verdict(Kind.UNKNOWN)
# Equal to UNAVAILABLE, but an object of its own: a counter tells them apart by identity.
DAMAGED = Verdict(Kind.UNAVAILABLE)

_PLAIN = {
    b"w": NOT_OPEN,
    b"b": BUSY,
    b"n": NO_SUCH_SKU,
    b"l": MEMBER_LIMIT,
    b"x": DAMAGED,
}

_ID = rb"([1-9][0-9]{0,18})"
_FACTS = rb"(2,([1-9][0-9]{0,2})," + _ID + rb"," + _ID + rb",([1-9][0-9]{0,6}),([1-9][0-9]{0,8}))"
_CRC = rb",([0-9a-f]{8})"
_RECORD = re.compile(_FACTS + _CRC + rb",([ -~]{1,64})")
_POSITION = re.compile(rb"([0-9]{1,20})-([0-9]{1,19})")
_ANSWER = re.compile(rb"([0-9]{1,20}-[0-9]{1,20})," + _FACTS + _CRC)


def encode_facts(claim: Claim, *, epoch: int, key_id: int) -> str:
    head = f"2,{epoch},{claim.member_id},{claim.sku_id},{claim.quantity},{key_id}"
    return f"{head},{crc32(f'{head},{claim.key}'.encode('ascii')):08x}"


def encode_record(claim: Claim, *, epoch: int, key_id: int) -> str:
    return f"{encode_facts(claim, epoch=epoch, key_id=key_id)},{claim.key}"


def pack_batch(
    bucket: BucketFacts, wanted: Sequence[Claim], *, key_id: int, backlog_max: int
) -> list[str | int]:
    """The ARGV of claim.lua for a batch."""
    records = [encode_record(claim, epoch=bucket.epoch, key_id=key_id) for claim in wanted]
    return [bucket.stamp, backlog_max, *records]


class Decided(msgspec.Struct, frozen=True):
    """What came of a batch: how many were accepted just now, and the last one's position."""

    verdicts: list[Verdict]
    last: str | None = None
    fresh: int = 0


def read_batch(
    reply: object, bucket: BucketFacts, wanted: Sequence[Claim], *, key_id: int
) -> Decided:
    """Read the reply to a batch that was packed with this bucket's facts and key id.

    A reply that is wrong in one place proves nothing of the rest: then all of it is unknown.
    """
    lines = reply.split(b"\n") if isinstance(reply, bytes) else []
    fresh = lines.count(b"+")
    unknown = Decided([UNKNOWN] * len(wanted))
    if len(lines) != len(wanted) + 1:
        return unknown
    first = _POSITION.fullmatch(lines[0])
    if first is None and (fresh or lines[0] != b"-"):
        return unknown
    ms, after = (first[1].decode(), int(first[2])) if first and fresh else ("", 0)
    verdicts = []
    for answer, claim in zip(lines[1:], wanted, strict=True):
        if answer == b"+":
            position = f"{ms}-{after}"
            verdicts.append(Verdict(Kind.ACCEPTED, bucket.number, bucket.epoch, position, key_id))
            after += 1
        else:
            verdicts.append(read_answer(answer, claim, bucket))
    if UNKNOWN in verdicts or (first and not fresh):
        return unknown
    return Decided(verdicts, f"{ms}-{after - 1}" if fresh else None, fresh)


def decode_record(raw: bytes) -> Record:
    """Read a claim's record. Whatever this returns fits every bound we have."""
    found = _RECORD.fullmatch(raw)
    if found is None:
        raise DamagedRecord("not the text of a claim")
    head, epoch, member, sku, quantity, key_id, crc, key = found.groups()
    if crc32(head + b"," + key) != int(crc, 16):
        raise DamagedRecord("the CRC does not match")
    record = Record(int(epoch), int(member), int(sku), int(quantity), int(key_id), key.decode())
    if (
        record.epoch > EPOCH_MAX
        or record.quantity > QUANTITY_MAX
        or record.member_id > ID_MAX
        or record.sku_id > ID_MAX
    ):
        raise DamagedRecord("a number is out of bounds")
    return record


def read_answer(answer: bytes, claim: Claim, bucket: BucketFacts) -> Verdict:
    """Read the script's answer to a claim that it did not accept just now."""
    if answer.startswith(b"="):
        return _read_repeat(answer[1:], claim, bucket)
    if answer.startswith(b"s") and answer[1:].isdigit():
        return Verdict(Kind.SOLD_OUT, bucket.number, left=int(answer[1:]))
    return _PLAIN.get(answer, UNKNOWN)


def _read_repeat(answer: bytes, claim: Claim, bucket: BucketFacts) -> Verdict:
    found = _ANSWER.fullmatch(answer)
    if found is None:
        return DAMAGED
    position, head, epoch, member, sku, quantity, key_id, crc = found.groups()
    if crc32(b"%b,%b" % (head, claim.key.encode("ascii"))) != int(crc, 16):
        return DAMAGED
    if int(member) != claim.member_id:
        return DAMAGED
    if int(sku) != claim.sku_id or int(quantity) != claim.quantity:
        return KEY_REUSED
    return Verdict(Kind.ACCEPTED, bucket.number, int(epoch), position.decode(), int(key_id))


def busy(retry_after_s: int) -> Verdict:
    return Verdict(Kind.BUSY, retry_after_s=retry_after_s)


def read_error(message: str) -> Verdict:
    """Read an error reply to a whole batch: did it certainly do nothing?"""
    return UNAVAILABLE if message.split(" ", 1)[0] in CERTAIN_ERRORS else UNKNOWN
