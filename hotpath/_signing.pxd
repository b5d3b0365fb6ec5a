# cython: language_level=3
from libc.stdint cimport uint8_t, uint32_t


cdef class Signer:
    cdef uint32_t[8] _inner
    cdef uint32_t[8] _outer

    cdef void sign_to(self, const uint8_t *text, size_t size, uint8_t *digest) noexcept


cdef size_t base64url_to(const uint8_t *raw, size_t size, char *text) noexcept
