"""The compiled risk kernel against its twin, answer for answer. TEST_STEPS sets how many."""

import os
import random

import pytest

from hotpath import _risk_py
from hotpath.risk import IMPLEMENTATION, Sizes, Table

STEPS = int(os.environ.get("TEST_STEPS", "100_000"))
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
STEPS_PER_LIFE = 10_000
NEITHER = {"deny": ([], [], []), "allow": ([], [], [])}
V4 = 0xFFFF << 32

pytestmark = pytest.mark.skipif(IMPLEMENTATION != "cython", reason="not compiled")


def twins(sizes: Sizes, seed: tuple[int, int]) -> list:
    terms = {"subjects": sizes.subjects, "ring": sizes.ring, "seen": sizes.seen, "seed": seed}
    memory = bytearray(sizes.file_bytes)
    return [Table(memory, **terms), _risk_py.Table(None, **terms)]


def a_program(dice: random.Random) -> tuple[int, list[int], dict]:
    """Rules of every kind, and lists of a few of those who come."""
    rules = []
    for number in range(dice.choice((0, 1, 1, 2, 5))):
        subject, verdict = dice.randint(1, 3), dice.choice((1, 2, 3, 3))
        rules += [subject, dice.choice((1, 7, 60, 600)), dice.randrange(28), verdict, 16 + number]

    def lists():
        starts = sorted(dice.sample(range(V4, V4 + 300, 10), dice.randrange(3)))
        networks = [part for first in starts for part in (0, first, 0, first + dice.randrange(9))]
        some = [sorted(dice.sample(range(1, 40), dice.randrange(3))) for _ in "12"]
        return (networks, *some)

    return dice.randrange(2**24), rules, {"deny": lists(), "allow": lists()}


def a_claim(dice: random.Random, now_s: float, crowd: int) -> tuple:
    v4 = dice.random() < 0.7
    ip = (0, V4 + dice.randrange(crowd)) if v4 else (2**61 + dice.randrange(crowd), dice.random())
    hi, lo = ip[0], int(ip[1]) if v4 else dice.getrandbits(64)
    device = dice.randrange(crowd) if dice.random() < 0.5 else 0
    return now_s, hi, lo, dice.randrange(1, crowd + 1), dice.randrange(50), device


def live(dice: random.Random, steps: int) -> tuple[int, ...]:
    """One life of a small table: claims, another host's claims, clocks that err, new programs."""
    sizes = Sizes(dice.choice((16, 64, 256)), dice.choice((32, 64)), dice.choice((8, 64, 4096)))
    both = twins(sizes, (dice.getrandbits(64), dice.getrandbits(64)))
    crowd = dice.choice((3, 30, 300))
    now_s, elsewhere, blocked, passed, sure, unsure = 1_700_000_000.0, b"", 0, 0, 0, 0
    for step in range(steps):
        if step % 2_000 == 0:
            version, rules, lists = a_program(dice)
            for twin in both:
                twin.obey(version, rules, **lists)
        now_s += (
            dice.choice((0, 0, 0.1, 0.3, 2, -0.4))
            if dice.random() < 0.999
            else dice.choice((-100, -7, 30, 700))
        )
        claim = a_claim(dice, now_s, crowd)
        answers = [twin.decide(*claim) for twin in both]
        assert answers[0] == answers[1], (step, claim, [hex(a) for a in answers])
        blocked, passed = blocked + (answers[0] & 7 > 1), passed + (answers[0] & 7 <= 1)
        if dice.random() < 0.003:
            drained = [twin.drain() for twin in both]
            assert drained[0] == drained[1]
            elsewhere += drained[0][: 24 * dice.randrange(20)]
        if elsewhere and dice.random() < 0.003:
            for twin in both:
                twin.enter(elsewhere, now_s)
            elsewhere = b""
        since_s = now_s - dice.choice((-100, 0, 30, 100, 1_000))
        knows = [twin.knows(claim[3], claim[4], max(0, since_s)) for twin in both]
        assert knows[0] == knows[1], (step, claim, since_s)
        sure, unsure = sure + knows[0], unsure + (not knows[0])
    assert both[0].dropped == both[1].dropped
    return blocked, passed, sure, unsure


def test_the_compiled_risk_kernel_agrees_with_its_twin():
    print(f"TEST_SEED={SEED}")
    # Many lives and no long ones: in an old small table nothing is sure any more.
    lives = max(1, STEPS // STEPS_PER_LIFE)
    told = [live(random.Random(SEED + life), STEPS // lives) for life in range(lives)]
    # A test that only ever saw one verdict would have seen nothing.
    assert all(sum(column) > STEPS // 50 for column in zip(*told, strict=True))


def test_both_twins_hash_keys_as_siphash_says():
    # The vector that the authors of SipHash-1-3's reference implementation test first and last.
    terms = {"subjects": 16, "ring": 32, "seen": 8}
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    both = twins(Sizes(**terms), key)
    for length in range(64):
        text = bytes(range(length))
        assert both[0].hash_key(text) == both[1].hash_key(text)
    assert both[0].hash_key(b"") == 0xABAC0158050FC4DC


def test_both_twins_refuse_the_same_numbers():
    for twin in twins(Sizes(16, 32, 8), (1, 2)):
        for now_s in (-1, float("nan"), float("inf"), 2.0**40):
            assert refuses(twin.decide, now_s, 0, 0, 1, 1, 0)
        for rules in ([1], [1, 600, 31, 3, 16], [1, 1, 1, 1, 1] * 17):
            assert refuses(twin.obey, 1, rules, **NEITHER)
        assert refuses(twin.enter, bytes(16), 0)
        twin.obey(1, [1, 600, 30, 3, 16], **NEITHER)


def refuses(call, *numbers, **lists) -> bool:
    try:
        call(*numbers, **lists)
    except ValueError:
        return True
    return False
