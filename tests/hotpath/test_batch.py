"""The kernel packs and reads batches as its twin does, whatever comes back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import claims
from hotpath.claims import BucketFacts, Claim, Verdict
from tests.hotpath.test_claims import wishes

_batch = pytest.importorskip("hotpath._batch")
BUCKET = BucketFacts(17, 3, "3.00ff", "run")
CLAIMS = [Claim(1, member, f"key {member}", 7, 2) for member in (1, 2, 3)]


def repeat(claim: Claim, **changes) -> bytes:
    facts = claims.encode_facts(claim, epoch=changes.get("epoch", 3), key_id=4)
    return f"=1700-{changes.get('seq', 5)},{facts}".encode()


answers = st.one_of(
    st.sampled_from([b"+", b"+", b"w", b"b", b"n", b"l", b"x", b"s0", b"s12", b"s", b"", b"-"]),
    st.sampled_from([repeat(claim) for claim in CLAIMS]),
    st.binary(max_size=5),
)
positions = st.one_of(
    st.sampled_from([b"-", b"1700-0", b"1700-41", b"-5", b"5-", b"5", b"", b"1-1-1", b"01-02"]),
    st.from_regex(rb"[0-9]{1,20}-[0-9]{1,18}", fullmatch=True),
    st.binary(max_size=8),
)


@settings(max_examples=300)
@given(st.lists(wishes, max_size=5), st.integers(1, 255), st.integers(1, 999_999_999))
def test_a_batch_is_packed_alike(wanted, epoch, key_id):
    facts = BucketFacts(1, epoch, f"{epoch}.ab", "run")
    packed = _batch.pack_batch(facts, wanted, key_id=key_id, backlog_max=9)
    twin = claims.pack_batch(facts, wanted, key_id=key_id, backlog_max=9)
    assert packed == [*twin[:2], *(record.encode() for record in twin[2:])]


@settings(max_examples=2_000)
@given(positions, st.lists(answers, min_size=1, max_size=4), st.booleans())
def test_a_reply_is_read_alike(position, told, whole):
    reply = b"\n".join([position, *told])
    wanted = CLAIMS[: len(told)] if whole else CLAIMS
    assert read(_batch, reply, wanted) == read(claims, reply, wanted)


@pytest.mark.parametrize("reply", [None, [], [b"+"], 3, b"", b"\n", b"1-1\n+\n+\n+\n", b"\0"])
def test_what_is_no_reply_is_read_alike(reply):
    assert read(_batch, reply, CLAIMS) == read(claims, reply, CLAIMS)


def test_three_claims_have_three_positions():
    told = read(_batch, b"1700-41\n+\n" + repeat(CLAIMS[1]) + b"\n+", CLAIMS)
    assert [verdict.position for verdict in told.verdicts] == ["1700-41", "1700-5", "1700-42"]
    assert told.last == "1700-42"
    assert told.verdicts[1] == Verdict(claims.Kind.ACCEPTED, 17, 3, "1700-5", 4)


def read(reader, reply, wanted):
    return reader.read_batch(reply, BUCKET, wanted, key_id=9)
