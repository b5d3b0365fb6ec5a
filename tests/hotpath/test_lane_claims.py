"""Claims over raw sockets to the lane, with a real Redis behind its gate and a stranger's app."""

import asyncio
import contextlib
import socket
import tempfile
import time
from ipaddress import ip_network
from pathlib import Path

import jwt
import pytest
from redis import Redis

from hotpath import _till_py, answers, till
from hotpath.address import Proxies
from hotpath.claims import Kind
from hotpath.receipts import Keyring
from hotpath.risk import BLOCK, IP, MEMBER, Program, open_table, rule_of, sizes_for
from hotpath.tokens import Tokens
from tests.hotpath.eventually import eventually
from tests.hotpath.test_gate import gate_to
from tests.hotpath.test_lane import GET, serving
from tests.patience import PATIENCE_S, Stopwatch

SECRET = b"a secret of thirty-two bytes, ok?"
PAUSE_MS = 400


def refusal(status, name):
    body = b'{"type":"/problems/%b"}' % name.encode()
    headers = {"Retry-After": "1"} if status == 503 else {}
    return answers.encode(status, name, headers, body, media_type="application/problem+json")


def refuse(_claim, verdict, _language):
    """Leave to the app what only Postgres knows."""
    if verdict.kind is Kind.NO_SUCH_SALE:
        return None
    return refusal(503 if verdict.kind is Kind.BUSY else 409, verdict.kind.name.lower())


def block(told):
    """Leave to the app what the second rule says."""
    return None if rule_of(told) == 153 else refusal(403, "risk-blocked")


@pytest.fixture(params=[till, _till_py], ids=["kernel", "twin"], autouse=True)
def kind(request):
    """Each test stands at both tills."""
    lane_to.till = request.param


@contextlib.asynccontextmanager
async def lane_to(redis_url, sale, *, left=1_000_000, queue_max=20_000, **limits):
    program = Program(1, [IP, 600, 100, BLOCK, 152, MEMBER, 600, 10, BLOCK, 153])
    async with gate_to(redis_url, queue_max=queue_max) as gate:
        with tempfile.TemporaryDirectory() as folder:
            path, sizes = Path(folder, "risk"), sizes_for(program, subjects=1_024)
            table = open_table(path, sizes, key=SECRET, program=program, now_s=time.time())
        gate.know(sale.open(redis_url, left=left))
        made = lane_to.till.Till(
            gate,
            Keyring({1: b"k" * 32}),
            Tokens(SECRET, clock=time.time),
            lane_to.till.Figures([0.1, 1]),
            table,
            Proxies([ip_network("127.0.0.0/8")]),
            clock=time.perf_counter,
            now=time.time,
            language=lambda _: "en",
            refuse=refuse,
            block=lambda _sale_id, _member_id, _key_hash, told, _language: block(told),
            unauthenticated={"en": refusal(401, "unauthenticated")},
            sold_out={"en": refusal(409, "sold-out")},
        )
        async with serving(till=made, line_type=lane_to.till.Line, **limits) as server:
            server.till = made
            yield server


def claim(member=5, *, sale=1, key="k", secret=SECRET, more=b"") -> bytes:
    now_s = int(time.time())
    claims = {"sub": str(member), "role": "member", "iat": now_s, "exp": now_s + 600}
    token = jwt.encode(claims, secret).encode()
    return (
        b"POST /v1/sales/%d/orders HTTP/1.1\r\nhost: h\r\nauthorization: Bearer %b\r\n"
        b"%bidempotency-key: %b\r\ncontent-type: application/json\r\ncontent-length: 27\r\n\r\n"
        b'{"sku_id":"7","quantity":1}'
    ) % (sale, token, more, key.encode())


def pause(redis_url):
    with Redis.from_url(redis_url) as client:
        client.client_pause(PAUSE_MS)


@contextlib.contextmanager
def paused(redis_url):
    """Redis answers no claim meanwhile."""
    with Redis.from_url(redis_url) as client:
        client.client_pause(1_000 * PATIENCE_S, all=False)
        try:
            yield
        finally:
            client.client_unpause()


async def test_a_claim_is_answered_without_a_task(redis_url, sale):
    async with lane_to(redis_url, sale) as server:
        line = await server.dial()
        line.say(claim())
        assert (await line.answer())[0] == 202
        line.say(claim(secret=SECRET[::-1]))
        assert (await line.answer())[0] == 401
        assert not server.state.tasks
        told, within, seconds = server.till.figures.take()
        assert told == {(202, "accepted"): 1, (401, "unauthenticated"): 1}
        assert sum(within) == 2
        assert 0 < seconds < 5
        assert server.state.total_requests == 2
        (lane,) = server.state.connections
        assert not lane._is_open, "uvicorn's part was made, and nothing asked for it"


async def test_risk_stops_a_claim_before_redis_hears_of_it_and_never_a_repeat(redis_url, sale):
    async with lane_to(redis_url, sale) as server:
        line = await server.dial()

        async def buy(member, *, key="k", address="203.0.113.9"):
            line.say(claim(member, key=key, more=b"x-forwarded-for: %b\r\n" % address.encode()))
            return (await line.answer())[0]

        assert {await buy(member) for member in range(1, 101)} == {202}
        assert await buy(101) == 403
        assert await buy(101, address="203.0.113.10") == 202
        assert await buy(101) == 202
        assert await buy(1) == 202
        assert await buy(2, key="l") == 403
        assert server.till.figures.answers[403, "risk-blocked"] == 2


async def test_what_only_the_application_can_refuse_goes_there(redis_url, sale):
    async with lane_to(redis_url, sale) as server:
        line = await server.dial()
        for n in range(11):
            line.say(claim(key=f"k{n}"))
        answers = [await line.answer() for _ in range(11)]
        assert [status for status, _ in answers] == [202] * 10 + [200]


async def test_what_needs_the_application_goes_there_and_the_next_claim_does_not(redis_url, sale):
    async with lane_to(redis_url, sale) as server:
        line = await server.dial()
        line.say(claim(sale=2))
        assert await line.answer() == (200, b"/v1/sales/2/orders 27")
        line.say(claim())
        assert (await line.answer())[0] == 202
        line.say(claim(sale=2) + claim(), GET % b"/x", claim(key="l"))
        assert [(await line.answer())[0] for _ in range(4)] == [200, 200, 200, 200]
        assert sum(server.till.figures.answers.values()) == 1


async def test_who_expects_100_continue_is_told_to_go_on(redis_url, sale):
    async with lane_to(redis_url, sale) as server:
        line = await server.dial()
        line.say(claim().replace(b"host: h", b"host: h\r\nexpect: 100-continue")[:-27])
        head = await line.reader.readuntil(b"\r\n\r\n")
        assert head == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.say(b'{"sku_id":"7","quantity":1}')
        assert (await line.answer())[0] == 200


async def test_a_claim_in_flight_is_answered_before_its_connection_closes(redis_url, sale):
    async with lane_to(redis_url, sale) as server:
        busy, idle, half = [await server.dial() for _ in range(3)]
        for line in (busy, idle, half):
            line.say(claim())
            assert (await line.answer())[0] == 202
        with paused(redis_url):
            busy.say(claim(key="l") + claim(key="m"))
            half.say(claim(key="n")[:-1])
            await asyncio.sleep(0.05)
            for connection in list(server.state.connections):
                connection.shutdown()
            await idle.closes()
            await half.closes()
        head = await busy.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 202")
        assert b"\r\nconnection: close\r\n" in head
        rest = await busy.reader.read()
        assert rest.count(b"order_id") == 1
        assert b"HTTP/1.1" not in rest
        await eventually(lambda: not server.state.connections)


async def test_who_leaves_while_a_claim_is_decided_breaks_nothing(redis_url, sale, caplog):
    async with lane_to(redis_url, sale) as server:
        pause(redis_url)
        for member in range(1, 20):
            line = await server.dial()
            line.say(claim(member) + claim(member, key="l"))
            await asyncio.sleep(0.005)
            line.writer.transport.abort()
        await eventually(lambda: not server.state.connections)
        line = await server.dial()
        line.say(claim(50))
        assert (await line.answer())[0] == 202
    assert caplog.records == []


@pytest.mark.parametrize("size", [1, 60, -28, -1])
async def test_half_a_claim_is_closed(redis_url, sale, size):
    async with lane_to(redis_url, sale, request_timeout_s=0.3) as server:
        line = await server.dial()
        line.say(claim())
        assert (await line.answer())[0] == 202
        line.say(claim()[:size])
        await line.closes(after_s=0.2, within_s=0.6)


async def test_dribbling_a_claim_gains_no_time(redis_url, sale):
    async with lane_to(redis_url, sale, request_timeout_s=0.4) as server:
        line = await server.dial()
        watch = Stopwatch()
        with contextlib.suppress(ConnectionError):
            for byte in claim():
                line.say(bytes([byte]))
                await asyncio.sleep(0.05)
                if line.closed():
                    break
        assert watch.own_s() < 1


async def test_a_connection_idles_between_claims_for_as_long_as_uvicorn_lets_it(redis_url, sale):
    async with lane_to(redis_url, sale, request_timeout_s=0.3) as server:
        line = await server.dial()
        for n in range(4):
            line.say(claim(key=f"k{n}"))
            assert (await line.answer())[0] == 202
            await asyncio.sleep(0.4)
        await line.closes(after_s=0.4, within_s=1)


async def test_a_slow_verdict_is_not_an_idle_connection(redis_url, sale):
    async with lane_to(redis_url, sale, request_timeout_s=0.1) as server:
        line = await server.dial()
        pause(redis_url)
        line.say(claim())
        assert (await line.answer())[0] == 202


async def test_past_the_bound_claims_are_refused_at_once(redis_url, sale):
    async with lane_to(redis_url, sale, queue_max=4) as server:
        lines = [await server.dial() for _ in range(40)]
        with paused(redis_url):
            for member, line in enumerate(lines, 1):
                line.say(claim(member))
            heads = [asyncio.create_task(line.reader.readuntil(b"\r\n\r\n")) for line in lines]
            await eventually(lambda: sum(head.done() for head in heads) > 20)
            busy = [head.result() for head in heads if head.done()]
        assert all(b" 503 " in head and b"\r\nretry-after: 1\r\n" in head for head in busy)
        rest = [await head for head in heads]
        assert {head[9:12] for head in rest} == {b"503", b"202"}


async def test_who_does_not_read_is_not_read_either(redis_url, sale):
    count = 1_000
    async with lane_to(redis_url, sale) as server:
        line = await server.dial()
        await asyncio.sleep(0.05)
        (lane,) = server.state.connections
        ours, theirs = lane.transport, line.writer.transport
        ours.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        theirs.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        theirs.pause_reading()
        line.say(*[claim()] * count)
        await eventually(lambda: lane._line.write_paused and lane.flow.read_paused)
        assert ours.get_write_buffer_size() < 200_000
        assert len(lane._line.held) < 600_000
        theirs.resume_reading()
        for _ in range(count):
            assert (await line.answer())[0] == 202
        assert lane._line.held == b""
