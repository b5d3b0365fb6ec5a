"""Sold out is said of a sale only if at some instant of the last second it was."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath.claims import BucketFacts, SaleFacts
from hotpath.elsewhere import LEASE_S, Elsewhere

SALE, SKU, BUCKETS = 1, 7, (11, 12)
EXAMPLES = int(os.environ.get("TEST_STEPS", "500"))

# Mostly looks and the answers to them, a bucket at a time or all at once, and a little trade.
deed = st.one_of(
    st.tuples(
        st.sampled_from(["ask", "answer", "sell", "release", "rebuild"]), st.sampled_from(BUCKETS)
    ),
    st.tuples(st.sampled_from(["take", "sell"]), st.sampled_from(BUCKETS)),
    st.tuples(
        st.sampled_from(["ask all", "answer all", "postgres", "postgres answers", "put"]),
        st.none(),
    ),
    st.tuples(st.sampled_from(["ask all", "answer all", "postgres", "hear postgres"]), st.none()),
)


class World:
    """The truth, with a clock of its own, and one worker that looks at it bit by bit."""

    def __init__(self, units):
        self.now, self.log = 0.0, []
        self.left = dict(zip(BUCKETS, units, strict=True))
        self.freed, self.epoch = dict.fromkeys(BUCKETS, 0), dict.fromkeys(BUCKETS, 1)
        self.between = []
        self.asked, self.moving = {}, None
        self.worker = Elsewhere()
        facts = [BucketFacts(number, 1, "1.x", "run") for number in BUCKETS]
        self.worker.know({SALE: SaleFacts(facts)})

    def play(self, name, fact, *, step_s=0.03):
        self.now += step_s
        getattr(self, name.replace(" ", "_"))(fact)
        self.log.append((self.now, sum(self.left.values()) + len(self.between)))

    def sell(self, bucket):
        self.left[bucket] -= bool(self.left[bucket])

    def release(self, bucket):
        self.left[bucket] += 1
        self.freed[bucket] += 1

    def rebuild(self, bucket):
        self.epoch[bucket] += 1
        self.freed[bucket] = 0

    def take(self, source):
        target = next(bucket for bucket in BUCKETS if bucket != source)
        if self.left[source]:
            self.left[source] -= 1
            self.between.append(target)

    def put(self, _):
        if self.between:
            target = self.between.pop()
            self.left[target] += 1
            self.freed[target] += 1

    def ask(self, bucket):
        """A look leaves the worker, is answered at once, and waits in a socket."""
        self.asked[bucket] = (self.now, f"{self.epoch[bucket]}.x", self.freed[bucket])

    def answer(self, bucket):
        """The worker reads its look, then what is left."""
        if bucket in self.asked:
            asked_at, stamp, freed = self.asked.pop(bucket)
            self.worker.look(bucket, stamp=stamp, freed=freed, asked_at=asked_at)
            self.worker.count(bucket, {SKU: self.left[bucket]}, answered_at=self.now)

    def ask_all(self, _):
        for bucket in BUCKETS:
            self.ask(bucket)

    def answer_all(self, _):
        for bucket in BUCKETS:
            self.answer(bucket)

    def hear_postgres(self, _):
        self.postgres(None)
        self.now += 0.01
        self.postgres_answers(None)

    def postgres(self, _):
        self.moving = (self.now, {(SALE, SKU)} if self.between else set())

    def postgres_answers(self, _):
        if self.moving is not None:
            asked_at, moving = self.moving
            self.worker.transfers(moving, asked_at=asked_at, answered_at=self.now)
            self.moving = None

    def check(self):
        for number in BUCKETS:
            if self.worker.is_gone(number, SKU, self.now):
                lately = [units for at, units in self.log if self.now - at <= 1.0]
                assert 0 in lately, (self.log, self.now)


@settings(max_examples=EXAMPLES)
@given(
    st.tuples(*[st.integers(0, 1)] * 2),
    st.lists(st.tuples(deed, st.sampled_from([0.0, 0.03, 0.03, 0.3])), min_size=10, max_size=60),
)
def test_gone_was_true_within_the_last_second(units, deeds):
    world = World(units)
    for (name, fact), step_s in deeds:
        world.play(name, fact, step_s=step_s)
        world.check()


def look_everywhere(world):
    for bucket in BUCKETS:
        world.play("ask", bucket)
        world.play("answer", bucket)


def test_two_rounds_of_looks_around_postgres_tell_that_nothing_is_left():
    world = World((0, 0))
    look_everywhere(world)
    world.play("postgres", None)
    world.play("postgres answers", None)
    assert not world.worker.is_gone(11, SKU, world.now)
    look_everywhere(world)
    assert world.worker.is_gone(11, SKU, world.now)
    assert not world.worker.is_gone(11, SKU, world.now + LEASE_S)
    assert not world.worker.is_gone(11, 8, world.now)


def test_too_few_here_is_sold_out_once_nothing_is_anywhere_else():
    world = World((1, 0))
    for _ in range(2):
        look_everywhere(world)
        world.play("postgres", None)
        world.play("postgres answers", None)
    look_everywhere(world)
    assert world.worker.is_gone(11, SKU, world.now, here=False)
    assert not world.worker.is_gone(11, SKU, world.now)
    assert not world.worker.is_gone(12, SKU, world.now, here=False)


def test_a_sale_of_one_bucket_has_no_elsewhere():
    world = World((0, 0))
    world.worker.know({SALE: SaleFacts([BucketFacts(11, 1, "1.x", "run")])})
    assert world.worker.is_gone(11, SKU, world.now)


def test_a_unit_that_hops_from_bucket_to_bucket_past_every_look_is_not_gone():
    world = World((0, 1))
    for _ in range(20):
        world.play("ask", 11)
        world.play("answer", 11)
        world.play("take", 12)
        world.play("put", None)
        world.play("hear postgres", None)
        world.play("ask", 12)
        world.play("answer", 12)
        world.check()
        world.play("take", 11)
        world.play("put", None)
        world.check()


def test_a_unit_on_its_way_is_not_gone():
    world = World((1, 0))
    world.play("take", 11)
    for _ in range(3):
        world.play("ask all", None)
        world.play("answer all", None)
        world.play("hear postgres", None)
        world.check()
    assert not world.worker.is_gone(11, SKU, world.now)


def test_a_bucket_loaded_anew_is_looked_at_anew():
    world = World((0, 0))
    look_everywhere(world)
    world.play("rebuild", 11)
    world.left[11] = 1
    world.play("ask", 12)
    world.play("answer", 12)
    world.play("hear postgres", None)
    world.left[11] = 0
    look_everywhere(world)
    assert not world.worker.is_gone(11, SKU, world.now)
