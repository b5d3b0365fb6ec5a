"""The table that all workers share: limits that are exact, whoever is killed in the middle."""

import contextlib
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from hotpath import risk
from hotpath.risk import Program, Risk, Sizes, open_table, rule_of, sizes_for, verdict_of

F152 = Program(version=7, rules=[risk.IP, 600, 100, risk.BLOCK, 152])
KEY = b"a key that all hosts have in common"
NOW_S = 1_790_000_000.0
V4 = 0xFFFF << 32
HERE = V4 | 0xCB007109
ROUNDS = int(os.environ.get("TEST_KILLS", "3"))

shared = pytest.mark.skipif(risk.IMPLEMENTATION != "cython", reason="the twin shares nothing")


def opened(path: Path, program: Program = F152, *, subjects: int = 1024, now_s=NOW_S) -> Risk:
    sizes = sizes_for(program, subjects=subjects)
    return open_table(path, sizes, key=KEY, program=program, now_s=now_s)


@pytest.fixture
def table(tmp_path):
    return opened(tmp_path / "risk")


def ask(table, number, *, now_s=NOW_S, hi=0, lo=HERE, member=None, device=0) -> int:
    """One claim of a member of its own. The same number is the same claim."""
    key = table.hash_key(f"key-{number}".encode())
    return table.decide(now_s, hi, lo, number if member is None else member, key, device)


def passes(answer: int) -> bool:
    return verdict_of(answer) <= risk.REVIEW


def test_one_hundred_claims_from_one_address_pass_and_the_next_says_which_rule_stopped_it(table):
    assert all(passes(ask(table, number)) for number in range(100))
    refused = ask(table, 100)
    assert verdict_of(refused) == risk.BLOCK
    assert (rule_of(refused), risk.reasons_of(refused), risk.version_of(refused)) == (152, 1, 7)
    assert passes(ask(table, 100, lo=HERE + 1))


def test_one_member_with_many_keys_is_many_claims(table):
    assert sum(passes(ask(table, number, member=7)) for number in range(150)) == 100


def test_repeats_neither_count_nor_are_refused(table):
    for _ in range(5):
        assert all(passes(ask(table, number)) for number in range(99))
    assert passes(ask(table, 99))
    assert not passes(ask(table, 100))
    repeated = [ask(table, number) for number in range(100)]
    assert all(passes(answer) and risk.is_repeat(answer) for answer in repeated)


def test_a_repeat_passes_from_anywhere_and_long_after_its_window(table):
    assert passes(ask(table, 1, lo=HERE + 1))
    for number in range(100, 201):
        ask(table, number)
    assert not passes(ask(table, 999))
    assert passes(ask(table, 1))
    assert passes(ask(table, 1, now_s=NOW_S + 30 * 24 * 3600))


def test_the_window_slides_with_each_claim(table):
    for number in range(100):
        assert passes(ask(table, number, now_s=NOW_S + number))
    assert not passes(ask(table, 100, now_s=NOW_S + 599.5))
    # The claim of the first second has left, and that of the next one has not.
    assert passes(ask(table, 100, now_s=NOW_S + 600))
    assert not passes(ask(table, 101, now_s=NOW_S + 600.5))
    assert passes(ask(table, 101, now_s=NOW_S + 601))


def test_an_ipv6_subscriber_is_counted_by_its_64_bits(table):
    home = 0x20010DB8_00000001
    assert sum(passes(ask(table, n, hi=home, lo=n << 40)) for n in range(150)) == 100
    assert passes(ask(table, 150, hi=home + 1, lo=1))


def test_member_and_device_are_counted_once_they_have_rules(tmp_path):
    rules = [risk.MEMBER, 60, 3, risk.BLOCK, 201, risk.DEVICE, 60, 2, risk.REVIEW, 202]
    table = opened(tmp_path / "risk", Program(1, rules))
    answers = [ask(table, number, member=7, lo=HERE + number, device=5) for number in range(4)]
    assert [verdict_of(answer) for answer in answers] == [0, 0, risk.REVIEW, risk.BLOCK]
    assert [rule_of(answer) for answer in answers] == [0, 0, 202, 201]
    assert verdict_of(ask(table, 9, member=8)) == risk.ALLOW


def test_lists_come_before_rules_and_denial_before_allowance(tmp_path):
    ten = [half for bound in ((0, V4 | 10 << 24), (0, V4 | 11 << 24)) for half in bound]
    program = Program(1, F152.rules, deny=(ten, [13], [66]), allow=(ten, [7], []))
    table = opened(tmp_path / "risk", program)
    assert rule_of(ask(table, 1, lo=V4 | 10 << 24 | 5)) == 1
    assert rule_of(ask(table, 2, member=13)) == 2
    assert rule_of(ask(table, 3, device=66)) == 3
    assert sum(passes(ask(table, number, member=7)) for number in range(10, 300)) == 290
    assert sum(passes(ask(table, number)) for number in range(300, 450)) == 100


def test_who_is_denied_later_still_gets_what_was_let_through(tmp_path):
    table = opened(tmp_path / "risk")
    assert passes(ask(table, 1))
    table.obey(8, F152.rules, deny=([0, 0, 2**64 - 1, 2**64 - 1], [], []), allow=([], [], []))
    assert passes(ask(table, 1))
    assert rule_of(ask(table, 2)) == 1


def test_a_full_table_gives_up_who_has_been_silent_longest(tmp_path):
    table = opened(tmp_path / "risk", subjects=16)
    for number in range(100):
        ask(table, number, now_s=NOW_S + 1)
    for step in range(200):
        now_s = NOW_S + 2 + step / 2
        assert passes(ask(table, 1_000 + step, now_s=now_s, lo=HERE + 1 + step))
        # It goes on trying, so it stays, whatever passes by.
        assert not passes(ask(table, 5_000, now_s=now_s))
    for step in range(16):
        ask(table, 2_000 + step, now_s=NOW_S + 150, lo=HERE + 1_000 + step)
    assert passes(ask(table, 5_000, now_s=NOW_S + 151))


def test_a_clock_that_was_wrong_for_a_moment_blocks_nobody_for_long(table):
    for number in range(100):
        ask(table, number, now_s=NOW_S + 86_400)
    assert passes(ask(table, 200))
    assert passes(ask(table, 201, now_s=NOW_S + 1))


def test_a_small_step_back_of_the_clock_lets_nobody_in(table):
    for number in range(100):
        ask(table, number, now_s=NOW_S + 30)
    assert not passes(ask(table, 100))
    assert not passes(ask(table, 100, now_s=NOW_S + 629))
    assert passes(ask(table, 100, now_s=NOW_S + 630))


@shared
def test_the_counts_outlive_the_process_but_not_other_sizes_or_keys(tmp_path):
    path = tmp_path / "risk"
    before = opened(path)
    for number in range(100):
        ask(before, number)
    assert not passes(ask(opened(path), 100))
    assert path.stat().st_size == sizes_for(F152, subjects=1024).file_bytes
    assert path.stat().st_mode & 0o777 == 0o600
    assert passes(ask(opened(path, subjects=2048), 100))
    with path.open("r+b") as file:
        file.truncate(5_000)
    assert passes(ask(opened(path), 101))


@shared
def test_a_table_says_since_when_it_forgets_nothing(tmp_path):
    program = Program(1, [])
    sizes = Sizes(subjects=1024, ring=128, seen=8)
    table = open_table(tmp_path / "risk", sizes, key=KEY, program=program, now_s=NOW_S)
    assert not table.remembers(7, 7, since_s=NOW_S - 1)
    assert table.remembers(7, 7, since_s=NOW_S + 1)
    for number in range(8):
        assert table.remembers(7, 7, since_s=NOW_S + 1)
        ask(table, number)
    # From here on the oldest have to go: what came after all that went is still sure.
    assert not table.remembers(7, 7, since_s=NOW_S + 1)
    assert table.remembers(7, 7, since_s=NOW_S + 64)
    for number in range(8, 16):
        ask(table, number, now_s=NOW_S + 64)
        assert table.remembers(7, 7, since_s=NOW_S + 64) == (number < 15)
    assert table.remembers(7, 7, since_s=NOW_S + 128)
    # A clock that goes back makes nobody surer.
    ask(table, 16, now_s=NOW_S - 1_000)
    assert not table.remembers(7, 7, since_s=NOW_S + 64)


def test_a_program_that_no_table_can_count_is_refused():
    with pytest.raises(ValueError, match="more than a table can count"):
        sizes_for(Program(1, [risk.IP, 1, 7_000, risk.BLOCK, 16]), subjects=16)


def hammer(path: str, who: int, claims: int, start, passed) -> None:
    """Everybody tries the same claims, each in an order of its own, and twice."""
    table = opened(Path(path))
    order = list(range(claims)) * 2
    random.Random(who).shuffle(order)
    start.wait()
    for number in order:
        if passes(ask(table, number)):
            passed[number] = 1


@shared
@pytest.mark.parametrize("number", range(ROUNDS))
def test_several_processes_let_exactly_one_hundred_through(tmp_path, number):
    context = multiprocessing.get_context("spawn")
    start, passed = context.Barrier(4, timeout=60), context.Array("b", 300, lock=False)
    path = str(tmp_path / "risk")
    workers = [
        context.Process(target=hammer, args=(path, number * 10 + who, 300, start, passed))
        for who in range(4)
    ]
    run(workers)
    assert sum(passed) == 100
    table = opened(Path(path))
    assert [passes(ask(table, claim)) for claim in range(300)] == [bool(one) for one in passed]


@shared
def test_one_hundred_it_is_though_workers_are_killed_in_the_middle_of_it(tmp_path):
    context = multiprocessing.get_context("fork")
    path = str(tmp_path / "risk")
    table = opened(Path(path))
    for life in range(10 * ROUNDS):
        start, passed = context.Barrier(4, timeout=60), context.Array("b", 300, lock=False)
        claims = range(1_000 * life, 1_000 * life + 300)
        where = HERE + life
        lives = [
            context.Process(target=hammer_until_killed, args=(path, claims, where, start, passed))
            for _ in range(3)
        ]
        for process in lives:
            process.start()
        start.wait()
        time.sleep(random.uniform(0, 0.001))
        for process in lives:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        told = [passes(ask(table, claim, lo=where)) for claim in claims]
        assert sum(told) == 100
        # Who was let through before a worker died is let through still.
        assert all(now for now, before in zip(told, passed, strict=True) if before)


def hammer_until_killed(path: str, claims: range, where: int, start, passed) -> None:
    table = opened(Path(path))
    order = random.SystemRandom().sample(claims, len(claims))
    start.wait()
    while True:
        for claim in order:
            if passes(ask(table, claim, lo=where)):
                passed[claim - claims.start] = 1


def hammer_many(path: str, who: int, seed: int, tried) -> None:
    """Claims from a hundred addresses on a table with room for sixteen at a time, for ever."""
    table = opened(Path(path), subjects=64)
    dice = random.Random(seed * 100 + who)
    while True:
        number = dice.randrange(1_000_000)
        ask(table, number, now_s=NOW_S + dice.random(), lo=HERE + dice.randrange(200))
        tried[who] += 1


@shared
def test_whoever_is_killed_leaves_a_table_that_counts_exactly(tmp_path):
    context = multiprocessing.get_context("fork")
    seed = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    print(f"TEST_SEED={seed}")
    dice = random.Random(seed)
    path = tmp_path / "risk"
    table = opened(path, subjects=64)
    tried = context.Array("Q", 200, lock=False)
    for life in range(8 * ROUNDS):
        lives = [
            context.Process(target=hammer_many, args=(str(path), 2 * life + who, seed, tried))
            for who in range(2)
        ]
        for process in lives:
            process.start()
        time.sleep(dice.uniform(0.02, 0.1))
        for process in lives:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.join()
        # The dead left nothing half done that anybody would notice.
        fresh = [2_000_000 + 1_000 * life + number for number in range(150)]
        somewhere = HERE + 10_000 + life
        told = [passes(ask(table, number, now_s=NOW_S + 2, lo=somewhere)) for number in fresh]
        assert told == [True] * 100 + [False] * 50
    assert sum(tried) > 1_000


def run(workers) -> None:
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0


@pytest.fixture
def hosts(tmp_path):
    return [opened(tmp_path / name / "risk") for name in "ab"]


def test_what_another_host_let_through_counts_here_once(hosts):
    here, there = hosts
    for number in range(60):
        assert passes(ask(here, number))
        assert passes(ask(there, number + 40))
    there.enter(here.drain(), NOW_S)
    here.enter(there.drain(), NOW_S)
    # Twenty of them were tried on both: one hundred in all.
    for table in hosts:
        assert not passes(ask(table, 100))
        assert all(passes(ask(table, number)) for number in range(100))
        assert not table.remembers(7, 7, since_s=NOW_S + 1)
        assert passes(ask(table, 100, now_s=NOW_S + 600))


def test_what_nobody_fetches_is_dropped_and_counted(hosts):
    here, _ = hosts
    for number in range(17_000):
        ask(here, number, lo=HERE + number)
    assert here.dropped == 17_000 - 16_384
    assert len(here.drain()) == 24 * 16_384
    assert here.drain() == b""
