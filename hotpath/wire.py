"""One connection to one Redis: own protocol on hiredis, pipelined by itself, replies by callback.

What is trusted is a process and not an address: `run_id` names the process at the other end, and is
None unless the handshake is done. Nothing is ever sent twice.
"""

import asyncio
import contextlib
import random
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis
import msgspec

BACKOFF_MIN_S = 0.05
BACKOFF_MAX_S = 1.0
WRITE_BUFFER_MAX = 1 << 20

Callback = Callable[[object], None]
_NOT_YET = object()


class Lost(Exception):
    """The connection ended before the reply came: the command may have run, or not."""


class NotConnected(Exception):
    """There is no connection, so nothing was sent."""


class HandshakeFailed(Exception):
    """The server is there, but will not serve us yet."""


LOST = Lost()
"""What a callback is given in place of a reply."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where a URL points: a socket file, or a host and port. Empty texts where it says nothing."""

    path: str
    host: str
    port: int
    tls: bool
    user: str
    password: str
    db: int


def read_url(url: str) -> Endpoint:
    """Read redis://, rediss:// or unix://, with [user:password@] and a database."""
    split = urlsplit(url)
    if split.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("a Redis URL begins with redis://, rediss:// or unix://")
    unix = split.scheme == "unix"
    db = parse_qs(split.query).get("db", ["" if unix else split.path.strip("/")])[0]
    return Endpoint(
        path=unquote(split.path) if unix else "",
        host="" if unix else split.hostname or "localhost",
        port=split.port or 6379,
        tls=split.scheme == "rediss",
        user=unquote(split.username or ""),
        password=unquote(split.password or ""),
        db=int(db or 0),
    )


class Wires(Protocol):
    """Which wire reaches the server of a bucket. A `Wire` to one server serves them all."""

    def of(self, bucket: int) -> "Wire":
        """Return the bucket's wire, good until the next change that `watch` tells of."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Call this when a wire comes, goes, takes writes again, or serves other buckets."""


class Counters(msgspec.Struct):
    sent: int = 0
    batches: int = 0
    reconnects: int = 0


class Wire:
    """Keeps one connection up until it is closed. `watch` tells who cares of every change.

    A callback runs in the event loop, in the order of the sends; it must not raise.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "sluice",
        scripts: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        reply_timeout_s: float = 2.0,
        connect_timeout_s: float = 2.0,
    ) -> None:
        self.run_id: str | None = None
        self.counters = Counters()
        self._endpoint = read_url(url)
        self._tls = (tls or ssl.create_default_context()) if self._endpoint.tls else None
        self._greeting = _greeting(self._endpoint, name, scripts)
        self._reply_timeout_s = reply_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._connection: _Connection | None = None
        self._watchers: list[Callable[[], None]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self.failure: Exception | None = None

    def of(self, bucket: int) -> "Wire":  # noqa: ARG002 - one server has every bucket
        return self

    def start(self) -> None:
        """Begin to connect; `connected` waits for it."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep_up())

    async def connected(self) -> None:
        await self._up.wait()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call this when the connection comes, goes, or takes writes again."""
        self._watchers.append(changed)

    @property
    def writable(self) -> bool:
        """Whether to send now. False while the server reads slower than we write."""
        return self._connection is not None and self._connection.writable

    def send(self, args: tuple[bytes | str | int, ...], callback: Callback) -> None:
        """Send with all others of this turn. `callback` gets the reply, a ReplyError, or LOST."""
        if self._connection is None:
            raise NotConnected
        self._connection.send(args, callback)

    def flush(self) -> None:
        """Write now what would be written at the end of this turn."""
        if self._connection is not None:
            self._connection.flush()

    async def call(self, *args: bytes | str | int) -> Any:  # noqa: ANN401 - each command its own
        """Send one command and return its reply; raise hiredis.ReplyError, Lost or NotConnected."""
        if self._connection is None:
            raise NotConnected
        return await self._connection.call(args)

    async def aclose(self) -> None:
        """Take no more, let what is in flight be answered within its deadline, then close."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        connection = self._connection
        if connection is not None:
            self._went(connection)
            self._changed()
            # Replies come in order: with this one, all are there.
            with contextlib.suppress(Lost, hiredis.ReplyError):
                await connection.call(("PING",))
            connection.end()

    async def _keep_up(self) -> None:
        backoff_s = BACKOFF_MIN_S / 2
        while True:
            # A connection that breaks at once is no better than one refused.
            lasted = await self._serve_one() > BACKOFF_MAX_S
            backoff_s = BACKOFF_MIN_S if lasted else min(backoff_s * 2, BACKOFF_MAX_S)
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - only jitter
            self.counters.reconnects += 1

    async def _serve_one(self) -> float:
        """Connect once and stay until it ends; return for how many seconds it was up."""
        loop = asyncio.get_running_loop()
        try:
            connection, run_id = await self._connect(loop)
        except (OSError, HandshakeFailed, Lost) as error:
            self.failure = error
            return 0.0
        came = loop.time()
        self._connection, self.run_id, self.failure = connection, run_id, None
        self._up.set()
        self._changed()
        await connection.ended.wait()
        return loop.time() - came

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> tuple["_Connection", str]:
        to = self._endpoint
        connection = _Connection(
            loop,
            self.counters,
            reply_timeout_s=self._reply_timeout_s,
            went=self._went,
            changed=self._changed,
        )
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if to.path:
                    await loop.create_unix_connection(lambda: connection, to.path)
                else:
                    await loop.create_connection(
                        lambda: connection, to.host, to.port, ssl=self._tls
                    )
                return connection, await connection.greet(self._greeting)
        except BaseException:
            connection.end()
            raise

    def _went(self, connection: "_Connection") -> None:
        if self._connection is connection:
            self._connection = self.run_id = None
            self._up.clear()

    def _changed(self) -> None:
        for changed in self._watchers:
            changed()


class _Connection(asyncio.Protocol):
    """One socket: what waits to be written, and who waits for a reply, in order."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        *,
        reply_timeout_s: float,
        went: Callable[["_Connection"], None],
        changed: Callable[[], None],
    ) -> None:
        self.ended = asyncio.Event()
        self.writable = True
        self._loop = loop
        self._counters = counters
        self._went = went
        self._changed = changed
        self._reply_timeout_s = reply_timeout_s
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(notEnoughData=_NOT_YET)
        self._unwritten: list[bytes] = []
        self._waiting: deque[tuple[Callback, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def send(self, args: tuple[bytes | str | int, ...], callback: Callback) -> None:
        packed = hiredis.pack_command(args)  # type: ignore[arg-type]  # its stub says one element
        due = self._loop.time() + self._reply_timeout_s
        self._waiting.append((callback, due))
        if not self._unwritten:
            self._loop.call_soon(self.flush)
        self._unwritten.append(packed)
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._check_deadline)

    def flush(self) -> None:
        if not self._unwritten or self._transport is None:
            return
        self._counters.sent += len(self._unwritten)
        self._counters.batches += 1
        self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    async def call(self, args: tuple[bytes | str | int, ...]) -> Any:  # noqa: ANN401 - each its own
        if self.ended.is_set():
            raise LOST
        answer: asyncio.Future[object] = self._loop.create_future()

        def replied(reply: object) -> None:
            if not answer.done():
                answer.set_result(reply)

        self.send(args, replied)
        reply = await answer
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def greet(self, greeting: Sequence[tuple[str | int, ...]]) -> str:
        """Say all of the greeting at once, and return the run id of the process that answers."""
        try:
            replies = await asyncio.gather(*(self.call(command) for command in greeting))
        except hiredis.ReplyError as error:
            raise HandshakeFailed(str(error)) from error
        facts = next(reply for reply in replies if b"run_id:" in reply)
        return str(facts.partition(b"run_id:")[2].split(b"\r\n", 1)[0], "ascii")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_MAX)
        if self.ended.is_set():
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOT_YET:
                callback, _ = self._waiting.popleft()
                callback(reply)
        except (hiredis.ProtocolError, IndexError):
            # Not Redis, or a reply to nothing: no later reply can be matched any more.
            self.end()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._changed()

    def connection_lost(self, _: Exception | None) -> None:
        self.end()

    def end(self) -> None:
        """Close at once and tell everyone who waits. Safe to call twice."""
        if self.ended.is_set():
            return
        self.ended.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._went(self)
        self._unwritten.clear()
        while self._waiting:
            self._waiting.popleft()[0](LOST)
        self._changed()

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        due = self._waiting[0][1]
        if due <= self._loop.time():
            self.end()
        else:
            self._timer = self._loop.call_at(due, self._check_deadline)


def _greeting(to: Endpoint, name: str, scripts: Sequence[str]) -> list[tuple[str | int, ...]]:
    greeting: list[tuple[str | int, ...]] = []
    if to.password:
        greeting.append(("AUTH", to.user, to.password) if to.user else ("AUTH", to.password))
    if to.db:
        greeting.append(("SELECT", to.db))
    greeting += [("CLIENT", "SETNAME", name), ("INFO", "server")]
    # While Redis loads its data it answers INFO, but LOADING to this.
    greeting += [("SCRIPT", "LOAD", script) for script in scripts]
    return greeting
