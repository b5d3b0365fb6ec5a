"""Shares of a sum: whole, near, in no particular order. The oracle counts in fractions."""

import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.kit import money

weights = st.lists(st.integers(0, 10**9), min_size=1, max_size=12).filter(any)
totals = st.integers(-(10**15), 10**15)


@given(totals, weights)
def test_shares_add_up_and_each_is_within_a_unit_of_its_exact_part(total, weights):
    shares = money.allocate(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(total * weight, sum(weights))) < 1


@given(totals, weights, st.randoms())
def test_who_changes_places_with_another_changes_nothing_else(total, weights, dice):
    shares = Counter(zip(weights, money.allocate(total, weights), strict=True))
    dice.shuffle(weights)
    assert Counter(zip(weights, money.allocate(total, weights), strict=True)) == shares


@given(totals, weights)
def test_the_same_question_has_the_same_answer_and_a_debt_is_shared_as_a_sum_is(total, weights):
    assert money.allocate(total, weights) == money.allocate(total, weights)
    assert money.allocate(-total, weights) == [-share for share in money.allocate(total, weights)]


@given(st.lists(st.integers(0, 10**15), max_size=12), st.integers(1, 10**6))
def test_fractions_are_rounded_down_together(numerators, denominator):
    shares = money.round_down(numerators, denominator)
    exact = [Fraction(numerator, denominator) for numerator in numerators]
    assert sum(shares) == sum(exact) // 1
    assert all(abs(share - part) < 1 for share, part in zip(shares, exact, strict=True))


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=8), st.integers(1, 1000))
def test_the_units_left_over_go_to_the_largest_remainders(numerators, denominator):
    shares = money.round_down(numerators, denominator)
    more = [
        n % denominator for n, s in zip(numerators, shares, strict=True) if s > n // denominator
    ]
    less = [
        n % denominator for n, s in zip(numerators, shares, strict=True) if s == n // denominator
    ]
    assert min(more, default=denominator) >= max(less, default=0)


def test_a_unit_that_two_want_equally_goes_to_the_larger_and_then_to_the_earlier():
    assert money.allocate(1, [1, 1]) == [1, 0]
    assert money.allocate(2, [1, 3]) == [0, 2]
    assert money.allocate(2, [3, 1]) == [2, 0]


def test_nothing_is_shared_among_nobody():
    with pytest.raises(ZeroDivisionError):
        money.allocate(1, [0, 0])


@pytest.mark.parametrize(
    ("amount_minor", "currency", "told"),
    [
        (0, "CNY", "0.00 CNY"),
        (5, "CNY", "0.05 CNY"),
        (-123_450, "EUR", "-1,234.50 EUR"),
        (123_450, "JPY", "123,450 JPY"),
        (-1, "KWD", "-0.001 KWD"),
        (10_001, "CLF", "1.0001 CLF"),
    ],
)
def test_an_amount_is_told_in_the_digits_of_its_currency(amount_minor, currency, told):
    assert money.text(amount_minor, currency) == told


def test_every_unit_of_a_long_list_finds_its_place():
    dice = random.Random(4217)
    weights = [dice.randrange(1, 10**6) for _ in range(10_000)]
    shares = money.allocate(9_999, weights)
    assert sum(shares) == 9_999
    assert max(shares) <= 2
