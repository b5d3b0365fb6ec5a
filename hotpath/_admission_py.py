"""Whether a bucket takes one more claim: only if that claim will be decided soon.

What decides is time, not number. While a claim waits, those that are decided in its stead tell how
fast the bucket is; so many as it decides within `wait_max_s` are let in, and the next one is told
when to come again. Nothing is assumed of Redis, its disk, the wire or this process: all are in
what was waited for.
"""

UNDECIDED_MIN = 16
UNDECIDED_IN_QUIET = 64
GROWTH_MAX = 4
SHRINKING = 4
COUNTED_S = 1.0
CLOCK_S_MIN = 1e-6
RETRY_AFTER_S_MAX = 8


class Admission:
    """One claim at a time is the witness: when it came, who was decided since, who was ahead.

    `now` is a monotonic time in seconds, always of the same clock.
    """

    def __init__(self, *, wait_max_s: float, undecided_max: int, at_first: int) -> None:
        self.limit = min(at_first, undecided_max)
        self.undecided = 0
        self._wait_max_s = wait_max_s
        self._undecided_max = undecided_max
        self._witnessed_from: float | None = None
        self._ahead = 0
        self._decided = 0
        self._refused = 0
        self._refused_before = 0
        self._turn = 0
        self._counted_from = 0.0

    def is_full(self) -> bool:
        return self.undecided >= self.limit

    def enter(self, now: float) -> None:
        """Let a claim in, and make it the witness if there is none."""
        self.undecided += 1
        if self._witnessed_from is None:
            self._witnessed_from = now
            self._ahead = self.undecided
            self._decided = 0

    def decide(self, count: int, now: float) -> None:
        """Note that the oldest so many were decided."""
        self.undecided -= count
        if self._witnessed_from is None:
            return
        self._decided += count
        waited_s = now - self._witnessed_from
        is_over = self._decided >= self._ahead
        if is_over or waited_s > self._wait_max_s:
            self._learn(self._decided * self._wait_max_s / max(waited_s, CLOCK_S_MIN), waited_s)
        if is_over:
            self._witnessed_from = None

    def _learn(self, seen: float, waited_s: float) -> None:
        """Go by what a witness saw. In quiet it sees too little: that lowers nothing but a rise."""
        limit = self.limit
        if waited_s > self._wait_max_s:
            wanted = seen
        elif seen > limit:
            wanted = min(seen, limit * GROWTH_MAX)
        else:
            wanted = limit - max(0.0, limit - max(seen, UNDECIDED_IN_QUIET)) / SHRINKING
        self.limit = min(self._undecided_max, max(UNDECIDED_MIN, int(wanted)))

    def give_up(self, count: int) -> None:
        """Note that so many left undecided, which says nothing of how fast the bucket is."""
        self.undecided -= count
        self._witnessed_from = None

    def refuse(self, now: float) -> int:
        """Turn a claim away, and return after how many seconds it may come again.

        They come spread over the time in which as many are decided as were refused in a second.
        """
        if now - self._counted_from > COUNTED_S:
            is_lasting = now - self._counted_from <= 2 * COUNTED_S
            self._refused_before = self._refused if is_lasting else 0
            self._refused, self._counted_from = 0, now
        self._refused += 1
        refused = max(self._refused, self._refused_before)
        spread_s = min(RETRY_AFTER_S_MAX, 2 + refused * self._wait_max_s / self.limit)
        self._turn += 1
        return 1 + self._turn % int(spread_s)
