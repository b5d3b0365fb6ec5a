"""Two hosts and a real Redis between them, and what happens without it."""

import asyncio
import struct
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core import embedded
from hotpath import exchange, risk
from hotpath.exchange import Exchange
from tests.hotpath.eventually import eventually
from tests.hotpath.test_risk import HERE, NOW_S, ask, opened, passes
from tests.patience import PATIENCE_S, Stopwatch

HEARD_WITHIN_S = 1.0


def client(url: str) -> Redis:
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=5)


@asynccontextmanager
async def running(*exchanges: Exchange):
    tasks = [asyncio.create_task(role()) for one in exchanges for role in (one.tell, one.listen)]
    try:
        yield
    finally:
        for task in tasks:
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=0.1)


async def listening(redis, count: int):
    async def are_there():
        return dict(await redis.pubsub_numsub(exchange.CHANNEL))[b"sluice:risk"] >= count

    async with asyncio.timeout(PATIENCE_S):
        while not await are_there():  # noqa: ASYNC110 - only Redis knows
            await asyncio.sleep(0.02)


@pytest.fixture
def tables(tmp_path):
    return [opened(tmp_path / name / "risk") for name in "ab"]


async def test_within_a_second_each_host_counts_what_the_other_let_through(redis, tables):
    here, there = (Exchange(redis, table, clock=lambda: NOW_S) for table in tables)
    async with running(here, there):
        await listening(redis, 2)
        for number in range(50):
            assert passes(ask(here.table, number))
            assert passes(ask(there.table, number + 50))
        watch = Stopwatch()
        await eventually(lambda: here.entered >= 50 and there.entered >= 50)
        assert watch.own_s() < HEARD_WITHIN_S
        for table in tables:
            assert not passes(ask(table, 100))
            assert all(passes(ask(table, number)) for number in range(100))


async def test_who_has_heard_of_another_host_takes_its_memory_for_no_more_than_its_own(
    redis, tables
):
    here, there = (Exchange(redis, table, clock=lambda: NOW_S) for table in tables)
    async with running(here, there):
        await listening(redis, 2)
        watch = Stopwatch()
        await eventually(lambda: not any(table.knows(7, 7, 0) for table in tables))
        assert watch.own_s() < HEARD_WITHIN_S


async def test_workers_of_one_host_do_not_count_each_other_twice(redis, tables, tmp_path):
    if risk.IMPLEMENTATION != "cython":
        pytest.skip("the twin shares nothing")
    same = opened(tmp_path / "a" / "risk")
    one, other = (Exchange(redis, table, clock=lambda: NOW_S) for table in (tables[0], same))
    async with running(one, other):
        await listening(redis, 2)
        for number in range(60):
            assert passes(ask(one.table, number))
        sent = one.sent
        await eventually(lambda: one.sent > sent + 1)
        assert (one.entered, other.entered) == (0, 0)
        assert one.table.remembers(7, 7, since_s=NOW_S + 1)
        assert sum(passes(ask(same, number)) for number in range(60, 200)) == 40


async def test_without_redis_each_host_counts_alone_and_finds_back(tmp_path, tables):
    server = embedded.Redis(tmp_path / "redis", port=embedded.free_port())
    server.start()
    try:
        async with client(server.url) as redis:
            here, there = (Exchange(redis, table, clock=lambda: NOW_S) for table in tables)
            async with running(here, there):
                await listening(redis, 2)
                server.stop()
                assert sum(passes(ask(here.table, number)) for number in range(150)) == 100
                await asyncio.sleep(1)
                assert sum(passes(ask(there.table, number)) for number in range(150)) == 100
                server.start()
                async with client(server.url) as look:
                    await listening(look, 2)
                for number in range(40):
                    assert passes(ask(here.table, 1_000 + number, lo=HERE + 1))
                await eventually(lambda: there.entered >= 140)
                told = [passes(ask(there.table, 2_000 + n, lo=HERE + 1)) for n in range(100)]
                assert told == [True] * 60 + [False] * 40
    finally:
        server.stop()


def test_what_is_no_message_counts_nothing(tables):
    one = Exchange(None, tables[0], clock=lambda: NOW_S)
    tick = int(NOW_S * 4)
    for message in (
        *(b"", b"x", b"1234567", b"12345678" + b"x" * 25),
        b"12345678" + bytes(24 * 4_097),
        tables[0].host + struct.pack("<3Q", 1, 2, tick),
    ):
        one.hear(message)
    assert one.entered == 0
    # Numbers that cannot be are no times: nothing is counted, and nothing breaks.
    never = struct.pack("<9Q", 1, 2, 2**64 - 1, 1, 2, 0, 2**64 - 1, 2**64 - 1, tick)
    one.hear(b"12345678" + never)
    assert one.entered == 3
