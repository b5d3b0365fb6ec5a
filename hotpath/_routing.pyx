# cython: language_level=3
"""Routing, written to be fast. See `_routing_py.py` for what it means."""

from libc.math cimport INFINITY, M_PI, cos, sin
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef double DEGREE = M_PI / 180
cdef double HALF_DEGREE = M_PI / 360


def bucket_of(uint64_t member_id, uint32_t buckets) -> int:
    """Return which of a sale's buckets is the member's: 0 to buckets - 1, for ever the same."""
    cdef uint64_t mixed = (member_id ^ member_id >> 30) * <uint64_t> 0xBF58476D1CE4E5B9
    mixed = (mixed ^ mixed >> 27) * <uint64_t> 0x94D049BB133111EB
    return (mixed ^ mixed >> 31) % buckets


def nearest(
    double lat, double lon, const double[::1] places, const int64_t[::1] stock, int64_t quantity
) -> int:
    """Return which warehouse is nearest of those that have enough, or -1 if none has."""
    cdef Py_ssize_t number, found = -1
    cdef double square, least = INFINITY
    if places.shape[0] != 2 * stock.shape[0]:
        raise ValueError
    for number in range(stock.shape[0]):
        if stock[number] >= quantity:
            square = haversine(lat, lon, places[2 * number], places[2 * number + 1])
            if square < least:
                found, least = number, square
    return found


cdef inline double haversine(double lat, double lon, double to_lat, double to_lon) noexcept nogil:
    cdef double up = sin((to_lat - lat) * HALF_DEGREE)
    cdef double along = sin((to_lon - lon) * HALF_DEGREE)
    return up * up + cos(lat * DEGREE) * cos(to_lat * DEGREE) * along * along
