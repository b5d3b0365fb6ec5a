# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reading a token, written to be fast. See `_tokens_py.py` for what it means."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

from hotpath._signing cimport Signer, base64url_to

cdef enum:
    SIGNATURE_BYTES = 43
    # A member's token of the longest numbers is shorter, and all others are strange.
    PAYLOAD_BYTES_MAX = 128

cdef const char *HEADER = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
cdef Py_ssize_t HEADER_BYTES = 37
cdef uint64_t ID_MAX = 0x7FFFFFFFFFFFFFFF
# What each character of base64url stands for, and -1 for every other byte.
cdef int8_t[256] VALUES

ctypedef const char* Text


cdef class Tokens:
    """Checks tokens. `clock` gives seconds since 1970, as they do."""

    def __init__(self, bytes secret not None, *, clock) -> None:
        self._signer = Signer(secret)
        self._clock = clock

    def member(self, bytes token not None) -> int | None:
        """The member's id, 0 for what is certainly no good, None for what another must judge."""
        cdef int64_t found = self.member_of(
            PyBytes_AS_STRING(token), PyBytes_GET_SIZE(token), self._clock()
        )
        return None if found == UNSURE else found

    cdef int64_t member_of(self, const char *token, Py_ssize_t size, double now_s) noexcept:
        """The same, with UNSURE for None."""
        cdef uint8_t[32] digest
        cdef char[SIGNATURE_BYTES + 1] right
        cdef Py_ssize_t signed = size - 1, i
        cdef int difference = 0
        if size < HEADER_BYTES or memcmp(token, HEADER, HEADER_BYTES) != 0:
            return UNSURE
        while token[signed] != c".":
            signed -= 1
        if size - signed - 1 == SIGNATURE_BYTES:
            self._signer.sign_to(<const uint8_t *> token, signed, digest)
            base64url_to(digest, 32, right)
            for i in range(SIGNATURE_BYTES):
                difference |= right[i] ^ token[signed + 1 + i]
        else:
            difference = 1
        if difference:
            # The padded spelling is as good as the plain one, and we do not know it.
            return 0 if memchr(token, c"=", size) == NULL else UNSURE
        # Without a payload the header's dot is the last one.
        if signed < HEADER_BYTES:
            return UNSURE
        return _read(token + HEADER_BYTES, signed - HEADER_BYTES, now_s)


cdef int64_t _read(Text payload, Py_ssize_t size, double now_s) noexcept:
    """Read what our API has signed, in the one spelling in which it says so."""
    cdef char[PAYLOAD_BYTES_MAX] text
    cdef Py_ssize_t count = _decode(payload, size, text)
    cdef uint64_t member = 0, issued_at_s = 0, expires_at_s = 0
    cdef Text at = text
    cdef Text end = at + count
    if count <= 0:
        return UNSURE
    if not (_skip(&at, end, b'{"sub":"', 8) and _number(&at, end, 19, &member)):
        return UNSURE
    if not (
        _skip(&at, end, b'","role":"member","iat":', 24) and _number(&at, end, 12, &issued_at_s)
    ):
        return UNSURE
    if not (_skip(&at, end, b',"exp":', 7) and _number(&at, end, 12, &expires_at_s)):
        return UNSURE
    if not _skip(&at, end, b"}", 1) or at != end or member > ID_MAX:
        return UNSURE
    return <int64_t> member if issued_at_s <= now_s < expires_at_s else 0


cdef Py_ssize_t _decode(Text payload, Py_ssize_t size, char *text) noexcept:
    """Decode base64url without padding; return the length, or -1 for another spelling."""
    cdef uint32_t word = 0
    cdef Py_ssize_t i, count = 0
    cdef int value, bits = 0
    if size % 4 == 1 or size * 3 // 4 > PAYLOAD_BYTES_MAX:
        return -1
    for i in range(size):
        value = VALUES[<uint8_t> payload[i]]
        if value < 0:
            return -1
        word = word << 6 | <uint32_t> value
        bits += 6
        if bits >= 8:
            bits -= 8
            text[count] = <char> (word >> bits & 0xFF)
            count += 1
    # What is left over has to be zero, or two texts would say the same.
    return count if word & ((<uint32_t> 1 << bits) - 1) == 0 else -1


cdef void _prepare() noexcept:
    cdef const char *alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    cdef int8_t value
    memset(VALUES, 0xFF, sizeof(VALUES))
    for value in range(64):
        VALUES[<uint8_t> alphabet[value]] = value


_prepare()


cdef inline bint _skip(Text *at, Text end, Text wanted, Py_ssize_t size) noexcept:
    if end - at[0] < size or memcmp(at[0], wanted, size) != 0:
        return False
    at[0] += size
    return True


cdef bint _number(Text *at, Text end, int digits_max, uint64_t *number) noexcept:
    """A decimal number above 0, without a leading zero; 19 digits fit 64 bits."""
    cdef int digits = 0
    while at[0] < end and c"0" <= at[0][0] <= c"9" and digits < digits_max:
        number[0] = number[0] * 10 + <uint64_t> (at[0][0] - c"0")
        if number[0] == 0:
            return False
        at[0] += 1
        digits += 1
    return digits > 0
