import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import claims, entries
from hotpath.claims import Claim, DamagedRecord
from hotpath.entries import Entry

keys = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
wishes = st.builds(
    Claim, st.just(1), st.integers(1, 2**63 - 1), keys, st.integers(1, 99), st.integers(1, 5)
)


def entry_of(wanted, *, position="5-7"):
    records = [claims.encode_record(claim, epoch=3, key_id=1).encode() for claim in wanted]
    count = b"%d,%d" % (len(records), len(records))
    return records, Entry(position, b"\n".join(records), count)


def is_sound(record):
    try:
        claims.decode_record(record)
    except DamagedRecord:
        return False
    return True


@given(st.lists(wishes, min_size=1, max_size=20))
def test_the_claims_of_an_entry_stand_one_after_another(wanted):
    records, entry = entry_of(wanted)
    found = entries.claims_of(entry)
    assert [claim.record for claim in found] == records
    assert [claim.position for claim in found] == [f"5-{7 + n}" for n in range(len(wanted))]


FEW = [Claim(1, 40 + n, f"key {n}, with 2,3,", 7, 1 + n) for n in range(4)]


def test_a_flipped_bit_costs_one_claim_at_the_most_and_moves_no_other():
    records, entry = entry_of(FEW)
    for bit in range(len(entry.records) * 8):
        flipped = bytearray(entry.records)
        flipped[bit // 8] ^= 1 << bit % 8
        found = entries.split(bytes(flipped), entry.count)
        assert len(found) == len(records), bit
        harmed = [n for n, record in enumerate(found) if record != records[n]]
        # What joined two claims is known for it, so that both are found again.
        between = entry.records[bit // 8 : bit // 8 + 1] == b"\n"
        assert len(harmed) == (0 if between else 1), bit
        assert not any(is_sound(found[n]) for n in harmed)


def test_any_flipped_bit_of_the_count_is_known_for_one():
    records, entry = entry_of(FEW * 3)
    for bit in range(len(entry.count) * 8):
        flipped = bytearray(entry.count)
        flipped[bit // 8] ^= 1 << bit % 8
        assert entries.split(entry.records, bytes(flipped)) == records


@pytest.mark.parametrize("places", [(0, 1), (0, 2), (1, 2)])
def test_claims_that_lost_their_line_ends_are_found_again(places):
    records, entry = entry_of(FEW)
    ends = [n for n, byte in enumerate(entry.records) if byte == ord("\n")]
    torn = bytearray(entry.records)
    for place in places:
        torn[ends[place]] = ord("x")
    assert entries.split(bytes(torn), entry.count) == records


def test_what_cannot_be_told_apart_keeps_the_number_of_claims_and_who_is_sound():
    records, entry = entry_of(FEW)
    beginning = entry.records.index(records[1])
    torn = entry.records[: beginning - 1] + b"?" * 20 + entry.records[beginning + 19 :]
    first, second, *others = entries.split(torn, entry.count)
    assert others == records[2:]
    assert (first[: len(records[0])], second) == (records[0], b"")
    assert not is_sound(first)


@given(st.binary(max_size=200), st.binary(max_size=6))
def test_any_bytes_hold_at_least_one_claim(records, count):
    found = entries.split(records, count)
    assert found
    assert len(found) < 100_000
