import asyncio
import contextlib
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator

import hiredis
import pytest

from core import embedded
from hotpath import scripts, wire
from hotpath.wire import LOST, Endpoint, Lost, NotConnected, Wire
from tests.hotpath.eventually import eventually
from tests.patience import PATIENCE_S, Stopwatch


@contextlib.asynccontextmanager
async def connected(url, **options) -> AsyncIterator[Wire]:
    line = Wire(url, **options)
    line.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await line.connected()
        yield line
    finally:
        await line.aclose()


@contextlib.asynccontextmanager
async def speaking(*answers: bytes) -> AsyncIterator[str]:
    """A server that answers each of its connections with the next of these, then hears it out."""
    left = list(answers)

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError):
            await reader.read(65536)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            while await reader.read(65536):
                pass
        writer.close()

    port = embedded.free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield f"redis://127.0.0.1:{port}"


def greeted(run_id: str) -> bytes:
    info = f"# Server\r\nrun_id:{run_id}\r\nport:1\r\n".encode()
    return b"+OK\r\n$%d\r\n%b\r\n" % (len(info), info)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("redis://h", Endpoint("", "h", 6379, False, "", "", 0)),
        ("redis://:p%40ss@h:1/2", Endpoint("", "h", 1, False, "", "p@ss", 2)),
        ("rediss://u:p@[::1]:7/", Endpoint("", "::1", 7, True, "u", "p", 0)),
        ("redis://", Endpoint("", "localhost", 6379, False, "", "", 0)),
        ("unix:///run/r.sock", Endpoint("/run/r.sock", "", 6379, False, "", "", 0)),
        ("unix://u:p@/r%20s?db=3", Endpoint("/r s", "", 6379, False, "u", "p", 3)),
    ],
)
def test_a_url_says_where_to_and_who(url, endpoint):
    assert wire.read_url(url) == endpoint


@pytest.mark.parametrize("url", ["http://h", "h:6379", "redis://h/x", "redis://h:port"])
def test_any_other_url_is_refused(url):
    with pytest.raises(ValueError):  # noqa: PT011 - three libraries word it
        wire.read_url(url)


async def test_it_knows_the_process_at_the_other_end(redis_server):
    async with connected(redis_server.url, name="gate") as line:
        info = (await line.call("INFO", "server")).decode()
        assert f"run_id:{line.run_id}\r\n" in info
        assert await line.call("CLIENT", "GETNAME") == b"gate"
    assert line.run_id is None
    with pytest.raises(NotConnected):
        line.send(("PING",), print)


async def test_what_is_sent_in_one_turn_is_one_write_answered_in_order(redis_server):
    async with connected(redis_server.url) as line:
        sent, batches = line.counters.sent, line.counters.batches
        replies = await asyncio.gather(*(line.call("ECHO", n) for n in range(1000)))
        assert replies == [str(n).encode() for n in range(1000)]
        assert (line.counters.sent - sent, line.counters.batches - batches) == (1000, 1)


async def test_an_error_reply_is_an_answer_like_any_other(redis_server):
    async with connected(redis_server.url) as line:
        with pytest.raises(hiredis.ReplyError, match="unknown command"):
            await line.call("NOSUCH")
        assert await line.call("PING") == b"PONG"


async def test_closing_waits_for_what_is_in_flight(redis_server):
    async with connected(redis_server.url) as line:
        got = []
        for n in range(100):
            line.send(("ECHO", n), got.append)
    assert got == [str(n).encode() for n in range(100)]


async def test_a_process_that_stops_answering_is_given_up_and_asked_again(mortal):
    async with connected(mortal.url, reply_timeout_s=0.3) as line:
        before = line.run_id
        mortal.process.send_signal(signal.SIGSTOP)
        watch = Stopwatch()
        try:
            with pytest.raises(Lost):
                await line.call("PING")
            assert watch.s() > 0.25
            assert watch.own_s() < 1
            assert line.run_id is None
        finally:
            mortal.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(PATIENCE_S):
            await line.connected()
        assert line.run_id == before
        assert await line.call("PING") == b"PONG"
        assert line.counters.reconnects >= 1


async def test_a_killed_process_is_noticed_at_once_and_its_successor_found(mortal):
    async with connected(mortal.url) as line:
        before, changes, got = line.run_id, [], []
        line.watch(lambda: changes.append(line.run_id))
        mortal.process.send_signal(signal.SIGSTOP)
        line.send(("PING",), got.append)
        line.flush()
        mortal.process.kill()
        await asyncio.to_thread(mortal.process.wait)
        watch = Stopwatch()
        await eventually(lambda: got)
        assert watch.own_s() < 1
        assert got == [LOST]
        assert changes == [None]
        await asyncio.to_thread(mortal.start)
        async with asyncio.timeout(PATIENCE_S):
            await line.connected()
        assert line.run_id not in {None, before}


async def test_what_is_sent_in_the_turn_in_which_the_connection_breaks_is_lost_and_no_error(
    redis_server,
):
    async with connected(redis_server.url) as line:
        got = []
        line._connection._transport.abort()
        line.send(("PING",), got.append)
        await eventually(lambda: got)
        assert got == [LOST]


async def test_a_server_that_still_loads_is_asked_again():
    loading = b"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n-LOADING so\r\n"
    ready = greeted("new") + b"+sha\r\n"
    async with speaking(loading, loading, ready) as url:
        line = Wire(url, scripts=[scripts.CLAIM.source])
        line.start()
        await asyncio.sleep(0.02)
        assert line.run_id is None
        async with asyncio.timeout(PATIENCE_S):
            await line.connected()
        assert (line.run_id, line.counters.reconnects) == ("new", 2)
        # It answers nothing more, so the close has to come by its own deadline.
        line._connection.end()
        await line.aclose()


async def test_a_wrong_password_is_never_a_connection(mortal):
    line = Wire(mortal.url.replace("redis://:", "redis://:wrong"))
    line.start()
    await asyncio.sleep(0.3)
    assert line.run_id is None
    assert "WRONGPASS" in str(line.failure)
    await line.aclose()


async def test_a_port_that_never_answers_meets_the_connect_deadline():
    async with speaking(b"") as url:
        line = Wire(url, connect_timeout_s=0.05)
        line.start()
        await asyncio.sleep(0.5)
        assert line.run_id is None
        assert line.counters.reconnects >= 2
        await line.aclose()


@pytest.mark.parametrize("noise", [b"+surplus\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
async def test_a_reply_to_nothing_ends_the_connection(noise):
    async with speaking(greeted("first") + noise, greeted("second")) as url:
        line = Wire(url)
        line.start()
        await eventually(lambda: line.run_id == "second")
        line._connection.end()
        await line.aclose()


async def test_a_server_that_breaks_off_at_once_is_not_hurried():
    async with speaking(greeted("first") + b"+surplus\r\n") as url:
        line = Wire(url)
        line.start()
        await asyncio.sleep(1)
        assert 2 <= line.counters.reconnects <= 8
        await line.aclose()


async def test_a_reader_that_falls_behind_is_seen(mortal):
    async with connected(mortal.url) as line:
        assert line.writable
        mortal.process.send_signal(signal.SIGSTOP)
        for _ in range(40):
            line.send(("ECHO", b"x" * 1_000_000), lambda _: None)
        line.flush()
        assert not line.writable
        writable = asyncio.Event()
        line.watch(lambda: line.writable and writable.set())
        mortal.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(PATIENCE_S):
            await writable.wait()
        assert await line.call("PING") == b"PONG"


async def test_a_socket_file_serves_as_well(servers_folder):
    path = servers_folder / "redis.sock"
    settings = {"unixsocket": str(path)}
    server = embedded.Redis(servers_folder / "unix", port=embedded.free_port(), settings=settings)
    server.start()
    try:
        async with connected(f"unix://:{server.password}@{path}?db=3") as line:
            assert b" db=3 " in await line.call("CLIENT", "INFO")
    finally:
        server.stop()


def make_certificate(key, certificate):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    facts = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    command = (*command.split(), *facts, "-keyout", key, "-out", certificate)
    subprocess.run(command, check=True, capture_output=True)


async def test_tls_serves_as_well(servers_folder):
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate")
    folder = servers_folder / "tls"
    folder.mkdir(exist_ok=True)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make_certificate(key, certificate)
    tls_port = embedded.free_port()
    settings = {
        "tls-port": str(tls_port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-auth-clients": "no",
    }
    server = embedded.Redis(folder, port=embedded.free_port(), binaries="debian", settings=settings)
    try:
        server.start()
    except embedded.CouldNotStart:
        pytest.skip("no server with TLS here")
    try:
        trust = ssl.create_default_context(cafile=certificate)
        url = f"rediss://:{server.password}@localhost:{tls_port}"
        async with connected(url, tls=trust) as line:
            assert await line.call("PING") == b"PONG"
        stranger = Wire(url)
        stranger.start()
        await asyncio.sleep(0.2)
        assert isinstance(stranger.failure, ssl.SSLCertVerificationError)
        await stranger.aclose()
    finally:
        server.stop()
