# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A batch of claims on its way to claim.lua and back, written to be fast.

See `pack_batch` and `read_batch` in `claims.py` for what they mean.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeASCII
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from hotpath._digits cimport DIGITS_MAX, put_digits

from hotpath.claims import UNKNOWN, Decided, Kind, Verdict, read_answer

cdef extern from "crc32.h":
    void crc32_prepare() noexcept
    uint32_t crc32_of(uint32_t crc, const char *text, size_t size) noexcept

cdef enum:
    # Five numbers of at most 20 digits, a CRC, the version, the commas and a key of 64.
    RECORD_BYTES_MAX = 256
    KEY_MAX = 64

cdef object ACCEPTED = Kind.ACCEPTED
cdef const char *HEX = b"0123456789abcdef"

crc32_prepare()


cdef inline Py_ssize_t _put_field(char *at, uint64_t number) noexcept:
    """Write a number and a comma."""
    cdef Py_ssize_t size = put_digits(at, number)
    at[size] = c","
    return size + 1


def pack_batch(bucket, list wanted not None, *, key_id, backlog_max) -> list:
    """The ARGV of claim.lua for a batch."""
    cdef list packed = [bucket.stamp, backlog_max]
    cdef uint64_t epoch = bucket.epoch, key = key_id
    for claim in wanted:
        packed.append(_record(claim, epoch, key))
    return packed


cdef bytes _record(claim, uint64_t epoch, uint64_t key_id):
    cdef char[RECORD_BYTES_MAX] record
    cdef Py_ssize_t size, key_size = 0
    cdef str key = claim.key
    cdef const char *text = PyUnicode_AsUTF8AndSize(key, &key_size)
    cdef uint32_t crc
    cdef int i
    assert key_size <= KEY_MAX
    memcpy(record, b"2,", 2)
    size = 2 + _put_field(record + 2, epoch)
    size += _put_field(record + size, claim.member_id)
    size += _put_field(record + size, claim.sku_id)
    size += _put_field(record + size, claim.quantity)
    size += _put_field(record + size, key_id)
    crc = crc32_of(crc32_of(0, record, size), text, key_size)
    for i in range(8):
        record[size + i] = HEX[crc >> (28 - 4 * i) & 15]
    record[size + 8] = c","
    memcpy(record + size + 9, text, key_size)
    return PyBytes_FromStringAndSize(record, size + 9 + key_size)


def read_batch(reply, bucket, list wanted not None, *, key_id):
    """Read the reply to a batch that was packed with this bucket's facts and key id."""
    cdef list verdicts = []
    cdef bytes text = reply if isinstance(reply, bytes) else b""
    cdef const char *at = PyBytes_AS_STRING(text)
    cdef const char *end = at + PyBytes_GET_SIZE(text)
    cdef const char *line
    cdef Py_ssize_t i, count = PyList_GET_SIZE(wanted)
    cdef uint64_t first = 0, fresh = 0
    cdef str ms = None
    number, epoch = bucket.number, bucket.epoch
    unknown = Decided([UNKNOWN] * count)
    line = _next_line(&at, end)
    if line == NULL:
        return unknown
    if not (at - line == 2 and line[0] == c"-"):
        ms = _read_position(line, at - 1, &first)
        if ms is None:
            return unknown
    for i in range(count):
        line = _next_line(&at, end)
        if line == NULL:
            return unknown
        if at - line == 2 and line[0] == c"+":
            position = f"{ms}-{first + fresh}"
            verdicts.append(Verdict(ACCEPTED, number, epoch, position, key_id))
            fresh += 1
            continue
        answer = PyBytes_FromStringAndSize(line, at - 1 - line)
        verdict = read_answer(answer, <object> PyList_GET_ITEM(wanted, i), bucket)
        if verdict is UNKNOWN:
            return unknown
        verdicts.append(verdict)
    # As many lines as there have to be, and a position just where one was given out.
    if at != end + 1 or (ms is not None) != (fresh > 0):
        return unknown
    return Decided(verdicts, f"{ms}-{first + fresh - 1}" if fresh else None, fresh)


cdef const char *_next_line(const char **at, const char *end) noexcept:
    """Where the next line begins; `at` goes behind its end, or what would be its end."""
    cdef const char *line = at[0]
    cdef const char *found
    if line > end:
        return NULL
    found = <const char *> memchr(line, c"\n", end - line)
    at[0] = (found if found != NULL else end) + 1
    return line


cdef str _read_position(const char *line, const char *end, uint64_t *seq):
    """Read `<ms>-<seq>`: the first as text, None for anything else."""
    cdef const char *dash = <const char *> memchr(line, c"-", end - line)
    cdef const char *at = line
    if dash == NULL or not 0 < dash - line <= DIGITS_MAX or not 1 < end - dash <= DIGITS_MAX:
        return None
    while at < end:
        if at != dash and not c"0" <= at[0] <= c"9":
            return None
        if at > dash:
            seq[0] = seq[0] * 10 + <uint64_t> (at[0] - c"0")
        at += 1
    return PyUnicode_DecodeASCII(line, dash - line, NULL)
