import asyncio
import signal

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hotpath import claims, scripts
from hotpath.claims import BucketFacts, Claim, Kind
from hotpath.scripts import BucketKeys, DamagedBooks, Released

KEYS = BucketKeys(17)
ORDER = "6880c9bb-3c00-8000-8000-000110169986"


@pytest.fixture
async def client(redis_url):
    async with Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0)) as client:
        yield client


def facts_of(sale, url) -> BucketFacts:
    return sale.open(url, left=5)[1].buckets[0]


async def claim_now(client, facts, *wanted):
    return await scripts.claim_now(client, facts, wanted, key_id=1, backlog_max=100)


async def release(client, **changes):
    order = {"stamp": "3.00112233445566ff", "order_id": ORDER, "sku_id": 7, "member_id": 42}
    return await scripts.release(client, KEYS, **{**order, "quantity": 2, **changes})


def test_all_keys_of_a_bucket_share_one_tag():
    assert len(set(KEYS.all())) == len(BucketKeys.__slots__)
    assert all(key.startswith("sluice:{17}:") for key in KEYS.all())


async def test_a_claim_and_its_release_stand_in_the_books(client, redis_url, sale):
    empty = await scripts.books(client, KEYS)
    assert (empty.stamp, empty.state, empty.last, empty.deleted) == ("", "", "0-0", "0-0")
    assert (empty.left, empty.back) == ({}, {})
    facts = facts_of(sale, redis_url)
    [verdict] = await claim_now(client, facts, Claim(1, 42, "late 7", 7, 2))
    books = await scripts.books(client, KEYS)
    assert (books.stamp, books.state, books.last) == (sale.stamp, "open", verdict.position)
    assert (books.left, books.back) == ({7: 3}, {})
    assert abs(books.now_ms - int(verdict.position.split("-")[0])) < 5_000
    assert await release(client) is Released.GIVEN_BACK
    assert await release(client) is Released.ALREADY
    books = await scripts.books(client, KEYS)
    assert (books.left, books.back) == ({7: 5}, {7: 2})


async def test_the_books_know_above_which_id_nothing_is_gone(client):
    async def deleted():
        return (await scripts.books(client, KEYS)).deleted

    for position in ("5-0", "5-1", "7-0", "9-0"):
        await client.xadd(KEYS.claims, {"c": ""}, id=position)
    assert await deleted() == "0-0"
    await client.xtrim(KEYS.claims, minid="5-1", approximate=False)
    assert await deleted() == "5-0"
    await client.xtrim(KEYS.claims, minid="6-0", approximate=False)
    assert await deleted() == f"6-{2**64 - 1}"
    await client.xdel(KEYS.claims, "9-0")
    assert await deleted() == "9-0"
    await client.xtrim(KEYS.claims, maxlen=0, approximate=False)
    books = await scripts.books(client, KEYS)
    assert (books.deleted, books.last) == ("9-0", "9-0")


async def test_a_release_of_another_epoch_or_a_closed_sale_changes_nothing(client, redis_url, sale):
    facts = facts_of(sale, redis_url)
    await claim_now(client, facts, Claim(1, 42, "a", 7, 2))
    assert await release(client, stamp="3.other") is Released.OTHER_EPOCH
    await client.hset(KEYS.sale, "state", "closed")
    assert await release(client) is Released.CLOSED
    assert sale.left(redis_url) == 3


async def test_a_flushed_script_cache_changes_nothing(client, redis_url, sale):
    facts = facts_of(sale, redis_url)
    await client.script_flush()
    [verdict] = await claim_now(client, facts, Claim(1, 42, "a", 7, 2))
    assert verdict.kind is Kind.ACCEPTED
    await client.script_flush()
    assert await release(client) is Released.GIVEN_BACK


async def test_claims_for_another_process_are_never_sent(client, redis_url, sale):
    facts_of(sale, redis_url)
    elsewhere = BucketFacts(17, 3, sale.stamp, "0" * 40)
    assert await claim_now(client, elsewhere, Claim(1, 42, "a", 7, 2)) == [claims.UNAVAILABLE]
    assert sale.left(redis_url) == 5


async def test_claims_for_another_epoch_are_certainly_not_taken(client, redis_url, sale):
    facts = facts_of(sale, redis_url)
    other = BucketFacts(17, 4, "4.other", facts.run_id)
    assert await claim_now(client, other, Claim(1, 42, "a", 7, 2)) == [claims.UNAVAILABLE]


async def test_a_server_without_memory_certainly_took_nothing(client, redis_url, sale):
    facts = facts_of(sale, redis_url)
    await client.config_set("maxmemory", 1)
    try:
        assert await claim_now(client, facts, Claim(1, 42, "a", 7, 2)) == [claims.UNAVAILABLE]
    finally:
        await client.config_set("maxmemory", 0)


async def test_a_claim_whose_answer_never_came_is_unknown(mortal, sale):
    facts = facts_of(sale, mortal.url)

    class StopsAfterTheLook(Redis):
        async def info(self, *section):
            found = await super().info(*section)
            mortal.process.send_signal(signal.SIGSTOP)
            return found

    async with StopsAfterTheLook.from_url(
        mortal.url, retry=Retry(NoBackoff(), 0), socket_timeout=0.3
    ) as client:
        verdicts = await claim_now(client, facts, Claim(1, 42, "a", 7, 2))
        mortal.process.send_signal(signal.SIGCONT)
    assert verdicts == [claims.UNKNOWN]


async def test_a_server_that_is_away_certainly_took_nothing(mortal, sale):
    facts = facts_of(sale, mortal.url)
    async with Redis.from_url(mortal.url, retry=Retry(NoBackoff(), 0)) as client:
        mortal.process.kill()
        await asyncio.to_thread(mortal.process.wait)
        assert await claim_now(client, facts, Claim(1, 42, "a", 7, 2)) == [claims.UNAVAILABLE]


async def test_damaged_books_are_not_read(client, redis_url, sale):
    facts_of(sale, redis_url)
    await client.hset(KEYS.left, "7", "many")
    with pytest.raises(DamagedBooks):
        await scripts.books(client, KEYS)
