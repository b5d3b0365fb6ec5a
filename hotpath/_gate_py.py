"""The gate: claims of one turn of the event loop become one script call a bucket.

At most two batches of a bucket are in flight, so that the next one grows while Redis syncs the
last. Every claim gets one verdict, soon: unknown only when it was in flight as the wire broke.
What would wait too long behind the others waits outside for a moment, and is then told to come
again: see `admission`.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import hiredis

from hotpath import claims, scripts
from hotpath.admission import Admission
from hotpath.batch import pack_batch, read_batch
from hotpath.claims import BucketFacts, Claim, Decided, Kind, SaleFacts, Verdict
from hotpath.elsewhere import Elsewhere
from hotpath.routing import bucket_of
from hotpath.soldout import SoldOut
from hotpath.wire import Wire, Wires

IN_FLIGHT_MAX = 2
SWEEPS_PER_DEADLINE = 4
OUTSIDE_STEP_S = 0.005
WAITING_MAX = 10_000
# Looked up once: an enum is slow to find its members.
ACCEPTED, SOLD_OUT = Kind.ACCEPTED, Kind.SOLD_OUT

Done: TypeAlias = Callable[[Verdict], None]
Asker: TypeAlias = tuple[Claim, Done, float]
Batch: TypeAlias = list[Asker]
Arguments: TypeAlias = tuple[bytes | str | int, ...]


class Counters:
    def __init__(self) -> None:
        self.claims = self.batches = self.busy = self.expired = 0
        self.unknown = self.damaged = self.sold_out = 0


class _Waiter:
    """A claim that its own bucket has too few units for, while others may have some."""

    __slots__ = ("claim", "done", "due", "verdict")

    def __init__(self, claim: Claim, done: Done, due: float) -> None:
        self.claim = claim
        self.done = done
        self.due = due
        self.verdict = claims.SOLD_OUT

    def __call__(self, verdict: Verdict) -> None:
        self.done(verdict)


class _Bucket:
    """A bucket's queue, how far its stream is known to reach, and what is gone from it."""

    def __init__(self, facts: BucketFacts, wire: Wire, admission: Admission) -> None:
        self.facts = facts
        self.wire = wire
        self.admission = admission
        self.keys = scripts.BucketKeys(facts.number).for_claim()
        self.queue: deque[Asker] = deque()
        self.outside: deque[Asker] = deque()
        self.in_flight = 0
        self.awake = False
        self.highest = (0, 0)
        self.sold_out = SoldOut(facts)
        self.is_alone = True
        self.waiting: list[_Waiter] = []

    def learn(self, facts: BucketFacts) -> None:
        if facts.stamp != self.facts.stamp:
            self.highest = (0, 0)
        if facts != self.facts:
            self.sold_out = SoldOut(facts)
        self.facts = facts

    def is_trusted(self) -> bool:
        """Whether the wire reaches the one process that may take this bucket's claims."""
        return self.wire.run_id == self.facts.run_id


class Gate:
    """Decides claims over each bucket's wire. Knows only the sales it was told of last.

    `stale` is called with a bucket's number when Redis contradicts what we know of it.
    """

    def __init__(
        self,
        wires: Wires,
        *,
        key_id: int,
        backlog_max: int,
        batch_max: int = 512,
        queue_max: int = 20_000,
        wait_max_s: float = 0.15,
        outside_s: float = 0.1,
        at_first: int = 256,
        deadline_s: float = 2.0,
        stale: Callable[[int], None] | None = None,
    ) -> None:
        self.counters = Counters()
        # What was turned away, by reason, until who counts it empties it.
        self.shed: Counter[str] = Counter()
        self.elsewhere = Elsewhere()
        self._wires = wires
        self._key_id = key_id
        self._backlog_max = backlog_max
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._wait_max_s = wait_max_s
        self._outside_s = outside_s
        self._at_first = at_first
        self._deadline_s = deadline_s
        self._stale = stale or (lambda _: None)
        self._loop = asyncio.get_running_loop()
        self._routes: dict[int, list[_Bucket]] = {}
        self._buckets: dict[int, _Bucket] = {}
        self._awake: list[_Bucket] = []
        self._queued = 0
        self._waiting = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._doorkeeper: asyncio.TimerHandle | None = None
        wires.watch(self._wires_changed)

    def know(self, sales: Mapping[int, SaleFacts]) -> None:
        """Replace all that is known. A bucket that stays keeps its queue."""
        before, self._buckets = self._buckets, {}
        self._routes = {
            sale_id: [self._learn(facts, before) for facts in sale.buckets]
            for sale_id, sale in sales.items()
        }
        for buckets in self._routes.values():
            for bucket in buckets:
                bucket.is_alone = len(buckets) == 1
        self.elsewhere.know(sales)
        for number in before.keys() - self._buckets.keys():
            self._refuse_queue(before[number])

    def wire_of(self, bucket: int) -> Wire:
        """Return the wire that a bucket's claims take now."""
        return self._wires.of(bucket)

    def process_of(self, bucket: int) -> str | None:
        """Return the Redis process that a bucket's wire reaches, None while it reaches none."""
        return self._wires.of(bucket).run_id

    def accepted_up_to(self, bucket: int) -> str:
        """Return the highest position this gate was told of, in the epoch that it knows."""
        known = self._buckets.get(bucket)
        return "0-0" if known is None else "{}-{}".format(*known.highest)

    def sold_out(self, bucket: int) -> SoldOut | None:
        """Return what is known to be gone from a bucket, to be kept up to date by the caller."""
        known = self._buckets.get(bucket)
        return None if known is None else known.sold_out

    def refuses_here(self, sale_id: int, member_id: int, sku_id: int, quantity: int) -> bool:
        """Whether to say sold out, without asking, to a key that was never let through before.

        A member's own bucket would say so, and the whole sale agrees. It is counted as said.
        """
        bucket = self._bucket_of(sale_id, member_id)
        if bucket is None or not bucket.sold_out.limits or not bucket.is_trusted():
            return False
        now = self._loop.time()
        if not bucket.sold_out.refuses(member_id, sku_id, quantity, now):
            return False
        if not (bucket.is_alone or self.elsewhere.is_gone(bucket.facts.number, sku_id, now)):
            return False
        self.counters.sold_out += 1
        return True

    def claim(self, claim: Claim, done: Done) -> None:
        """Have a claim in its bounds decided. `done` gets one verdict, now or soon."""
        bucket = self._bucket_of(claim.sale_id, claim.member_id)
        if bucket is None:
            done(claims.NO_SUCH_SALE)
        elif not bucket.is_trusted():
            done(claims.UNAVAILABLE)
        else:
            self._admit(bucket, claim, done)

    def _bucket_of(self, sale_id: int, member_id: int) -> _Bucket | None:
        buckets = self._routes.get(sale_id)
        if not buckets:
            return None
        return buckets[bucket_of(member_id, len(buckets))] if len(buckets) > 1 else buckets[0]

    def _admit(self, bucket: _Bucket, claim: Claim, done: Done) -> None:
        """Let a claim in, or have it wait outside for a moment; turn away what is too much."""
        now = self._loop.time()
        if self._queued >= self._queue_max:
            self._turn_away(bucket, done, now, "queue")
            return
        self._queued += 1
        if not bucket.outside and not bucket.admission.is_full():
            self._let_in(bucket, claim, done, now)
            return
        bucket.outside.append((claim, done, now))
        self._close_door_later(now)

    def _let_in(self, bucket: _Bucket, claim: Claim, done: Done, now: float) -> None:
        self.counters.claims += 1
        bucket.admission.enter(now)
        bucket.queue.append((claim, done, now + self._deadline_s))
        self._wake(bucket)
        if self._sweeper is None:
            self._sweep_later()

    async def ask(self, claim: Claim, *, is_new: bool = False) -> Verdict:
        """`is_new` promises that this host never let the member's key through before."""
        assert 0 < claim.member_id <= claims.ID_MAX
        assert 0 < claim.sku_id <= claims.ID_MAX
        assert 0 < claim.quantity <= claims.QUANTITY_MAX
        assert 0 < len(claim.key) <= claims.KEY_MAX
        assert claim.key.isascii()
        assert claim.key.isprintable()
        wish = claim.sale_id, claim.member_id, claim.sku_id, claim.quantity
        if is_new and self.refuses_here(*wish):
            return claims.SOLD_OUT
        answer: asyncio.Future[Verdict] = self._loop.create_future()

        def done(verdict: Verdict) -> None:
            if not answer.done():
                answer.set_result(verdict)

        self.claim(claim, done)
        return await answer

    def _waits(self, bucket: _Bucket, claim: Claim, done: Done, verdict: Verdict) -> bool:
        """Let a claim wait for units of other buckets. False where the sale has none either."""
        now = self._loop.time()
        number, here = bucket.facts.number, not verdict.left
        if self.elsewhere.is_gone(number, claim.sku_id, now, here=here):
            return False
        waiter = done
        if not isinstance(waiter, _Waiter):
            waiter = _Waiter(claim, done, now + self._deadline_s)
        waiter.verdict = verdict
        if waiter.due <= now or self._waiting >= WAITING_MAX:
            self._say(waiter, claims.UNAVAILABLE)
            return True
        bucket.waiting.append(waiter)
        self._waiting += 1
        if self._sweeper is None:
            self._sweep_later()
        return True

    def wanted(self) -> dict[tuple[int, int], int]:
        """Return how many units claims wait for, by bucket and SKU."""
        units: dict[tuple[int, int], int] = {}
        for number, bucket in self._buckets.items():
            for waiter in bucket.waiting:
                where = (number, waiter.claim.sku_id)
                units[where] = units.get(where, 0) + waiter.claim.quantity
        return units

    def review(self, number: int, left: Mapping[int, int]) -> None:
        """Look again at who waits in a bucket that has so much left, by SKU."""
        bucket = self._buckets.get(number)
        if bucket is None or not bucket.waiting:
            return
        now, stock = self._loop.time(), dict(left)
        waiting, bucket.waiting = bucket.waiting, []
        for waiter in waiting:
            sku_id, quantity = waiter.claim.sku_id, waiter.claim.quantity
            here = not waiter.verdict.left
            is_gone = self.elsewhere.is_gone(number, sku_id, now, here=here)
            if stock.get(sku_id, 0) >= quantity or is_gone:
                # Its bucket has the last word: what was too few may be enough by now, and the same
                # key, clicked twice, may have been accepted while both waited.
                stock[sku_id] = stock.get(sku_id, 0) - quantity
                self._waiting -= 1
                self._queued += 1
                bucket.admission.enter(now)
                bucket.queue.append((waiter.claim, waiter, waiter.due))
            else:
                bucket.waiting.append(waiter)
        if bucket.queue:
            self._wake(bucket)

    def _learn(self, facts: BucketFacts, before: Mapping[int, _Bucket]) -> _Bucket:
        bucket = before.get(facts.number)
        if bucket is None:
            bucket = _Bucket(facts, self._wires.of(facts.number), self._admission())
        bucket.learn(facts)
        self._buckets[facts.number] = bucket
        return bucket

    def _admission(self) -> Admission:
        return Admission(
            wait_max_s=self._wait_max_s, undecided_max=self._queue_max, at_first=self._at_first
        )

    def _wires_changed(self) -> None:
        for bucket in self._buckets.values():
            bucket.wire = self._wires.of(bucket.facts.number)
            if bucket.wire.run_id not in {None, bucket.facts.run_id}:
                self._stale(bucket.facts.number)
            if bucket.queue:
                self._wake(bucket)

    def _wake(self, bucket: _Bucket) -> None:
        if bucket.awake:
            return
        bucket.awake = True
        if not self._awake:
            self._loop.call_soon(self._pump)
        self._awake.append(bucket)

    def _pump(self) -> None:
        """Send what has gathered: once a turn, however many claims it brought."""
        awake, self._awake = self._awake, []
        for bucket in awake:
            bucket.awake = False
            if not bucket.is_trusted():
                self._refuse_queue(bucket)
            while bucket.queue and bucket.in_flight < IN_FLIGHT_MAX and bucket.wire.writable:
                self._send(bucket)
        for wire in {bucket.wire for bucket in awake}:
            wire.flush()

    def _send(self, bucket: _Bucket) -> None:
        batch = self._take(bucket)
        if not batch:
            return
        facts = bucket.facts
        arguments: Arguments = (
            len(bucket.keys),
            *bucket.keys,
            *pack_batch(
                facts,
                [claim for claim, _, _ in batch],
                key_id=self._key_id,
                backlog_max=self._backlog_max,
            ),
        )
        bucket.in_flight += 1
        self.counters.batches += 1
        wire = bucket.wire
        wire.send(
            ("EVALSHA", scripts.CLAIM.sha1, *arguments),
            partial(self._answered, bucket, wire, facts, batch, arguments),
        )

    def _take(self, bucket: _Bucket) -> Batch:
        now = self._loop.time()
        batch: Batch = []
        while bucket.queue and len(batch) < self._batch_max:
            asker = bucket.queue.popleft()
            self._queued -= 1
            if asker[2] <= now:
                self._expire(bucket, asker[1])
            else:
                batch.append(asker)
        return batch

    def _answered(
        self,
        bucket: _Bucket,
        wire: Wire,
        facts: BucketFacts,
        batch: Batch,
        arguments: Arguments,
        reply: object,
    ) -> None:
        error = str(reply) if isinstance(reply, hiredis.ReplyError) else ""
        if error.startswith("NOSCRIPT") and wire.run_id == facts.run_id:
            # Nothing ran, so saying it again in full is not a repeat.
            again = partial(self._answered, bucket, wire, facts, batch, arguments)
            wire.send(("EVAL", scripts.CLAIM.source, *arguments), again)
            return
        bucket.in_flight -= 1
        self._make_room(bucket, len(batch), is_decided=isinstance(reply, bytes))
        if bucket.queue:
            self._wake(bucket)
        if error.startswith("EPOCH"):
            self._stale(facts.number)
        verdicts = self._read(bucket, facts, batch, reply)
        for (claim, done, _), verdict in zip(batch, verdicts, strict=True):
            if verdict.kind is SOLD_OUT and self._waits(bucket, claim, done, verdict):
                continue
            self._say(done, verdict)

    def _make_room(self, bucket: _Bucket, count: int, *, is_decided: bool) -> None:
        """Count out those who are answered, and let in who waits outside."""
        now = self._loop.time()
        if is_decided:
            bucket.admission.decide(count, now)
        else:
            bucket.admission.give_up(count)
        while bucket.outside and not bucket.admission.is_full():
            claim, done, _ = bucket.outside.popleft()
            self._let_in(bucket, claim, done, now)

    def _read(
        self, bucket: _Bucket, facts: BucketFacts, batch: Batch, reply: object
    ) -> list[Verdict]:
        if isinstance(reply, bytes):
            wanted = [claim for claim, _, _ in batch]
            found = read_batch(reply, facts, wanted, key_id=self._key_id)
            self._note_holders(bucket.sold_out, batch, found.verdicts)
            if found.fresh < len(batch):
                self._count_others(found.verdicts)
            if facts.stamp == bucket.facts.stamp:
                bucket.highest = max(bucket.highest, _highest(found, facts.epoch))
            return found.verdicts
        refused = isinstance(reply, hiredis.ReplyError)
        verdict = claims.read_error(str(reply)) if refused else claims.UNKNOWN
        self.counters.unknown += len(batch) if verdict is claims.UNKNOWN else 0
        return [verdict] * len(batch)

    def _count_others(self, verdicts: list[Verdict]) -> None:
        if full := verdicts.count(claims.BUSY):
            self.shed["backlog"] += full
        self.counters.damaged += sum(verdict is claims.DAMAGED for verdict in verdicts)
        self.counters.unknown += verdicts.count(claims.UNKNOWN)

    def _note_holders(self, sold_out: SoldOut, batch: Batch, verdicts: list[Verdict]) -> None:
        if sold_out.limits or sold_out.reading:
            for (claim, _, _), verdict in zip(batch, verdicts, strict=True):
                if verdict.kind is ACCEPTED:
                    sold_out.accept(claim.member_id)

    def _refuse_queue(self, bucket: _Bucket) -> None:
        while bucket.queue:
            _, done, _ = bucket.queue.popleft()
            self._queued -= 1
            bucket.admission.give_up(1)
            self._say(done, claims.UNAVAILABLE)
        while bucket.outside:
            _, done, _ = bucket.outside.popleft()
            self._queued -= 1
            self._say(done, claims.UNAVAILABLE)
        while bucket.waiting:
            self._waiting -= 1
            self._say(bucket.waiting.pop(), claims.UNAVAILABLE)

    def _turn_away(self, bucket: _Bucket, done: Done, now: float, why: str) -> None:
        self.counters.busy += 1
        self.shed[why] += 1
        self._say(done, claims.busy(bucket.admission.refuse(now)))

    def _close_door_later(self, now: float) -> None:
        if self._doorkeeper is not None:
            return
        waiting = [bucket.outside[0][2] for bucket in self._buckets.values() if bucket.outside]
        if waiting:
            due = max(now, min(waiting) + self._outside_s)
            self._doorkeeper = self._loop.call_at(due + OUTSIDE_STEP_S, self._close_door)

    def _close_door(self) -> None:
        """Tell those who waited outside long enough to come again."""
        self._doorkeeper = None
        now = self._loop.time()
        for bucket in self._buckets.values():
            while bucket.outside and bucket.outside[0][2] + self._outside_s <= now:
                _, done, _ = bucket.outside.popleft()
                self._queued -= 1
                self._turn_away(bucket, done, now, "wait")
        self._close_door_later(now)

    def _expire(self, bucket: _Bucket, done: Done) -> None:
        self.counters.expired += 1
        self.shed["deadline"] += 1
        bucket.admission.give_up(1)
        self._say(done, claims.UNAVAILABLE)

    def _sweep_later(self) -> None:
        delay_s = self._deadline_s / SWEEPS_PER_DEADLINE
        self._sweeper = self._loop.call_later(delay_s, self._sweep)

    def _sweep(self) -> None:
        """Give up on what waited past its deadline behind batches that do not come back."""
        now = self._loop.time()
        for bucket in self._buckets.values():
            while bucket.queue and bucket.queue[0][2] <= now:
                _, done, _ = bucket.queue.popleft()
                self._queued -= 1
                self._expire(bucket, done)
            self._end_waiting(bucket, now)
        self._sweeper = None
        if self._queued or self._waiting:
            self._sweep_later()

    def _end_waiting(self, bucket: _Bucket, now: float) -> None:
        waiting, bucket.waiting = bucket.waiting, []
        for waiter in waiting:
            if waiter.due > now:
                bucket.waiting.append(waiter)
            else:
                self._waiting -= 1
                self.counters.expired += 1
                self.shed["elsewhere"] += 1
                self._say(waiter, claims.UNAVAILABLE)

    def _say(self, done: Done, verdict: Verdict) -> None:
        # One asker's bug must not cost the others of its batch their answer.
        try:
            done(verdict)
        except Exception as error:  # noqa: BLE001
            self._loop.call_exception_handler(
                {"message": "A claim's callback raised", "exception": error}
            )


def _highest(found: Decided, epoch: int) -> tuple[int, int]:
    # Positions ascend, so the last fresh one is above all else that this reply can name.
    if found.last is not None:
        return _order(found.last)
    repeats = (v.position for v in found.verdicts if v.kind is ACCEPTED and v.epoch == epoch)
    return max(map(_order, repeats), default=(0, 0))


def _order(position: str) -> tuple[int, int]:
    ms, _, seq = position.partition("-")
    return int(ms), int(seq)
