"""Order ids: a UUIDv8 that names its bucket, epoch and stream position, and proves whose it is.

An order has its id the moment Redis accepts the claim, without a random number and without asking
anyone. Below the version and the variant lie 122 free bits, from the top: 42 ms of the position,
30 its sequence, 22 bucket, 8 epoch, 20 tag.
"""

import re

import msgspec

from hotpath.signing import Signer

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class OrderParts(msgspec.Struct, frozen=True):
    bucket: int
    epoch: int
    position: str


class OrderIds:
    def __init__(self, key: bytes) -> None:
        self.signer = Signer(key)

    def make(self, bucket: int, epoch: int, position: str, member: int) -> str:
        """Return the canonical text: lower case, with dashes."""
        before, _, after = position.partition("-")
        ms, seq = int(before), int(after)
        assert ms < 1 << 42, "the position's milliseconds fit 42 bits until the year 2109"
        assert seq < 1 << 30
        assert bucket < 1 << 22
        assert 0 < epoch < 1 << 8
        tag = self._tag(bucket, epoch, position, member)
        return _text(ms << 80 | seq << 50 | bucket << 28 | epoch << 20 | tag)

    def of_key(self, ms: int, member: int, key: str) -> str:
        """Return the id of an ordinary order: epoch 0, so it names no claim, and sorts by time."""
        assert ms < 1 << 42
        said = f"ordinary,{ms},{member},{key}".encode()
        noise = int.from_bytes(self.signer.sign(said)[:9], "big")
        return _text(ms << 80 | noise >> 20 << 28 | noise & 0xFFFFF)

    def owned_by(self, order_id: str, member: int) -> bool:
        """Tell whether this id was made for this member. A guess is right once in a million."""
        free = _free_bits(order_id)
        if free is None:
            return False
        named = _parts(free)
        tag = self._tag(named.bucket, named.epoch, named.position, member)
        return tag == free & 0xFFFFF

    def _tag(self, bucket: int, epoch: int, position: str, member: int) -> int:
        message = f"{bucket},{epoch},{position},{member}".encode("ascii")
        return int.from_bytes(self.signer.sign(message)[:3], "big") >> 4


def is_id(text: str) -> bool:
    """Tell whether this can be the id of an order, of whichever kind."""
    return _CANONICAL.fullmatch(text) is not None


def parts(order_id: str) -> OrderParts | None:
    """Read which claim an id names, or None where it names none. Says nothing of its owner."""
    free = _free_bits(order_id)
    return None if free is None else _parts(free)


def _parts(free: int) -> OrderParts:
    position = f"{free >> 80}-{free >> 50 & 0x3FFFFFFF}"
    return OrderParts(free >> 28 & 0x3FFFFF, free >> 20 & 0xFF, position)


def _text(free: int) -> str:
    number = (
        (free >> 74) << 80 | 8 << 76 | (free >> 62 & 0xFFF) << 64 | 2 << 62 | free & (1 << 62) - 1
    )
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _free_bits(order_id: str) -> int | None:
    if _CANONICAL.fullmatch(order_id) is None:
        return None
    number = int(order_id.replace("-", ""), 16)
    free = (number >> 80) << 74 | (number >> 64 & 0xFFF) << 62 | number & (1 << 62) - 1
    return free if free >> 20 & 0xFF else None
