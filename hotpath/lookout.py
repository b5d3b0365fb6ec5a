"""Looks at every bucket a few times a second, over the wire that its claims take.

So it asks the very process that the gate trusts. What is left is for the storefront, what is gone
for `hotpath.soldout`, which says in which order to ask and why.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import hiredis
import msgspec

from hotpath.gate import Gate
from hotpath.scripts import LOOK, BucketKeys
from hotpath.soldout import Look, Reading, SoldOut
from hotpath.wire import Lost, NotConnected

LOOK_S = 0.2
# To read a field costs about a microsecond here, and less there: a tenth of the time at most.
FIELDS_PER_S_MAX = 100_000
FIELDS_PER_STEP = 500
SKUS_PER_READING_MAX = 1_000


class Shelves(msgspec.Struct, frozen=True):
    """Units left, by SKU, asked for after the look."""

    look: Look
    left: dict[int, int]


class Lookout:
    """Keeps up to date what the gate knows to be gone. `left` is never older than the last look."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._shelves: dict[int, Shelves | None] = {}

    def watch(self, buckets: Iterable[int]) -> None:
        """Look at these from now on, and at no others."""
        self._shelves = {number: self._shelves.get(number) for number in buckets}

    def left(self, bucket: int) -> dict[int, int] | None:
        """Units still for sale, by SKU; None where nobody has looked yet."""
        shelves = self._shelves.get(bucket)
        return None if shelves is None else shelves.left

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_looking())
            group.create_task(self._keep_reading())

    async def _keep_looking(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def _keep_reading(self) -> None:
        while True:
            await self.read()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look at all buckets at once, then at the claims that wait for what others have."""
        await asyncio.gather(*map(self._look_at, self._shelves))
        for number in self._shelves:
            self._gate.review(number, self.left(number) or {})

    async def read(self) -> None:
        """Find out who holds what seems to be gone, a bucket at a time."""
        for number in list(self._shelves):
            sold_out = self._gate.sold_out(number)
            shelves = self._shelves.get(number)
            if sold_out is not None and shelves is not None:
                await self._read_holders(number, sold_out, shelves)

    async def _look_at(self, number: int) -> None:
        sold_out = self._gate.sold_out(number)
        if sold_out is None:
            return
        try:
            look, _ = await self._ask(number, sold_out)
            sold_out.learn(look)
            elsewhere = self._gate.elsewhere
            elsewhere.look(number, stamp=look.stamp, freed=look.freed, asked_at=look.asked_at)
            before = self._shelves.get(number)
            if before is not None and is_same(before.look, look):
                return
            flat = await self._call(number, sold_out, "HGETALL", BucketKeys(number).left)
            left = dict(zip(map(int, flat[::2]), map(int, flat[1::2]), strict=True))
            elsewhere.count(number, left, answered_at=self._loop.time())
        except (Lost, NotConnected):
            return
        except (hiredis.ReplyError, ValueError):
            # Whatever stands there is not what we wrote; the auditor says so.
            sold_out.forget()
            return
        if number in self._shelves:
            self._shelves[number] = Shelves(look, left)

    async def _read_holders(self, number: int, sold_out: SoldOut, shelves: Shelves) -> None:
        gone = [
            sku for sku, left in shelves.left.items() if not left and sku not in sold_out.limits
        ]
        if not gone or not shelves.look.is_open:
            return
        reading = sold_out.read(shelves.look)
        del gone[SKUS_PER_READING_MAX:]
        try:
            await self._scan(number, sold_out, reading)
            if sold_out.reading is reading:
                look, limits = await self._ask(number, sold_out, *gone)
                sold_out.confirm(reading, look, limits)
        except (Lost, NotConnected):
            return
        except (hiredis.ReplyError, ValueError):
            sold_out.forget()

    async def _scan(self, number: int, sold_out: SoldOut, reading: Reading) -> None:
        """Every field that is there all the while is met at least once: HSCAN promises that."""
        cursor = b"0"
        answers = BucketKeys(number).answers
        while sold_out.reading is reading:
            cursor, flat = await self._call(
                number, sold_out, "HSCAN", answers, cursor, "COUNT", FIELDS_PER_STEP
            )
            for field in flat[::2]:
                reading.holders.add(int(field.partition(b":")[0]))
            if cursor == b"0":
                return
            await asyncio.sleep(len(flat) / 2 / FIELDS_PER_S_MAX)

    async def _ask(self, number: int, sold_out: SoldOut, *skus: int) -> tuple[Look, dict[int, int]]:
        """One atomic look, and of these SKUs those that are gone, with their limits."""
        asked_at = self._loop.time()
        keys = BucketKeys(number).for_look()
        arguments: tuple[str | int, ...] = (len(keys), *keys, *skus)
        try:
            reply = await self._call(number, sold_out, "EVALSHA", LOOK.sha1, *arguments)
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            reply = await self._call(number, sold_out, "EVAL", LOOK.source, *arguments)
        stamp, is_open, freed, answered, transfers, flat = reply
        named = stamp.decode("ascii", "replace")
        look = Look(asked_at, named, bool(is_open), freed, answered, transfers)
        pairs = zip(skus, flat[::2], flat[1::2], strict=True)
        return look, {sku: int(limit or 0) for sku, left, limit in pairs if left == b"0"}

    async def _call(self, number: int, sold_out: SoldOut, *words: bytes | str | int) -> Any:  # noqa: ANN401 - each command its own
        """Ask the process that this bucket's claims are sent to, and no other."""
        wire = self._gate.wire_of(number)
        if wire.run_id != sold_out.facts.run_id:
            raise NotConnected
        return await wire.call(*words)


def is_same(one: Look, other: Look) -> bool:
    """Whether nothing has changed what is left in between: whatever does counts one of these up."""
    return (one.stamp, one.freed, one.answered, one.transfers) == (
        other.stamp,
        other.freed,
        other.answered,
        other.transfers,
    )
