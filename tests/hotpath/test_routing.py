import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import _routing_py, routing


@pytest.mark.skipif(routing.IMPLEMENTATION != "cython", reason="not compiled")
@given(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1))
def test_the_compiled_routing_agrees_with_its_twin(member, buckets):
    assert routing.bucket_of(member, buckets) == _routing_py.bucket_of(member, buckets)


def test_the_buckets_of_known_members_never_change():
    found = [routing.bucket_of(member, 8) for member in range(12)]
    assert found == [0, 5, 2, 0, 4, 4, 4, 4, 0, 7, 1, 5]
    assert routing.bucket_of(2**63 - 1, 1000) == _routing_py.bucket_of(2**63 - 1, 1000)


def test_neighbouring_members_spread_evenly():
    counts = Counter(routing.bucket_of(member, 16) for member in range(1, 16_001))
    assert min(counts.values()) > 900
    assert max(counts.values()) < 1100


@pytest.mark.parametrize("bucket_of", [routing.bucket_of, _routing_py.bucket_of])
def test_both_twins_refuse_the_same_numbers(bucket_of):
    for member, buckets, error in [
        (-1, 1, OverflowError),
        (2**64, 1, OverflowError),
        (1, 0, ZeroDivisionError),
    ]:
        with pytest.raises(error):
            bucket_of(member, buckets)


def test_the_environment_chooses_the_twin():
    said = subprocess.run(
        [sys.executable, "-c", "from hotpath import routing; print(routing.IMPLEMENTATION)"],
        env={**os.environ, "SLUICE_PURE_PYTHON": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == "python\n"
