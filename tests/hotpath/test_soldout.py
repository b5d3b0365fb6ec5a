"""What a worker refuses by itself was true within the second before, whatever happens.

TEST_SALES is how many sales are simulated (100).
"""

import os
import random

import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from hotpath.claims import BucketFacts
from hotpath.lookout import Lookout
from hotpath.soldout import LEASE_S, Holders, Look, SoldOut
from tests.hotpath.simulation import KEYS, LIMIT, MEMBERS, SKUS, STALE_S_MAX, Simulation

SALES = int(os.environ.get("TEST_SALES", "100"))
SALES_WITH_A_BUG = 500
KNOWN_S = 1.1
STEPS = 60
FACTS = BucketFacts(17, 3, "3.ff", "process")

worker = st.integers(0, 1)
sku = st.sampled_from(SKUS)
moment = st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.7, 1.1])


class Sale(RuleBasedStateMachine):
    lookout, sold_out = Lookout, SoldOut

    def __init__(self):
        super().__init__()
        self.shop = Simulation(self.lookout, self.sold_out)
        self.world, self.asked = self.shop.world, []

    def teardown(self):
        self.shop.close()

    def click_new(self, number, member, sku):
        self.asked.append(f"{member}:{len(self.asked)}")
        self.shop.click(self.shop.workers[number], self.asked[-1], sku)

    def everybody_clicks(self, number, sku):
        if not self.shop.workers[number].frozen:
            for member in MEMBERS:
                self.click_new(number, member, sku)

    @precondition(lambda self: self.asked)
    @rule(number=worker, index=st.integers(0, 20), sku=sku)
    def click_again(self, number, index, sku):
        """With a key of a while ago, for whatever SKU."""
        if not self.shop.workers[number].frozen:
            field = self.asked[-1 - index % len(self.asked)]
            self.shop.click(self.shop.workers[number], field, sku)

    @rule(number=worker, skus=st.sampled_from([(1,), (2,), (1, 2)]), seconds=moment)
    def sell_out(self, number, skus, seconds):
        self.everybody_clicks_twice(number, skus, seconds)

    def everybody_clicks_twice(self, number, skus, seconds):
        for sku in skus:
            self.everybody_clicks(number, sku)
        self.shop.pass_time(seconds)
        for sku in skus:
            self.everybody_clicks(number, sku)

    @precondition(lambda self: self.world.answers)
    @rule(number=worker, is_much_later=st.booleans())
    def holders_come_again(self, number, is_much_later):
        if is_much_later:
            self.shop.pass_time(STALE_S_MAX)
            self.shop.forget_keys()
        if not self.shop.workers[number].frozen:
            for field, sku in list(self.world.answers.items())[-5:]:
                self.shop.click(self.shop.workers[number], field, sku)

    @rule(seconds=moment)
    def pass_time(self, seconds):
        self.shop.pass_time(seconds)

    @rule(sku=sku, other=st.sampled_from([None, *SKUS]), number=worker)
    def come_back(self, sku, other, number):
        """A unit, for which somebody may have waited."""
        self.world.release(sku)
        if other and not self.shop.workers[number].frozen:
            self.click_new(number, 6, other)

    @rule(number=worker, awake_s=st.floats(0, 0.3), asleep_s=st.sampled_from([0.3, 1.1]), sku=sku)
    def sleep_through_a_return(self, number, awake_s, asleep_s, sku):
        """Stopped at any instant; on waking, buyers are served before any reply is read."""
        worker = self.shop.workers[number]
        self.everybody_clicks_twice(number, [sku], KNOWN_S)
        self.shop.pass_time(awake_s)
        worker.frozen = True
        self.world.release(sku)
        self.shop.pass_time(asleep_s)
        worker.frozen = False
        self.everybody_clicks(number, sku)
        worker.turn()
        self.everybody_clicks(number, sku)

    @rule(number=worker)
    def freeze_or_wake(self, number):
        worker = self.shop.workers[number]
        worker.frozen = not worker.frozen

    @rule(number=worker, there_s=moment, back_s=moment)
    def slow_down(self, number, there_s, back_s):
        wire = self.shop.workers[number].wire
        wire.there_s, wire.back_s = there_s + 0.001, back_s + 0.001

    @rule()
    def pause_or_resume(self):
        self.world.is_open = not self.world.is_open

    @precondition(lambda self: self.world.epoch < 5)
    @rule(sku=sku, number=worker, is_told=st.booleans(), seconds=moment)
    def load_anew(self, sku, number, is_told, seconds):
        self.everybody_clicks_twice(number, SKUS, KNOWN_S)
        self.world.begin([int(sku == other) for other in SKUS])
        if is_told:
            self.shop.workers[number].tell()
        self.shop.pass_time(seconds)
        self.everybody_clicks(number, sku)

    @rule(number=worker)
    def hear_from_postgres(self, number):
        worker = self.shop.workers[number]
        if worker.known.facts != self.world.facts:
            worker.tell()


def simulate(sale, *, sales=SALES, **options):
    chosen = settings(max_examples=sales, stateful_step_count=STEPS, **options)
    run_state_machine_as_test(sale, settings=chosen)


def test_what_is_refused_was_gone_within_the_last_second_and_no_holder_is_refused():
    simulate(Sale)


class LeaseFromTheReply(SoldOut):
    def learn(self, look):
        now = self.clock()
        return super().learn(msgspec.structs.replace(look, asked_at=now))


class NoLease(SoldOut):
    def learn(self, look):
        return super().learn(msgspec.structs.replace(look, asked_at=1e9))


class FreedNotCompared(SoldOut):
    def learn(self, look):
        return super().learn(msgspec.structs.replace(look, freed=0))

    def read(self, look):
        return super().read(msgspec.structs.replace(look, freed=0))

    def confirm(self, reading, look, limits):
        super().confirm(reading, msgspec.structs.replace(look, freed=0), limits)


class StampNotCompared(SoldOut):
    def learn(self, look):
        return super().learn(msgspec.structs.replace(look, stamp=self.facts.stamp))


class OwnNotNoted(SoldOut):
    def accept(self, member_id):
        pass


class NotNotedWhileReading(SoldOut):
    def accept(self, member_id):
        self._holders.add(member_id)


class HoldersNotAsked(SoldOut):
    def refuses(self, member_id, *claim, now):
        return super().refuses(2**40, *claim, now=now)


class OneReadingForEver(SoldOut):
    """Who held anything when first something was gone."""

    def confirm(self, reading, look, limits):
        before = self._holders if self.limits else reading.holders
        super().confirm(reading, look, limits)
        self._holders = before


class NoConfirmingLook(Lookout):
    """Takes the first look for the last one."""

    async def _ask(self, number, sold_out, *skus):
        if not skus:
            return await super()._ask(number, sold_out)
        shelves = self._shelves[number]
        now = self._loop.time()
        return msgspec.structs.replace(shelves.look, asked_at=now), dict.fromkeys(skus, LIMIT)


class NoScan(Lookout):
    async def _scan(self, number, sold_out, reading):
        pass


class HalfAScan(Lookout):
    """Stops after the first page."""

    async def _scan(self, number, sold_out, reading):
        _, flat = await self._call(number, sold_out, "HSCAN", KEYS.answers, b"0", "COUNT", 2)
        for field in flat[::2]:
            reading.holders.add(int(field.partition(b":")[0]))


class ShelvesBeforeTheLook(Lookout):
    """Believes an older count of what is left than the look that it goes with."""

    async def _look_at(self, number):
        before = self._shelves.get(number)
        await super()._look_at(number)
        after = self._shelves.get(number)
        if before is not None and after is not None:
            self._shelves[number] = msgspec.structs.replace(after, left=before.left)


PLANTED = [NoLease, FreedNotCompared, HoldersNotAsked, NoScan, HalfAScan]


def find(bug):
    """Nobody wants the shortest way to a bug that we know."""
    with pytest.raises(AssertionError, match="refused"):
        simulate(
            bug,
            sales=SALES_WITH_A_BUG,
            derandomize=True,
            phases=[Phase.generate],
            report_multiple_bugs=False,
        )


@pytest.mark.parametrize("bug", PLANTED)
def test_the_simulation_finds_a_planted_bug(bug):
    class Broken(Sale):
        lookout, sold_out = (bug, SoldOut) if issubclass(bug, Lookout) else (Lookout, bug)

    find(Broken)


class Course:
    """What some bugs need so much luck for that it is written down, but for one instant in it."""

    def __init__(self, shop):
        self.shop, self.count = shop, 0
        self.ours, self.theirs = shop.workers

    def click(self, worker, member, sku):
        self.count += 1
        self.shop.click(worker, f"{member}:{self.count}", sku)

    def sell(self, worker, member, sku, *, known_s=1.5):
        self.click(worker, member, sku)
        assert self.shop.world.answers[f"{member}:{self.count}"] == sku
        self.shop.pass_time(known_s)

    def holders_come_much_later(self, sku):
        self.shop.pass_time(STALE_S_MAX)
        self.shop.forget_keys()
        for field in self.shop.world.answers:
            self.shop.click(self.ours, field, sku)


def sleeps_with_a_reply_unread(course, instant, *, known_s=1.5):
    course.sell(course.theirs, 1, 1, known_s=known_s)
    course.shop.pass_time(instant)
    course.ours.frozen = True
    course.shop.world.release(1)
    course.shop.pass_time(1.1)
    course.ours.frozen = False
    course.ours.turn()
    course.click(course.ours, 2, 1)


def sleeps_in_the_middle_of_a_reading(course, instant):
    sleeps_with_a_reply_unread(course, instant, known_s=0)


def hears_late_of_another_epoch(course, instant):
    course.sell(course.theirs, 1, 1)
    course.shop.pass_time(instant)
    course.shop.world.begin([1, 1])
    course.shop.pass_time(1.1)
    course.click(course.ours, 2, 1)


def sells_another_sku(course, instant, *, known_s=1.5):
    course.shop.world.release(2)
    course.sell(course.theirs, 1, 1, known_s=known_s)
    course.shop.pass_time(instant)
    course.sell(course.ours, 2, 2)
    course.holders_come_much_later(1)


def sells_another_sku_while_it_reads(course, instant):
    sells_another_sku(course, instant, known_s=0)


def others_sell_what_goes_next(course, instant):
    course.sell(course.theirs, 1, 1)
    course.shop.pass_time(instant)
    course.sell(course.theirs, 2, 2)
    course.holders_come_much_later(2)


def others_sell_what_came_back_while_it_reads(course, instant):
    course.sell(course.theirs, 1, 1)
    course.shop.world.release(1)
    course.shop.pass_time(instant)
    assert course.shop.world.claim("2:elsewhere", 1)
    course.shop.pass_time(1.5)
    course.holders_come_much_later(1)


def sells_what_came_back_to_who_clicks_again(course, instant):
    course.sell(course.theirs, 1, 1)
    course.shop.pass_time(instant)
    course.shop.world.release(1)
    course.shop.table["2:again"] = course.shop.world.now
    assert course.shop.world.claim("2:again", 1)
    course.shop.click(course.ours, "2:again", 1)


COURSES = [
    (LeaseFromTheReply, sleeps_with_a_reply_unread),
    (NoConfirmingLook, sleeps_in_the_middle_of_a_reading),
    (StampNotCompared, hears_late_of_another_epoch),
    (OwnNotNoted, sells_another_sku),
    (NotNotedWhileReading, sells_another_sku_while_it_reads),
    (OneReadingForEver, others_sell_what_goes_next),
    (ShelvesBeforeTheLook, others_sell_what_came_back_while_it_reads),
]


def sail(course, lookout=Lookout, sold_out=SoldOut, *, repeats_are_refused=False):
    """Run a course once for each hundredth of a second that its one instant may fall on."""
    for instant in range(70):
        shop = Simulation(lookout, sold_out)
        shop.repeats_are_refused = repeats_are_refused
        try:
            course(Course(shop), instant / 100)
        finally:
            shop.close()


@pytest.mark.parametrize(("bug", "course"), COURSES)
def test_a_course_that_is_harmless_finds_the_bug_it_was_written_for(bug, course):
    sail(course)
    broken = (bug, SoldOut) if issubclass(bug, Lookout) else (Lookout, bug)
    with pytest.raises(AssertionError, match="refused"):
        sail(course, *broken)


def test_nobody_is_missed_among_a_hundred_thousand_holders_and_few_others_are_taken_for_one():
    dice = random.Random(20_261_122)
    for members in (range(1, 100_001), [dice.randrange(1, 2**63) for _ in range(100_000)]):
        holders = Holders(len(members))
        for member in members:
            holders.add(member)
        assert all(member in holders for member in members)
        others = range(2**40, 2**40 + 100_000)
        assert sum(member in holders for member in others) < 1_000
        assert len(holders._bits) <= 8 * len(members)


def test_the_room_for_holders_is_bounded_and_a_full_one_refuses_nobody():
    assert len(Holders(10**12)._bits) == 2**26
    holders = Holders(0)
    for member in range(1, 100_000):
        holders.add(member)
    assert sum(member in holders for member in range(2**40, 2**40 + 1_000)) > 900


def test_a_look_is_good_for_less_than_a_second_from_the_question():
    known = SoldOut(FACTS)
    look = Look(asked_at=10.0, stamp="3.ff", is_open=True, freed=0, answered=0, transfers=0)
    reading = known.read(look)
    known.learn(look)
    assert not known.refuses(1, 7, 1, now=10.0)
    reading = known.read(look)
    known.confirm(reading, msgspec.structs.replace(look, asked_at=11.0), {7: 2})
    assert known.refuses(1, 7, 1, now=11.0)
    assert known.refuses(1, 7, 2, now=11.0 + LEASE_S - 0.001)
    assert not known.refuses(1, 7, 1, now=11.0 + LEASE_S)
    assert not known.refuses(1, 7, 3, now=11.0)
    assert not known.refuses(1, 8, 1, now=11.0)
    known.learn(msgspec.structs.replace(look, asked_at=13.0))
    assert known.refuses(1, 7, 1, now=13.5)
    known.learn(msgspec.structs.replace(look, asked_at=13.1, freed=1))
    assert not known.refuses(1, 7, 1, now=13.5)


def test_repeats_that_are_refused_are_found():
    sail(sells_what_came_back_to_who_clicks_again)
    with pytest.raises(AssertionError, match="refused"):
        sail(sells_what_came_back_to_who_clicks_again, repeats_are_refused=True)
