"""What the buyers were told, as it happens: every attempt, and what is counted along the way."""

from collections import Counter, deque
from collections.abc import Sequence
from math import ceil

import msgspec

from api.rehearsal.crowd import Buyer

ACCEPTED = "accepted"
NO_ANSWER = "no-answer"
RECENT_MAX = 2_000
RATE_S = 1.0


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """Times are seconds since the opening. `due_s` is when the buyer wanted to ask.

    `latency_s` counts from there, whatever kept the request from going out in time.
    """

    buyer: int
    style: str
    key: str
    click: int
    number: int
    due_s: float
    sent_s: float
    ended_s: float
    status: int
    told: str
    order_id: str

    @property
    def latency_s(self) -> float:
        return self.ended_s - self.due_s


class Accepted(msgspec.Struct, frozen=True):
    """The first 202 for one key. `bodies` holds every different one that came for it."""

    buyer: Buyer
    key: str
    order_id: str
    sku_id: int
    quantity: int
    at_s: float
    bodies: set[bytes]


class Score:
    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.accepted: dict[tuple[int, str], Accepted] = {}
        self.last_word: dict[tuple[int, str], str] = {}
        self.refused: Counter[str] = Counter()
        self.came = 0
        self.left: int | None = None
        self._recent: deque[float] = deque(maxlen=RECENT_MAX)
        self._lately: deque[float] = deque()

    def note(self, attempt: Attempt) -> None:
        """Count what came of one attempt, save for acceptances."""
        self.attempts.append(attempt)
        self._recent.append(attempt.latency_s)
        known = self.last_word.get((attempt.buyer, attempt.key))
        if known != ACCEPTED:
            self.last_word[attempt.buyer, attempt.key] = attempt.told
        if attempt.told != ACCEPTED:
            self.refused[attempt.told] += 1

    def accept(self, accepted: Accepted) -> None:
        """Count a 202; another one for the same key only adds its body."""
        known = self.accepted.setdefault((accepted.buyer.number, accepted.key), accepted)
        if known is accepted:
            self._lately.append(accepted.at_s)
        else:
            known.bodies.update(accepted.bodies)

    def rate(self, now_s: float) -> float:
        """Acceptances in the last second."""
        while self._lately and self._lately[0] < now_s - RATE_S:
            self._lately.popleft()
        return len(self._lately) / RATE_S

    def recent_ms(self) -> tuple[float, float]:
        """p50 and p99 of the latest answers."""
        recent = sorted(self._recent)
        return percentile(recent, 50) * 1_000, percentile(recent, 99) * 1_000


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank: a value that was really seen. 0 where nothing was."""
    if not ordered:
        return 0.0
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]
