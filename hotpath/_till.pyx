# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The till, written to be fast. See `_till_py.py` for what it means."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uint64_t

from hotpath._address cimport Address, Proxies
from hotpath._gate cimport Gate
from hotpath._parse cimport ASK_TWIN, WHOLE, Span, Wanted, read_whole
from hotpath._risk cimport Table
from hotpath._sealer cimport Sealer
from hotpath._tokens cimport UNSURE, Tokens

from array import array

from hotpath import answers
from hotpath._address_py import halves, parse
from hotpath._parse_py import read as _read_by_twin
from hotpath._till_py import DEVICE_MAX as _DEVICE_MAX
from hotpath._till_py import HELD_BYTES_MAX as _HELD_BYTES_MAX
from hotpath._till_py import LANGUAGES_MAX, PLAIN, PLAIN_MAX
from hotpath.claims import Claim, Kind

cdef Py_ssize_t DEVICE_MAX = _DEVICE_MAX
cdef Py_ssize_t HELD_BYTES_MAX = _HELD_BYTES_MAX
cdef double NEVER = INFINITY
cdef double NOW_S_MAX = <double> (<uint64_t> 1 << 40)
cdef object ACCEPTED = Kind.ACCEPTED
cdef object ACCEPTED_LABEL = answers.ACCEPTED
cdef int REVIEW = 1
cdef int REPEAT = 8


cdef class Figures:
    """What was answered, in plain numbers, until `take` hands them over."""

    cdef double[::1] _latency_s
    cdef int64_t[::1] _within
    cdef readonly dict answers
    cdef double _seconds

    def __init__(self, latency_s) -> None:
        self._latency_s = array("d", latency_s)
        self._begin()

    cdef void _begin(self):
        self.answers = {}
        self._within = array("q", [0] * (self._latency_s.shape[0] + 1))
        self._seconds = 0.0

    cdef void add(self, label, double seconds):
        cdef Py_ssize_t at = 0
        while at < self._latency_s.shape[0] and self._latency_s[at] < seconds:
            at += 1
        self.answers[label] = self.answers.get(label, 0) + 1
        self._within[at] += 1
        self._seconds += seconds

    def take(self):
        """Answers by status and verdict, by latency, and the sum of their seconds: since last."""
        taken = self.answers, list(self._within), self._seconds
        self._begin()
        return taken


cdef class Till:
    """Shared by all lines of a process. `clock` measures, `now_s` is the time since 1970."""

    cdef readonly Figures figures
    cdef readonly object clock
    cdef readonly Gate gate
    cdef Sealer sealer
    cdef object _now, _language, _block, _refuse, _unauthenticated, _sold_out, _defaults
    cdef Tokens _tokens
    cdef Table _risk
    cdef Proxies _proxies
    cdef dict _languages, _plain, _texts
    cdef bytes _encoded_defaults

    def __init__(
        self, Gate gate, keyring, Tokens tokens, Figures figures, Table risk, Proxies proxies, *,
        clock, now, language, refuse, block, unauthenticated, sold_out,
    ) -> None:
        self.clock = clock
        self.figures = figures
        self.gate = gate
        self.sealer = Sealer(keyring)
        self._tokens = tokens
        self._risk = risk
        self._proxies = proxies
        self._now = now
        self._language = language
        self._block = block
        self._refuse = refuse
        self._unauthenticated = unauthenticated
        self._sold_out = sold_out
        self._languages = {}
        self._plain = {}
        self._texts = {}
        self._defaults = None
        self._encoded_defaults = b""

    cdef uint64_t judge(
        self, double now_s, uint64_t member_id, Address peer, Wanted *wanted
    ) except? 1:
        """Return the risk table's answer, which has counted the claim unless it stops it."""
        cdef Address address = peer
        cdef uint64_t device = 0, key
        if wanted.forwarded.size:
            address = self._proxies.client_of(peer, wanted.forwarded.start, wanted.forwarded.size)
        if _is_device(wanted.device):
            device = self._risk.hash_of(<const uint8_t *> wanted.device.start, wanted.device.size)
        key = self._risk.hash_of(<const uint8_t *> wanted.key.start, wanted.key.size)
        if not 0 <= now_s < NOW_S_MAX:
            raise ValueError
        return self._risk.judge(now_s, address.hi, address.lo, member_id, key, device)

    cdef object answer(self, claim, verdict, bytes accepted):
        """Put a refusal into words; None where only the whole application can."""
        cdef int kind = verdict.kind
        language = self.choose(accepted)
        if kind not in PLAIN:
            return self._refuse(claim, verdict, language)
        plain = (kind, verdict.left or verdict.retry_after_s, language)
        if plain not in self._plain:
            if len(self._plain) >= PLAIN_MAX:
                self._plain.clear()
            self._plain[plain] = self._refuse(claim, verdict, language)
        return self._plain[plain]

    cdef object unauthenticated(self, bytes accepted):
        return self._unauthenticated[self.choose(accepted)]

    cdef object sold_out(self, bytes accepted):
        return self._sold_out[self.choose(accepted)]

    cdef object block(self, Wanted *wanted, int64_t member_id, uint64_t told, bytes accepted):
        key = self._risk.hash_of(<const uint8_t *> wanted.key.start, wanted.key.size)
        return self._block(wanted.sale_id, member_id, key, told, self.choose(accepted))

    cdef bytes default_headers(self, headers):
        """Encode the server's own headers, which it replaces with each second's date."""
        if headers is not self._defaults:
            self._defaults = headers
            self._encoded_defaults = answers.encode_headers(headers)
            self._texts = {}
        return self._encoded_defaults

    cdef bytes text(self, answer, headers):
        """An answer that does not close, with these headers: the same for a second."""
        cdef bytes defaults = self.default_headers(headers), text = self._texts.get(answer)
        if text is None:
            if len(self._texts) >= PLAIN_MAX:
                self._texts.clear()
            text = self._texts[answer] = answer.text(defaults, last=False)
        return text

    cdef object choose(self, bytes accepted):
        language = self._languages.get(accepted)
        if language is None:
            if len(self._languages) >= LANGUAGES_MAX:
                self._languages.clear()
            language = self._languages[accepted] = self._language(accepted.decode("latin-1"))
        return language


cdef class Line:
    """The claims of one connection, answered one at a time and in order."""

    cdef public double due, timer_at
    cdef public bint idle, parted, handed, leaving, write_paused
    cdef public bytes held
    cdef Till _till
    cdef object _rest, _state, _loop, _transport, _claim
    cdef double _request_timeout_s, _keep_alive_s, _started
    cdef Address _peer
    cdef bytes _data, _accepted
    cdef Py_ssize_t _end
    cdef bint _deciding

    def __init__(
        self, Till till, rest, state, loop, *, double request_timeout_s, double keep_alive_s
    ) -> None:
        self.due = self.timer_at = NEVER
        self.held = self._data = self._accepted = b""
        self._till = till
        self._rest = rest
        self._state = state
        self._loop = loop
        self._request_timeout_s = request_timeout_s
        self._keep_alive_s = keep_alive_s

    def begin(self, transport, peer) -> None:
        self._transport = transport
        self._peer.hi, self._peer.lo = halves(parse(peer) or 0)

    @property
    def asking(self) -> bool:
        """Whether a claim is being decided."""
        return self._claim is not None

    cpdef start_clock(self, double timeout_s, bint idle=False):
        self.idle = idle
        self.due = <double> self._loop.time() + timeout_s
        if self.timer_at > self.due:
            self._rest.set_timer(self.due)

    def data_received(self, data) -> None:
        if self.parted:
            return
        if self.held:
            data = self.held + data
        if self.handed and not self._rest.is_back():
            self.held = b""
            self._rest.feed(data)
        elif self._claim is not None or self.write_paused:
            self._hold(data)
        else:
            self.handed = False
            self._serve(data)

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.held and self._claim is None and not self.parted:
            self._go_on()

    cdef _hold(self, bytes data):
        """Keep what cannot be answered yet; beyond a bound, leave the rest with the client."""
        self.held = data
        if PyBytes_GET_SIZE(data) > HELD_BYTES_MAX:
            self._rest.pause_reading()

    cdef _serve(self, bytes data):
        """Answer claims until one has to wait, or what follows is not surely a claim."""
        cdef Wanted wanted
        cdef int outcome
        while data:
            outcome = read_whole(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &wanted)
            if outcome == ASK_TWIN and _read_by_twin(data) == ():
                self.held = data
                if self.idle or self.due == NEVER:
                    self.start_clock(self._request_timeout_s)
                return
            if outcome != WHOLE:
                self._hand_over(data)
                return
            self._ask(data, &wanted)
            if self._claim is not None or self.write_paused:
                self._hold(self.held)
                return
            data = b"" if self.parted else self.held

    cdef _ask(self, bytes data, Wanted *wanted):
        """Have a claim decided, or refuse it here, or leave it all to the application."""
        cdef Till till = self._till
        cdef uint64_t told
        cdef double now_s = till._now()
        cdef int64_t member_id
        self.due = NEVER
        self.held = b""
        if wanted.end < PyBytes_GET_SIZE(data):
            self.held = data[wanted.end:]
        self._accepted = _bytes(wanted.language)
        self._started = till.clock()
        member_id = till._tokens.member_of(wanted.token.start, wanted.token.size, now_s)
        if member_id == UNSURE:
            self._hand_over(data)
            return
        if member_id == 0:
            self._answer(till, till.unauthenticated(self._accepted))
            return
        told = till.judge(now_s, member_id, self._peer, wanted)
        if told & 7 > REVIEW:
            answer = till.block(wanted, member_id, told, self._accepted)
            self._answer_or_hand_over(till, answer, data)
            return
        if told & REPEAT == 0 and till.gate.refuses_here(
            wanted.sale_id, member_id, wanted.sku_id, wanted.quantity
        ):
            self._answer(till, till.sold_out(self._accepted))
            return
        self._data, self._end = data, wanted.end
        self._claim = Claim(
            wanted.sale_id,
            member_id,
            PyUnicode_DecodeASCII(wanted.key.start, wanted.key.size, NULL),
            wanted.sku_id,
            wanted.quantity,
        )
        self._deciding = True
        till.gate.claim(self._claim, self.told)
        self._deciding = False

    def told(self, verdict) -> None:
        """Answer the claim that is being decided: at once, or in a later turn of the loop."""
        cdef Till till = self._till
        claim, self._claim = self._claim, None
        if claim is None or self._transport.is_closing():
            return
        answer = text = None
        try:
            if verdict.kind is ACCEPTED:
                defaults = till.default_headers(self._state.default_headers)
                text = till.sealer.accepted(claim, verdict, defaults, self.leaving)
            else:
                answer = till.answer(claim, verdict, self._accepted)
        except Exception:
            pass  # it breaks there as well, and is logged there
        if text is not None:
            self._send(till, ACCEPTED_LABEL, text)
        elif answer is not None:
            self._answer(till, answer)
        else:
            self._hand_over(self._data[: self._end] + self.held)
        if not self._deciding and self.held and not self.parted:
            self._go_on()

    cdef _answer_or_hand_over(self, Till till, answer, bytes data):
        if answer is None:
            self._hand_over(data)
        else:
            self._answer(till, answer)

    cdef _answer(self, Till till, answer):
        headers = self._state.default_headers
        if self.leaving:
            text = answer.text(till.default_headers(headers), last=True)
        else:
            text = till.text(answer, headers)
        self._send(till, answer.label, text)

    cdef _send(self, Till till, label, bytes text):
        self._transport.write(text)
        self._state.total_requests += 1
        till.figures.add(label, <double> till.clock() - self._started)
        if self.leaving:
            self.parted = True
            self._transport.close()
        else:
            self.start_clock(self._keep_alive_s, True)

    cdef _go_on(self):
        """Turn to what came in the meantime."""
        if not self.write_paused:
            held, self.held = self.held, b""
            self._rest.resume_reading()
            self._serve(held)

    cdef _hand_over(self, bytes data):
        """Have uvicorn read this, and the whole application answer it."""
        self.held = b""
        self.handed = True
        self._rest.feed(data)
        if self.leaving:
            self._rest.leave()


cdef inline bytes _bytes(Span span):
    return PyBytes_FromStringAndSize(span.start, span.size) if span.size else b""


cdef bint _is_device(Span named) noexcept:
    """Whether this is a name that a device may have: 1 to 64 visible ASCII characters."""
    cdef Py_ssize_t i
    for i in range(named.size):
        if not c"!" <= named.start[i] <= c"~":
            return False
    return 0 < named.size <= DEVICE_MAX
