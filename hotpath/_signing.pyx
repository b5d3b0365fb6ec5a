# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""HMAC-SHA256 and base64url, written to be fast. See `_signing_py.py` for what they mean."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "sha256.h":
    const uint32_t[8] SHA256_START
    int sha256_native
    int sha256_is_native()
    void sha256_blocks(uint32_t *state, const uint8_t *blocks, size_t count) noexcept
    void sha256_finish(
        uint32_t *state, const uint8_t *text, size_t size, uint64_t before, uint8_t *digest
    ) noexcept

cdef enum:
    BLOCK_BYTES = 64
    DIGEST_BYTES = 32

cdef const char *ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


cdef class Signer:
    """Signs as `hmac.digest` does."""

    def __init__(self, bytes key not None) -> None:
        cdef uint8_t[BLOCK_BYTES] padded
        cdef const uint8_t *text = <const uint8_t *> PyBytes_AS_STRING(key)
        cdef size_t size = PyBytes_GET_SIZE(key)
        memset(padded, 0, BLOCK_BYTES)
        if size > BLOCK_BYTES:
            memcpy(self._inner, SHA256_START, sizeof(self._inner))
            sha256_finish(self._inner, text, size, 0, padded)
        else:
            memcpy(padded, text, size)
        _begin(self._inner, padded, 0x36)
        _begin(self._outer, padded, 0x5C)

    def sign(self, bytes message not None) -> bytes:
        cdef uint8_t[DIGEST_BYTES] digest
        self.sign_to(
            <const uint8_t *> PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), digest
        )
        return PyBytes_FromStringAndSize(<const char *> digest, DIGEST_BYTES)

    cdef void sign_to(self, const uint8_t *text, size_t size, uint8_t *digest) noexcept:
        """Write 32 bytes to `digest`."""
        cdef uint32_t[8] state
        cdef uint8_t[DIGEST_BYTES] inner
        memcpy(state, self._inner, sizeof(state))
        sha256_finish(state, text, size, BLOCK_BYTES, inner)
        memcpy(state, self._outer, sizeof(state))
        sha256_finish(state, inner, DIGEST_BYTES, BLOCK_BYTES, digest)


cdef void _begin(uint32_t *state, const uint8_t *padded, uint8_t mask) noexcept:
    cdef uint8_t[BLOCK_BYTES] block
    cdef int i
    for i in range(BLOCK_BYTES):
        block[i] = padded[i] ^ mask
    memcpy(state, SHA256_START, 32)
    sha256_blocks(state, block, 1)


def base64url(bytes raw not None) -> bytes:
    """Encode without padding."""
    cdef size_t size = PyBytes_GET_SIZE(raw)
    cdef bytes text = PyBytes_FromStringAndSize(NULL, (size * 4 + 2) // 3)
    base64url_to(<const uint8_t *> PyBytes_AS_STRING(raw), size, PyBytes_AS_STRING(text))
    return text


cdef size_t base64url_to(const uint8_t *raw, size_t size, char *text) noexcept:
    """Write the text and return its length."""
    cdef size_t at = 0, to = 0, i, rest
    cdef uint32_t word
    while at + 3 <= size:
        word = raw[at] << 16 | raw[at + 1] << 8 | raw[at + 2]
        for i in range(4):
            text[to + i] = ALPHABET[word >> (18 - 6 * i) & 63]
        at, to = at + 3, to + 4
    rest = size - at
    if rest:
        word = raw[at] << 16 | (raw[at + 1] << 8 if rest == 2 else 0)
        for i in range(rest + 1):
            text[to + i] = ALPHABET[word >> (18 - 6 * i) & 63]
        to += rest + 1
    return to


def choose(bint native) -> bool:
    """Use the processor's own instructions, or not; tell whether it has them."""
    global sha256_native
    sha256_native = native and sha256_is_native()
    return sha256_is_native() != 0


choose(True)
