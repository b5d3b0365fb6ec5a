import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import claims
from hotpath.claims import BucketFacts, Claim, DamagedRecord, Kind

ids = st.integers(1, claims.ID_MAX)
keys = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
wishes = st.builds(Claim, ids, ids, keys, ids, st.integers(1, claims.QUANTITY_MAX))
epochs = st.integers(1, claims.EPOCH_MAX)
key_ids = st.integers(1, 999_999_999)


def record_of(claim, epoch, key_id):
    return claims.encode_record(claim, epoch=epoch, key_id=key_id).encode()


@given(wishes, epochs, key_ids)
def test_a_record_reads_back_as_the_claim_it_was(claim, epoch, key_id):
    record = claims.decode_record(record_of(claim, epoch, key_id))
    assert (record.epoch, record.key_id) == (epoch, key_id)
    assert (record.member_id, record.sku_id) == (claim.member_id, claim.sku_id)
    assert (record.quantity, record.key) == (claim.quantity, claim.key)


def test_a_record_with_any_bit_flipped_is_damaged():
    raw = record_of(Claim(1, 42, "a,key", 7, 2), 3, 1)
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedRecord):
            claims.decode_record(bytes(flipped))


@given(st.binary(max_size=120))
def test_no_other_bytes_are_a_record(raw):
    with pytest.raises(DamagedRecord):
        claims.decode_record(raw)


@pytest.mark.parametrize(
    ("claim", "epoch"),
    [
        (Claim(1, 1, "k", 1, claims.QUANTITY_MAX + 1), 1),
        (Claim(1, 1, "k", 1, 0), 1),
        (Claim(1, claims.ID_MAX + 1, "k", 1, 1), 1),
        (Claim(1, 1, "k", claims.ID_MAX + 1, 1), 1),
        (Claim(1, 0, "k", 1, 1), 1),
        (Claim(1, 1, "k", 1, 1), claims.EPOCH_MAX + 1),
        (Claim(1, 1, "k", 1, 1), 0),
    ],
)
def test_a_true_crc_does_not_excuse_a_number_out_of_bounds(claim, epoch):
    with pytest.raises(DamagedRecord):
        claims.decode_record(record_of(claim, epoch, 1))


BUCKET = BucketFacts(17, 3, "3.00ff", "run")
CLAIM = Claim(1, 42, "key", 7, 2)


def answer_to(claim, *, epoch=3, key_id=1):
    return f"=1795349212400-5,{claims.encode_facts(claim, epoch=epoch, key_id=key_id)}".encode()


def read(answer, claim=CLAIM):
    return claims.read_answer(answer, claim, BUCKET)


def read_all(reply, *wanted):
    return claims.read_batch(reply, BUCKET, wanted or (CLAIM,), key_id=9)


def test_a_fresh_acceptance_carries_this_epoch_and_key():
    (verdict,) = read_all(b"1795349212400-5\n+").verdicts
    assert (verdict.kind, verdict.position) == (Kind.ACCEPTED, "1795349212400-5")
    assert (verdict.bucket, verdict.epoch, verdict.key_id) == (17, 3, 9)


def test_a_repeat_carries_the_epoch_and_key_of_the_first_time():
    verdict = read(answer_to(CLAIM, epoch=2, key_id=4))
    assert (verdict.kind, verdict.position) == (Kind.ACCEPTED, "1795349212400-5")
    assert (verdict.bucket, verdict.epoch, verdict.key_id) == (17, 2, 4)


@pytest.mark.parametrize("other", [Claim(1, 42, "key", 8, 2), Claim(1, 42, "key", 7, 3)])
def test_a_key_used_with_another_body_is_refused(other):
    assert read(answer_to(CLAIM), other).kind is Kind.KEY_REUSED


def test_an_answer_with_any_bit_flipped_is_damaged_or_no_answer():
    good = answer_to(CLAIM)
    start = good.index(b",") + 1
    for bit in range(start * 8, len(good) * 8):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        assert read(bytes(flipped)) is claims.DAMAGED


def test_the_answer_of_another_member_is_damaged():
    assert read(answer_to(Claim(1, 43, "key", 7, 2))) is claims.DAMAGED


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"w", Kind.NOT_OPEN),
        (b"b", Kind.BUSY),
        (b"n", Kind.NO_SUCH_SKU),
        (b"l", Kind.MEMBER_LIMIT),
        (b"x", Kind.UNAVAILABLE),
        (b"s0", Kind.SOLD_OUT),
        (b"s-1", Kind.UNKNOWN),
        (b"=w", Kind.UNAVAILABLE),
        (b"+", Kind.UNKNOWN),
        (b"", Kind.UNKNOWN),
        (b"zzz", Kind.UNKNOWN),
    ],
)
def test_each_letter_has_its_verdict(answer, kind):
    assert read(answer).kind is kind


def test_each_accepted_claim_stands_one_position_above_the_one_before():
    others = [Claim(1, member, "key", 7, 2) for member in range(1, 5)]
    reply = b"\n".join([b"5-8", b"+", b"l", b"+", answer_to(others[3], epoch=2)])
    decided = read_all(reply, *others)
    kinds = [verdict.kind for verdict in decided.verdicts]
    assert kinds == [Kind.ACCEPTED, Kind.MEMBER_LIMIT, Kind.ACCEPTED, Kind.ACCEPTED]
    positions = [verdict.position for verdict in decided.verdicts]
    assert positions == ["5-8", "", "5-9", "1795349212400-5"]
    assert decided.last == "5-9"
    assert read_all(b"-\nw").last is None


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"+",
        b"5-0",
        b"-\n+\nw",
        b"5-0\nw\nw",
        b"5-0\n+",
        b"5-0\n+\nw\nw",
        b"5-0\n+\nzzz",
        b"5-0\n+\n",
        b"5\n+\nw",
        b"5-\xff\n+\nw",
        b"x-1\n+\nw",
        b"5-0 \n+\nw",
        b"\n+\nw",
        [b"5-0", b"+", b"w"],
        None,
        7,
    ],
)
def test_a_reply_that_is_wrong_anywhere_accepts_nobody(reply):
    decided = read_all(reply, CLAIM, Claim(1, 43, "key", 7, 2))
    assert decided.verdicts == [claims.UNKNOWN] * 2
    assert decided.last is None


def test_sold_out_says_how_many_are_left():
    assert read(b"s12").left == 12


@pytest.mark.parametrize("word", sorted(claims.CERTAIN_ERRORS))
def test_a_refusal_before_any_write_is_certain(word):
    assert claims.read_error(f"{word} and why").kind is Kind.UNAVAILABLE


@pytest.mark.parametrize("reply", ["ERR anything", "WRONGTYPE of key", "", "BUSYGROUP no", "OOMPH"])
def test_any_other_error_leaves_the_outcome_unknown(reply):
    assert claims.read_error(reply).kind is Kind.UNKNOWN
