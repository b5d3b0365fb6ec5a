"""Money: integers in the minor unit of an ISO 4217 currency, and how a sum is shared out."""

from collections.abc import Sequence

DIGITS_USUAL = 2
# The currencies to which ISO 4217 gives another number of decimal digits.
OTHER_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
DIGITS = {code: digits for digits, codes in OTHER_DIGITS.items() for code in codes.split()}


def text(amount_minor: int, currency: str) -> str:
    """An amount as people read it: `-1,234.50 CNY`."""
    digits = DIGITS.get(currency, DIGITS_USUAL)
    whole, part = divmod(abs(amount_minor), 10**digits)
    sign = "-" if amount_minor < 0 else ""
    decimals = f".{part:0{digits}}" if digits else ""
    return f"{sign}{whole:,}{decimals} {currency}"


def allocate(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Share a sum out by weights, none negative and not all zero. See `round_down`."""
    sign = -1 if total_minor < 0 else 1
    whole = sum(weights)
    return [sign * share for share in round_down([sign * total_minor * w for w in weights], whole)]


def round_down(numerators: Sequence[int], denominator: int) -> list[int]:
    """Integers for some fractions of one denominator, none negative: the largest remainders.

    They add up to the sum of the fractions, rounded down; each is less than one from its fraction.
    Among equal remainders the larger fraction goes first, then the earlier one: who changes
    places with another changes nothing else.
    """
    shares = [numerator // denominator for numerator in numerators]
    left = sum(numerators) // denominator - sum(shares)
    order = sorted(
        range(len(numerators)), key=lambda n: (-(numerators[n] % denominator), -numerators[n], n)
    )
    for n in order[:left]:
        shares[n] += 1
    return shares
