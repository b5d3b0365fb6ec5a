"""What a basket comes to, computed and nothing else.

Each step sees what the ones before it left, and says what it changed: a total is explained to the
cent. Whoever splits an amount again later divides what was agreed, and never prices anew.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from core.kit.money import allocate

from .model import (
    LINES_MAX,
    MINOR_MAX,
    OFFERS_MAX,
    SHIPPING,
    WHOLE_BPS,
    WHOLE_PPM,
    Basket,
    Discount,
    NotPriceable,
    Priced,
    Quote,
    Step,
)

Amounts = dict[int, int]


def price(basket: Basket) -> Quote:
    """Raises NotPriceable."""
    check(basket)
    amounts = dict.fromkeys([SHIPPING, *(line.number for line in basket.lines)], 0)
    steps: list[Step] = []
    for rule in RULES:
        for step in rule(basket, amounts):
            for number, minor in step.changes.items():
                amounts[number] += minor
            steps.append(step)
    taxes = taxes_of(basket, amounts)
    if not basket.prices_include_tax and any(taxes.values()):
        steps.append(Step("tax", "", {number: minor for number, minor in taxes.items() if minor}))
    return quote(basket, steps, taxes)


def list_prices(basket: Basket, _: Amounts) -> Iterator[Step]:
    yield Step("list", "", {line.number: line.quantity * line.unit_minor for line in basket.lines})


def unit_prices(basket: Basket, amounts: Amounts) -> Iterator[Step]:
    quantities = {line.number: line.quantity for line in basket.lines}
    for better in basket.unit_prices:
        change = quantities[better.line] * better.unit_minor - amounts[better.line]
        if change < 0:
            yield Step("unit-price", better.reference, {better.line: change})


def discounts(basket: Basket, amounts: Amounts) -> Iterator[Step]:
    goods = [line.number for line in basket.lines]
    for discount in basket.discounts:
        numbers = [n for n in goods if discount.lines is None or n in discount.lines]
        weights = [amounts[number] for number in numbers]
        off = taken_off(discount, sum(weights))
        if off:
            shares = zip(numbers, allocate(off, weights), strict=True)
            yield Step("discount", discount.reference, {n: -share for n, share in shares if share})


def taken_off(discount: Discount, base_minor: int) -> int:
    if base_minor < discount.from_minor:
        return 0
    times = base_minor // discount.from_minor if discount.repeats else 1
    off = times * discount.minor + half_up(base_minor * discount.bps, WHOLE_BPS)
    most = base_minor if discount.most_minor is None else discount.most_minor
    return min(off, most, base_minor)


def shipping(basket: Basket, amounts: Amounts) -> Iterator[Step]:
    asked = basket.shipping
    if not asked.minor:
        return
    yield Step("shipping", "", {SHIPPING: asked.minor})
    goods = sum(minor for number, minor in amounts.items() if number != SHIPPING)
    if asked.free_from_minor is not None and goods >= asked.free_from_minor:
        yield Step("free-shipping", "", {SHIPPING: -asked.minor})


RULES: tuple[Callable[[Basket, Amounts], Iterator[Step]], ...] = (
    list_prices,
    unit_prices,
    discounts,
    shipping,
)


def taxes_of(basket: Basket, amounts: Amounts) -> Amounts:
    """Each line's tax, to the nearest minor unit."""
    rates = {SHIPPING: basket.shipping.tax_ppm}
    rates |= {line.number: line.tax_ppm for line in basket.lines}
    return {number: tax(basket, minor, rates[number]) for number, minor in amounts.items()}


def tax(basket: Basket, minor: int, rate_ppm: int) -> int:
    base_ppm = WHOLE_PPM + (rate_ppm if basket.prices_include_tax else 0)
    return half_up(minor * rate_ppm, base_ppm)


def half_up(numerator: int, denominator: int) -> int:
    """The nearest integer to a fraction that is not negative."""
    return (2 * numerator + denominator) // (2 * denominator)


def quote(basket: Basket, steps: Sequence[Step], taxes: Amounts) -> Quote:
    lists = summed(steps, {"list", "shipping"})
    discounted = summed(steps, {"unit-price", "discount", "free-shipping"})
    totals = summed(steps, {step.kind for step in steps})
    priced = {
        number: Priced(number, lists[number], -discounted[number], taxes[number], totals[number])
        for number in taxes
    }
    shipped = priced.pop(SHIPPING)
    return Quote(
        basket.currency, tuple(priced.values()), shipped, sum(totals.values()), tuple(steps)
    )


def summed(steps: Iterable[Step], kinds: Collection[str]) -> Counter[int]:
    """What the steps of these kinds did to each line."""
    found: Counter[int] = Counter()
    for step in steps:
        if step.kind in kinds:
            found.update(step.changes)
    return found


def check(basket: Basket) -> None:
    """Raise NotPriceable for what no shop means."""
    if not 1 <= len(basket.lines) <= LINES_MAX:
        raise NotPriceable("A basket has 1 to 1,000 lines.")
    if len(basket.unit_prices) > LINES_MAX or len(basket.discounts) > OFFERS_MAX:
        raise NotPriceable("There are too many offers.")
    numbers = {line.number for line in basket.lines}
    if len(numbers) < len(basket.lines) or min(numbers) <= SHIPPING:
        raise NotPriceable("Each line needs a number of its own, from 1 on.")
    check_amounts(basket)
    for better in basket.unit_prices:
        if better.line not in numbers or better.unit_minor < 0:
            raise NotPriceable("A price is for a line, and not below 0.", offer=better.reference)
    for discount in basket.discounts:
        check_discount(discount, numbers)


def check_amounts(basket: Basket) -> None:
    for line in basket.lines:
        if line.quantity < 1 or line.unit_minor < 0 or line.tax_ppm < 0:
            raise NotPriceable("A line has a unit or more, and nothing below 0.", line=line.number)
    if sum(line.quantity * line.unit_minor for line in basket.lines) > MINOR_MAX:
        raise NotPriceable("It comes to more than can be paid.")
    sent = basket.shipping
    if not 0 <= sent.minor <= MINOR_MAX or sent.tax_ppm < 0:
        raise NotPriceable("Nothing of shipping is below 0.")


def check_discount(discount: Discount, numbers: Collection[int]) -> None:
    most = discount.most_minor
    if not discount.reference or not 0 <= discount.bps <= WHOLE_BPS or discount.minor < 0:
        raise NotPriceable("A discount has a name, and takes 0 to all.", offer=discount.reference)
    if discount.from_minor < 0 or (most is not None and most < 0):
        raise NotPriceable("A limit is not below 0.", offer=discount.reference)
    if discount.repeats and discount.from_minor == 0:
        raise NotPriceable("Only what is reached can repeat.", offer=discount.reference)
    if discount.lines is not None and not discount.lines <= set(numbers):
        raise NotPriceable("It names a line that is not there.", offer=discount.reference)
