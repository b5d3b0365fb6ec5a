"""Each unit and each cent of an order is in one consignment, however they are split and merged.

TEST_SPLITS is how many orders (`make faults` 100,000); TEST_SEED replays.
"""

import os
import random
from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction

import msgspec
import pytest

from core.fulfilment import rules
from core.fulfilment.model import (
    Consignment,
    ImpossibleMerge,
    ImpossibleSplit,
    Loaded,
    PaidLine,
    PaidOrder,
    Spot,
)

SPLITS = int(os.environ.get("TEST_SPLITS", "3000"))
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SELLERS, PLACES, SKUS = (1, 2, 3), (1, 2, 3, 4), (10, 11, 12)


def an_order(dice: random.Random, order_id: str) -> PaidOrder:
    """A few lines, often small, some for nothing, with and without discount, tax and shipping."""
    most = dice.choice([0, 3, 50, 10_000, 10**12])
    lines = []
    for line_no in range(1, dice.randint(2, 6)):
        quantity, price = dice.choice([1, 1, 2, 3, 7, 100]), dice.randint(0, most)
        goods = quantity * price
        discount = dice.choice([0, 0, dice.randint(0, goods)])
        tax = dice.choice([0, dice.randint(0, goods)])
        ids = (line_no, dice.choice(SKUS), dice.choice(SELLERS))
        lines.append(PaidLine(*ids, quantity, goods, discount, tax))
    shipping = dice.choice([0, 1, 7, dice.randint(0, 5_000)])
    facts = {"currency": "CNY", "kept_for": f"order:{order_id}", "paid_at": NOW}
    return PaidOrder(order_id=order_id, member_id=7, shipping_minor=shipping, lines=lines, **facts)


def stock_for(dice: random.Random, order: PaidOrder) -> dict[int, dict[int, int]]:
    """Exactly what the order needs, thrown over the places."""
    stock: dict[int, Counter[int]] = {}
    for line in order.lines:
        shelves = stock.setdefault(line.sku_id, Counter())
        for _ in range(dice.randint(1, 3)):
            shelves[dice.choice(PLACES)] += 0
        for _ in range(line.quantity):
            shelves[dice.choice(list(shelves))] += 1
    return stock


def wanted_of(order: PaidOrder) -> dict[tuple[str, int], tuple[int, ...]]:
    """What each line came to when it was bought. Shipping belongs to the order, not to a line."""
    return {
        (order.order_id, line.line_no): (
            line.quantity,
            line.goods_minor,
            line.discount_minor,
            line.tax_minor,
        )
        for line in order.lines
    }


def check(bought: list[PaidOrder], loads: list[list[rules.Line]]) -> None:
    """Every figure adds up, and no share is further than one cent from its exact part."""
    lines = [line for load in loads for line in load]
    found: dict[tuple[str, int], tuple[int, ...]] = {}
    shipping: Counter[str] = Counter()
    for line in lines:
        assert line.quantity > 0
        here = (line.quantity, line.goods_minor, line.discount_minor, line.tax_minor)
        before = found.get(tuple(line.spot), (0,) * len(here))
        found[tuple(line.spot)] = tuple(a + b for a, b in zip(before, here, strict=True))
        shipping[line.order_id] += line.shipping_minor
    assert found == {spot: told for one in bought for spot, told in wanted_of(one).items()}
    assert all(shipping[one.order_id] == one.shipping_minor for one in bought)


def check_fair(order: PaidOrder, loads: list[list[rules.Line]]) -> None:
    ordered = {line.line_no: line for line in order.lines}
    for line in (line for load in loads for line in load):
        whole = ordered[line.line_no]
        part = Fraction(line.quantity, whole.quantity)
        assert line.goods_minor == whole.goods_minor * part
        assert abs(line.discount_minor - whole.discount_minor * part) < 1
        assert abs(line.tax_minor - whole.tax_minor * part) < 1


def check_places(order: PaidOrder, drafts: list[rules.Draft], stock) -> None:
    """A consignment has one seller and one place, and no place sends what it does not keep."""
    assert len({(draft.seller_id, draft.place_id) for draft in drafts}) == len(drafts)
    sellers = {line.line_no: line.seller_id for line in order.lines}
    sent: Counter[tuple[int, int]] = Counter()
    for draft in drafts:
        for line in draft.lines:
            assert sellers[line.line_no] == draft.seller_id
            sent[line.sku_id, draft.place_id] += line.quantity
    kept = {(sku, place): n for sku, places in stock.items() for place, n in places.items() if n}
    assert sent == kept


def loaded(lines: list[rules.Line], number: int = 1, **more: object) -> Loaded:
    ends = (None,) * 3 + (NOW,) + (None,) * 6
    found = Consignment(number, "allocated", 1, 1, 7, "CNY", *ends)
    return Loaded(msgspec.structs.replace(found, **more), lines)


def split_and_merge(dice: random.Random, loads: list[list[rules.Line]]) -> list[list[rules.Line]]:
    """Some staff's whims: part of a consignment leaves it, or two of any orders become one."""
    for _ in range(dice.randint(0, 6)):
        dice.shuffle(loads)
        if dice.random() < 0.5 and len(loads) > 1:
            one, other = loads.pop(), loads.pop()
            loads.append(rules.merge([loaded(one), loaded(other, 2)]))
            continue
        lines = loads.pop()
        leaving = {line.spot: dice.randint(0, line.quantity) for line in lines}
        try:
            loads += rules.split(lines, leaving)
        except ImpossibleSplit:
            went = sum(leaving.values())
            assert went in (0, sum(line.quantity for line in lines))
            loads.append(lines)
    return loads


def test_every_cent_and_every_unit_of_an_order_is_in_one_consignment():
    print(f"TEST_SEED={SEED}")
    dice = random.Random(SEED)
    parts = 0
    for number in range(SPLITS // 2):
        bought = [an_order(dice, f"{number}-{n}") for n in range(2)]
        loads = []
        for order in bought:
            stock = stock_for(dice, order)
            drafts = rules.plan(order, stock)
            assert drafts is not None
            check_places(order, drafts, stock)
            check([order], [draft.lines for draft in drafts])
            check_fair(order, [draft.lines for draft in drafts])
            loads += [draft.lines for draft in drafts]
        parts += len(loads)
        check(bought, split_and_merge(dice, loads))
    print(f"{SPLITS // 2 * 2} orders in {parts} consignments")
    assert parts > SPLITS * 2


@pytest.mark.parametrize("name", rules.SUMMED)
@pytest.mark.parametrize("by", [-1, 1])
def test_the_check_sees_one_unit_and_one_cent_too_many_or_too_few(name, by):
    dice = random.Random(SEED)
    order = an_order(dice, "o")
    drafts = rules.plan(order, stock_for(dice, order))
    loads = [list(draft.lines) for draft in drafts]
    check([order], loads)
    first = loads[0][0]
    loads[0][0] = msgspec.structs.replace(first, **{name: getattr(first, name) + by})
    with pytest.raises(AssertionError):
        check([order], loads)


def test_a_cent_that_cannot_be_halved_goes_to_the_larger_part():
    lines = [PaidLine(1, 10, 1, 3, 300, 100, 10)]
    facts = {"currency": "CNY", "kept_for": "order:o", "paid_at": NOW}
    bought = PaidOrder(order_id="o", member_id=7, shipping_minor=100, lines=lines, **facts)
    told = rules.plan(bought, {10: {1: 1, 2: 2}})
    figures = [
        [(n.quantity, *(getattr(n, a) for a in rules.SHARED)) for n in d.lines] for d in told
    ]
    assert figures == [[(1, 100, 33, 3, 33)], [(2, 200, 67, 7, 67)]]


def test_a_line_stays_in_one_piece_where_a_place_keeps_all_of_it():
    lines = [PaidLine(n, 10, 1, 2, 200, 0, 0) for n in (1, 2)]
    facts = {"currency": "CNY", "kept_for": "order:o", "paid_at": NOW}
    bought = PaidOrder(order_id="o", member_id=7, shipping_minor=0, lines=lines, **facts)
    told = rules.plan(bought, {10: {1: 1, 2: 2, 3: 1}})
    assert [(d.place_id, [(n.line_no, n.quantity) for n in d.lines]) for d in told] == [
        (2, [(1, 2)]),
        (1, [(2, 1)]),
        (3, [(2, 1)]),
    ]
    assert rules.plan(bought, {10: {1: 1, 2: 2}}) is None
    assert rules.plan(bought, {}) is None


@pytest.mark.parametrize(
    ("leaving", "facts"),
    [
        ({}, {}),
        ({Spot("o", 1): 2}, {}),
        ({Spot("o", 1): 3}, {"order_id": "o", "line_no": 1, "left": 2}),
        ({Spot("o", 2): 1}, {"order_id": "o", "line_no": 2}),
    ],
)
def test_nothing_leaves_that_is_not_in_it_and_something_stays(leaving, facts):
    line = rules.Line("o", 1, 10, "order:o", 2, 200, 0, 0, 0)
    with pytest.raises(ImpossibleSplit) as refused:
        rules.split([line], leaving)
    assert refused.value.facts == facts


@pytest.mark.parametrize(
    "other",
    [
        {"member_id": 8},
        {"place_id": 2},
        {"seller_id": 2},
        {"currency": "USD"},
        {"state": "planned"},
    ],
)
def test_only_what_goes_from_one_place_to_one_door_is_merged(other):
    line = rules.Line("o", 1, 10, "order:o", 2, 200, 0, 0, 0)
    with pytest.raises(ImpossibleMerge) as refused:
        rules.merge([loaded([line]), loaded([line], 2, **other)])
    assert refused.value.facts == {"differs_in": next(iter(other))}
