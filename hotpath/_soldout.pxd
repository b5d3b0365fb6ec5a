# cython: language_level=3
# What `_soldout_py.py` is compiled with.

cimport cython
from libc.stdint cimport uint64_t

cdef uint64_t U64, FIRST_FACTOR, SECOND_FACTOR


cdef class Holders:
    cdef public bytearray _bits
    cdef public int _shift

    @cython.locals(mixed=uint64_t)
    cdef (uint64_t, uint64_t) _places(self, uint64_t member_id)


cdef class SoldOut:
    cdef public object facts, reading, _freed
    cdef public dict limits
    cdef public double _until
    cdef public Holders _holders

    cpdef bint refuses(self, uint64_t member_id, sku_id, quantity, double now)
