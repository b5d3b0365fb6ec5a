"""Buckets on a real cluster: which node has which, and what is said while one goes over."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from hotpath import nodes, scripts
from hotpath.claims import BucketFacts, Claim, Kind, SaleFacts
from hotpath.cluster import ClusterWires
from hotpath.gate import Gate
from hotpath.routing import bucket_of
from hotpath.scripts import BucketKeys
from hotpath.slots import Node, read_slots, slot_of, url_of
from tests.hotpath.eventually import eventually
from tests.masters import server_call
from tests.patience import PATIENCE_S

STAMP = "1.00112233445566ff"
BUCKETS = range(1, 7)


@contextlib.asynccontextmanager
async def wires_to(urls):
    wires = ClusterWires(urls, scripts=[scripts.CLAIM.source])
    wires.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await wires.connected()
        yield wires
    finally:
        await wires.aclose()


def put_up(masters, *, left=100) -> dict[int, SaleFacts]:
    """A sale of six buckets on whichever nodes have them; returns what a gate has to know."""
    facts = []
    for number in BUCKETS:
        keys, server = BucketKeys(number), masters.owner(number)
        server_call(server, "DEL", *keys.all())
        facts_of_sale = ("stamp", STAMP, "state", "open", "opens_at_ms", 0, "closes_at_ms", 2**42)
        server_call(server, "HSET", keys.sale, *facts_of_sale)
        server_call(server, "HSET", keys.left, 7, left)
        server_call(server, "HSET", keys.limits, 7, 9)
        facts.append(BucketFacts(number, 1, STAMP, run_id_of(server)))
    return {1: SaleFacts(facts)}


def run_id_of(server) -> str:
    info = server_call(server, "INFO", "server").decode()
    return info.partition("run_id:")[2].split("\r\n", 1)[0]


def last_position(server, bucket) -> bytes:
    flat = server_call(server, "XINFO", "STREAM", BucketKeys(bucket).claims)
    pairs = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
    return pairs[b"last-generated-id"]


def another(masters, server):
    return next(other for other in masters.servers if other is not server)


def test_a_bucket_lies_in_the_slot_that_redis_says(masters):
    for bucket in (1, 2, 17, 999, 4_194_303):
        for key in BucketKeys(bucket).all():
            assert server_call(masters.servers[0], "CLUSTER", "KEYSLOT", key) == slot_of(bucket)


@given(st.integers(1, 4_194_303))
def test_a_map_names_the_node_whose_range_has_the_slot(bucket):
    slot = slot_of(bucket)
    reply = [[0, slot, [b"10.0.0.1", 7000, b"id"]], [slot + 1, 16383, [b"", 7001, b"id"], [b"x"]]]
    slots = read_slots(reply, asked=Node("asked", 1))
    assert slots.node_of(bucket) == Node("10.0.0.1", 7000)
    assert slots.nodes == {Node("10.0.0.1", 7000), Node("asked", 7001)}
    assert read_slots(reply[1:], asked=Node("asked", 1)).node_of(bucket) is None


@pytest.mark.parametrize("reply", [None, 7, [[1]], [["a", 2, [b"h", 1]]], [[1, 2, [b"\xff", 1]]]])
def test_what_is_no_map_is_refused(reply):
    with pytest.raises(ValueError, match=r"."):
        read_slots(reply, asked=Node("asked", 1))


def test_a_nodes_address_keeps_scheme_and_password():
    seed = "rediss://me:p%2Cw@first:1/0?x=1"
    assert url_of(Node("10.0.0.1", 7000), seed) == "rediss://me:p%2Cw@10.0.0.1:7000/0?x=1"
    assert url_of(Node("::1", 7000), "redis://first") == "redis://[::1]:7000"


async def test_every_claim_finds_its_node_from_one_address(masters):
    async with wires_to(masters.servers[1].url) as wires:
        gate = Gate(wires, key_id=1, backlog_max=1_000)
        gate.know(put_up(masters))
        answers = await asyncio.gather(*(gate.ask(Claim(1, m, "k", 7, 1)) for m in range(1, 41)))
        assert {v.kind for v in answers} == {Kind.ACCEPTED}
        assert {v.bucket for v in answers} == set(BUCKETS)
        assert {wires.of(b).run_id for b in BUCKETS} == {run_id_of(s) for s in masters.servers}
        assert wires.unconnected == 0


async def test_a_single_server_is_a_cluster_of_one(redis_url, sale):
    async with wires_to(redis_url) as wires, nodes.connect(redis_url, timeout_s=5) as redis:
        gate = Gate(wires, key_id=1, backlog_max=1_000)
        gate.know(sale.open(redis_url))
        assert (await gate.ask(Claim(1, 5, "k", 7, 1))).kind is Kind.ACCEPTED
        assert await redis.of(17) is redis
        assert await redis.every() == [redis]


async def test_claims_are_refused_while_a_slot_goes_over_and_none_is_lost_or_doubled(masters):
    async with wires_to(masters.urls) as wires:
        gate = Gate(wires, key_id=1, backlog_max=1_000)
        known = put_up(masters)
        gate.know(known)
        member, bucket = 1, 1 + bucket_of(1, len(BUCKETS))
        assert (await gate.ask(Claim(1, member, "k", 7, 1))).kind is Kind.ACCEPTED
        target = another(masters, masters.owner(bucket))
        source = masters.begin_move(bucket, target)
        # All keys that a claim needs are there still.
        assert (await gate.ask(Claim(1, member, "second", 7, 1))).kind is Kind.ACCEPTED
        before = last_position(source, bucket)
        assert masters.move_keys(bucket, source, target)
        assert (await gate.ask(Claim(1, member, "asked", 7, 1))).kind is Kind.UNAVAILABLE
        masters.end_move(bucket, source, target)
        assert (await gate.ask(Claim(1, member, "moved", 7, 1))).kind is Kind.UNAVAILABLE
        assert last_position(target, bucket) == before
        await eventually(lambda: wires.of(bucket).run_id == run_id_of(target))
        # Nobody has admitted the process where the bucket is now.
        assert (await gate.ask(Claim(1, member, "early", 7, 1))).kind is Kind.UNAVAILABLE
        facts = [
            BucketFacts(f.number, f.epoch, f.stamp, run_id_of(masters.owner(f.number)))
            for f in known[1].buckets
        ]
        gate.know({1: SaleFacts(facts)})
        assert (await gate.ask(Claim(1, member, "k", 7, 1))).kind is Kind.ACCEPTED
        left = int(server_call(target, "HGET", BucketKeys(bucket).left, 7))
        assert left == 100 - int(server_call(target, "XLEN", BucketKeys(bucket).claims))


async def test_a_client_follows_its_bucket_within_a_moment(masters):
    async with nodes.connect(masters.urls, timeout_s=5) as redis:
        put_up(masters)
        keys = BucketKeys(3)
        source, target = masters.owner(3), another(masters, masters.owner(3))
        node = await redis.of(3)
        assert nodes.address_of(node).port == source.port
        assert await scripts.stamp(node, keys) == STAMP
        assert {await scripts.process_of(one) for one in await redis.every()} == {
            run_id_of(server) for server in masters.servers
        }
        masters.move(3, target)
        with pytest.raises(ResponseError):
            await scripts.stamp(node, keys)
        await asyncio.sleep(nodes.LEARN_S)
        assert await scripts.stamp(await redis.of(3), keys) == STAMP
        masters.wait_until_agreed()


async def test_a_client_asks_whoever_is_there(masters):
    dead = "redis://127.0.0.1:9"
    async with nodes.connect(f"{dead},{masters.urls}", timeout_s=5) as redis:
        assert len(await redis.every()) == len(masters.servers)
    async with nodes.connect(dead, timeout_s=5) as redis:
        with pytest.raises(RedisConnectionError, match="who serves what"):
            await redis.of(1)


async def test_a_connection_that_a_server_closed_meanwhile_is_not_handed_out(masters, redis_server):
    first, *others = masters.servers
    for url, servers in ((redis_server.url, [redis_server]), (first.url, [first, *others])):
        async with nodes.connect(url, timeout_s=5) as redis:
            for node in await redis.every():
                await node.ping()
            for server in servers:
                server_call(server, "CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.05)
            for node in await redis.every():
                assert await node.ping()
