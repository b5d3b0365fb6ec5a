# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The answer to an accepted claim, order id, signed receipt and all, made in one pass.

Its readable twin is `Keyring.seal` with `answers.accepted`; `hotpath.ids` and `hotpath.receipts`
say what the fields mean.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from hotpath._digits cimport put_digits
from hotpath._signing cimport Signer, base64url_to

cdef enum:
    TEXT_BYTES_MAX = 1024
    ORDER_ID_BYTES = 36
    DIGEST_BYTES = 32

cdef const char *HEX = b"0123456789abcdef"


cdef struct Text:
    Py_ssize_t size
    char[TEXT_BYTES_MAX] at


cdef class Sealer:
    """Seals with a keyring's keys. The numbers of a claim and a verdict are in their bounds."""

    def __init__(self, keyring) -> None:
        self._signers = keyring.signers
        self._tags = keyring.order_ids.signer

    cpdef bytes accepted(self, claim, verdict, bytes defaults, bint last):
        """The whole answer; `defaults` are the server's own headers, `last` closes."""
        cdef Text payload, body, head, position
        cdef char[ORDER_ID_BYTES] order_id
        cdef uint64_t bucket = verdict.bucket, epoch = verdict.epoch, member = claim.member_id
        cdef uint64_t sale = claim.sale_id, sku = claim.sku_id, quantity = claim.quantity
        cdef Signer signer = self._signers[verdict.key_id]
        _put_text(&position, verdict.position)
        _name(order_id, self._tags, bucket, epoch, &position, member)
        payload.size = body.size = head.size = 0
        _put(&payload, b"1,", 2)
        _put_number(&payload, verdict.key_id)
        _put(&payload, b",", 1)
        _put(&payload, order_id, ORDER_ID_BYTES)
        _put_field(&payload, sale)
        _put_field(&payload, bucket)
        _put_field(&payload, sku)
        _put_field(&payload, quantity)
        _put_field(&payload, member)
        _put_field(&payload, epoch)
        _put(&payload, b",", 1)
        _put(&payload, position.at, position.size)
        _put(&body, b'{"order_id":"', 13)
        _put(&body, order_id, ORDER_ID_BYTES)
        _put(&body, b'","sale_id":"', 13)
        _put_number(&body, sale)
        _put(&body, b'","sku_id":"', 12)
        _put_number(&body, sku)
        _put(&body, b'","quantity":', 13)
        _put_number(&body, quantity)
        _put(&body, b',"state":"accepted","receipt":"', 31)
        _put_signed(&body, &payload, signer)
        _put(&body, b'"}', 2)
        _put(&head, b"location: /v1/orders/", 21)
        _put(&head, order_id, ORDER_ID_BYTES)
        _put(&head, b"\r\ncontent-type: application/json\r\ncontent-length: ", 50)
        _put_number(&head, body.size)
        _put(&head, b"\r\n", 2)
        if last:
            _put(&head, b"connection: close\r\n", 19)
        _put(&head, b"\r\n", 2)
        return _join(defaults, &head, &body)


cdef _name(
    char *order_id, Signer tags, uint64_t bucket, uint64_t epoch, const Text *position,
    uint64_t member,
):
    """Write the order's id."""
    cdef Text message
    cdef uint8_t[DIGEST_BYTES] digest
    cdef uint64_t ms = 0, seq = 0, high, low, tag
    cdef Py_ssize_t at = 0, i
    while at < position.size and position.at[at] != c"-":
        ms = ms * 10 + <uint64_t> (position.at[at] - c"0")
        at += 1
    for i in range(at + 1, position.size):
        seq = seq * 10 + <uint64_t> (position.at[i] - c"0")
    assert ms < <uint64_t> 1 << 42 and seq < 1 << 30 and bucket < 1 << 22 and 0 < epoch < 256
    message.size = 0
    _put_number(&message, bucket)
    _put_field(&message, epoch)
    _put(&message, b",", 1)
    _put(&message, position.at, position.size)
    _put_field(&message, member)
    tags.sign_to(<const uint8_t *> message.at, message.size, digest)
    tag = (<uint32_t> digest[0] << 16 | <uint32_t> digest[1] << 8 | digest[2]) >> 4
    # 122 free bits from the top, with the version and the variant put in between.
    high = ms << 18 | seq >> 12
    high = high >> 12 << 16 | 8 << 12 | (high & 0xFFF)
    low = <uint64_t> 2 << 62 | (seq & 0xFFF) << 50 | bucket << 28 | epoch << 20 | tag
    at = 0
    for i in range(32):
        if i == 8 or i == 12 or i == 16 or i == 20:
            order_id[at] = c"-"
            at += 1
        order_id[at] = HEX[(high if i < 16 else low) >> (60 - 4 * (i & 15)) & 15]
        at += 1


cdef inline void _put(Text *text, const char *more, Py_ssize_t size) noexcept:
    memcpy(text.at + text.size, more, size)
    text.size += size


cdef _put_text(Text *text, str more):
    cdef Py_ssize_t size = 0
    cdef const char *start = PyUnicode_AsUTF8AndSize(more, &size)
    assert size < 48
    text.size = 0
    _put(text, start, size)


cdef inline void _put_number(Text *text, uint64_t number) noexcept:
    text.size += put_digits(text.at + text.size, number)


cdef inline void _put_field(Text *text, uint64_t number) noexcept:
    _put(text, b",", 1)
    _put_number(text, number)


cdef void _put_signed(Text *text, const Text *payload, Signer signer) noexcept:
    cdef uint8_t[DIGEST_BYTES] digest
    text.size += base64url_to(<const uint8_t *> payload.at, payload.size, text.at + text.size)
    signer.sign_to(<const uint8_t *> payload.at, payload.size, digest)
    _put(text, b".", 1)
    text.size += base64url_to(digest, DIGEST_BYTES, text.at + text.size)


cdef bytes _join(bytes defaults, const Text *head, const Text *body):
    cdef Py_ssize_t between = PyBytes_GET_SIZE(defaults)
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, 23 + between + head.size + body.size)
    cdef char *to = PyBytes_AS_STRING(whole)
    memcpy(to, b"HTTP/1.1 202 Accepted\r\n", 23)
    memcpy(to + 23, PyBytes_AS_STRING(defaults), between)
    memcpy(to + 23 + between, head.at, head.size)
    memcpy(to + 23 + between + head.size, body.at, body.size)
    return whole
