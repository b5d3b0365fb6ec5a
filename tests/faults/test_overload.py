"""Ten times the connections, then 1.2 times the rate, on a shop whose road to Redis is narrow.

TEST_STORMS is how many of each there are; `make faults` asks for 5, and then all that
`benchmarks/overload` promises has to hold. Without it only what no busy neighbour can break.
"""

import os
import signal

import pytest

from benchmarks import overload

STORMS = os.environ.get("TEST_STORMS", "1")
IS_TIMED = "TEST_STORMS" in os.environ
TIMELESS = {"others were answered", "the books"}
CHANCES = 2
# Small enough that a shared machine has the processor time for all of it.
SIZES = ["--claims-per-s", "800", "--connections", "80", "--seconds", "6", "--storms", STORMS]


@pytest.fixture(autouse=True)
def _suite_ends_on_sigterm():
    """A benchmark takes this signal for itself."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


async def test_a_storm_costs_no_sale_and_passes_without_a_trace():
    for chance in range(1, CHANCES + 1):
        told, found = await overload.measure(overload.options(SIZES))
        held = {name: figure for name, figure in found.items() if IS_TIMED or name in TIMELESS}
        broken = {name: figure for name, (is_held, figure) in held.items() if not is_held}
        assert held.keys() >= TIMELESS
        storms = [one for one in told if one.phase == "storm"]
        assert len(storms) == int(STORMS)
        assert all(one.refused_share > 0.1 for one in storms), "nobody was in excess"
        if not broken:
            return
        print(f"chance {chance}: {broken}")
    pytest.fail(f"broken: {broken}")
