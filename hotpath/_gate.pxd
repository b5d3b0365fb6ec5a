# cython: language_level=3
# What `_gate_py.py` is compiled with: which of its attributes are plain numbers and known types.

cdef class _Bucket:
    cdef public object facts, wire, admission, sold_out, queue, outside
    cdef public list waiting
    cdef public tuple keys, highest
    cdef public int in_flight
    cdef public bint awake

    cpdef learn(self, facts)


cdef class Gate:
    cdef public object counters, shed, elsewhere
    cdef public object _wires, _stale, _loop, _sweeper, _doorkeeper
    cdef public object _key_id, _backlog_max
    cdef public Py_ssize_t _batch_max, _queue_max, _queued, _waiting
    cdef Py_ssize_t _at_first
    cdef double _wait_max_s, _outside_s, _deadline_s
    cdef public dict _routes, _buckets
    cdef list _awake

    cpdef claim(self, claim, done, bint is_new=*)
    cdef bint _is_gone(self, _Bucket bucket, claim)
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
