# cython: language_level=3
from libc.stdint cimport int64_t

from hotpath._signing cimport Signer

cdef enum:
    UNSURE = -1


cdef class Tokens:
    cdef Signer _signer
    cdef object _clock

    cdef int64_t member_of(self, const char *token, Py_ssize_t size, double now_s) noexcept
