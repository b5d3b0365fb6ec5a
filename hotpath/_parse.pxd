# cython: language_level=3
from libc.stdint cimport uint64_t

ctypedef const char* Text

cdef enum:
    WHOLE = 1
    NO_CLAIM = 0
    ASK_TWIN = -1


cdef struct Span:
    Text start
    Py_ssize_t size


cdef struct Wanted:
    # The spans point into the bytes that were read. `end` is where the request ends.
    uint64_t sale_id
    uint64_t sku_id
    uint64_t quantity
    Span key
    Span token
    Span language
    Span forwarded
    Span device
    Py_ssize_t end
    Py_ssize_t body_size
    int seen


cdef int read_whole(const char *data, Py_ssize_t size, Wanted *wanted) noexcept
