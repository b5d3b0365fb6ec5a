"""The HTTP lane: uvicorn's httptools protocol, which answers claims by itself and keeps limits.

What is surely a claim is decided here, without a task, a scope or a router: one at a time on a
connection, in order. Everything else, and whatever needs the whole application, goes to uvicorn's
own parser byte for byte. The till comes from ASGI's lifespan state; without one nothing is a claim.

A request has to be whole, headers and body, within `request_timeout_s` of its first byte; a body
earns another second with each `body_bytes_per_s`. Time in which we do not read does not count. A
connection that sends nothing has as long; one that idles between requests is uvicorn's to close.
"""

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar

import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hotpath.answers import Answer
from hotpath.claims import Claim, Verdict
from hotpath.parse import Wanted, read
from hotpath.risk import REVIEW, is_repeat, verdict_of
from hotpath.till import Till

CHUNK_FRAME_BYTES_MAX = 16
HELD_BYTES_MAX = 16_384


def _problem(status: HTTPStatus, slug: str, *, headers: str = "") -> bytes:
    body = f'{{"type":"/problems/{slug}","title":"{status.phrase}","status":{status.value}}}'
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        f"{headers}connection: close\r\n\r\n{body}"
    ).encode("ascii")


MALFORMED = _problem(HTTPStatus.BAD_REQUEST, "malformed")
HEADERS_TOO_LONG = _problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-long")
TOO_MANY = _problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", headers="retry-after: 1\r\n")


class HeadersTooLong(Exception):
    """Leaves the parser from inside one of its callbacks."""


class _Asked(msgspec.Struct, frozen=True):
    """A claim that is being decided, and the request that it came in."""

    till: Till
    claim: Claim
    request: bytes
    accepted: bytes
    started: float


class Lane(HttpToolsProtocol):
    request_timeout_s: ClassVar[float] = 8.0
    body_bytes_per_s: ClassVar[int] = 65_536
    linger_s: ClassVar[float] = 1.0
    header_bytes_max: ClassVar[int] = 32 * 1024
    connections_max: ClassVar[int] = 10_000

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parted = False
        self._overhead = 0
        self._running: RequestResponseCycle | None = None
        self._till: Till | None = app_state.get("till")
        self._asked: _Asked | None = None
        self._deciding = False
        self._leaving = False
        self._idle = False
        self._whole = True
        self._held = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_clock()
        if len(self.connections) > self.connections_max:
            # Refusing has to cost the least: no lingering.
            self._parted = True
            transport.write(TOO_MANY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
        # uvicorn tells only the newest request, though of a pipeline it is the oldest that runs.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if self._parted:
            return
        if self._held:
            data = self._held + data
        if self._till is None or not self._whole or self._is_parent_answering():
            self._feed(data)
        elif self._asked is not None or self.flow.write_paused:
            self._hold(data)
        else:
            self._serve(self._till, data)

    def _is_parent_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _hold(self, data: bytes) -> None:
        """Keep what cannot be answered yet; beyond a bound, leave the rest with the client."""
        self._held = data
        if len(data) > HELD_BYTES_MAX:
            self.flow.pause_reading()

    def _serve(self, till: Till, data: bytes) -> None:
        """Answer claims until one has to wait, or what follows is not surely a claim."""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        while data:
            wanted = read(data)
            if wanted is None:
                self._hand_over(data)
                return
            if not wanted:
                self._held = data
                if self._due is None or self._idle:
                    self._start_clock()
                return
            self._ask(till, data, wanted)
            if self._asked is not None or self.flow.write_paused:
                self._hold(self._held)
                return
            data = b"" if self._parted else self._held

    def _ask(self, till: Till, data: bytes, wanted: Wanted) -> None:
        """Have a claim decided, or refuse it here, or leave it all to the application."""
        sale_id, sku_id, quantity, key, token, accepted, forwarded, device, end = wanted
        self._due = None
        self._held = data[end:]
        started = till.clock()
        member_id = till.member(token)
        if member_id is None:
            self._hand_over(data)
            return
        if member_id == 0:
            self._answer(till, till.unauthenticated(accepted), started)
            return
        claim = Claim(sale_id, member_id, key, sku_id, quantity)
        peer = self.client[0] if self.client else ""
        told = till.judge(claim, peer, forwarded, device)
        if verdict_of(told) > REVIEW:
            answer = till.block(claim, told, accepted)
            if answer is None:
                self._hand_over(data)
            else:
                self._answer(till, answer, started)
            return
        self._asked = _Asked(till, claim, data[:end], accepted, started)
        self._deciding = True
        till.claim(claim, self._told, is_new=not is_repeat(told))
        self._deciding = False

    def _told(self, verdict: Verdict) -> None:
        """Answer the claim that is being decided: at once, or in a later turn of the loop."""
        asked, self._asked = self._asked, None
        if asked is None or self.transport.is_closing():
            return
        try:
            answer = asked.till.answer(asked.claim, verdict, asked.accepted)
        except Exception:  # noqa: BLE001 - it breaks there as well, and is logged there
            answer = None
        if answer is None:
            self._hand_over(asked.request + self._held)
        else:
            self._answer(asked.till, answer, asked.started)
        if not self._deciding and self._held and not self._parted:
            self._go_on(asked.till)

    def _answer(self, till: Till, answer: Answer, started: float) -> None:
        defaults = till.default_headers(self.server_state.default_headers)
        self.transport.write(answer.text(defaults, last=self._leaving))
        till.figures.add(answer, till.clock() - started)
        self.server_state.total_requests += 1
        if self._leaving:
            self._parted = True
            self.transport.close()
        else:
            self._start_clock(self.timeout_keep_alive, idle=True)

    def _go_on(self, till: Till) -> None:
        """Turn to what came in the meantime."""
        if not self.flow.write_paused:
            held, self._held = self._held, b""
            self.flow.resume_reading()
            self._serve(till, held)

    def _hand_over(self, data: bytes) -> None:
        """Have uvicorn read this, and the whole application answer it."""
        self._feed(data)
        if self._leaving:
            super().shutdown()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._till is not None and self._held and self._asked is None and not self._parted:
            self._go_on(self._till)

    def shutdown(self) -> None:
        """Let a claim that is being decided have its answer first."""
        if self._asked is None:
            super().shutdown()
        else:
            self._leaving = True

    def _feed(self, data: bytes) -> None:
        self._held = b""
        if self._due is None or self._idle:
            self._start_clock()
        # httptools keeps an unfinished header or trailer to itself, however long it grows. So all
        # that is no body counts, but for a request's first read, which is bounded by itself.
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > self.header_bytes_max and self._due is not None and not self._parted:
            self._refuse(HEADERS_TOO_LONG)

    def on_message_begin(self) -> None:
        self._overhead = 0
        self._whole = False
        if self._due is None:
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
        if self._due is not None and not answered:
            self._due += len(body) / self.body_bytes_per_s
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._due = None
        # After an upgrade, what follows is no longer ours to read.
        self._whole = not self.parser.should_upgrade()
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            # Answered before it was whole: the last bytes stopped uvicorn's own idle timer.
            self._start_clock()

    def send_400_response(self, msg: str) -> None:
        """Override uvicorn's plain text, and its habit of overtaking earlier answers."""
        del msg
        if not self._parted:
            self._refuse(MALFORMED)

    def _refuse(self, answer: bytes) -> None:
        """Answer what is not a request, after all that came before it, and read no more."""
        self._parted = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._part(answer)
        elif not cycle.more_body:
            # Whole requests still wait: the last of them will close, and ours says nothing.
            cycle.keep_alive = False
            self._due = None
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

    def _start_clock(self, timeout_s: float | None = None, *, idle: bool = False) -> None:
        self._idle = idle
        self._due = self.loop.time() + (timeout_s or self.request_timeout_s)
        if self._timer is None or self._timer.when() > self._due:
            self._set_timer(self._due)

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(due, self._check_clock)

    def _check_clock(self) -> None:
        # One timer runs on through many requests: to start and stop it for each would cost more.
        self._timer = None
        if self._due is None:
            return
        now = self.loop.time()
        if self._due > now:
            self._set_timer(self._due)
        elif self._idle and not self.flow.write_paused:
            self.transport.close()
        elif self.flow.read_paused and not self._idle:
            self._start_clock()
        else:
            self.transport.abort()
