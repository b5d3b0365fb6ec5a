"""The rows that the kernel makes are the twin's, byte for byte, and say what the claims said."""

import os
import random
import struct
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import _records_py, claims
from hotpath._records_py import KEY_ID_MAX, PRICE_MAX, Shelf
from hotpath.claims import Claim
from hotpath.entries import Entry, claims_of
from hotpath.ids import OrderIds

_records = pytest.importorskip("hotpath._records")

RECORDS = int(os.environ.get("TEST_RECORDS", "20000"))
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
BUCKET, EPOCH = 17, 3
COMMON = b"what all have in common"
ORDER_IDS = OrderIds(b"k" * 32)
SHELVES = {
    7: Shelf(9_900, b"seven of an order", b"of a line"),
    2**63 - 1: Shelf(PRICE_MAX, b"", b""),
    8: Shelf(0, b"eight" * 40, b"eight" * 40),
}


def packers(order_ids=ORDER_IDS, shelves=SHELVES, bucket=BUCKET, epoch=EPOCH):
    """The kernel and its twin."""
    facts = {"bucket": bucket, "epoch": epoch, "order_head": b"oo", "line_head": b"ll"}
    return [kind.Packer(order_ids, shelves, **facts) for kind in (_records, _records_py)]


def entry_of(records, position="1795349212400-5"):
    lines = [record.encode() for record in records]
    return Entry(position, b"\n".join(lines), b"%d,%d" % (len(lines), len(lines)))


def both(entries, **facts):
    fast, slow = (packer.pack(entries, COMMON) for packer in packers(**facts))
    assert fast == slow
    return fast


keys = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
skus = st.sampled_from(sorted(SHELVES))
wishes = st.builds(
    Claim, st.just(1), st.integers(1, 2**63 - 1), keys, skus, st.integers(1, 1_000_000)
)
positions = st.builds("{}-{}".format, st.integers(0, 2**42 - 1), st.integers(0, 2**30 - 50))


@given(st.lists(st.tuples(positions, st.lists(wishes, min_size=1, max_size=8)), max_size=4))
def test_rows_say_what_the_claims_said(batch):
    entries = [
        entry_of([claims.encode_record(claim, epoch=EPOCH, key_id=3) for claim in wanted], position)
        for position, wanted in batch
    ]
    rows = both(entries)
    found = [claim for entry in entries for claim in claims_of(entry)]
    at = line_at = 0
    for claim in found:
        record = claims.decode_record(claim.record)
        shelf = SHELVES[record.sku_id]
        made = ORDER_IDS.make(BUCKET, EPOCH, claim.position, record.member_id)
        own = struct.pack(
            f">2si16siqi{len(record.key)}sihiq",
            *(b"oo", 16, UUID(made).bytes, 8, record.member_id),
            *(len(record.key), record.key.encode(), 2, 3),
            *(8, shelf.price_minor * record.quantity),
        )
        own += shelf.order_columns + COMMON
        assert rows.orders[at:].startswith(own)
        at += len(own)
        own = struct.pack(">2si16sii", b"ll", 16, UUID(made).bytes, 4, record.quantity)
        assert rows.lines[line_at:].startswith(own + shelf.line_columns)
        line_at += len(own) + len(shelf.line_columns)
    assert (at, line_at) == (len(rows.orders), len(rows.lines))
    assert rows.claims == len(found)
    assert sum(rows.sold.values()) == sum(claim.quantity for _, wanted in batch for claim in wanted)


def record_of(**changes):
    fields = {"version": 2, "epoch": 3, "member": 42, "sku": 7, "quantity": 1, "key_id": 1}
    changes = dict(changes)
    key = changes.pop("key", "a key")
    head = ",".join(str(value) for value in (fields | changes).values())
    return f"{head},{crc32(f'{head},{key}'.encode('latin-1')):08x},{key}"


@pytest.mark.parametrize(
    "changes",
    [
        *({"version": bad} for bad in (1, 3, "02", "")),
        *({"epoch": bad} for bad in (2, 4, 30, "03", "")),
        *({"member": bad} for bad in (0, 2**63, 10**19, "042", "", "-1", "4x")),
        *({"sku": bad} for bad in (0, 9, 2**63, 77, "")),
        *({"quantity": bad} for bad in (0, 1_000_001, 10**7, "01", "")),
        *({"key_id": bad} for bad in (0, KEY_ID_MAX + 1, 10**9, "01", "")),
        *({"key": bad} for bad in ("", "k" * 65, "a\tb", "a\x7f", "a\x80")),
    ],
)
def test_one_claim_that_cannot_be_an_order_makes_no_rows_at_all(changes):
    good = record_of()
    assert both([entry_of([good, good])])
    lines = [good.encode(), record_of(**changes).encode("latin-1"), good.encode()]
    assert both([Entry("5-0", b"\n".join(lines), b"3,3")]) is None


def test_what_is_large_still_fits():
    big = {"member": 2**63 - 1, "sku": 2**63 - 1, "quantity": 1_000_000, "key_id": KEY_ID_MAX}
    assert both([entry_of([record_of(**big, key="k" * 64)])]).sold == {2**63 - 1: 1_000_000}


def test_any_flipped_bit_makes_no_rows():
    good = entry_of([record_of(), record_of(key="2,3,4,")])
    for bit in range(len(good.records) * 8):
        flipped = bytearray(good.records)
        flipped[bit // 8] ^= 1 << bit % 8
        assert both([Entry(good.position, bytes(flipped), good.count)]) is None


@pytest.mark.parametrize("count", [b"", b"1,1", b"3,3", b"2,3", b"2", b"2,2,2", b"02,02", b" 2,2"])
def test_an_entry_that_miscounts_makes_no_rows(count):
    good = record_of().encode()
    assert both([Entry("5-0", good + b"\n" + good, count)]) is None


@pytest.mark.parametrize(
    "position", [f"{2**42}-0", f"1-{2**30}", f"1-{2**30 - 1}", f"{2**64 - 1}-0"]
)
def test_a_position_that_no_order_id_holds_makes_no_rows(position):
    assert both([entry_of([record_of(), record_of()], position)]) is None


@given(st.lists(st.binary(max_size=90), max_size=4), st.binary(max_size=4))
def test_no_other_bytes_are_rows(lines, count):
    assert both([Entry("5-0", b"\n".join(lines), count)]) is None
    lines = lines or [b""]
    assert both([Entry("5-0", b"\n".join(lines), b"%d,%d" % (len(lines), len(lines)))]) is None


def test_many_claims_of_any_kind_have_one_order_id_each_by_both():
    """TEST_RECORDS is how many; TEST_SEED draws the ones that a failure names."""
    print(f"TEST_SEED={SEED}")
    dice = random.Random(SEED)
    for _ in range(max(1, RECORDS // 500)):
        bucket, epoch = dice.randrange(1 << dice.randint(1, 22)), dice.randint(1, 255)
        order_ids = OrderIds(dice.randbytes(dice.randint(16, 80)))
        entries, left = [], 500
        while left:
            count = min(left, dice.choice([1, 2, 30, 512]))
            left -= count
            wanted = [
                Claim(
                    1,
                    dice.randrange(1, 2 ** dice.randint(1, 63)),
                    "".join(chr(dice.randint(32, 126)) for _ in range(dice.randint(1, 64))),
                    dice.choice(list(SHELVES)),
                    dice.randint(1, 10 ** dice.randint(0, 6)),
                )
                for _ in range(count)
            ]
            records = [claims.encode_record(each, epoch=epoch, key_id=1) for each in wanted]
            ms, seq = dice.randrange(1 << dice.randint(1, 42)), dice.randrange(1 << 29)
            entries.append(entry_of(records, f"{ms}-{seq}"))
        assert both(entries, order_ids=order_ids, bucket=bucket, epoch=epoch).claims == 500


@given(st.binary(max_size=100))
def test_the_crc_is_zlibs(text):
    assert _records.crc32(text) == crc32(text)
