"""Prices: explained to the cent, and the same when somebody else computes them."""

import os
import random
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import pricing
from core.pricing import Basket, Discount, Line, Shipping, UnitPrice

BASKETS = int(os.environ.get("TEST_BASKETS", "5000"))
SEED = int(os.environ.get("TEST_SEED", "20260101"))


def basket(*units_minor, **facts):
    lines = (Line(n, 100 + n, 1, minor) for n, minor in enumerate(units_minor, 1))
    return Basket("CNY", tuple(lines), **facts)


def totals(quote):
    return [line.total_minor for line in quote.lines]


def test_each_discount_takes_from_what_the_ones_before_it_left():
    found = pricing.price(
        basket(20_000, 10_000, discounts=(Discount("A", bps=1_000), Discount("B", minor=2_700)))
    )
    assert totals(found) == [16_200, 8_100]
    assert [(step.kind, step.reference, step.changes) for step in found.steps] == [
        ("list", "", {1: 20_000, 2: 10_000}),
        ("discount", "A", {1: -2_000, 2: -1_000}),
        ("discount", "B", {1: -1_800, 2: -900}),
    ]


def test_a_cent_that_cannot_be_shared_goes_to_the_largest_remainder():
    found = pricing.price(basket(100, 100, 101, discounts=(Discount("A", minor=100),)))
    assert [line.discount_minor for line in found.lines] == [33, 33, 34]


@pytest.mark.parametrize(("goods", "off"), [(29_999, 0), (30_000, 5_000), (61_000, 10_000)])
def test_a_full_reduction_counts_each_time_it_is_reached(goods, off):
    rule = Discount("FULL", minor=5_000, from_minor=30_000, repeats=True)
    assert pricing.price(basket(goods, discounts=(rule,))).total_minor == goods - off


def test_a_discount_never_takes_more_than_it_may_or_than_there_is():
    capped = Discount("HALF", bps=5_000, most_minor=300)
    assert pricing.price(basket(1_000, discounts=(capped,))).total_minor == 700
    assert pricing.price(basket(1_000, discounts=(Discount("X", minor=9_000),))).total_minor == 0


def test_a_discount_of_one_line_leaves_the_others_alone():
    rule = Discount("ONE", bps=5_000, lines=frozenset({2}))
    assert totals(pricing.price(basket(1_000, 1_000, discounts=(rule,)))) == [1_000, 500]


def test_a_unit_price_counts_only_where_it_is_lower():
    better = (UnitPrice("TIER", 1, 900), UnitPrice("CONTRACT", 1, 950), UnitPrice("X", 2, 5_000))
    found = pricing.price(basket(1_000, 1_000, unit_prices=better))
    assert totals(found) == [900, 1_000]
    assert [step.reference for step in found.steps] == ["", "TIER"]


@pytest.mark.parametrize(("off", "shipping"), [(0, 0), (1, 1_500)])
def test_shipping_is_free_by_what_the_goods_come_to_after_discounts(off, shipping):
    found = pricing.price(
        basket(
            9_900,
            discounts=(Discount("A", minor=off),),
            shipping=Shipping(1_500, free_from_minor=9_900),
        )
    )
    assert found.shipping.total_minor == shipping
    assert found.total_minor == 9_900 - off + shipping


def test_a_tax_is_inside_the_price_or_comes_on_top():
    line = (Line(1, 7, 1, 11_300, tax_ppm=130_000),)
    inside = pricing.price(Basket("CNY", line))
    assert (inside.lines[0].tax_minor, inside.total_minor) == (1_300, 11_300)
    on_top = pricing.price(Basket("USD", line, prices_include_tax=False))
    assert (on_top.lines[0].tax_minor, on_top.total_minor) == (1_469, 12_769)
    assert on_top.steps[-1].changes == {1: 1_469}


@pytest.mark.parametrize(
    "impossible",
    [
        Basket("CNY", ()),
        Basket("CNY", (Line(0, 7, 1, 1),)),
        Basket("CNY", (Line(1, 7, 1, 1), Line(1, 8, 1, 1))),
        Basket("CNY", (Line(1, 7, 0, 1),)),
        Basket("CNY", (Line(1, 7, 1, -1),)),
        Basket("CNY", (Line(1, 7, 10**9, 10**9),)),
        basket(1, unit_prices=(UnitPrice("A", 2, 1),)),
        basket(1, unit_prices=(UnitPrice("A", 1, -1),)),
        basket(1, discounts=(Discount("", minor=1),)),
        basket(1, discounts=(Discount("A", bps=10_001),)),
        basket(1, discounts=(Discount("A", minor=-1),)),
        basket(1, discounts=(Discount("A", minor=1, most_minor=-1),)),
        basket(1, discounts=(Discount("A", minor=1, repeats=True),)),
        basket(1, discounts=(Discount("A", minor=1, lines=frozenset({2})),)),
        basket(1, discounts=(Discount("A", minor=1),) * 101),
        basket(1, shipping=Shipping(-1)),
        basket(*[1] * 1_001),
    ],
)
def test_what_no_shop_means_is_refused(impossible):
    with pytest.raises(pricing.NotPriceable):
        pricing.price(impossible)


def drawn(random_):
    """A basket as a shop has them, with every rule in it now and then, and ugly numbers."""
    count = random_.choice((1, 1, 2, 3, 5, 12))
    numbers = list(range(1, count + 1))
    money = lambda: random_.choice((0, 1, 99, 100, 999)) + random_.randrange(0, 50_000)  # noqa: E731
    lines = tuple(
        Line(n, n, random_.randint(1, 5), money(), random_.choice((0, 60_000, 88_750, 130_000)))
        for n in numbers
    )

    def discount(number):
        some = frozenset(random_.sample(numbers, random_.randint(1, count)))
        from_minor = random_.choice((0, money()))
        return Discount(
            f"D{number}",
            bps=random_.choice((0, 1, 333, 1_000, 5_000, 10_000)),
            minor=random_.choice((0, 1, money())),
            lines=random_.choice((None, some)),
            from_minor=from_minor,
            repeats=from_minor > 0 and random_.random() < 0.5,
            most_minor=random_.choice((None, money())),
        )

    return Basket(
        random_.choice(("CNY", "USD", "JPY")),
        lines,
        tuple(
            UnitPrice("U", random_.choice(numbers), money()) for _ in range(random_.randrange(3))
        ),
        tuple(discount(number) for number in range(random_.randrange(5))),
        random_.choice((Shipping(), Shipping(money(), 60_000, random_.choice((None, money()))))),
        random_.random() < 0.5,
    )


def cents(exact):
    """Half up, by way of decimals."""
    return int((Decimal(exact.numerator) / exact.denominator).quantize(0, ROUND_HALF_UP))


def shared(off, held):
    """Cent by cent: whoever is furthest below its exact share gets the next one."""
    whole = sum(held.values())
    exact = {n: Fraction(off * minor, whole) for n, minor in held.items()}
    got = {
        n: int((Decimal(e.numerator) / e.denominator).to_integral_value(ROUND_FLOOR))
        for n, e in exact.items()
    }
    while sum(got.values()) < off:
        got[max(got, key=lambda n: (exact[n] - got[n], exact[n], -n))] += 1
    return got


def priced_by_hand(asked):
    """Line number -> (total, tax), 0 for shipping: the rules once more, in another's hand."""
    unit = {line.number: line.unit_minor for line in asked.lines}
    for better in asked.unit_prices:
        unit[better.line] = min(unit[better.line], better.unit_minor)
    held = {line.number: line.quantity * unit[line.number] for line in asked.lines}
    for discount in asked.discounts:
        touched = {n: m for n, m in held.items() if not discount.lines or n in discount.lines}
        base = sum(touched.values())
        if base == 0 or base < discount.from_minor:
            continue
        reached = base // discount.from_minor if discount.repeats else 1
        off = cents(Fraction(base * discount.bps, 10_000)) + discount.minor * reached
        limits = [base] if discount.most_minor is None else [base, discount.most_minor]
        for number, share in shared(min(off, *limits), touched).items():
            held[number] -= share
    sent = asked.shipping
    free = sent.free_from_minor is not None and sum(held.values()) >= sent.free_from_minor
    held[0] = 0 if free else sent.minor
    rate = {line.number: Fraction(line.tax_ppm, 10**6) for line in asked.lines}
    rate[0] = Fraction(sent.tax_ppm, 10**6)
    if asked.prices_include_tax:
        return {n: (m, cents(m - m / (1 + rate[n]))) for n, m in held.items()}
    return {n: (m + cents(m * rate[n]), cents(m * rate[n])) for n, m in held.items()}


def test_two_who_price_the_same_baskets_agree():
    print(f"TEST_SEED={SEED} TEST_BASKETS={BASKETS}")
    random_ = random.Random(SEED)
    for _ in range(BASKETS):
        asked = drawn(random_)
        found = pricing.price(asked)
        said = {line.number: (line.total_minor, line.tax_minor) for line in found.lines}
        said[pricing.SHIPPING] = (found.shipping.total_minor, found.shipping.tax_minor)
        assert said == priced_by_hand(asked), asked


@given(st.integers(0, 2**32))
def test_the_steps_add_up_to_the_total(seed):
    asked = drawn(random.Random(seed))
    found = pricing.price(asked)
    added = sum(minor for step in found.steps for minor in step.changes.values())
    priced = (*found.lines, found.shipping)
    assert added == found.total_minor == sum(line.total_minor for line in priced)
    for line in priced:
        on_top = 0 if asked.prices_include_tax else line.tax_minor
        assert line.total_minor == line.list_minor - line.discount_minor + on_top
        assert min(msgspec.structs.astuple(line)) >= 0
