# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""From entries of the stream to rows of orders, written to be fast. See `_records_py.py`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy

from hotpath._signing cimport Signer

from hotpath._records_py import KEY_ID_MAX, PRICE_MAX, Rows

cdef extern from "crc32.h":
    void crc32_prepare() noexcept
    uint32_t crc32_of(uint32_t crc, const char *text, size_t size) noexcept

ctypedef const char *Text

cdef enum:
    KEY_MAX = 64
    QUANTITY_MAX = 1000000
    DIGITS_MAX = 19
    # Head, id, member, key, key id and amount: what a claim's own columns take at the most.
    OWN_BYTES_MAX = 2 + 20 + 12 + 4 + KEY_MAX + 6 + 12
    NAME_BYTES_MAX = 64

cdef int64_t ID_MAX = 0x7FFFFFFFFFFFFFFF
cdef uint64_t KEY_ID_LAST = KEY_ID_MAX

crc32_prepare()


cdef struct Shelf:
    uint64_t sku
    uint64_t price
    uint64_t sold
    Text order_columns
    Py_ssize_t order_size
    Text line_columns
    Py_ssize_t line_size


cdef struct Found:
    uint64_t member
    Text member_text
    Py_ssize_t member_size
    uint64_t sku
    uint64_t quantity
    uint64_t key_id
    Text key
    Py_ssize_t key_size


def crc32(bytes text not None) -> int:
    return crc32_of(0, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef class Packer:
    """Makes rows of one epoch's claims. The heads say how many columns a row has in all."""

    cdef Signer _signer
    cdef dict _places
    cdef object _kept
    cdef Shelf *_shelves
    cdef Py_ssize_t _shelf_count, _order_size_max, _line_size_max
    cdef uint64_t _bucket, _epoch
    cdef bytes _order_head, _line_head, _beginning, _named, _common

    def __cinit__(self):
        self._shelves = NULL

    def __init__(
        self, order_ids, shelves, *, int bucket, int epoch, bytes order_head not None,
        bytes line_head not None,
    ) -> None:
        assert len(order_head) == len(line_head) == 2
        assert bucket < 1 << 22 and 0 < epoch < 1 << 8
        self._signer = order_ids.signer
        self._kept = list(shelves.items())
        self._places = {sku: at for at, (sku, _) in enumerate(self._kept)}
        self._bucket, self._epoch = bucket, epoch
        self._order_head, self._line_head = order_head, line_head
        self._beginning = b"2,%d," % epoch
        self._named = b"%d,%d," % (bucket, epoch)
        self._keep_shelves()

    def __dealloc__(self):
        free(self._shelves)

    cdef _keep_shelves(self):
        """Point at the columns of each shelf, which `_kept` holds."""
        cdef Py_ssize_t at
        cdef bytes order_columns, line_columns
        cdef Shelf *shelf
        free(self._shelves)
        self._shelf_count = len(self._kept)
        self._shelves = <Shelf *> malloc(max(self._shelf_count, 1) * sizeof(Shelf))
        if self._shelves == NULL:
            raise MemoryError
        self._order_size_max = self._line_size_max = 0
        for at, (sku, (price_minor, order_columns, line_columns)) in enumerate(self._kept):
            assert 0 <= price_minor <= PRICE_MAX
            shelf = &self._shelves[at]
            shelf.sku, shelf.price, shelf.sold = sku, price_minor, 0
            shelf.order_columns = PyBytes_AS_STRING(order_columns)
            shelf.order_size = PyBytes_GET_SIZE(order_columns)
            shelf.line_columns = PyBytes_AS_STRING(line_columns)
            shelf.line_size = PyBytes_GET_SIZE(line_columns)
            self._order_size_max = max(self._order_size_max, shelf.order_size)
            self._line_size_max = max(self._line_size_max, shelf.line_size)

    def pack(self, entries, bytes common not None):
        """None where any claim is not what claim.lua writes, or cannot become an order."""
        cdef Py_ssize_t at, claims = 0
        cdef bytes orders, lines
        cdef char *order_at
        cdef char *line_at
        cdef list counts = []
        for entry in entries:
            counts.append(_claims_in(entry.records))
            claims += counts[len(counts) - 1]
        self._common = common
        orders = PyBytes_FromStringAndSize(
            NULL, claims * (OWN_BYTES_MAX + self._order_size_max + PyBytes_GET_SIZE(common))
        )
        lines = PyBytes_FromStringAndSize(NULL, claims * (2 + 20 + 8 + self._line_size_max))
        order_at, line_at = PyBytes_AS_STRING(orders), PyBytes_AS_STRING(lines)
        for at in range(self._shelf_count):
            self._shelves[at].sold = 0
        for entry, count in zip(entries, counts):
            if entry.count != b"%d,%d" % (count, count):
                return None
            if not self._pack_entry(entry.position, entry.records, &order_at, &line_at):
                return None
        sold = {
            self._shelves[at].sku: self._shelves[at].sold
            for at in range(self._shelf_count) if self._shelves[at].sold
        }
        return Rows(
            orders[:order_at - PyBytes_AS_STRING(orders)],
            lines[:line_at - PyBytes_AS_STRING(lines)],
            sold,
            claims,
        )

    cdef bint _pack_entry(
        self, str position, bytes records, char **order_at, char **line_at
    ) except -1:
        cdef Text at = PyBytes_AS_STRING(records)
        cdef Text end = at + PyBytes_GET_SIZE(records)
        cdef Text stop
        cdef Found found
        cdef Shelf *shelf = NULL
        cdef uint64_t ms, seq
        before, _, after = position.partition("-")
        if int(before) >= 1 << 42 or int(after) >= 1 << 30:
            return False
        ms, seq = int(before), int(after)
        while True:
            stop = <Text> memchr(at, c"\n", end - at)
            if stop == NULL:
                stop = end
            if not self._read(at, stop, &found) or seq >= 1 << 30:
                return False
            if shelf == NULL or shelf.sku != found.sku:
                place = self._places.get(found.sku)
                if place is None:
                    return False
                shelf = &self._shelves[<Py_ssize_t> place]
            self._write(ms, seq, &found, shelf, order_at, line_at)
            seq += 1
            if stop == end:
                return True
            at = stop + 1

    cdef bint _read(self, Text at, Text end, Found *found) noexcept:
        """Read a record, as strictly as `claims.decode_record` does."""
        cdef Text head = at
        cdef uint32_t crc
        if not _skip(&at, end, PyBytes_AS_STRING(self._beginning), len(self._beginning)):
            return False
        found.member_text = at
        if not _number(&at, end, DIGITS_MAX, &found.member):
            return False
        found.member_size = at - found.member_text
        if not (_skip(&at, end, b",", 1) and _number(&at, end, DIGITS_MAX, &found.sku)):
            return False
        if not (_skip(&at, end, b",", 1) and _number(&at, end, 7, &found.quantity)):
            return False
        if not (_skip(&at, end, b",", 1) and _number(&at, end, 9, &found.key_id)):
            return False
        if not _skip(&at, end, b",", 1):
            return False
        crc = crc32_of(0, head, at - head)
        found.key = at + 9
        found.key_size = end - found.key
        if not (0 < found.key_size <= KEY_MAX and at[8] == c"," and _is_printable(found)):
            return False
        return (
            _is_hex(at, crc32_of(crc, found.key, found.key_size))
            and found.member <= <uint64_t> ID_MAX
            and found.sku <= <uint64_t> ID_MAX
            and found.quantity <= QUANTITY_MAX
            and found.key_id <= KEY_ID_LAST
        )

    cdef void _write(
        self, uint64_t ms, uint64_t seq, Found *found, Shelf *shelf, char **order_at,
        char **line_at,
    ) noexcept:
        cdef uint64_t high, low
        cdef char *order_id
        high = (ms << 6 | seq >> 24) << 16 | 8 << 12 | (seq >> 12 & 0xFFF)
        low = (seq & 0xFFF) << 50 | self._bucket << 28 | self._epoch << 20
        low |= <uint64_t> 2 << 62 | self._tag(ms, seq, found)
        _put(order_at, PyBytes_AS_STRING(self._order_head), 2)
        order_id = order_at[0]
        _put_number(order_at, 16, 4)
        _put_number(order_at, high, 8)
        _put_number(order_at, low, 8)
        _put(line_at, PyBytes_AS_STRING(self._line_head), 2)
        _put(line_at, order_id, 20)
        _put_column(order_at, found.member, 8)
        _put_number(order_at, found.key_size, 4)
        _put(order_at, found.key, found.key_size)
        _put_column(order_at, found.key_id, 2)
        _put_column(order_at, shelf.price * found.quantity, 8)
        _put(order_at, shelf.order_columns, shelf.order_size)
        _put(order_at, PyBytes_AS_STRING(self._common), PyBytes_GET_SIZE(self._common))
        _put_column(line_at, found.quantity, 4)
        _put(line_at, shelf.line_columns, shelf.line_size)
        shelf.sold += found.quantity

    cdef uint64_t _tag(self, uint64_t ms, uint64_t seq, Found *found) noexcept:
        """The tag of `ids.OrderIds`."""
        cdef char[NAME_BYTES_MAX] name
        cdef uint8_t[32] digest
        cdef char *at = name
        _put(&at, PyBytes_AS_STRING(self._named), len(self._named))
        _put_digits(&at, ms)
        _put(&at, b"-", 1)
        _put_digits(&at, seq)
        _put(&at, b",", 1)
        _put(&at, found.member_text, found.member_size)
        self._signer.sign_to(<const uint8_t *> name, at - name, digest)
        return <uint64_t> digest[0] << 12 | <uint64_t> digest[1] << 4 | digest[2] >> 4


cdef Py_ssize_t _claims_in(bytes records):
    return records.count(b"\n") + 1


cdef bint _skip(Text *at, Text end, Text wanted, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i
    if end - at[0] < size:
        return False
    for i in range(size):
        if at[0][i] != wanted[i]:
            return False
    at[0] += size
    return True


cdef bint _number(Text *at, Text end, int digits_max, uint64_t *number) noexcept:
    """A decimal number above 0, without a leading zero; 19 digits fit 64 bits."""
    cdef Text start = at[0]
    number[0] = 0
    if start < end and start[0] == c"0":
        return False
    while at[0] < end and c"0" <= at[0][0] <= c"9":
        if at[0] - start == digits_max:
            return False
        number[0] = number[0] * 10 + <uint64_t> (at[0][0] - c"0")
        at[0] += 1
    return at[0] > start


cdef bint _is_hex(Text at, uint32_t crc) noexcept:
    cdef int i
    for i in range(8):
        if at[i] != b"0123456789abcdef"[crc >> (28 - 4 * i) & 15]:
            return False
    return True


cdef bint _is_printable(Found *found) noexcept:
    cdef Py_ssize_t i
    for i in range(found.key_size):
        if not c" " <= found.key[i] <= c"~":
            return False
    return True


cdef inline void _put(char **to, Text text, Py_ssize_t size) noexcept:
    memcpy(to[0], text, size)
    to[0] += size


cdef inline void _put_number(char **to, uint64_t number, int size) noexcept:
    """The highest byte first."""
    cdef int i
    for i in range(size):
        to[0][i] = <char> (number >> 8 * (size - 1 - i) & 0xFF)
    to[0] += size


cdef inline void _put_column(char **to, uint64_t number, int size) noexcept:
    _put_number(to, size, 4)
    _put_number(to, number, size)


cdef void _put_digits(char **to, uint64_t number) noexcept:
    cdef char[20] digits
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = <char> (c"0" + number % 10)
        number //= 10
        if number == 0:
            break
    _put(to, digits + at, 20 - at)
