"""Routing, written to be read. `_routing.pyx` must agree with it number for number."""

import math
from collections.abc import Sequence

DEGREE = math.pi / 180
HALF_DEGREE = math.pi / 360
U64 = 0xFFFF_FFFF_FFFF_FFFF


def bucket_of(member_id: int, buckets: int) -> int:
    """Return which of a sale's buckets is the member's: 0 to buckets - 1, for ever the same."""
    if not 0 <= member_id <= U64:
        raise OverflowError
    # The finaliser of splitmix64: neighbouring members land far apart.
    mixed = (member_id ^ member_id >> 30) * 0xBF58_476D_1CE4_E5B9 & U64
    mixed = (mixed ^ mixed >> 27) * 0x94D0_49BB_1331_11EB & U64
    return (mixed ^ mixed >> 31) % buckets


def nearest(
    lat: float, lon: float, places: Sequence[float], stock: Sequence[int], quantity: int
) -> int:
    """Return which warehouse is nearest of those that have enough, or -1 if none has.

    `places` is an array "d" of latitude and longitude in degrees, one pair for each number in the
    array "q" of `stock`. Of two that are equally near it is the first; one whose place is not a
    number is nowhere.
    """
    if len(places) != 2 * len(stock):
        raise ValueError
    found, least = -1, math.inf
    for number, units in enumerate(stock):
        if units >= quantity:
            square = _haversine(lat, lon, places[2 * number], places[2 * number + 1])
            if square < least:
                found, least = number, square
    return found


def _haversine(lat: float, lon: float, to_lat: float, to_lon: float) -> float:
    """Grow with the distance on a sphere: the squared sine of half the angle between two places."""
    up = math.sin((to_lat - lat) * HALF_DEGREE)
    along = math.sin((to_lon - lon) * HALF_DEGREE)
    return up * up + math.cos(lat * DEGREE) * math.cos(to_lat * DEGREE) * along * along
