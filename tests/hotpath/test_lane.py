"""Raw sockets against the lane: what uvicorn alone would let pass."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from core import embedded
from hotpath.lane import Lane
from tests.hotpath.eventually import eventually
from tests.patience import PATIENCE_S, Stopwatch


async def app(scope, receive, send):
    """Answer with the path and the body's length; `/slow` answers, `/lazy` reads late."""
    size, more = 0, scope["path"] != "/early"
    if scope["path"] == "/lazy":
        await asyncio.sleep(0.5)
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    if scope["path"].startswith("/slow"):
        await asyncio.sleep(0.5)
    body = f"{scope['path']} {size}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Server:
    def __init__(self, port, state):
        self.port, self.state, self.lines = port, state, []

    async def dial(self) -> "Line":
        self.lines.append(Line(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.lines[-1]


class Line:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def say(self, *chunks: bytes):
        """Who has been hung up on speaks into the void."""
        for chunk in chunks:
            if not self.writer.transport.is_closing():
                self.writer.write(chunk)

    def closed(self) -> bool:
        return self.reader.at_eof() or self.reader.exception() is not None

    async def answer(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(size)

    async def closes(self, *, after_s: float = 0, within_s: float = PATIENCE_S) -> None:
        """It is hung up without another word, within so long of our own time."""
        watch = Stopwatch()
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                assert await self.reader.read() == b""
        assert watch.s() > after_s
        assert watch.own_s() < within_s


@contextlib.asynccontextmanager
async def serving(*, till=None, **limits) -> AsyncIterator[Server]:
    lane = type("ShortLane", (Lane,), limits)
    config = Config(app, http=lane, lifespan="off", log_config=None, timeout_keep_alive=1)
    config.load()
    state, port = ServerState(), embedded.free_port()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: lane(config, state, {"till": till}), "127.0.0.1", port
    )
    clients = Server(port, state)
    try:
        yield clients
    finally:
        server.close()
        for line in clients.lines:
            line.writer.close()
            with contextlib.suppress(ConnectionError):
                await line.writer.wait_closed()
        await eventually(lambda: not state.connections and not state.tasks)


GET = b"GET %b HTTP/1.1\r\nhost: h\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"
CHUNKED = b"POST /p HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\nx: ",
        b"\r\n\r\n",
        POST % 10 + b"half",
        POST % 10,
        CHUNKED + b"4\r\nhalf\r\n",
        CHUNKED + b"4\r\nhalf\r\n0\r\ntrailer: ",
    ],
)
async def test_half_a_request_is_closed(half):
    async with serving(request_timeout_s=0.3) as server:
        line = await server.dial()
        line.say(half)
        await line.closes(after_s=0.2, within_s=0.6)


async def test_with_the_real_limits_half_a_header_is_closed_within_ten_seconds(anyio_backend):
    if anyio_backend[1]["use_uvloop"]:
        pytest.skip("once is slow enough")
    async with serving() as server:
        silent, half = await server.dial(), await server.dial()
        half.say(b"GET / HT")
        watch = Stopwatch()
        await asyncio.gather(silent.closes(), half.closes())
        assert watch.s() > 7
        assert watch.own_s() < 10


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nhost: h\r\nx: ", POST % 1000, b""])
async def test_dribbling_gains_no_time(head):
    async with serving(request_timeout_s=0.4) as server:
        line = await server.dial()
        line.say(head)
        watch = Stopwatch()
        with contextlib.suppress(ConnectionError):
            while watch.own_s() < 3 and not line.closed():
                line.say(b"\r\n" if not head else b"x")
                await asyncio.sleep(0.05)
        assert watch.own_s() < 1


async def test_a_body_that_flows_earns_its_time():
    async with serving(request_timeout_s=0.3, body_bytes_per_s=10_000) as server:
        line = await server.dial()
        line.say(POST % 20_000)
        for _ in range(20):
            line.say(b"x" * 1000)
            await asyncio.sleep(0.05)
        assert await line.answer() == (200, b"/p 20000")


async def test_a_body_that_was_answered_early_is_read_to_its_end_and_earns_no_more_time():
    async with serving(request_timeout_s=0.3, body_bytes_per_s=10_000) as server:
        line = await server.dial()
        line.say(b"POST /early HTTP/1.1\r\nhost: h\r\ncontent-length: 9000000\r\n\r\n")
        assert await line.answer() == (200, b"/early 0")
        line.say(b"x" * 9_000_000 + GET % b"/after")
        assert await line.answer() == (200, b"/after 0")

        line.say(b"POST /early HTTP/1.1\r\nhost: h\r\ncontent-length: 9000000\r\n\r\n")
        assert await line.answer() == (200, b"/early 0")
        watch = Stopwatch()
        while not line.closed():
            line.say(b"x" * 1000)
            await asyncio.sleep(0.02)
            assert watch.own_s() < 1


async def test_time_in_which_we_do_not_read_is_not_the_clients():
    async with serving(request_timeout_s=0.3, body_bytes_per_s=10_000_000) as server:
        line = await server.dial()
        line.say(b"POST /lazy HTTP/1.1\r\nhost: h\r\ncontent-length: 20000000\r\n\r\n")
        line.say(b"x" * 20_000_000)
        assert await line.answer() == (200, b"/lazy 20000000")


async def test_half_a_request_behind_a_slow_one_ends_both_without_an_error(caplog):
    async with serving(request_timeout_s=0.2) as server:
        line = await server.dial()
        line.say(GET % b"/slow" + POST % 4 + b"ha")
        await line.closes(after_s=0.1, within_s=0.5)
    assert caplog.records == []


async def test_a_slow_answer_is_not_half_a_request():
    async with serving(request_timeout_s=0.1) as server:
        line = await server.dial()
        line.say(GET % b"/slow")
        assert await line.answer() == (200, b"/slow 0")


async def test_pipelined_requests_are_answered_in_order():
    async with serving() as server:
        line = await server.dial()
        line.say(GET % b"/slow1" + GET % b"/2" + POST % 2 + b"xx" + GET % b"/3")
        answers = [await line.answer() for _ in range(4)]
        assert answers == [(200, b"/slow1 0"), (200, b"/2 0"), (200, b"/p 2"), (200, b"/3 0")]


async def test_a_connection_is_kept_alive_and_closed_once_it_idles():
    async with serving(request_timeout_s=0.3) as server:
        line = await server.dial()
        for n in range(5):
            line.say(GET % f"/{n}".encode())
            assert await line.answer() == (200, f"/{n} 0".encode())
            await asyncio.sleep(0.2)
        await line.closes(after_s=0.5, within_s=1.5)


async def test_a_connection_answered_early_cannot_idle_for_ever():
    async with serving(request_timeout_s=0.3) as server:
        line = await server.dial()
        line.say(b"POST /early HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nha")
        assert await line.answer() == (200, b"/early 0")
        line.say(b"lf")
        await line.closes(within_s=1.5)


@pytest.mark.parametrize("step", [100, 5_000, 1_000_000])
@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\n" + b"x: y\r\n" * 8_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"x" * 200_000,
    ],
)
async def test_long_headers_are_refused_whatever_pieces_they_come_in(head, step):
    async with serving(linger_s=0.2, request_timeout_s=4) as server:
        line = await server.dial()
        # Heard meanwhile: the lane hangs up soon after it, whether or not we have said all.
        answering = asyncio.create_task(line.answer())
        for start in range(0, len(head), step):
            line.say(head[start : start + step])
            await asyncio.sleep(0)
        status, body = await answering
        assert (status, b"/problems/headers-too-long" in body) == (431, True)
        await line.closes(within_s=1)


async def test_headers_below_the_limit_pass():
    async with serving() as server:
        line = await server.dial()
        for _ in range(3):
            line.say(b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"x" * 32_000 + b"\r\n\r\n")
            assert await line.answer() == (200, b"/ 0")


async def test_a_big_body_does_not_count_as_headers():
    async with serving() as server:
        line = await server.dial()
        line.say((POST % 300_000 + b"x" * 300_000) * 2 + GET % b"/after")
        answers = [await line.answer() for _ in range(3)]
        assert answers == [(200, b"/p 300000")] * 2 + [(200, b"/after 0")]
        line.say(CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
        assert await line.answer() == (200, b"/p 20000")


async def test_endless_trailers_are_refused():
    async with serving(linger_s=0.2) as server:
        line = await server.dial()
        line.say(CHUNKED + b"1\r\nx\r\n0\r\n")
        answering = asyncio.create_task(line.answer())
        await asyncio.sleep(0.05)
        for _ in range(50):
            line.say(b"x: " + b"y" * 2000 + b"\r\n")
            await asyncio.sleep(0.001)
        assert (await answering)[0] == 431


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"{}\r\n\r\n"])
async def test_what_is_not_http_is_refused_as_a_problem(noise):
    async with serving(linger_s=0.2) as server:
        line = await server.dial()
        line.say(noise)
        status, body = await line.answer()
        assert (status, b"/problems/malformed" in body) == (400, True)


async def test_a_refusal_never_overtakes_an_earlier_answer():
    async with serving() as server:
        line = await server.dial()
        line.say(GET % b"/slow" + b"garbage\r\n\r\n")
        assert await line.answer() == (200, b"/slow 0")
        await line.closes(within_s=1)


async def test_a_broken_body_ends_its_request():
    async with serving(linger_s=0.2) as server:
        line = await server.dial()
        line.say(CHUNKED + b"4\r\nhalf\r\n")
        await asyncio.sleep(0.05)
        line.say(b"not a size\r\n")
        assert (await line.answer())[0] == 400
        await line.closes(within_s=1)
        await asyncio.sleep(0.05)
        assert not server.state.tasks


async def test_a_broken_body_is_not_asked_to_go_on(caplog):
    async with serving(linger_s=0.2) as server:
        line = await server.dial()
        line.say(CHUNKED[:-2] + b"expect: 100-continue\r\n\r\nnot a size\r\n")
        assert (await line.answer())[0] == 400
        await line.closes(within_s=1)
    assert "Traceback" not in caplog.text


async def test_connections_beyond_the_limit_are_told_to_come_back():
    async with serving(connections_max=2) as server:
        first, second = await server.dial(), await server.dial()
        await asyncio.sleep(0.02)
        third = await server.dial()
        status, body = await third.answer()
        assert (status, b"/problems/busy" in body) == (503, True)
        await third.closes(within_s=1)
        first.say(GET % b"/1")
        assert await first.answer() == (200, b"/1 0")
        second.writer.close()
        await asyncio.sleep(0.02)
        fourth = await server.dial()
        fourth.say(GET % b"/4")
        assert await fourth.answer() == (200, b"/4 0")
