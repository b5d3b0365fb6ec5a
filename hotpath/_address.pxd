# cython: language_level=3
from libc.stdint cimport uint64_t


cdef struct Address:
    uint64_t hi
    uint64_t lo


cdef class Proxies:
    cdef Address *_bounds
    cdef Py_ssize_t _count

    cdef bint trusts_it(self, Address address) noexcept
    cdef Address client_of(
        self, Address peer, const char *forwarded, Py_ssize_t size
    ) noexcept


cdef bint read_address(const char *text, Py_ssize_t size, Address *found) noexcept
