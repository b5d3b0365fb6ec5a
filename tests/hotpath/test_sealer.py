"""The answer made in one pass is the answer made step by step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import answers
from hotpath.claims import EPOCH_MAX, ID_MAX, QUANTITY_MAX, Claim, Kind, Verdict
from hotpath.receipts import Keyring

Sealer = pytest.importorskip("hotpath._sealer").Sealer
KEYRING = Keyring({1: b"k" * 16, 7: b"another key" * 9})
SEALER = Sealer(KEYRING)

ids = st.integers(1, ID_MAX)
claims = st.builds(Claim, ids, ids, st.just("k"), ids, st.integers(1, QUANTITY_MAX))
positions = st.builds("{}-{}".format, st.integers(0, 2**42 - 1), st.integers(0, 2**30 - 1))
verdicts = st.builds(
    Verdict,
    st.just(Kind.ACCEPTED),
    bucket=st.integers(0, 2**22 - 1),
    epoch=st.integers(1, EPOCH_MAX),
    position=positions,
    key_id=st.sampled_from([1, 7]),
)


@settings(max_examples=500)
@given(claims, verdicts, st.sampled_from([b"", b"date: today\r\nserver: s\r\n"]), st.booleans())
def test_kernel_and_twin_say_the_same(claim, verdict, defaults, last):
    order_id, receipt = KEYRING.seal(claim, verdict)
    answer = answers.accepted(
        order_id=order_id,
        sale_id=claim.sale_id,
        sku_id=claim.sku_id,
        quantity=claim.quantity,
        receipt=receipt,
    )
    assert SEALER.accepted(claim, verdict, defaults, last) == answer.text(defaults, last=last)
    assert KEYRING.verify(receipt).member_id == claim.member_id


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(Kind.ACCEPTED, 1, 1, f"{2**42}-0", 1),
        Verdict(Kind.ACCEPTED, 1, 1, f"1-{2**30}", 1),
        Verdict(Kind.ACCEPTED, 2**22, 1, "1-0", 1),
        Verdict(Kind.ACCEPTED, 1, 0, "1-0", 1),
        Verdict(Kind.ACCEPTED, 1, 1, "1" * 50, 1),
        Verdict(Kind.ACCEPTED, 1, 1, "1-0", 2),
    ],
)
def test_what_no_id_can_hold_is_a_bug_and_never_an_answer(verdict):
    with pytest.raises((AssertionError, KeyError)):
        SEALER.accepted(Claim(1, 1, "k", 1, 1), verdict, b"", False)
