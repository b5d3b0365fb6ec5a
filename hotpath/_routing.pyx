# cython: language_level=3
"""Routing, written to be fast. See `_routing_py.py` for what it means."""

from libc.stdint cimport uint32_t, uint64_t


def bucket_of(uint64_t member_id, uint32_t buckets) -> int:
    """Return which of a sale's buckets is the member's: 0 to buckets - 1, for ever the same."""
    cdef uint64_t mixed = (member_id ^ member_id >> 30) * <uint64_t> 0xBF58476D1CE4E5B9
    mixed = (mixed ^ mixed >> 27) * <uint64_t> 0x94D049BB133111EB
    return (mixed ^ mixed >> 31) % buckets
