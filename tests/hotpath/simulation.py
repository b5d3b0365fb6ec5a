"""One bucket of Redis, its buyers' clicks and two workers, on one virtual clock.

The lookout and what it teaches are the real ones; each worker runs them on an event loop of its own
whose time is ours. Redis is the model of it, and answers in the order it was asked, when we say.
"""

import asyncio
import heapq
import itertools
from collections import deque
from zlib import crc32

from hotpath.claims import BucketFacts
from hotpath.elsewhere import Elsewhere
from hotpath.lookout import Lookout
from hotpath.scripts import LOOK, BucketKeys
from hotpath.soldout import SoldOut

KEYS = BucketKeys(17)
SKUS = (1, 2)
LIMIT = 2
MEMBERS = range(1, 7)
SLOTS = 64
SLOTS_PER_STEP = 16
STALE_S_MAX = 1.0


class World:
    """The bucket in Redis. `history` says since when and until when each SKU was gone."""

    def __init__(self):
        self.now, self.epoch, self.is_open, self.freed = 0.0, 1, True, 0
        self.left = dict.fromkeys(SKUS, 1)
        self.answers = {}
        self.history = {sku: [] for sku in SKUS}
        self.due, self.numbers = [], itertools.count()

    @property
    def facts(self):
        return BucketFacts(17, self.epoch, f"{self.epoch}.ff", "process")

    def change(self, sku, units):
        was, self.left[sku] = self.left[sku], self.left[sku] + units
        if was and not self.left[sku]:
            self.history[sku].append([self.now, None])
        elif self.left[sku] and not was:
            self.history[sku][-1][1] = self.now

    def claim(self, field, sku):
        if field not in self.answers and self.is_open and self.left[sku]:
            self.answers[field] = sku
            self.change(sku, -1)
            return True
        return False

    def release(self, sku):
        self.freed += 1
        self.change(sku, 1)

    def begin(self, units):
        self.epoch, self.freed = self.epoch + 1, 0
        for sku, left in zip(SKUS, units, strict=True):
            self.change(sku, left - self.left[sku])

    def was_gone(self, sku):
        """Whether it was gone at some instant of the last second."""
        since = self.now - STALE_S_MAX
        return any(until is None or until >= since for _, until in self.history[sku])

    def serve(self, words):
        """Answer as Redis does."""
        match words:
            case ("EVALSHA", LOOK.sha1, 5, *rest):
                shelves = [f for sku in rest[5:] for f in (b"%d" % self.left[sku], b"%d" % LIMIT)]
                stamp = self.facts.stamp.encode()
                return [stamp, int(self.is_open), self.freed, len(self.answers), 0, shelves]
            case ("HGETALL", KEYS.left):
                return [f for pair in self.left.items() for f in (b"%d" % n for n in pair)]
            case ("HSCAN", KEYS.answers, cursor, "COUNT", _):
                return self.scan(int(cursor))
        raise AssertionError(words)

    def scan(self, at):
        """What stays is met, what comes meanwhile may be missed."""
        after = at + SLOTS_PER_STEP
        names = [field.encode() for field in self.answers]
        there = [name for name in names if at <= crc32(name) % SLOTS < after]
        return [b"%d" % (after % SLOTS), [part for name in there for part in (name, b"")]]

    def at(self, when, deed):
        heapq.heappush(self.due, (when, next(self.numbers), deed))


class Wire:
    """In order there, in order back; each way takes as long as we say."""

    run_id = "process"

    def __init__(self, world, inbox):
        self.world, self.inbox = world, inbox
        self.there_s = self.back_s = 0.01
        self.served = self.arrived = 0.0

    async def call(self, *words):
        answer = asyncio.get_running_loop().create_future()
        self.served = max(self.served, self.world.now + self.there_s)
        self.world.at(self.served, lambda: self.serve(words, answer))
        return await answer

    def serve(self, words, answer):
        reply = self.world.serve(words)
        self.arrived = max(self.arrived, self.world.now + self.back_s)
        self.world.at(self.arrived, lambda: self.inbox.append((answer, reply)))


class Loop(asyncio.SelectorEventLoop):
    def __init__(self, world):
        super().__init__()
        self.world = world

    def time(self):
        return self.world.now

    def turn(self):
        """Run what is due, and what that makes due, but do not wait."""
        for _ in range(6):
            self.call_soon(self.stop)
            self.run_forever()

    def next_timer(self):
        return min(
            (timer.when() for timer in self._scheduled if not timer.cancelled()), default=1e9
        )


class Worker:
    """It stands for the gate, too: what is gone belongs to an epoch, and so does the wire."""

    def __init__(self, world, lookout, sold_out):
        self.world, self.make = world, sold_out
        self.inbox, self.frozen, self.accepted = deque(), False, set()
        self.wire = Wire(world, self.inbox)
        self.elsewhere = Elsewhere()
        self.loop = Loop(world)
        self.tell()
        self.loop.run_until_complete(self.start(lookout))

    async def start(self, lookout):
        self.lookout = lookout(self)
        self.lookout.watch([17])
        self.task = self.loop.create_task(self.lookout.run())

    def sold_out(self, number):
        return self.known

    def wire_of(self, number):
        return self.wire

    def review(self, number, left):
        """Nobody waits for another bucket: there is none."""

    def tell(self):
        """Hear from Postgres which epoch it is."""
        self.known = self.make(self.world.facts)
        # Right code has no room for it: a planted bug does.
        if hasattr(self.known, "__dict__"):
            self.known.clock = self.loop.time

    def turn(self):
        while self.inbox:
            answer, reply = self.inbox.popleft()
            if not answer.done():
                answer.set_result(reply)
        self.loop.turn()
        if self.task.done():
            self.task.result()

    def refuses(self, member, sku):
        return self.known.refuses(member, sku, 1, now=self.loop.time())

    def close(self):
        self.task.cancel()
        self.loop.turn()
        self.loop.close()


class Simulation:
    def __init__(self, lookout=Lookout, sold_out=SoldOut):
        self.repeats_are_refused = False
        self.world = World()
        self.workers = [Worker(self.world, lookout, sold_out) for _ in range(2)]
        self.table = {}

    def pass_time(self, seconds):
        """Let everything happen that is due until then, in its order."""
        until = self.world.now + seconds
        while True:
            awake = [worker for worker in self.workers if not worker.frozen]
            for worker in awake:
                worker.turn()
            timers = [worker.loop.next_timer() for worker in awake]
            when = min([until, *timers, *(event[0] for event in self.world.due[:1])])
            self.world.now = max(self.world.now, when)
            while self.world.due and self.world.due[0][0] <= self.world.now:
                heapq.heappop(self.world.due)[2]()
            if self.world.now >= until:
                return

    def click(self, worker, field, sku):
        """Claim one unit by member:key, and hold the answer against what Redis knows."""
        member = int(field.partition(":")[0])
        is_new = field not in self.table
        self.table.setdefault(field, self.world.now)
        if not (is_new or self.repeats_are_refused) or not worker.refuses(member, sku):
            if self.world.claim(field, sku):
                worker.accepted.add(field)
                worker.known.accept(member)
            return
        assert self.world.was_gone(sku), "refused, though it was for sale for a second"
        assert self.world.answers.get(field) != sku, "refused who holds it"
        assert field not in worker.accepted, "refused a key that was used with another body here"
        assert is_new or field not in self.world.answers, "refused a used key that the host knows"

    def forget_keys(self):
        """The host's table has room for millions, so what it forgets was a while ago."""
        self.table = {
            field: at for field, at in self.table.items() if self.world.now - at < STALE_S_MAX
        }

    def close(self):
        for worker in self.workers:
            worker.close()
