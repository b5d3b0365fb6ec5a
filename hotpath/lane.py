"""The HTTP lane: uvicorn's httptools protocol, which answers claims by itself and keeps limits.

What is surely a claim is answered by the connection's line at the till: one at a time, in order.
Everything else, and whatever needs the whole application, goes to uvicorn's own parser byte for
byte. The till comes from ASGI's lifespan state; without one nothing is a claim. What uvicorn makes
for a connection costs more than its claims do: that waits for the first byte it is to read.

A request has to be whole, headers and body, within `request_timeout_s` of its first byte; a body
earns another second with each `body_bytes_per_s`. Time in which we do not read does not count. A
connection that sends nothing has as long; one that idles between requests is uvicorn's to close.
"""

import asyncio
import itertools
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hotpath.till import NEVER, Line, Till

CHUNK_FRAME_BYTES_MAX = 16
RETRY_AFTER_S_MAX = 4


def _problem(status: HTTPStatus, slug: str, *, headers: str = "") -> bytes:
    body = f'{{"type":"/problems/{slug}","title":"{status.phrase}","status":{status.value}}}'
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        f"{headers}connection: close\r\n\r\n{body}"
    ).encode("ascii")


MALFORMED = _problem(HTTPStatus.BAD_REQUEST, "malformed")
HEADERS_TOO_LONG = _problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-long")
# In turn, so that those who were refused together do not come back together.
TOO_MANY = itertools.cycle(
    _problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", headers=f"retry-after: {after_s}\r\n")
    for after_s in range(1, RETRY_AFTER_S_MAX + 1)
)


class HeadersTooLong(Exception):
    """Leaves the parser from inside one of its callbacks."""


class Lane(HttpToolsProtocol):
    request_timeout_s: ClassVar[float] = 8.0
    body_bytes_per_s: ClassVar[int] = 65_536
    linger_s: ClassVar[float] = 1.0
    header_bytes_max: ClassVar[int] = 32 * 1024
    connections_max: ClassVar[int] = 10_000
    line_type: ClassVar[type[Line]] = Line

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.connections = server_state.connections
        self._terms = (config, server_state, app_state, self.loop)
        self._is_open = False
        till: Till | None = app_state.get("till")
        self._line = self.line_type(
            till,
            self,
            server_state,
            self.loop,
            request_timeout_s=self.request_timeout_s,
            keep_alive_s=config.timeout_keep_alive,
        )
        self._till = till
        self._timer: asyncio.TimerHandle | None = None
        self._peer: tuple[str, int] | None = None
        self._overhead = 0
        self._running: RequestResponseCycle | None = None
        self._whole = True
        if till is not None:
            # The line reads first; what is not surely a claim comes back through `feed`.
            self.data_received = self._line.data_received  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.connections.add(self)
        peer = transport.get_extra_info("peername")
        self._peer = peer[:2] if isinstance(peer, tuple) else None
        self._line.begin(transport, self._peer[0] if self._peer else "")
        self._start_clock()
        if len(self.connections) > self.connections_max:
            # Refusing has to cost the least: no lingering.
            self._line.parted = True
            if self._till is not None:
                self._till.gate.shed["connections"] += 1
            transport.write(next(TOO_MANY))
            transport.close()

    def _open(self) -> None:
        """Become uvicorn's protocol, if this is not one yet."""
        if not self._is_open:
            self._is_open, transport = True, self.transport
            super().__init__(*self._terms)
            super().connection_made(transport)
            # Who has hung up by now came from there all the same.
            self.client = self._peer

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.due = NEVER
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_open:
            self.connections.discard(self)
            return
        # uvicorn tells only the newest request, though of a pipeline it is the oldest that runs.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if not self._line.parted:
            self.feed(data)

    def is_back(self) -> bool:
        if not self._whole or (self.cycle is not None and not self.cycle.response_complete):
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        return True

    def pause_reading(self) -> None:
        self._open()
        self.flow.pause_reading()

    def resume_reading(self) -> None:
        if self._is_open:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        self._open()
        super().pause_writing()
        self._line.write_paused = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self._line.resume_writing()

    def leave(self) -> None:
        super().shutdown()

    def shutdown(self) -> None:
        """Let a claim that is being decided have its answer first."""
        if self._line.asking:
            self._line.leaving = True
        elif not self._is_open:
            self.transport.close()
        else:
            super().shutdown()

    def feed(self, data: bytes) -> None:
        self._open()
        if self._line.idle or self._line.due == NEVER:
            self._start_clock()
        # httptools keeps an unfinished header or trailer to itself, however long it grows. So all
        # that is no body counts, but for a request's first read, which is bounded by itself.
        self._overhead += len(data)
        super().data_received(data)
        is_reading = self._line.due != NEVER and not self._line.parted
        if self._overhead > self.header_bytes_max and is_reading:
            self._refuse(HEADERS_TOO_LONG)

    def on_message_begin(self) -> None:
        self._overhead = 0
        self._whole = False
        if self._line.due == NEVER:
            self._start_clock()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.header_bytes_max:
            self._refuse(HEADERS_TOO_LONG)
            raise HeadersTooLong
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead -= len(body) + CHUNK_FRAME_BYTES_MAX
        # To close on a body that was refused would reset the answer away: the rest is read and
        # thrown away, but earns no more time.
        answered = self.cycle is not None and self.cycle.response_complete
        if not answered:
            self._line.due += len(body) / self.body_bytes_per_s
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._line.due = NEVER
        # After an upgrade, what follows is no longer ours to read.
        self._whole = not self.parser.should_upgrade()
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            # Answered before it was whole: the last bytes stopped uvicorn's own idle timer.
            self._start_clock()

    def send_400_response(self, msg: str) -> None:
        """Override uvicorn's plain text, and its habit of overtaking earlier answers."""
        del msg
        if not self._line.parted:
            self._refuse(MALFORMED)

    def _refuse(self, answer: bytes) -> None:
        """Answer what is not a request, after all that came before it, and read no more."""
        self._line.parted = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._part(answer)
        elif not cycle.more_body:
            # Whole requests still wait: the last of them will close, and ours says nothing.
            cycle.keep_alive = False
            self._line.due = NEVER
        elif self.pipeline or cycle.response_started:
            self.transport.close()
        else:
            # Or it would still be asked to go on, after our last word.
            cycle.waiting_for_100_continue = False
            cycle.disconnected = True
            cycle.message_event.set()
            self._part(answer)

    def _part(self, answer: bytes) -> None:
        self.transport.write(answer)
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        # To close on unread bytes would send a reset, which may overtake the answer.
        self.transport.write_eof()
        self._start_clock(self.linger_s)

    def _start_clock(self, timeout_s: float | None = None) -> None:
        self._line.start_clock(timeout_s or self.request_timeout_s)

    def set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(due, self._check_clock)
        self._line.timer_at = due

    def _check_clock(self) -> None:
        # One timer runs on through many requests: to start and stop it for each would cost more.
        line = self._line
        self._timer, line.timer_at = None, NEVER
        if line.due == NEVER:
            return
        if line.due > self.loop.time():
            self.set_timer(line.due)
        elif line.idle and not line.write_paused:
            self.transport.close()
        elif self._is_open and self.flow.read_paused and not line.idle:
            self._start_clock()
        else:
            self.transport.abort()
