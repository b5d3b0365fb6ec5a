"""Routing, written to be read. `_routing.pyx` must agree with it number for number."""

U64 = 0xFFFF_FFFF_FFFF_FFFF


def bucket_of(member_id: int, buckets: int) -> int:
    """Return which of a sale's buckets is the member's: 0 to buckets - 1, for ever the same."""
    if not 0 <= member_id <= U64:
        raise OverflowError
    # The finaliser of splitmix64: neighbouring members land far apart.
    mixed = (member_id ^ member_id >> 30) * 0xBF58_476D_1CE4_E5B9 & U64
    mixed = (mixed ^ mixed >> 27) * 0x94D0_49BB_1331_11EB & U64
    return (mixed ^ mixed >> 31) % buckets
