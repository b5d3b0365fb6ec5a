"""Risk, written to be read: what `_risk.pyx` must do, number for number.

This twin keeps everything in plain lists, for one process. The kernel keeps the same facts in a
file that all workers of a host map, and says there why it is exact without a lock.

A claim is a different (member, key). Whoever was let through before always goes on, whatever any
rule says by now. Others are held against the lists, then against the rules of each subject: its IP
(IPv6 by /64), its member, its device. A subject remembers the last `ring - 1` claims that it let
through, by quarters of a second, and counts each of them once.
"""

import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeAlias

U64 = 0xFFFF_FFFF_FFFF_FFFF
TICKS_PER_S = 4
SEEN_TICKS_PER_S = 64
NOW_S_MAX = 1 << 40
# Clocks of two workers may differ by so much; what is further ahead comes of a wrong clock.
AHEAD_TICKS_MAX = 60 * TICKS_PER_S
MAPPED = 0xFFFF
WAYS = 16
SEEN_WAYS = 8
TAG_BITS = 40
PRINT_BITS = 34
RULES_MAX = 16
RULE_FIELDS = 5
OUTBOX_MAX = 16_384
RECORD = struct.Struct("<3Q")

IP, MEMBER, DEVICE = 1, 2, 3
ALLOW, REVIEW, CHALLENGE, BLOCK = 0, 1, 2, 3
DENIED_NETWORK, DENIED_MEMBER, DENIED_DEVICE, ALLOWED = 1, 2, 3, 4

Entry: TypeAlias = tuple[int, int]
"When a claim was let through, in ticks, and its fingerprint."
Rule: TypeAlias = tuple[int, int, int, int, int]


def mix(number: int) -> int:
    """Scatter 64 bits: the finaliser of splitmix64."""
    number = (number ^ number >> 30) * 0xBF58_476D_1CE4_E5B9 & U64
    number = (number ^ number >> 27) * 0x94D0_49BB_1331_11EB & U64
    return number ^ number >> 31


def siphash(first: int, second: int, text: bytes) -> int:
    """SipHash-1-3: nobody without the seed can make two texts of one hash."""
    a, b = first ^ 0x736F_6D65_7073_6575, second ^ 0x646F_7261_6E64_6F6D
    c, d = first ^ 0x6C79_6765_6E65_7261, second ^ 0x7465_6462_7974_6573

    def turn(number: int, left: int) -> int:
        return (number << left | number >> 64 - left) & U64

    def scramble() -> None:
        nonlocal a, b, c, d
        a, c = a + b & U64, c + d & U64
        b, d = turn(b, 13) ^ a, turn(d, 16) ^ c
        a = turn(a, 32)
        c, a = c + b & U64, a + d & U64
        b, d = turn(b, 17) ^ c, turn(d, 21) ^ a
        c = turn(c, 32)

    end = len(text) & ~7
    words = [int.from_bytes(text[at : at + 8], "little") for at in range(0, end, 8)]
    words.append((len(text) & 0xFF) << 56 | int.from_bytes(text[end:], "little"))
    for word in words:
        d ^= word
        scramble()
        a ^= word
    c ^= 0xFF
    for _ in range(3):
        scramble()
    return a ^ b ^ c ^ d


class Subject:
    """Somebody who is counted. `seen` is the tick at which it last showed itself."""

    def __init__(self, tag: int, seen: int, ring: int) -> None:
        self.tag = tag
        self.seen = seen
        self.entries: deque[Entry] = deque(maxlen=ring - 1)


class Table:
    """The counts of a host, and the program that judges by them."""

    def __init__(
        self, memory: object, *, subjects: int, ring: int, seen: int, seed: tuple[int, int]
    ) -> None:
        """`memory` is the kernel's. The sizes are powers of two; the seed is a secret."""
        del memory
        self.dropped = 0
        self._buckets = subjects // WAYS
        self._ring = ring
        self._seen_buckets = seen // SEEN_WAYS
        self._seed = seed
        self._subjects: dict[int, list[Subject]] = {}
        self._seen: dict[int, list[Entry]] = {}
        self._heard = False
        self._outbox: list[bytes] = []
        self.obey(0, [], deny=([], [], []), allow=([], [], []))

    def obey(
        self,
        version: int,
        rules: Sequence[int],
        *,
        deny: tuple[Sequence[int], Sequence[int], Sequence[int]],
        allow: tuple[Sequence[int], Sequence[int], Sequence[int]],
    ) -> None:
        """Take a program: flat rules (subject, window_s, limit, verdict, id), then the lists.

        A list is networks, members, devices: sorted, networks as (first, last) of disjoint ranges,
        each address as two numbers. Counts stay.
        """
        if len(rules) % RULE_FIELDS or len(rules) > RULES_MAX * RULE_FIELDS:
            raise ValueError
        flat = iter(rules)
        self._rules: list[Rule] = list(zip(flat, flat, flat, flat, flat, strict=True))
        if any(limit >= self._ring - 1 for _, _, limit, _, _ in self._rules):
            raise ValueError
        self._version = version
        self._deny, self._allow = deny, allow

    def hash_key(self, key: bytes) -> int:
        return siphash(*self._seed, key)

    def decide(
        self, now_s: float, ip_hi: int, ip_lo: int, member: int, key_hash: int, device: int
    ) -> int:
        """Judge a claim, and count it where it goes on. `device` 0 is none."""
        tick, now = self._ticks(now_s)
        claim = self._claim(member, key_hash)
        if self._was_seen(claim):
            return self._answer(ALLOW, repeat=True)
        if denied := _is_listed(self._deny, ip_hi, ip_lo, member, device):
            return self._answer(BLOCK, rule=denied)
        if _is_listed(self._allow, ip_hi, ip_lo, member, device):
            self._remember(claim, now)
            return self._answer(ALLOW, rule=ALLOWED)
        hits = self._count(tick, claim, ip_hi, ip_lo, member, device)
        verdict, rule = self._worst(hits)
        if verdict <= REVIEW:
            self._remember(claim, now)
        return self._answer(verdict, rule=rule, hits=hits)

    def _claim(self, member: int, key_hash: int) -> int:
        return mix(key_hash ^ mix((member + self._seed[0]) & U64))

    def _count(
        self, tick: int, claim: int, ip_hi: int, ip_lo: int, member: int, device: int
    ) -> int:
        """Say which rules are hit, one bit each; count the claim if none of them stops it."""
        address = mix(ip_hi) if ip_hi or ip_lo >> 32 != MAPPED else ip_lo
        ruled = {rule[0] for rule in self._rules}
        subjects = [
            (kind, mix(mix(number ^ self._seed[1]) + kind & U64))
            for kind, number in ((IP, address), (MEMBER, member), (DEVICE, device))
            if kind in ruled and (kind != DEVICE or device)
        ]
        hits = 0
        if len(subjects) > 1:
            for kind, subject in subjects:
                hits |= self._admit(kind, subject, claim, tick, look_only=True)
        if self._worst(hits)[0] > REVIEW:
            return hits
        hits = 0
        for kind, subject in subjects:
            hits |= self._admit(kind, subject, claim, tick, look_only=False)
        return hits

    def _admit(self, kind: int, subject: int, claim: int, tick: int, *, look_only: bool) -> int:
        entries = self._find(subject, tick).entries
        hits = self._hits(kind, entries, _fingerprint(claim), tick)
        if hits is None:
            return 0
        if not look_only and self._worst(hits)[0] <= REVIEW:
            entries.append((_now(entries, tick), _fingerprint(claim)))
            if len(self._outbox) < OUTBOX_MAX:
                self._outbox.append(RECORD.pack(subject, claim, tick))
            else:
                self.dropped += 1
        return hits

    def _hits(self, kind: int, entries: deque[Entry], claim: int, tick: int) -> int | None:
        """Bits of the rules that are full; None when the claim has been counted already."""
        counts = [0] * len(self._rules)
        window_max = max(rule[1] for rule in self._rules if rule[0] == kind) * TICKS_PER_S
        for age, counted in _living(entries, tick, window_max):
            if counted == claim:
                return None
            for number, (subject, window_s, _, _, _) in enumerate(self._rules):
                counts[number] += subject == kind and age < window_s * TICKS_PER_S
        return sum(
            1 << number
            for number, rule in enumerate(self._rules)
            if rule[0] == kind and counts[number] >= rule[2]
        )

    def _find(self, subject: int, tick: int) -> Subject:
        """Where a subject is counted; a newcomer may take the place of the longest unseen."""
        bucket = self._subjects.setdefault(subject % self._buckets, [])
        tag = subject >> 64 - TAG_BITS or 1
        for found in bucket:
            if found.tag == tag:
                found.seen = tick
                return found
        fresh = Subject(tag, tick, self._ring)
        if len(bucket) < WAYS:
            bucket.append(fresh)
        else:
            bucket[min(range(WAYS), key=lambda way: bucket[way].seen)] = fresh
        return fresh

    def _worst(self, hits: int) -> tuple[int, int]:
        """The gravest verdict of the rules that were hit, and the first rule that gives it."""
        verdict = rule_id = 0
        for number, rule in enumerate(self._rules):
            if hits >> number & 1 and rule[3] > verdict:
                verdict, rule_id = rule[3], rule[4]
        return verdict, rule_id

    def _answer(self, verdict: int, *, rule: int = 0, hits: int = 0, repeat: bool = False) -> int:
        return verdict | repeat << 3 | rule << 4 | hits << 20 | self._version << 36

    def _ticks(self, now_s: float) -> tuple[int, int]:
        if not 0 <= now_s < NOW_S_MAX:
            raise ValueError
        return int(now_s * TICKS_PER_S), int(now_s) // SEEN_TICKS_PER_S

    def _was_seen(self, claim: int) -> bool:
        tag = claim >> 64 - TAG_BITS or 1
        return any(tag == seen for _, seen in self._seen.get(claim % self._seen_buckets, ()))

    def _remember(self, claim: int, now: int) -> None:
        """Note that a claim was let through, if need be in the place of the oldest."""
        if self._was_seen(claim):
            return
        bucket = self._seen.setdefault(claim % self._seen_buckets, [])
        fresh = (now, claim >> 64 - TAG_BITS or 1)
        if len(bucket) < SEEN_WAYS:
            bucket.append(fresh)
        else:
            oldest = min(range(SEEN_WAYS), key=lambda way: bucket[way][0])
            # Never before what it displaces, so that nothing forgotten is younger than what stays.
            bucket[oldest] = (max(now, bucket[oldest][0]), fresh[1])

    def knows(self, member: int, key_hash: int, since_s: float) -> bool:
        """Whether this claim would be known as a repeat, had it been let through since then."""
        claim = self._claim(member, key_hash)
        bucket = self._seen.get(claim % self._seen_buckets, [])
        _, since = self._ticks(since_s)
        if self._heard:
            return False
        return len(bucket) < SEEN_WAYS or min(at for at, _ in bucket) < since

    def drain(self) -> bytes:
        """What this process has let through since the last time: (subject, claim, tick) each."""
        drained, self._outbox = self._outbox, []
        return b"".join(drained)

    def enter(self, records: bytes, now_s: float) -> None:
        """Count what another host has let through. No rule stops it, for it has happened."""
        if len(records) % RECORD.size:
            raise ValueError
        tick, now = self._ticks(now_s)
        window_max = max((rule[1] for rule in self._rules), default=0) * TICKS_PER_S
        self._heard = True
        for subject, claim, at in RECORD.iter_unpack(records):
            if tick - at < window_max and at - tick <= AHEAD_TICKS_MAX:
                entries = self._find(subject, tick).entries
                counted = _fingerprint(claim)
                if all(counted != other for _, other in _living(entries, at, window_max)):
                    entries.append((_now(entries, at), counted))
                self._remember(claim, now)


def _fingerprint(claim: int) -> int:
    return claim >> 64 - PRINT_BITS or 1


def _now(entries: deque[Entry], tick: int) -> int:
    """The time by a subject's own entries: it never goes back, but for a clock that was wrong."""
    newest = entries[-1][0] if entries else tick
    return newest if 0 < newest - tick <= AHEAD_TICKS_MAX else tick


def _living(entries: deque[Entry], tick: int, window: int) -> Iterator[Entry]:
    """The age and fingerprint of what still counts, newest first."""
    now = before = _now(entries, tick)
    for at, counted in reversed(entries):
        if at > before or now - at >= window:
            return
        before = at
        yield now - at, counted


def _is_listed(
    lists: tuple[Sequence[int], Sequence[int], Sequence[int]],
    ip_hi: int,
    ip_lo: int,
    member: int,
    device: int,
) -> int:
    """Which of the lists names this claim: 1 networks, 2 members, 3 devices, 0 none."""
    networks, members, devices = lists
    address = ip_hi << 64 | ip_lo
    bounds = [high << 64 | low for high, low in zip(networks[::2], networks[1::2], strict=True)]
    firsts, lasts = bounds[::2], bounds[1::2]
    found = bisect_right(firsts, address)
    if found and address <= lasts[found - 1]:
        return IP
    if member in members:
        return MEMBER
    return DEVICE if device and device in devices else 0
