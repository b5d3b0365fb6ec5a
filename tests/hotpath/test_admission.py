"""How many claims a bucket lets in, by what its claims had to wait for."""

import pytest

from hotpath.admission import RETRY_AFTER_S_MAX, UNDECIDED_IN_QUIET, UNDECIDED_MIN, Admission

WAIT_MAX_S = 0.15


class Shop:
    """Decides so many claims a second, a batch at a time, first come first served."""

    def __init__(self, rate_per_s: float, *, at_first: int = 256):
        self.rate_per_s, self.now, self.came = rate_per_s, 100.0, []
        self.admission = Admission(wait_max_s=WAIT_MAX_S, undecided_max=20_000, at_first=at_first)
        self.waited_s = []

    def crowd(self, count: int) -> int:
        """Let in whom there is room for; return how many there was none for."""
        for left in range(count, 0, -1):
            if self.admission.is_full():
                return left
            self.admission.enter(self.now)
            self.came.append(self.now)
        return 0

    def decide(self, count: int) -> None:
        count = min(count, len(self.came))
        self.now += count / self.rate_per_s
        self.waited_s += [self.now - came for came in self.came[:count]]
        del self.came[:count]
        self.admission.decide(count, self.now)

    def rush(self, *, seconds: float, batch: int = 50) -> list[float]:
        """Keep the door crowded for so long; return how long those waited who were decided."""
        self.waited_s, until = [], self.now + seconds
        while self.now < until:
            self.crowd(20_000)
            self.decide(batch)
        return self.waited_s


@pytest.mark.parametrize("rate_per_s", [500, 5_000, 50_000])
def test_a_crowd_waits_about_as_long_as_it_may_however_fast_the_bucket_is(rate_per_s):
    shop = Shop(rate_per_s)
    shop.rush(seconds=2)
    waited_s = shop.rush(seconds=1)
    assert 0.7 * WAIT_MAX_S < max(waited_s) < 1.6 * WAIT_MAX_S
    assert shop.admission.limit == pytest.approx(rate_per_s * WAIT_MAX_S, rel=0.4)


def test_it_learns_that_redis_became_slow_and_that_it_is_fast_again():
    shop = Shop(10_000)
    shop.rush(seconds=2)
    shop.rate_per_s = 500
    shop.rush(seconds=4)
    assert max(shop.rush(seconds=1)) < 1.6 * WAIT_MAX_S
    shop.rate_per_s = 10_000
    shop.rush(seconds=0.5)
    assert shop.admission.limit > 1_000


def test_a_standstill_closes_the_door_to_a_gap_and_a_quick_answer_opens_it():
    shop = Shop(10_000)
    shop.crowd(5)
    shop.now += 1
    shop.decide(5)
    assert shop.admission.limit == UNDECIDED_MIN
    shop.rush(seconds=0.1)
    assert shop.admission.limit > 300


def test_a_quiet_hour_leaves_room_for_a_crowd():
    shop = Shop(1_000, at_first=5_000)
    for _ in range(1_000):
        shop.crowd(1)
        shop.decide(1)
        shop.now += 1
    assert UNDECIDED_IN_QUIET <= shop.admission.limit < 2 * WAIT_MAX_S * 1_000


def test_what_was_given_up_says_nothing():
    shop = Shop(1_000)
    shop.crowd(200)
    shop.now += 5
    shop.admission.give_up(200)
    assert (shop.admission.undecided, shop.admission.limit) == (0, 256)
    assert shop.crowd(300) == 44
    shop.came = shop.came[200:]
    shop.decide(100)
    assert shop.admission.limit > 200


def test_the_more_are_refused_the_longer_they_are_spread():
    shop = Shop(1_000)
    shop.rush(seconds=2)
    few = {shop.admission.refuse(shop.now) for _ in range(100)}
    assert few == {1, 2}
    shop.now += 0.5
    many = [shop.admission.refuse(shop.now) for _ in range(4_000)][2_000:]
    assert set(many) == set(range(1, max(many) + 1))
    assert 3 <= max(many) <= 6
    crowd = [shop.admission.refuse(shop.now) for _ in range(100_000)][-1_000:]
    assert set(crowd) == set(range(1, RETRY_AFTER_S_MAX + 1))
    shop.now += 5
    assert {shop.admission.refuse(shop.now) for _ in range(100)} == {1, 2}
