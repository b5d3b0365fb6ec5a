from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import ids
from hotpath.ids import OrderIds, OrderParts

order_ids = OrderIds(b"k" * 32)
positions = st.builds("{}-{}".format, st.integers(0, 2**42 - 1), st.integers(0, 2**30 - 1))
places = st.tuples(st.integers(0, 2**22 - 1), st.integers(1, 255), positions)


@given(places, st.integers(1, 2**63 - 1))
def test_an_order_id_names_where_it_comes_from_and_whose_it_is(place, member):
    order_id = order_ids.make(*place, member)
    assert ids.parts(order_id) == OrderParts(*place)
    assert order_ids.owned_by(order_id, member)
    uuid = UUID(order_id)
    assert (str(uuid), uuid.version, uuid.variant) == (order_id, 8, RFC_4122)


def test_an_order_id_with_any_bit_flipped_is_nobodys():
    order_id = order_ids.make(17, 3, "1795349212400-5", 42)
    for bit in range(128):
        flipped = str(UUID(int=UUID(order_id).int ^ 1 << bit))
        assert not order_ids.owned_by(flipped, 42), bit


def test_an_order_id_is_not_owned_by_its_neighbours_nor_under_another_key():
    order_id = order_ids.make(17, 3, "1795349212400-5", 42)
    assert not any(order_ids.owned_by(order_id, member) for member in range(1000) if member != 42)
    assert not OrderIds(b"l" * 32).owned_by(order_id, 42)


@given(st.integers(0, 2**42 - 1), st.integers(1, 2**63 - 1), st.text(max_size=128))
def test_the_id_of_an_ordinary_order_names_no_claim_and_nobody_owns_it_by_its_tag(ms, member, key):
    order_id = order_ids.of_key(ms, member, key)
    uuid = UUID(order_id)
    assert (str(uuid), uuid.version, uuid.variant) == (order_id, 8, RFC_4122)
    assert ids.is_id(order_id)
    assert ids.parts(order_id) is None
    assert not order_ids.owned_by(order_id, member)
    assert order_id == order_ids.of_key(ms, member, key)
    assert order_id != order_ids.of_key(ms, member, f"{key}.")


@given(st.lists(st.integers(0, 2**42 - 1), min_size=2, max_size=2, unique=True))
def test_ids_of_both_kinds_sort_by_time_together(moments):
    earlier, later = sorted(moments)
    assert order_ids.of_key(earlier, 7, "k") < order_ids.make(17, 3, f"{later}-0", 7)
    assert order_ids.make(17, 3, f"{earlier}-9", 7) < order_ids.of_key(later, 7, "k")


def test_what_differs_in_any_part_has_another_id():
    base = (17, 3, "1795349212400-5")
    others = [(18, *base[1:]), (17, 4, base[2]), (17, 3, "1795349212400-6"), (17, 3, "1-5")]
    assert len({order_ids.make(*place, 42) for place in [base, *others]}) == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "17",
        "6880C9BB-3C00-8000-8000-000110169986",
        "6880c9bb3c0080008000000110169986",
        "6880c9bb-3c00-7000-8000-000110169986",
        "6880c9bb-3c00-8000-c000-000110169986",
        "6880c9bb-3c00-8000-8000-000110169986\n",
        "6880c9bb-3c00-8000-8000-000000069986",
        "٦880c9bb-3c00-8000-8000-000110169986",
    ],
)
def test_any_other_text_is_no_order_id(text):
    assert ids.parts(text) is None
    assert not order_ids.owned_by(text, 42)


@pytest.mark.parametrize(
    "place",
    [
        (2**22, 1, "1-0"),
        (0, 256, "1-0"),
        (0, 0, "1-0"),
        (0, 1, f"{2**42}-0"),
        (0, 1, f"1-{2**30}"),
    ],
)
def test_what_does_not_fit_is_a_bug(place):
    with pytest.raises(AssertionError):
        order_ids.make(*place, 42)
