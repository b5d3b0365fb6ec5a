# cython: language_level=3
# What `_gate_py.py` is compiled with: which of its attributes are plain numbers and known types.

from libc.stdint cimport uint64_t

from hotpath._admission cimport Admission as _Admission
from hotpath._soldout cimport SoldOut as _SoldOut


cdef class Counters:
    cdef public Py_ssize_t claims, batches, busy, expired, unknown, damaged, sold_out


cdef class _Bucket:
    cdef public object facts, wire, queue, outside
    cdef public _Admission admission
    cdef public _SoldOut sold_out
    cdef public list waiting
    cdef public tuple keys, highest
    cdef public int in_flight
    cdef public bint awake, is_alone

    cpdef learn(self, facts)
    cpdef bint is_trusted(self)


cdef class Gate:
    cdef public Counters counters
    cdef public object shed, elsewhere
    cdef public object _wires, _stale, _loop, _sweeper, _doorkeeper
    cdef public object _key_id, _backlog_max
    cdef public Py_ssize_t _batch_max, _queue_max, _queued, _waiting
    cdef Py_ssize_t _at_first
    cdef double _wait_max_s, _outside_s, _deadline_s
    cdef public dict _routes, _buckets
    cdef list _awake

    cpdef bint refuses_here(
        self, uint64_t sale_id, uint64_t member_id, uint64_t sku_id, uint64_t quantity
    )
    cpdef claim(self, claim, done)
    cdef _Bucket _bucket_of(self, uint64_t sale_id, uint64_t member_id)
    cdef bint _waits(self, _Bucket bucket, claim, done, verdict)
    cdef _admit(self, _Bucket bucket, claim, done)
    cdef _let_in(self, _Bucket bucket, claim, done, double now)
    cdef _wake(self, _Bucket bucket)
    cdef _send(self, _Bucket bucket)
    cdef list _take(self, _Bucket bucket)
    cdef _refuse_queue(self, _Bucket bucket)
    cdef _turn_away(self, _Bucket bucket, done, double now, str why)
    cdef _close_door_later(self, double now)
    cdef _expire(self, _Bucket bucket, done)
    cdef _sweep_later(self)
    cdef _say(self, done, verdict)
