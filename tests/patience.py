"""How long a test waits for what is not about time, and how it measures what is.

A wait is long, for it ends as soon as what it waits for is there, and on a machine that others use,
too, everything may take twenty times as long.
"""

import time
from pathlib import Path

PATIENCE_S = 120

# Of each thread: its time on a CPU, then its time in line for one, in nanoseconds.
SCHEDULED = Path("/proc/thread-self/schedstat")


class Stopwatch:
    """Time since it was made.

    `own_s` is without the time in which this thread could have run and the machine ran others:
    that is no fault of ours. Where Linux does not count it, none is left out.
    """

    def __init__(self) -> None:
        self._began_s, self._in_line_s = time.monotonic(), _in_line_s()

    def s(self) -> float:
        return time.monotonic() - self._began_s

    def own_s(self) -> float:
        return self.s() - (_in_line_s() - self._in_line_s)


def _in_line_s() -> float:
    return int(SCHEDULED.read_text().split()[1]) / 1e9 if SCHEDULED.exists() else 0.0
