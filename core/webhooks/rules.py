"""When a message is sent again, when an endpoint rests, and when it is given up. Pure."""

from datetime import timedelta

from .model import Reason
from .sender import Answer

# The schedule that Standard Webhooks gives: ten tries in three days.
PAUSES_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
TRIES_MAX = len(PAUSES_S) + 1
# Each pause is up to so much shorter or longer, so that what failed together is not sent together.
JITTER = 0.2

# So many failures in a row let an endpoint rest; then one delivery at a time finds out.
FAILURES_MAX = 5
REST_S = 30.0
REST_MAX_S = 900.0
FAILING_MAX = timedelta(days=5)

GONE = 410
# The receiver, or what stands before it, asks for less at once.
THROTTLES = frozenset({429, 502, 503, 504})


def disabled(answer: Answer, failing: timedelta) -> Reason | None:
    """Why an endpoint is given up that has been failing for so long."""
    if answer.status == GONE:
        return Reason.GONE
    return Reason.FAILING if failing >= FAILING_MAX else None


def pause_s(answer: Answer, tries: int, draw: float) -> float | None:
    """How long a message waits after so many tries; None gives it up. `draw` is from 0 to 1."""
    if tries >= TRIES_MAX:
        return None
    usual = PAUSES_S[tries - 1] * (1 - JITTER + 2 * JITTER * draw)
    return max(usual, answer.retry_after_s)


def rest_s(answer: Answer, failures: int) -> float | None:
    """The breaker: how long an endpoint that failed so often in a row is left alone now."""
    asked = float(answer.retry_after_s) if answer.status in THROTTLES else 0.0
    if failures < FAILURES_MAX:
        return asked or None
    return max(asked, min(REST_S * 2 ** min(failures - FAILURES_MAX, 10), REST_MAX_S))


def shown(body: bytes) -> str:
    """An answer's first bytes as text that a column and a terminal can hold."""
    text = body.decode("utf-8", "replace")
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
