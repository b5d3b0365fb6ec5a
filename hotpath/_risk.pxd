# cython: language_level=3
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    RULES_MAX = 16


cdef struct Rule:
    uint64_t subject
    int64_t ticks
    int64_t limit
    uint64_t verdict
    uint64_t number


cdef struct Sight:
    # What one worker saw of a ring: where it ends, and what a further entry would have to be.
    uint64_t *end
    uint64_t before
    uint64_t fresh


cdef class Lists:
    cdef const uint64_t[::1] networks
    cdef const uint64_t[::1] members
    cdef const uint64_t[::1] devices

    cdef uint64_t names(self, uint64_t hi, uint64_t lo, uint64_t member, uint64_t device) noexcept


cdef class Table:
    cdef readonly uint64_t dropped
    cdef uint8_t[::1] _memory
    cdef uint64_t *_header
    cdef uint64_t *_buckets
    cdef uint64_t *_first
    cdef uint64_t *_rest
    cdef uint64_t *_seen
    cdef uint64_t _bucket_mask, _seen_mask, _ring, _seed0, _seed1
    cdef Rule[RULES_MAX] _rules
    cdef int _rule_count
    cdef int64_t[4] _window
    cdef uint64_t _version
    cdef Lists _deny, _allow
    cdef uint64_t *_outbox
    cdef Py_ssize_t _outbox_count

    cdef uint64_t hash_of(self, const uint8_t *text, Py_ssize_t count) noexcept
    cdef uint64_t judge(
        self, double now_s, uint64_t ip_hi, uint64_t ip_lo, uint64_t member, uint64_t key_hash,
        uint64_t device,
    ) noexcept
    cdef uint64_t _count(
        self, uint64_t tick, uint64_t claim, uint64_t ip_hi, uint64_t ip_lo, uint64_t member,
        uint64_t device,
    ) noexcept
    cdef uint64_t _subject(self, int kind, uint64_t number) noexcept
    cdef void _foresee(self, uint64_t subject) noexcept
    cdef bint _is_ruled(self, int kind, uint64_t device) noexcept
    cdef uint64_t _admit(
        self, int kind, uint64_t subject, uint64_t claim, uint64_t tick, bint look_only
    ) noexcept
    cdef int _enter(
        self, int kind, uint64_t subject, uint64_t claim, uint64_t tick, uint64_t at,
        bint look_only, uint64_t *hits,
    ) noexcept
    cdef uint64_t *_slot(self, uint64_t way, uint64_t number) noexcept
    cdef uint64_t _end(self, uint64_t way) noexcept
    cdef int _look(
        self, int kind, uint64_t way, uint64_t claim, uint64_t tick, Sight *sight, uint64_t *hits
    ) noexcept
    cdef int _scan(
        self, int kind, uint64_t way, uint64_t end, uint64_t claim, uint64_t *now, int64_t *counts
    ) noexcept
    cdef int64_t _find(self, uint64_t subject, uint64_t tick) noexcept
    cdef int64_t _find_tag(self, uint64_t *bucket, uint64_t tag) noexcept
    cdef bint _is_done(self, uint64_t *bucket, uint64_t op) noexcept
    cdef uint64_t _next_op(self, uint64_t *bucket, uint64_t op, uint64_t tick) noexcept
    cdef void _clear(self, uint64_t way, uint64_t *tag) noexcept
    cdef uint64_t _worst(self, uint64_t hits, uint64_t *rule) noexcept
    cdef uint64_t _answer(
        self, uint64_t verdict, uint64_t rule, uint64_t hits, uint64_t repeat
    ) noexcept
    cdef bint _was_seen(self, uint64_t claim) noexcept
    cdef void _remember(self, uint64_t claim, uint64_t now) noexcept
    cdef void _tell(self, uint64_t subject, uint64_t claim, uint64_t tick) noexcept
