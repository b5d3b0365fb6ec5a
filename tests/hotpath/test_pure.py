"""Without a compiler Sluice is slower, and the same."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITES = ["tests/hotpath/test_gate.py", "tests/api/test_lane_alike.py"]
TOOK_S_MAX = 280


def test_what_holds_for_the_kernels_holds_without_them():
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES],
        env={**os.environ, "SLUICE_PURE_PYTHON": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TOOK_S_MAX,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
