# cython: language_level=3
"""Reading a claim, written to be fast. See `_parse_py.py` for what it means.

Only a claim that stands there whole is read here. The twin decides about everything else, so that
there is one place that says what may still become a claim.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp

from hotpath._parse_py import read as _read_by_twin

cdef extern from *:
    """
    #define ID_MAX 9223372036854775807ULL
    #define HEAD_BYTES_MAX 8192
    #define BODY_BYTES_MAX 512
    #define KEY_MAX 64
    #define QUANTITY_MAX 1000000ULL
    enum { HOST = 1, CONNECTION = 2, LENGTH = 4, TYPE = 8, TOKEN = 16, KEY = 32 };
    enum { LANGUAGE = 64, FORWARDED = 128, DEVICE = 256 };
    #define NEEDED (HOST | LENGTH | TYPE | TOKEN | KEY)
    """
    const uint64_t ID_MAX, QUANTITY_MAX
    const Py_ssize_t HEAD_BYTES_MAX, BODY_BYTES_MAX, KEY_MAX
    const int HOST, CONNECTION, LENGTH, TYPE, TOKEN, KEY, NEEDED
    const int LANGUAGE, FORWARDED, DEVICE


def read(bytes data not None):
    """Read the claim that `data` begins with; None where it does not surely begin with one."""
    cdef Wanted wanted
    cdef int outcome = read_whole(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &wanted)
    if outcome == ASK_TWIN:
        return _read_by_twin(data)
    if outcome == NO_CLAIM:
        return None
    return (
        wanted.sale_id,
        wanted.sku_id,
        wanted.quantity,
        PyUnicode_DecodeASCII(wanted.key.start, wanted.key.size, NULL),
        PyBytes_FromStringAndSize(wanted.token.start, wanted.token.size),
        PyBytes_FromStringAndSize(wanted.language.start, wanted.language.size),
        PyBytes_FromStringAndSize(wanted.forwarded.start, wanted.forwarded.size),
        PyBytes_FromStringAndSize(wanted.device.start, wanted.device.size),
        wanted.end,
    )


cdef int read_whole(const char *data, Py_ssize_t size, Wanted *wanted) noexcept:
    """Read a claim that stands there whole: WHOLE, NO_CLAIM, or else only the twin knows."""
    cdef Text at = data
    cdef Text end = data + size
    wanted.seen = 0
    wanted.sale_id = wanted.sku_id = wanted.quantity = 0
    wanted.body_size = 0
    wanted.token.start, wanted.token.size = at, 0
    wanted.key = wanted.language = wanted.forwarded = wanted.device = wanted.token
    if not (_skip(&at, end, b"POST /v1/sales/", 15) and _number(&at, end, 19, &wanted.sale_id)):
        return ASK_TWIN
    if not (_skip(&at, end, b"/orders HTTP/1.1\r\n", 18) and _headers(&at, end, wanted)):
        return ASK_TWIN
    if at - data > HEAD_BYTES_MAX or end - at < wanted.body_size or wanted.sale_id > ID_MAX:
        return ASK_TWIN
    end = at + wanted.body_size
    wanted.end = end - data
    return WHOLE if _body(at, end, &wanted.sku_id, &wanted.quantity) else NO_CLAIM


cdef bint _skip(Text* at, Text end, Text wanted, Py_ssize_t size) noexcept:
    if end - at[0] < size or memcmp(at[0], wanted, size) != 0:
        return False
    at[0] += size
    return True


cdef bint _number(Text* at, Text end, int digits_max, uint64_t* number) noexcept:
    """A decimal number above 0, without a leading zero; 19 digits fit 64 bits."""
    cdef int digits = 0
    number[0] = 0
    while at[0] < end and c"0" <= at[0][0] <= c"9" and digits < digits_max:
        number[0] = number[0] * 10 + <uint64_t> (at[0][0] - c"0")
        if number[0] == 0:
            return False
        at[0] += 1
        digits += 1
    return digits > 0


cdef bint _headers(Text* at, Text end, Wanted* found) noexcept:
    """Every line up to the blank one, with what has to be there seen exactly once."""
    while end - at[0] >= 2 and not (at[0][0] == c"\r" and at[0][1] == c"\n"):
        if not _line(at, end, found):
            return False
    return _skip(at, end, b"\r\n", 2) and (found.seen & NEEDED) == NEEDED


cdef bint _line(Text* at, Text end, Wanted* found) noexcept:
    cdef Text p = at[0]
    cdef Span name, value
    name.start = p
    while p < end and _is_name(p[0]):
        p += 1
    name.size = p - name.start
    if name.size == 0 or p >= end or p[0] != c":":
        return False
    p += 1
    while p < end and (p[0] == c" " or p[0] == c"\t"):
        p += 1
    value.start = p
    p = <Text> memchr(p, c"\r", end - p)
    if p == NULL:
        return False
    value.size = p - value.start
    at[0] = p
    return _is_text(value) and _skip(at, end, b"\r\n", 2) and _note(name, value, found)


cdef bint _is_text(Span text) noexcept:
    """Whether all of it is printable ASCII or a tab: without a branch, many bytes at a time."""
    cdef Py_ssize_t i
    cdef unsigned char odd = 0, c
    for i in range(text.size):
        c = <unsigned char> text.start[i]
        odd |= (<unsigned char> (c - 0x20) > 0x5E) & (c != 0x09)
    return odd == 0


cdef bint _is_name(char c) noexcept:
    return c"a" <= (c | 0x20) <= c"z" or c"0" <= c <= c"9" or c == c"-"


cdef bint _same(Span text, Text lower, Py_ssize_t size) noexcept:
    """Whether it is this word, however it is capitalised."""
    cdef Py_ssize_t i
    cdef char c
    if text.size != size:
        return False
    for i in range(size):
        c = text.start[i]
        if c"A" <= c <= c"Z":
            c |= 0x20
        if c != lower[i]:
            return False
    return True


cdef bint _note(Span name, Span value, Wanted* found) noexcept:
    """Keep what decides anything; False for what must not be there, or not so, or not again."""
    cdef int which = _which(name)
    if which == 0:
        return True
    if which < 0 or found.seen & which:
        return False
    found.seen |= which
    if which == HOST:
        return _is_visible(value)
    if which == CONNECTION:
        return _same(value, b"keep-alive", 10)
    if which == LENGTH:
        return _size(value, &found.body_size)
    if which == TYPE:
        return value.size == 16 and memcmp(value.start, b"application/json", 16) == 0
    if which == TOKEN:
        return _token(value, &found.token)
    if which == KEY:
        found.key = value
        return value.size <= KEY_MAX and _is_visible(value)
    if which == LANGUAGE:
        found.language = value
        return _is_printable(value)
    if which == FORWARDED:
        found.forwarded = value
    else:
        found.device = value
    return value.size > 0 and _is_printable(value)


cdef int _which(Span name) noexcept:
    """A header's number, 0 for one that decides nothing, -1 for one that leaves us unsure."""
    if name.size == 4:
        return HOST if _same(name, b"host", 4) else 0
    if name.size == 10:
        return CONNECTION if _same(name, b"connection", 10) else 0
    if name.size == 14:
        if _same(name, b"http2-settings", 14):
            return -1
        return LENGTH if _same(name, b"content-length", 14) else 0
    if name.size == 12:
        return TYPE if _same(name, b"content-type", 12) else 0
    if name.size == 13:
        return TOKEN if _same(name, b"authorization", 13) else 0
    if name.size == 15:
        if _same(name, b"idempotency-key", 15):
            return KEY
        if _same(name, b"accept-language", 15):
            return LANGUAGE
        return FORWARDED if _same(name, b"x-forwarded-for", 15) else 0
    if name.size == 11:
        return DEVICE if _same(name, b"x-device-id", 11) else 0
    if name.size == 2:
        return -1 if _same(name, b"te", 2) else 0
    if name.size == 6:
        return -1 if _same(name, b"expect", 6) else 0
    if name.size == 7:
        return -1 if _same(name, b"upgrade", 7) or _same(name, b"trailer", 7) else 0
    if name.size == 16:
        if _same(name, b"proxy-connection", 16) or _same(name, b"content-encoding", 16):
            return -1
    if name.size == 17:
        return -1 if _same(name, b"transfer-encoding", 17) else 0
    return 0


cdef bint _is_visible(Span text) noexcept:
    cdef Py_ssize_t i
    for i in range(text.size):
        if not c"!" <= text.start[i] <= c"~":
            return False
    return text.size > 0


cdef bint _is_printable(Span text) noexcept:
    cdef Py_ssize_t i
    for i in range(text.size):
        if text.start[i] == c"\t":
            return False
    return True


cdef bint _size(Span value, Py_ssize_t* size) noexcept:
    cdef uint64_t number = 0
    cdef Text at = value.start
    if not _number(&at, value.start + value.size, 4, &number) or at != value.start + value.size:
        return False
    size[0] = <Py_ssize_t> number
    return size[0] <= BODY_BYTES_MAX


cdef bint _token(Span value, Span* token) noexcept:
    cdef Span scheme
    cdef Py_ssize_t i
    cdef unsigned char odd = 0, c
    scheme.start, scheme.size = value.start, 6
    if value.size < 8 or not _same(scheme, b"bearer", 6) or value.start[6] != c" ":
        return False
    token.start, token.size = value.start + 7, value.size - 7
    for i in range(token.size):
        c = <unsigned char> token.start[i]
        odd |= (
            (<unsigned char> ((c | 0x20) - 0x61) > 25)
            & (<unsigned char> (c - 0x30) > 9)
            & (c != 0x2D) & (c != 0x2E) & (c != 0x5F)
        )
    return odd == 0


cdef void _blank(Text* at, Text end) noexcept:
    while at[0] < end and (at[0][0] == c" " or c"\t" <= at[0][0] <= c"\n" or at[0][0] == c"\r"):
        at[0] += 1


cdef bint _word(Text* at, Text end, Text wanted, Py_ssize_t size) noexcept:
    """A token of JSON, with blanks around it."""
    _blank(at, end)
    if not _skip(at, end, wanted, size):
        return False
    _blank(at, end)
    return True


cdef bint _body(
    Text at, Text end, uint64_t* sku_id, uint64_t* quantity
) noexcept:
    if not _word(&at, end, b"{", 1):
        return False
    if at < end - 1 and at[1] == c"s":
        if not (_sku(&at, end, sku_id) and _word(&at, end, b",", 1)):
            return False
        if not _quantity(&at, end, quantity):
            return False
    else:
        if not (_quantity(&at, end, quantity) and _word(&at, end, b",", 1)):
            return False
        if not _sku(&at, end, sku_id):
            return False
    if not _word(&at, end, b"}", 1) or at != end:
        return False
    return sku_id[0] <= ID_MAX and quantity[0] <= QUANTITY_MAX


cdef bint _sku(Text* at, Text end, uint64_t* sku_id) noexcept:
    if not (_word(at, end, b'"sku_id"', 8) and _word(at, end, b":", 1)):
        return False
    if not (_skip(at, end, b'"', 1) and _number(at, end, 19, sku_id)):
        return False
    return _skip(at, end, b'"', 1)


cdef bint _quantity(Text* at, Text end, uint64_t* quantity) noexcept:
    if not (_word(at, end, b'"quantity"', 10) and _word(at, end, b":", 1)):
        return False
    return _number(at, end, 7, quantity)
