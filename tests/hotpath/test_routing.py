import math
import os
import subprocess
import sys
from array import array
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import _routing_py, routing

degrees = st.floats(-400, 400, allow_nan=False)
warehouses = st.lists(st.tuples(degrees, degrees, st.integers(-5, 20)), max_size=30)


@pytest.mark.skipif(routing.IMPLEMENTATION != "cython", reason="not compiled")
@given(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1))
def test_the_compiled_routing_agrees_with_its_twin(member, buckets):
    assert routing.bucket_of(member, buckets) == _routing_py.bucket_of(member, buckets)


@pytest.mark.skipif(routing.IMPLEMENTATION != "cython", reason="not compiled")
@given(degrees, degrees, warehouses, st.integers(0, 20))
def test_the_compiled_way_to_the_nearest_warehouse_agrees_with_its_twin(lat, lon, known, quantity):
    places, stock = arrays(known)
    found = routing.nearest(lat, lon, places, stock, quantity)
    assert found == _routing_py.nearest(lat, lon, places, stock, quantity)


@given(st.floats(-90, 90), st.floats(-180, 180), warehouses, st.integers(1, 20))
def test_no_warehouse_with_enough_is_nearer_than_the_one_that_is_found(lat, lon, known, quantity):
    found = routing.nearest(lat, lon, *arrays(known), quantity)
    enough = [n for n, (_, _, units) in enumerate(known) if units >= quantity]
    assert (found == -1) == (not enough)
    if enough:
        assert found in enough
        least = min(angle(lat, lon, *known[n][:2]) for n in enough)
        assert angle(lat, lon, *known[found][:2]) == pytest.approx(least, abs=1e-6)


def arrays(known) -> tuple[array, array]:
    places = array("d", [part for lat, lon, _ in known for part in (lat, lon)])
    return places, array("q", [units for *_, units in known])


def angle(*degrees: float) -> float:
    """The angle between two places by the law of cosines, which haversines do not use."""
    lat, lon, to_lat, to_lon = (math.radians(degree) for degree in degrees)
    part = math.cos(lat) * math.cos(to_lat) * math.cos(to_lon - lon)
    return math.acos(max(-1.0, min(1.0, math.sin(lat) * math.sin(to_lat) + part)))


@pytest.mark.parametrize("nearest", [routing.nearest, _routing_py.nearest])
def test_an_order_from_hangzhou_is_sent_from_shanghai_while_it_has_enough(nearest):
    beijing, shanghai, guangzhou = (39.90, 116.40), (31.23, 121.47), (23.13, 113.26)
    places = array("d", [*beijing, *shanghai, *guangzhou])
    assert nearest(30.27, 120.15, places, array("q", [9, 9, 9]), 9) == 1
    assert nearest(30.27, 120.15, places, array("q", [9, 8, 9]), 9) == 2
    assert nearest(30.27, 120.15, places, array("q", [8, 8, 8]), 9) == -1
    # The shortest way from one side of the date line to the other does not go round the world.
    assert nearest(0, 179.9, array("d", [0, 170, 0, -179.9]), array("q", [1, 1]), 1) == 1
    assert nearest(0, 0, array("d", [math.nan, 0, 80, 0]), array("q", [1, 1]), 1) == 1
    with pytest.raises(ValueError, match=r"^$"):
        nearest(0, 0, array("d", [1.0]), array("q", [1]), 1)


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
