"""The till: what it takes to answer a claim, and the line in which a connection's claims wait.

`_till.pyx` does the same faster; this is what it means. A claim is decided here without a task, a
scope or a router. Whatever is not surely a claim, and whatever needs the whole application, goes
to the rest of the lane byte for byte.
"""

import math
from asyncio import AbstractEventLoop, Transport
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

from uvicorn.server import ServerState

from hotpath import answers
from hotpath.address import UNKNOWN, Proxies, halves, parse
from hotpath.answers import Answer
from hotpath.claims import Claim, Kind, Verdict
from hotpath.gate import Gate
from hotpath.parse import Wanted, read
from hotpath.receipts import Keyring
from hotpath.risk import REVIEW, Risk, is_repeat, verdict_of
from hotpath.tokens import Tokens

Language: TypeAlias = Literal["en", "zh"]
# An answer's encoding by the language that is asked for; None where the till cannot answer.
Refuse: TypeAlias = Callable[[Claim, Verdict, Language], Answer | None]

# The same for what the risk table answered to a claim on a sale.
Block: TypeAlias = Callable[[int, int, int, int, Language], Answer | None]

LANGUAGES_MAX = 1_000
DEVICE_MAX = 64
HELD_BYTES_MAX = 16_384
# What these say is in the verdict itself, so it is encoded once.
PLAIN = frozenset(map(int, (Kind.KEY_REUSED, Kind.SOLD_OUT, Kind.BUSY, Kind.UNKNOWN)))
PLAIN_MAX = 10_000
NEVER = math.inf


class Figures:
    """What was answered, in plain numbers, until `take` hands them over."""

    def __init__(self, latency_s: Sequence[float]) -> None:
        self._latency_s = latency_s
        self._begin()

    def _begin(self) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self.within = [0] * (len(self._latency_s) + 1)
        self.seconds = 0.0

    def add(self, answer: Answer, seconds: float) -> None:
        self.answers[answer.label] += 1
        self.within[bisect_left(self._latency_s, seconds)] += 1
        self.seconds += seconds

    def take(self) -> tuple[Mapping[tuple[int, str], int], list[int], float]:
        """Answers by status and verdict, by latency, and the sum of their seconds: since last."""
        taken = self.answers, self.within, self.seconds
        self._begin()
        return taken


class Till:
    """Shared by all lines of a process. `clock` measures, `now_s` is the time since 1970."""

    def __init__(
        self,
        gate: Gate,
        keyring: Keyring,
        tokens: Tokens,
        figures: Figures,
        risk: Risk,
        proxies: Proxies,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        language: Callable[[str], Language],
        refuse: Refuse,
        block: Block,
        unauthenticated: Mapping[Language, Answer],
        sold_out: Mapping[Language, Answer],
    ) -> None:
        self.clock = clock
        self.figures = figures
        self.gate = gate
        self._keyring = keyring
        self._tokens = tokens
        self._risk = risk
        self._proxies = proxies
        self._now = now
        self._language = language
        self._block = block
        self._refuse = refuse
        self._unauthenticated = unauthenticated
        self._sold_out = sold_out
        self._languages: dict[bytes, Language] = {}
        self._plain: dict[tuple[int, int, Language], Answer | None] = {}
        self._defaults: list[tuple[bytes, bytes]] = []
        self._encoded_defaults = b""

    def member(self, token: bytes) -> int | None:
        return self._tokens.member(token)

    def judge(
        self, member_id: int, key: str, peer: int, forwarded: bytes, named_device: bytes
    ) -> int:
        """Return the risk table's answer, which has counted the claim unless it stops it."""
        hops = [forwarded.decode("ascii")] if forwarded else []
        address_hi, address_lo = halves(self._proxies.client_from(peer, hops))
        risk = self._risk
        device = risk.hash_key(named_device) if is_device(named_device) else 0
        key_hash = risk.hash_key(key.encode("ascii"))
        return risk.decide(self._now(), address_hi, address_lo, member_id, key_hash, device)

    def block(
        self, sale_id: int, member_id: int, key: str, told: int, accepted: bytes
    ) -> Answer | None:
        """Put the risk table's answer into words."""
        key_hash = self._risk.hash_key(key.encode("ascii"))
        return self._block(sale_id, member_id, key_hash, told, self._choose(accepted))

    def answer(self, claim: Claim, verdict: Verdict, accepted: bytes) -> Answer | None:
        """Put a verdict into words; None where only the whole application can.

        `accepted` is the request's Accept-Language.
        """
        if verdict.kind is Kind.ACCEPTED:
            order_id, receipt = self._keyring.seal(claim, verdict)
            return answers.accepted(
                order_id=order_id,
                sale_id=claim.sale_id,
                sku_id=claim.sku_id,
                quantity=claim.quantity,
                receipt=receipt,
            )
        language = self._choose(accepted)
        kind = int(verdict.kind)
        if kind not in PLAIN:
            return self._refuse(claim, verdict, language)
        plain = (kind, verdict.left or verdict.retry_after_s, language)
        if plain not in self._plain:
            if len(self._plain) >= PLAIN_MAX:
                self._plain.clear()
            self._plain[plain] = self._refuse(claim, verdict, language)
        return self._plain[plain]

    def unauthenticated(self, accepted: bytes) -> Answer:
        return self._unauthenticated[self._choose(accepted)]

    def sold_out(self, accepted: bytes) -> Answer:
        return self._sold_out[self._choose(accepted)]

    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Encode the server's own headers, which it replaces with each second's date."""
        if headers is not self._defaults:
            self._defaults = headers
            self._encoded_defaults = answers.encode_headers(headers)
        return self._encoded_defaults

    def _choose(self, accepted: bytes) -> Language:
        language = self._languages.get(accepted)
        if language is None:
            if len(self._languages) >= LANGUAGES_MAX:
                self._languages.clear()
            language = self._languages[accepted] = self._language(accepted.decode("latin-1"))
        return language


class Rest(Protocol):
    """What a line needs of the lane that it belongs to."""

    def is_back(self) -> bool:
        """Whether all that was handed over is answered, so that claims may be read again."""

    def feed(self, data: bytes) -> None:
        """Have the application answer what begins here."""

    def leave(self) -> None:
        """Close as soon as what was handed over is answered."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_timer(self, due: float) -> None:
        """Look at the line's deadline then; whoever sets it says so in `timer_at`."""


class Line:
    """The claims of one connection, answered one at a time and in order.

    `due` is when the client has to have said, or taken, something, by the loop's clock; `idle` is
    set while it owes us nothing.
    """

    def __init__(
        self,
        till: Till | None,
        rest: Rest,
        state: ServerState,
        loop: AbstractEventLoop,
        *,
        request_timeout_s: float,
        keep_alive_s: float,
    ) -> None:
        self.due = NEVER
        self.timer_at = NEVER
        self.idle = self.parted = self.handed = self.leaving = self.write_paused = False
        self.held = b""
        self._till = till
        self._rest = rest
        self._state = state
        self._loop = loop
        self._request_timeout_s = request_timeout_s
        self._keep_alive_s = keep_alive_s
        self._transport: Transport | None = None
        self._peer = UNKNOWN
        self._claim: Claim | None = None
        self._data = self._accepted = b""
        self._end = 0
        self._started = 0.0
        self._deciding = False

    def begin(self, transport: Transport, peer: str) -> None:
        self._transport = transport
        self._peer = parse(peer) or UNKNOWN

    @property
    def asking(self) -> bool:
        """Whether a claim is being decided."""
        return self._claim is not None

    def start_clock(self, timeout_s: float, idle: bool = False) -> None:
        self.idle = idle
        self.due = self._loop.time() + timeout_s
        if self.timer_at > self.due:
            self._rest.set_timer(self.due)

    def data_received(self, data: bytes) -> None:
        if self.parted:
            return
        if self.held:
            data = self.held + data
        if self.handed and not self._rest.is_back():
            self.held = b""
            self._rest.feed(data)
        elif self.asking or self.write_paused:
            self._hold(data)
        else:
            self.handed = False
            self._serve(data)

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.held and not self.asking and not self.parted:
            self._go_on()

    def _hold(self, data: bytes) -> None:
        """Keep what cannot be answered yet; beyond a bound, leave the rest with the client."""
        self.held = data
        if len(data) > HELD_BYTES_MAX:
            self._rest.pause_reading()

    def _serve(self, data: bytes) -> None:
        """Answer claims until one has to wait, or what follows is not surely a claim."""
        while data:
            wanted = read(data)
            if wanted is None:
                self._hand_over(data)
                return
            if not wanted:
                self.held = data
                if self.idle or self.due == NEVER:
                    self.start_clock(self._request_timeout_s)
                return
            self._ask(data, wanted)
            if self.asking or self.write_paused:
                self._hold(self.held)
                return
            data = b"" if self.parted else self.held

    def _ask(self, data: bytes, wanted: Wanted) -> None:
        """Have a claim decided, or refuse it here, or leave it all to the application."""
        till = self._till
        assert till is not None
        sale_id, sku_id, quantity, key, token, self._accepted, forwarded, device, end = wanted
        self.due = NEVER
        self.held = data[end:]
        self._started = till.clock()
        member_id = till.member(token)
        if member_id is None:
            self._hand_over(data)
        elif member_id == 0:
            self._answer(till, till.unauthenticated(self._accepted))
        else:
            told = till.judge(member_id, key, self._peer, forwarded, device)
            if verdict_of(told) > REVIEW:
                answer = till.block(sale_id, member_id, key, told, self._accepted)
                self._answer_or_hand_over(till, answer, data)
                return
            wish = sale_id, member_id, sku_id, quantity
            if not is_repeat(told) and till.gate.refuses_here(*wish):
                self._answer(till, till.sold_out(self._accepted))
                return
            self._data, self._end = data, end
            self._claim = Claim(sale_id, member_id, key, sku_id, quantity)
            self._deciding = True
            till.gate.claim(self._claim, self.told)
            self._deciding = False

    def told(self, verdict: Verdict) -> None:
        """Answer the claim that is being decided: at once, or in a later turn of the loop."""
        till, claim, transport = self._till, self._claim, self._transport
        self._claim = None
        if till is None or claim is None or transport is None or transport.is_closing():
            return
        try:
            answer = till.answer(claim, verdict, self._accepted)
        except Exception:  # noqa: BLE001 - it breaks there as well, and is logged there
            answer = None
        self._answer_or_hand_over(till, answer, self._data[: self._end] + self.held)
        if not self._deciding and self.held and not self.parted:
            self._go_on()

    def _answer_or_hand_over(self, till: Till, answer: Answer | None, data: bytes) -> None:
        if answer is None:
            self._hand_over(data)
        else:
            self._answer(till, answer)

    def _answer(self, till: Till, answer: Answer) -> None:
        transport = self._transport
        assert transport is not None
        defaults = till.default_headers(self._state.default_headers)
        transport.write(answer.text(defaults, last=self.leaving))
        self._state.total_requests += 1
        till.figures.add(answer, till.clock() - self._started)
        if self.leaving:
            self.parted = True
            transport.close()
        else:
            self.start_clock(self._keep_alive_s, idle=True)

    def _go_on(self) -> None:
        """Turn to what came in the meantime."""
        if not self.write_paused:
            held, self.held = self.held, b""
            self._rest.resume_reading()
            self._serve(held)

    def _hand_over(self, data: bytes) -> None:
        """Have uvicorn read this, and the whole application answer it."""
        self.held = b""
        self.handed = True
        self._rest.feed(data)
        if self.leaving:
            self._rest.leave()


def is_device(named: bytes) -> bool:
    """Whether this is a name that a device may have: 1 to 64 visible ASCII characters."""
    return 0 < len(named) <= DEVICE_MAX and all(0x21 <= sign <= 0x7E for sign in named)  # noqa: PLR2004
