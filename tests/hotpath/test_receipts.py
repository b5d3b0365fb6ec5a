import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath.receipts import RECEIPT_MAX, BadReceipt, Keyring, Receipt

ring = Keyring({1: b"first key " * 4, 2: b"second key " * 4})
ids = st.integers(1, 2**63 - 1)
RECEIPT = Receipt(
    key_id=2,
    order_id="6880c9bb-3c00-8000-8000-000110169986",
    sale_id=1,
    bucket=17,
    sku_id=7,
    quantity=2,
    member_id=42,
    epoch=3,
    position="1795349212400-5",
)


@given(st.sampled_from([1, 2]), ids, ids, ids, st.integers(1, 1_000_000))
def test_a_receipt_reads_back_as_it_was_signed(key_id, sale, sku, member, quantity):
    receipt = msgspec.structs.replace(
        RECEIPT, key_id=key_id, sale_id=sale, sku_id=sku, member_id=member, quantity=quantity
    )
    text = ring.sign(receipt)
    assert ring.verify(text) == receipt
    assert len(text) <= RECEIPT_MAX


def test_a_receipt_with_any_bit_flipped_is_bad():
    text = ring.sign(RECEIPT).encode()
    for bit in range(len(text) * 8):
        flipped = bytearray(text)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadReceipt):
            ring.verify(flipped.decode("latin-1"))


def test_a_receipt_has_one_spelling():
    text = ring.sign(RECEIPT)
    for other in (
        text + "=",
        text + "\n",
        " " + text,
        text.replace(".", "=."),
        text + ".",
        "." + text,
    ):
        with pytest.raises(BadReceipt):
            ring.verify(other)


@given(st.text(max_size=500))
def test_no_other_text_is_a_receipt(text):
    with pytest.raises(BadReceipt):
        ring.verify(text)


def test_rotation_keeps_old_receipts_and_order_ids():
    before, after = Keyring({1: b"first key " * 4}), ring
    old = before.sign(msgspec.structs.replace(RECEIPT, key_id=1))
    assert after.verify(old).key_id == 1
    assert after.sign(after.verify(old)) == old
    assert (before.newest, after.newest) == (1, 2)
    place = (17, 3, "1795349212400-5", 42)
    assert before.order_ids.make(*place) == after.order_ids.make(*place)


def test_a_receipt_of_a_key_we_do_not_have_is_bad():
    with pytest.raises(BadReceipt):
        Keyring({1: b"first key " * 4}).verify(ring.sign(RECEIPT))


@pytest.mark.parametrize("keys", [{}, {0: b"k" * 32}, {1: b"short"}])
def test_a_weak_keyring_is_refused(keys):
    with pytest.raises(AssertionError):
        Keyring(keys)
