# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Risk, written to be fast, in memory that all workers of a host share. `_risk_py.py` says what.

Why it is exact without a lock, and why kill -9 at any instant leaves it whole:

A subject's claims stand in a ring of 64-bit words (lap, time in quarters of a second, fingerprint
of 34 bits), written strictly one after the other. The lap tells where the ring ends, so there is
no counter to fall behind. To count a claim is one compare-and-swap on the first word of the last
lap. It succeeds only if that word is as it was before the ring was read, and as nobody can write
elsewhere, nothing was counted in between: what was read is the whole truth at that instant, and
two workers never both take place 100, nor count one claim twice. Who loses reads again. The step
is a single write, so whoever dies has counted or has not. A ring's times never go back.
Time is coarse by a quarter of a second: a claim counts for the window less at most that much.

Subjects stand in buckets of 16 ways. Who joins a bucket is decided by a compare-and-swap of the
bucket's one `op` word (sequence, way, tag), which says all that is to be done, and any worker that
passes completes what a dead one began. A full bucket gives up the subject that showed itself
longest ago; that one starts again from nothing. The newcomer's way is marked until the entries of
its predecessor are void. Who counts looks at the way's tag once more afterwards, and takes back
what went into a ring that had changed hands. To die right there costs the newcomer one claim.

Two different claims have one fingerprint once in 2**34, and nobody can aim for it without the seed.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from array import array

cdef extern from *:
    """
    static inline uint64_t load(const uint64_t *at)
    { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline int swap(uint64_t *at, uint64_t old, uint64_t fresh)
    { return __atomic_compare_exchange_n(
          at, &old, fresh, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline uint32_t peek(const uint32_t *at)
    { return __atomic_load_n(at, __ATOMIC_RELAXED); }
    static inline void put(uint32_t *at, uint32_t fresh)
    { __atomic_store_n(at, fresh, __ATOMIC_RELAXED); }
    static inline void fetch(const uint64_t *at)
    { __builtin_prefetch(at); }
    """
    uint64_t load(const uint64_t *at) noexcept nogil
    bint swap(uint64_t *at, uint64_t old, uint64_t fresh) noexcept nogil
    uint32_t peek(const uint32_t *at) noexcept nogil
    void put(uint32_t *at, uint32_t fresh) noexcept nogil
    void fetch(const uint64_t *at) noexcept nogil

cdef enum:
    TICKS_PER_S = 4
    SEEN_TICKS_PER_S = 64
    AHEAD_TICKS_MAX = 240
    WAYS = 16
    SEEN_WAYS = 8
    RULE_FIELDS = 5
    OUTBOX_MAX = 16_384
    RECORD_FIELDS = 3
    RECORD_BYTES = 24
    ROUNDS_MAX = 10_000
    LAPS = 15

    # Where things are, in words. The first eight entries of all subjects stand close together: most
    # subjects never need more.
    HEADER = 512
    HEARD = 17
    BUCKET = 32
    TAGS = 8
    UNSEEN = 24
    FIRST = 8

    IP = 1
    MEMBER = 2
    DEVICE = 3
    ALLOW = 0
    REVIEW = 1
    BLOCK = 3
    ALLOWED = 4

    COUNTED = 1
    KNOWN = 2
    STOPPED = 3
    MOVED = 4

cdef uint64_t TAG = (<uint64_t> 1 << 40) - 1
cdef uint64_t SEQUENCE = <uint64_t> 0xFFFFF << 40
cdef uint64_t MARKED = <uint64_t> 1 << 63
cdef uint64_t PRINT = (<uint64_t> 1 << 34) - 1
cdef uint64_t TICK = (<uint64_t> 1 << 26) - 1
cdef uint64_t SEEN_TICK = 0xFFFFFF
cdef double NOW_S_MAX = <double> (<uint64_t> 1 << 40)


cdef inline uint64_t mix(uint64_t number) noexcept nogil:
    number = (number ^ number >> 30) * <uint64_t> 0xBF58476D1CE4E5B9
    number = (number ^ number >> 27) * <uint64_t> 0x94D049BB133111EB
    return number ^ number >> 31


cdef inline uint64_t turn(uint64_t number, int left) noexcept nogil:
    return number << left | number >> (64 - left)


cdef inline void scramble(uint64_t *v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = turn(v[1], 13) ^ v[0]
    v[3] = turn(v[3], 16) ^ v[2]
    v[0] = turn(v[0], 32)
    v[2] += v[1]
    v[0] += v[3]
    v[1] = turn(v[1], 17) ^ v[2]
    v[3] = turn(v[3], 21) ^ v[0]
    v[2] = turn(v[2], 32)


cdef inline uint64_t part(const uint8_t *text, Py_ssize_t count) noexcept nogil:
    cdef uint64_t word = 0
    cdef Py_ssize_t i
    for i in range(count):
        word |= <uint64_t> text[i] << (8 * i)
    return word


cdef uint64_t siphash(
    uint64_t first, uint64_t second, const uint8_t *text, Py_ssize_t count
) noexcept nogil:
    cdef uint64_t[4] v
    cdef uint64_t word
    cdef Py_ssize_t at = 0
    v[0] = first ^ <uint64_t> 0x736F6D6570736575
    v[1] = second ^ <uint64_t> 0x646F72616E646F6D
    v[2] = first ^ <uint64_t> 0x6C7967656E657261
    v[3] = second ^ <uint64_t> 0x7465646279746573
    while True:
        if count - at >= 8:
            word = part(text + at, 8)
        else:
            word = (<uint64_t> count & 0xFF) << 56 | part(text + at, count - at)
        v[3] ^= word
        scramble(v)
        v[0] ^= word
        if count - at < 8:
            break
        at += 8
    v[2] ^= 0xFF
    scramble(v)
    scramble(v)
    scramble(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef inline uint64_t ip_of(uint64_t hi, uint64_t lo) noexcept nogil:
    """An address as one number: IPv6 by its /64."""
    return mix(hi) if hi or lo >> 32 != 0xFFFF else lo


cdef inline uint64_t tag_of(uint64_t number) noexcept nogil:
    return number >> 24 if number >> 24 else 1


cdef inline uint64_t lap_of(uint64_t entry) noexcept nogil:
    return entry >> 60


cdef inline uint64_t print_of(uint64_t claim) noexcept nogil:
    return claim >> 30 if claim >> 30 else 1


cdef inline int64_t since(uint64_t later, uint64_t earlier) noexcept nogil:
    """Ticks from one to the other; below 0 where the other is later. They wrap in 194 days."""
    return <int32_t> (<uint32_t> (later - earlier) << 6) >> 6


cdef inline uint64_t tick_of(uint64_t entry) noexcept nogil:
    return entry >> 34 & TICK


cdef class Lists:
    """Networks, members and devices, each sorted."""

    def __init__(self, lists) -> None:
        networks, members, devices = lists
        self.networks = array("Q", networks)
        self.members = array("Q", members)
        self.devices = array("Q", devices)
        if self.networks.shape[0] % 4:
            raise ValueError

    cdef uint64_t names(self, uint64_t hi, uint64_t lo, uint64_t member, uint64_t device) noexcept:
        if self.networks.shape[0] and within(self.networks, hi, lo):
            return IP
        if self.members.shape[0] and holds(self.members, member):
            return MEMBER
        return DEVICE if device and self.devices.shape[0] and holds(self.devices, device) else 0


cdef inline bint is_above(uint64_t hi, uint64_t lo, uint64_t to_hi, uint64_t to_lo) noexcept:
    return hi > to_hi or (hi == to_hi and lo > to_lo)


cdef bint within(const uint64_t[::1] networks, uint64_t hi, uint64_t lo) noexcept:
    """Whether one of the sorted, disjoint ranges holds this address."""
    cdef Py_ssize_t low = 0, high = networks.shape[0] // 4, middle
    while low < high:
        middle = (low + high) // 2
        if not is_above(networks[4 * middle], networks[4 * middle + 1], hi, lo):
            low = middle + 1
        else:
            high = middle
    return low > 0 and not is_above(hi, lo, networks[4 * low - 2], networks[4 * low - 1])


cdef bint holds(const uint64_t[::1] numbers, uint64_t wanted) noexcept:
    cdef Py_ssize_t low = 0, high = numbers.shape[0], middle
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low < numbers.shape[0] and numbers[low] == wanted


cdef class Table:
    """The counts of a host, and the program that judges by them."""

    def __cinit__(self) -> None:
        self._outbox = <uint64_t *> PyMem_Malloc(OUTBOX_MAX * RECORD_FIELDS * sizeof(uint64_t))
        if self._outbox == NULL:
            raise MemoryError

    def __dealloc__(self) -> None:
        PyMem_Free(self._outbox)

    def __init__(self, memory, *, uint64_t subjects, uint64_t ring, uint64_t seen, seed) -> None:
        """`memory` is a writable buffer, zero at first. The sizes are powers of two."""
        if subjects < WAYS or ring < 2 * FIRST or seen < SEEN_WAYS:
            raise ValueError
        if subjects & (subjects - 1) or ring & (ring - 1) or seen & (seen - 1):
            raise ValueError
        self._memory = memory
        words = HEADER + subjects // WAYS * BUCKET + subjects * ring + seen
        if <uint64_t> self._memory.shape[0] != words * 8:
            raise ValueError
        self._header = <uint64_t *> &self._memory[0]
        self._buckets = self._header + HEADER
        self._first = self._buckets + subjects // WAYS * BUCKET
        self._rest = self._first + subjects * FIRST
        self._seen = self._rest + subjects * (ring - FIRST)
        self._bucket_mask = subjects // WAYS - 1
        self._seen_mask = seen // SEEN_WAYS - 1
        self._ring = ring
        self._seed0, self._seed1 = seed
        self._outbox_count = 0
        self.dropped = 0
        self.obey(0, [], deny=([], [], []), allow=([], [], []))

    def obey(self, uint64_t version, rules, *, deny, allow) -> None:
        """Take a program: flat rules (subject, window_s, limit, verdict, id), then the lists."""
        cdef int number
        cdef Rule *rule
        numbers = array("q", rules)
        if len(numbers) % RULE_FIELDS or len(numbers) > RULES_MAX * RULE_FIELDS:
            raise ValueError
        if any(limit >= self._ring - 1 for limit in numbers[2::RULE_FIELDS]):
            raise ValueError
        denied, allowed = Lists(deny), Lists(allow)
        self._window[:] = [0, 0, 0, 0]
        for number in range(len(numbers) // RULE_FIELDS):
            rule = &self._rules[number]
            rule.subject = numbers[RULE_FIELDS * number]
            rule.ticks = numbers[RULE_FIELDS * number + 1] * TICKS_PER_S
            rule.limit = numbers[RULE_FIELDS * number + 2]
            rule.verdict = numbers[RULE_FIELDS * number + 3]
            rule.number = numbers[RULE_FIELDS * number + 4]
            if IP <= rule.subject <= DEVICE:
                self._window[rule.subject] = max(self._window[rule.subject], rule.ticks)
            self._window[0] = max(self._window[0], rule.ticks)
        self._rule_count = len(numbers) // RULE_FIELDS
        self._version = version
        self._deny, self._allow = denied, allowed

    def hash_key(self, const uint8_t[::1] key) -> int:
        cdef Py_ssize_t count = key.shape[0]
        return self.hash_of(&key[0] if count else NULL, count)

    cdef uint64_t hash_of(self, const uint8_t *text, Py_ssize_t count) noexcept:
        return siphash(self._seed0, self._seed1, text, count)

    def decide(
        self, double now_s, uint64_t ip_hi, uint64_t ip_lo, uint64_t member, uint64_t key_hash,
        uint64_t device,
    ) -> int:
        """Judge a claim, and count it where it goes on. `device` 0 is none."""
        if not 0 <= now_s < NOW_S_MAX:
            raise ValueError
        return self.judge(now_s, ip_hi, ip_lo, member, key_hash, device)

    cdef uint64_t judge(
        self, double now_s, uint64_t ip_hi, uint64_t ip_lo, uint64_t member, uint64_t key_hash,
        uint64_t device,
    ) noexcept:
        """The same, of a time that is in bounds."""
        cdef uint64_t claim, tick, named, hits = 0, verdict = ALLOW, rule = 0
        claim = mix(key_hash ^ mix(member + self._seed0))
        # What will be read lies anywhere in a table beyond all caches: have it all come at once.
        fetch(self._seen + (claim & self._seen_mask) * SEEN_WAYS)
        self._foresee(self._subject(IP, ip_of(ip_hi, ip_lo)))
        self._foresee(self._subject(MEMBER, member))
        if self._was_seen(claim):
            return self._answer(ALLOW, 0, 0, 1)
        named = self._deny.names(ip_hi, ip_lo, member, device)
        if named:
            return self._answer(BLOCK, named, 0, 0)
        if self._allow.names(ip_hi, ip_lo, member, device):
            rule = ALLOWED
        elif self._rule_count:
            tick = <uint64_t> (now_s * TICKS_PER_S)
            hits = self._count(tick, claim, ip_hi, ip_lo, member, device)
            verdict = self._worst(hits, &rule)
        if verdict <= REVIEW:
            self._remember(claim, <uint64_t> now_s // SEEN_TICKS_PER_S)
        return self._answer(verdict, rule, hits, 0)

    cdef uint64_t _count(
        self, uint64_t tick, uint64_t claim, uint64_t ip_hi, uint64_t ip_lo, uint64_t member,
        uint64_t device,
    ) noexcept:
        """Say which rules are hit, one bit each; count the claim if none of them stops it."""
        cdef uint64_t[4] subjects
        cdef uint64_t hits = 0, rule = 0
        cdef int kind, ruled = 0
        subjects[IP] = ip_of(ip_hi, ip_lo)
        subjects[MEMBER] = member
        subjects[DEVICE] = device
        for kind in range(IP, DEVICE + 1):
            subjects[kind] = self._subject(kind, subjects[kind])
            ruled += self._is_ruled(kind, device)
        if ruled > 1:
            for kind in range(IP, DEVICE + 1):
                if self._is_ruled(kind, device):
                    hits |= self._admit(kind, subjects[kind], claim, tick, True)
            if self._worst(hits, &rule) > REVIEW:
                return hits
            hits = 0
        for kind in range(IP, DEVICE + 1):
            if self._is_ruled(kind, device):
                hits |= self._admit(kind, subjects[kind], claim, tick, False)
        return hits

    cdef inline uint64_t _subject(self, int kind, uint64_t number) noexcept:
        return mix(mix(number ^ self._seed1) + kind)

    cdef inline void _foresee(self, uint64_t subject) noexcept:
        cdef uint64_t *bucket = self._buckets + (subject & self._bucket_mask) * BUCKET
        fetch(bucket)
        fetch(bucket + TAGS)
        fetch(bucket + TAGS + 8)

    cdef inline bint _is_ruled(self, int kind, uint64_t device) noexcept:
        return self._window[kind] > 0 and (kind != DEVICE or device != 0)

    cdef uint64_t _admit(
        self, int kind, uint64_t subject, uint64_t claim, uint64_t tick, bint look_only
    ) noexcept:
        cdef uint64_t hits = 0
        cdef int outcome = self._enter(kind, subject, claim, tick, tick, look_only, &hits)
        if outcome == COUNTED:
            self._tell(subject, claim, tick)
        return hits

    cdef int _enter(
        self, int kind, uint64_t subject, uint64_t claim, uint64_t tick, uint64_t at,
        bint look_only, uint64_t *hits,
    ) noexcept:
        """Count a claim that happened `at` in its subject's ring, unless a rule stops it there.

        Kind 0 asks no rule. Each round that fails was somebody else's success.
        """
        cdef Sight sight
        cdef uint64_t word, rule = 0
        cdef int64_t way
        cdef int outcome
        cdef uint64_t *tag
        for _ in range(ROUNDS_MAX):
            way = self._find(subject, tick)
            if way < 0:
                break
            tag = self._buckets + way // WAYS * BUCKET + TAGS + way % WAYS
            word = load(tag)
            if word & MARKED or word & TAG != tag_of(subject):
                continue
            hits[0] = 0
            outcome = self._look(kind, way, print_of(claim), at & TICK, &sight, hits)
            if outcome == MOVED:
                continue
            if outcome == KNOWN:
                hits[0] = 0
                return KNOWN
            if look_only or (kind and self._worst(hits[0], &rule) > REVIEW):
                return STOPPED
            if not swap(sight.end, sight.before, sight.fresh):
                continue
            if load(tag) == word:
                return COUNTED
            swap(sight.end, sight.fresh, sight.fresh & ~PRINT)
        return STOPPED

    cdef inline uint64_t *_slot(self, uint64_t way, uint64_t number) noexcept:
        if number < FIRST:
            return self._first + way * FIRST + number
        return self._rest + way * (self._ring - FIRST) + number - FIRST

    cdef uint64_t _end(self, uint64_t way) noexcept:
        """The first word of the ring that is of another lap than word 0: there it goes on."""
        cdef uint64_t lap = lap_of(load(self._slot(way, 0))), low = 0, high = 1, middle
        if lap == 0:
            return 0
        while high < self._ring and lap_of(load(self._slot(way, high))) == lap:
            low = high
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            if lap_of(load(self._slot(way, middle))) == lap:
                low = middle
            else:
                high = middle
        return high

    cdef int _look(
        self, int kind, uint64_t way, uint64_t claim, uint64_t tick, Sight *sight, uint64_t *hits
    ) noexcept:
        """See a ring as it is at one instant, or find that it MOVED meanwhile."""
        cdef uint64_t end = self._end(way), now = tick, earlier, lap, before
        cdef int64_t[RULES_MAX] counts
        cdef int number, outcome
        lap = lap_of(load(self._slot(way, 0)))
        if end == self._ring:
            end = 0
        if end == 0:
            lap = lap % LAPS + 1
        sight.end = self._slot(way, end)
        sight.before = load(sight.end)
        before = load(self._slot(way, (end - 1) & (self._ring - 1)))
        # The end must be the end still: a word of the last lap, right after one of this lap.
        earlier = (lap + LAPS - 2) % LAPS + 1
        if lap_of(sight.before) not in (0, earlier):
            return MOVED
        if lap_of(before) != (lap if end else lap_of(sight.before) and earlier):
            return MOVED
        for number in range(self._rule_count):
            counts[number] = 0
        outcome = self._scan(kind, way, end, claim, &now, counts)
        if load(sight.end) != sight.before:
            return MOVED
        for number in range(self._rule_count):
            if self._rules[number].subject == <uint64_t> kind:
                if counts[number] >= self._rules[number].limit:
                    hits[0] |= <uint64_t> 1 << number
        sight.fresh = lap << 60 | now << 34 | claim
        return outcome

    cdef int _scan(
        self, int kind, uint64_t way, uint64_t end, uint64_t claim, uint64_t *now, int64_t *counts
    ) noexcept:
        """Count what lives, newest first, for each rule. `now` becomes the time by the ring."""
        cdef uint64_t back, entry, later = now[0]
        cdef int64_t age
        cdef bint is_newest = True
        cdef int number
        for back in range(1, self._ring):
            entry = load(self._slot(way, (end - back) & (self._ring - 1)))
            if entry == 0:
                break
            if entry & PRINT == 0:
                continue
            if is_newest and 0 < since(tick_of(entry), later) <= AHEAD_TICKS_MAX:
                now[0] = later = tick_of(entry)
            is_newest = False
            age = since(now[0], tick_of(entry))
            if since(tick_of(entry), later) > 0 or age >= self._window[kind]:
                break
            later = tick_of(entry)
            if entry & PRINT == claim:
                return KNOWN
            for number in range(self._rule_count):
                if self._rules[number].subject == <uint64_t> kind:
                    counts[number] += age < self._rules[number].ticks
        return COUNTED

    cdef int64_t _find(self, uint64_t subject, uint64_t tick) noexcept:
        """The way in which a subject is counted; a newcomer may take the longest unseen one's."""
        cdef uint64_t number = subject & self._bucket_mask, tag = tag_of(subject), op
        cdef uint64_t *bucket = self._buckets + number * BUCKET
        cdef uint32_t *unseen = <uint32_t *> (bucket + UNSEEN)
        cdef int64_t way = self._find_tag(bucket, tag)
        for _ in range(ROUNDS_MAX):
            if way >= 0:
                if load(bucket + TAGS + way) & MARKED:
                    self._clear(number * WAYS + way, bucket + TAGS + way)
                if peek(unseen + way) != <uint32_t> tick:
                    put(unseen + way, <uint32_t> tick)
                return number * WAYS + way
            # Who is not there, while the op is done and stays what it was, has not been let in.
            op = load(bucket)
            if not self._is_done(bucket, op):
                way = self._find_tag(bucket, tag)
                continue
            way = self._find_tag(bucket, tag)
            if way < 0:
                swap(bucket, op, self._next_op(bucket, op, tick) | tag)
        return -1

    cdef int64_t _find_tag(self, uint64_t *bucket, uint64_t tag) noexcept:
        cdef int64_t way
        for way in range(WAYS):
            if load(bucket + TAGS + way) & TAG == tag:
                return way
        return -1

    cdef bint _is_done(self, uint64_t *bucket, uint64_t op) noexcept:
        """Whether a bucket's op was done already; if not, do it."""
        cdef uint64_t *tag = bucket + TAGS + (op >> 60)
        cdef uint64_t word = load(tag), wanted = op & (SEQUENCE | TAG)
        if load(bucket) != op:
            return False
        if op == 0 or word & (SEQUENCE | TAG) == wanted:
            return True
        swap(tag, word, wanted | MARKED)
        return False

    cdef uint64_t _next_op(self, uint64_t *bucket, uint64_t op, uint64_t tick) noexcept:
        """Name an empty way, or the one whose subject has shown itself longest ago."""
        cdef uint32_t *unseen = <uint32_t *> (bucket + UNSEEN)
        cdef uint64_t way, oldest = 0
        cdef int32_t age, age_max = 0
        for way in range(WAYS):
            if load(bucket + TAGS + way) == 0:
                oldest = way
                break
            age = <int32_t> (<uint32_t> tick - peek(unseen + way))
            if way == 0 or age > age_max:
                oldest, age_max = way, age
        return oldest << 60 | (((op & SEQUENCE) + (<uint64_t> 1 << 40)) & SEQUENCE)

    cdef void _clear(self, uint64_t way, uint64_t *tag) noexcept:
        """Make a marked way's ring void, which is its predecessor's, and take the mark off."""
        cdef uint64_t number, entry, word = load(tag)
        if not word & MARKED:
            return
        for number in range(self._ring):
            entry = load(self._slot(way, number))
            if entry == 0:
                break
            # Only what was there while the mark still stood is the predecessor's.
            if load(tag) != word:
                return
            if entry & PRINT:
                swap(self._slot(way, number), entry, entry & ~PRINT)
        swap(tag, word, word & ~MARKED)

    cdef uint64_t _worst(self, uint64_t hits, uint64_t *rule) noexcept:
        """The gravest verdict of the rules that were hit, and the first rule that gives it."""
        cdef uint64_t verdict = ALLOW
        cdef int number
        rule[0] = 0
        for number in range(self._rule_count):
            if hits >> number & 1 and self._rules[number].verdict > verdict:
                verdict = self._rules[number].verdict
                rule[0] = self._rules[number].number
        return verdict

    cdef inline uint64_t _answer(
        self, uint64_t verdict, uint64_t rule, uint64_t hits, uint64_t repeat
    ) noexcept:
        return verdict | repeat << 3 | rule << 4 | hits << 20 | self._version << 36

    cdef bint _was_seen(self, uint64_t claim) noexcept:
        cdef uint64_t *bucket = self._seen + (claim & self._seen_mask) * SEEN_WAYS
        cdef int way
        for way in range(SEEN_WAYS):
            if load(bucket + way) >> 24 == tag_of(claim):
                return True
        return False

    cdef void _remember(self, uint64_t claim, uint64_t now) noexcept:
        """Note that a claim was let through, if need be in the place of the oldest."""
        cdef uint64_t *bucket = self._seen + (claim & self._seen_mask) * SEEN_WAYS
        cdef uint64_t word, oldest
        cdef int way, place
        for _ in range(ROUNDS_MAX):
            oldest, place = 0xFFFFFFFFFFFFFFFF, 0
            for way in range(SEEN_WAYS):
                word = load(bucket + way)
                if word >> 24 == tag_of(claim):
                    return
                if word == 0:
                    oldest, place = 0, way
                    break
                if way == 0 or word & SEEN_TICK < oldest & SEEN_TICK:
                    oldest, place = word, way
            # Never before what it displaces, so that nothing forgotten is younger than what stays.
            now = max(now & SEEN_TICK, oldest & SEEN_TICK)
            if swap(bucket + place, oldest, tag_of(claim) << 24 | now):
                return

    def knows(self, uint64_t member, uint64_t key_hash, double since_s) -> bool:
        """Whether this claim would be known as a repeat, had it been let through since then."""
        cdef uint64_t claim = mix(key_hash ^ mix(member + self._seed0))
        cdef uint64_t *bucket = self._seen + (claim & self._seen_mask) * SEEN_WAYS
        cdef uint64_t word, oldest = SEEN_TICK
        cdef int way
        if not 0 <= since_s < NOW_S_MAX:
            raise ValueError
        if load(self._header + HEARD):
            return False
        for way in range(SEEN_WAYS):
            word = load(bucket + way)
            if word == 0:
                return True
            oldest = min(oldest, word & SEEN_TICK)
        return oldest < (<uint64_t> since_s // SEEN_TICKS_PER_S & SEEN_TICK)

    cdef void _tell(self, uint64_t subject, uint64_t claim, uint64_t tick) noexcept:
        """Keep for the other hosts what was let through; beyond the bound they never hear of it."""
        cdef uint64_t *record = self._outbox + self._outbox_count * RECORD_FIELDS
        if self._outbox_count == OUTBOX_MAX:
            self.dropped += 1
            return
        record[0], record[1], record[2] = subject, claim, tick
        self._outbox_count += 1

    def drain(self) -> bytes:
        """What this process has let through since the last time: (subject, claim, tick) each."""
        drained = PyBytes_FromStringAndSize(
            <const char *> self._outbox, self._outbox_count * RECORD_BYTES
        )
        self._outbox_count = 0
        return drained

    def enter(self, bytes records not None, double now_s) -> None:
        """Count what another host has let through. No rule stops it, for it has happened."""
        cdef uint64_t tick, hits = 0
        cdef const uint64_t[::1] numbers = array("Q", records)
        cdef Py_ssize_t i
        cdef int64_t age
        if numbers.shape[0] % RECORD_FIELDS or not 0 <= now_s < NOW_S_MAX:
            raise ValueError
        tick = <uint64_t> (now_s * TICKS_PER_S)
        swap(self._header + HEARD, 0, 1)
        for i in range(0, numbers.shape[0], RECORD_FIELDS):
            age = <int64_t> (tick - numbers[i + 2])
            if numbers[i + 2] < <uint64_t> 1 << 62 and -AHEAD_TICKS_MAX <= age < self._window[0]:
                self._enter(0, numbers[i], numbers[i + 1], tick, numbers[i + 2], False, &hits)
                self._remember(numbers[i + 1], <uint64_t> now_s // SEEN_TICKS_PER_S)
