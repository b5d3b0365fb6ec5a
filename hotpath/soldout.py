"""What is gone from a bucket, so that a worker refuses it without asking Redis.

Redis counts in `freed` the units that ever came back in an epoch. While looks find the same count,
what was gone is gone still, and nobody new was accepted for it. Each look is good for `LEASE_S`
from the moment we began to ask: whoever lost, delayed or slept through anything knows nothing.
How a SKU becomes known to be gone:

1. A look says how much had come back; asked after it, `left` says that none is left.
2. Asked after that, all who ever had an answer are read, whatever else is answered meanwhile.
3. Asked after that, a look finds the same count, and still none left.

So `holders` misses nobody who was accepted for that SKU. They always go on to Redis, which repeats
their answers. It may miss who was accepted for another SKU since: only a new key is refused then.
"""

import msgspec

from hotpath.claims import BucketFacts

LEASE_S = 0.75
BITS_PER_HOLDER = 32
BITS_MIN = 1 << 13
BITS_MAX = 1 << 29
U64 = 0xFFFF_FFFF_FFFF_FFFF


class Look(msgspec.Struct, frozen=True):
    """A bucket at one instant, which is not before `asked_at` by our own clock.

    `freed` are the units that came back since the epoch began, `answered` the keys accepted.
    """

    asked_at: float
    stamp: str
    is_open: bool
    freed: int
    answered: int


class Holders:
    """Members, in a few bits each: misses none, and takes one in hundreds of others for one."""

    __slots__ = ("_bits", "_shift")

    def __init__(self, expected: int) -> None:
        wanted = min(max(expected * BITS_PER_HOLDER, BITS_MIN), BITS_MAX)
        self._shift = 64 - (wanted - 1).bit_length()
        self._bits = bytearray((1 << 64 - self._shift) // 8)

    def add(self, member_id: int) -> None:
        for at in self._places(member_id):
            self._bits[at >> 3] |= 1 << (at & 7)

    def __contains__(self, member_id: int) -> bool:
        return all(self._bits[at >> 3] >> (at & 7) & 1 for at in self._places(member_id))

    def _places(self, member_id: int) -> tuple[int, int]:
        one = member_id * 0x9E37_79B9_7F4A_7C15 & U64
        other = (one ^ one >> 32) * 0xD6E8_FEB8_6659_FD93 & U64
        return one >> self._shift, other >> self._shift


class Reading(msgspec.Struct, frozen=True):
    """Step 2, while it lasts. `skus` is how many SKUs the bucket has, gone or not."""

    freed: int
    skus: int
    holders: Holders


class SoldOut:
    """What one worker knows of one epoch of a bucket. Whoever begins another begins another."""

    def __init__(self, facts: BucketFacts) -> None:
        self.facts = facts
        self.limits: dict[int, int] = {}
        "What is gone, with what one member may buy of it."
        self.reading: Reading | None = None
        self._freed = -1
        self._until = 0.0
        self._whole = False
        self._holders = Holders(0)

    def refuses(
        self, member_id: int, sku_id: int, quantity: int, *, is_new: bool, now: float
    ) -> bool:
        """Whether Redis would surely say sold out, or did within the last second.

        `is_new` promises that this member's key was never accepted, unless by another host.
        """
        return (
            quantity <= self.limits.get(sku_id, 0)
            and now < self._until
            and (is_new or self._whole)
            and member_id not in self._holders
        )

    def learn(self, look: Look) -> bool:
        """Take a look: it extends what is known, or ends it. False where nothing can be known."""
        if look.stamp != self.facts.stamp or not look.is_open:
            self.forget()
            return False
        if look.freed != self._freed:
            self.forget()
            self._freed = look.freed
        self._until = look.asked_at + LEASE_S
        return True

    def forget(self) -> None:
        self.limits = {}
        self.reading = None
        self._freed = -1
        self._whole = False

    def accept(self, member_id: int) -> None:
        """Note who was accepted just now, for whatever SKU."""
        self._holders.add(member_id)
        if self.reading is not None:
            self.reading.holders.add(member_id)

    def read(self, look: Look, *, skus: int) -> Reading:
        """Begin step 2, with the look of step 1."""
        self.reading = Reading(look.freed, skus, Holders(look.answered))
        return self.reading

    def confirm(self, reading: Reading, look: Look, limits: dict[int, int]) -> None:
        """Step 3: `limits` are those of the SKUs that are gone still, by the same look."""
        if not self.learn(look) or look.freed != reading.freed or reading is not self.reading:
            return
        self.limits.update(limits)
        self._holders, self.reading = reading.holders, None
        self._whole = len(self.limits) == reading.skus
