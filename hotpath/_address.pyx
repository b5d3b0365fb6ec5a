# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The walk through proxies, written to be fast. See `_address_py.py` for what it means."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcpy

from hotpath._address_py import HOPS_MAX as _HOPS_MAX
from hotpath._address_py import bounds as _bounds_of
from hotpath._address_py import halves as _halves
from hotpath._address_py import parse as _parse

cdef extern from "arpa/inet.h" nogil:
    const int AF_INET, AF_INET6
    int inet_pton(int family, const char *text, void *address)

cdef enum:
    TEXT_MAX = 45

cdef int HOPS_MAX = _HOPS_MAX

ctypedef const char* Text


cdef class Proxies:
    """The networks whose X-Forwarded-For counts."""

    def __init__(self, networks) -> None:
        cdef Py_ssize_t i
        found = [address for network in networks for address in _bounds_of(network)]
        PyMem_Free(self._bounds)
        self._bounds = <Address *> PyMem_Malloc(max(1, len(found)) * sizeof(Address))
        if self._bounds == NULL:
            raise MemoryError
        for i in range(len(found)):
            self._bounds[i].hi, self._bounds[i].lo = _halves(found[i])
        self._count = len(found) // 2

    def __dealloc__(self) -> None:
        PyMem_Free(self._bounds)

    def trusts(self, address) -> bool:
        cdef Address it
        it.hi, it.lo = _halves(address)
        return self.trusts_it(it)

    def client(self, peer, forwarded) -> int:
        """The nearest address that is not one of ours. `forwarded` are all headers, in order."""
        return self.client_from(_parse(peer) or 0, forwarded)

    def client_from(self, peer, forwarded) -> int:
        """The same, where the peer's address is known already."""
        cdef Address found
        cdef bytes text = ",".join(forwarded).encode("utf-8", "replace")
        found.hi, found.lo = _halves(peer)
        if forwarded:
            found = self.client_of(found, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        return <object> found.hi << 64 | <object> found.lo

    cdef bint trusts_it(self, Address address) noexcept:
        cdef Py_ssize_t i
        if address.hi == 0 and address.lo == 0:
            return False
        for i in range(0, 2 * self._count, 2):
            if not _above(self._bounds[i], address) and not _above(address, self._bounds[i + 1]):
                return True
        return False

    cdef Address client_of(
        self, Address peer, const char *forwarded, Py_ssize_t size
    ) noexcept:
        """The same, of one text of entries with commas between them."""
        cdef Address found = peer, entry
        cdef Py_ssize_t start, end = size
        if not self.trusts_it(peer):
            return found
        for _ in range(HOPS_MAX):
            start = end
            while start > 0 and forwarded[start - 1] != c",":
                start -= 1
            if not read_address(forwarded + start, end - start, &entry):
                break
            found = entry
            if not self.trusts_it(found) or start == 0:
                break
            end = start - 1
        return found


cdef inline bint _above(Address one, Address other) noexcept:
    return one.hi > other.hi or (one.hi == other.hi and one.lo > other.lo)


cdef bint read_address(const char *text, Py_ssize_t size, Address *found) noexcept:
    """Read an address as it stands between two commas; False for anything else."""
    cdef char[TEXT_MAX + 1] copy
    cdef uint8_t[16] raw
    cdef bint is_long
    cdef int i
    found.hi = found.lo = 0
    while size > 0 and (text[0] == c" " or text[0] == c"\t"):
        text, size = text + 1, size - 1
    while size > 0 and (text[size - 1] == c" " or text[size - 1] == c"\t"):
        size -= 1
    if size > TEXT_MAX or memchr(text, 0, size) != NULL:
        return False
    memcpy(copy, text, size)
    copy[size] = 0
    is_long = memchr(text, c":", size) != NULL
    if inet_pton(AF_INET6 if is_long else AF_INET, copy, raw) != 1:
        return False
    if is_long:
        for i in range(8):
            found.hi = found.hi << 8 | raw[i]
            found.lo = found.lo << 8 | raw[8 + i]
    else:
        found.lo = 0xFFFF
        for i in range(4):
            found.lo = found.lo << 8 | raw[i]
    return True
