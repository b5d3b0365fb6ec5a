"""What is gone from a bucket, so that a worker refuses it without asking Redis.

Redis counts in `freed` the units that ever came back in an epoch. While looks find the same count,
what was gone is gone still, and nobody new was accepted for it. Each look is good for `LEASE_S`
from the moment we began to ask: whoever lost, delayed or slept through anything knows nothing.
How a SKU becomes known to be gone:

1. A look says how much had come back; asked after it, `left` says that none is left.
2. Asked after that, all who ever had an answer are read, whatever else is answered meanwhile.
3. Asked after that, a look finds the same count, and still none left.

So `holders` misses nobody who was accepted for that SKU by then. They always go on to Redis, which
repeats their answers. Within the lease a unit may come back and be sold, and other SKUs are sold
all the while: so whoever has used the key before on this host goes on to Redis as well.
"""

import msgspec

from hotpath.claims import BucketFacts

LEASE_S = 0.75
BITS_PER_HOLDER = 32
BITS_MIN = 1 << 13
BITS_MAX = 1 << 29
U64 = 0xFFFF_FFFF_FFFF_FFFF
FIRST_FACTOR = 0x9E37_79B9_7F4A_7C15
SECOND_FACTOR = 0xD6E8_FEB8_6659_FD93


class Look(msgspec.Struct, frozen=True):
    """A bucket at one instant, which is not before `asked_at` by our own clock.

    Of this epoch: `freed` units came back, `answered` keys were accepted. What is left is the same
    while these three counts are.
    """

    asked_at: float
    stamp: str
    is_open: bool
    freed: int
    answered: int
    transfers: int


class Holders:
    """Members, in a few bits each: misses none, and takes one in hundreds of others for one."""

    def __init__(self, expected: int) -> None:
        wanted = min(max(expected * BITS_PER_HOLDER, BITS_MIN), BITS_MAX)
        self._shift = 64 - (wanted - 1).bit_length()
        self._bits = bytearray((1 << 64 - self._shift) // 8)

    def add(self, member_id: int) -> None:
        for at in self._places(member_id):
            self._bits[at >> 3] |= 1 << (at & 7)

    def __contains__(self, member_id: int) -> bool:
        one, other = self._places(member_id)
        return bool(
            self._bits[one >> 3] >> (one & 7) & 1 and self._bits[other >> 3] >> (other & 7) & 1
        )

    def _places(self, member_id: int) -> tuple[int, int]:
        mixed = member_id * FIRST_FACTOR & U64
        mixed = (mixed ^ mixed >> 32) * SECOND_FACTOR & U64
        return mixed >> self._shift, (mixed ^ mixed >> 32) & U64 >> self._shift


class Reading(msgspec.Struct, frozen=True):
    """Step 2, while it lasts."""

    freed: int
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
        self._holders = Holders(0)

    def refuses(self, member_id: int, sku_id: int, quantity: int, now: float) -> bool:
        """Whether Redis would say sold out to a new key, or would have within the last second."""
        return (
            quantity <= self.limits.get(sku_id, 0)
            and now < self._until
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

    def accept(self, member_id: int) -> None:
        """Note who was accepted just now, for whatever SKU."""
        self._holders.add(member_id)
        if self.reading is not None:
            self.reading.holders.add(member_id)

    def read(self, look: Look) -> Reading:
        """Begin step 2, with the look of step 1."""
        self.reading = Reading(look.freed, Holders(look.answered))
        return self.reading

    def confirm(self, reading: Reading, look: Look, limits: dict[int, int]) -> None:
        """Step 3: `limits` are those of the SKUs that are gone still, by the same look."""
        if not self.learn(look) or look.freed != reading.freed or reading is not self.reading:
            return
        self.limits.update(limits)
        self._holders, self.reading = reading.holders, None
