# cython: language_level=3, cdivision=True
"""Numbers as decimal text, for kernels that write records and answers."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef enum:
    DIGITS_MAX = 20


cdef inline Py_ssize_t put_digits(char *at, uint64_t number) noexcept:
    """Write a number and return its length."""
    cdef char[DIGITS_MAX] digits
    cdef Py_ssize_t start = DIGITS_MAX
    while True:
        start -= 1
        digits[start] = <char> (c"0" + number % 10)
        number //= 10
        if number == 0:
            break
    memcpy(at, digits + start, DIGITS_MAX - start)
    return DIGITS_MAX - start
