"""Who comes to a rehearsal, and when: drawn from a seed, so that it can be drawn again."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from math import sqrt
from random import Random
from typing import Annotated

import msgspec

# Far above every real member, so that nobody's limits or orders are touched.
MEMBER_FIRST = 900_000_000_000
BOT_KEYS = 20
BOT_ADDRESS = "203.0.113.66"
V4_BUYERS = 500
V4_NETWORK = 250
# So much before the opening the first buyers are at the door.
EARLY_S = 1.0

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Style(StrEnum):
    PLAIN = "plain"
    DOUBLE = "double-click"
    BOT = "bot"


class Buyer(msgspec.Struct, frozen=True):
    """`arrives_s` counts from the opening; below zero, the door is still shut."""

    number: int
    style: Style
    member_id: int
    token: str
    address: str
    sku_id: int
    keys: list[str]
    arrives_s: float


def poisson(random: Random, *, rate_per_s: float, ramp_s: float) -> Iterator[float]:
    """Arrival times without end, from 0: the rate rises evenly for `ramp_s`, and then stays.

    Independent of any answer, as a crowd is: a slow shop does not slow the buyers down.
    """
    expected = 0.0  # arrivals by then, which is what exponential steps are drawn on
    at_full_rate = rate_per_s * ramp_s / 2
    while True:
        expected += random.expovariate(1.0)
        if expected < at_full_rate:
            yield sqrt(2 * ramp_s * expected / rate_per_s)
        else:
            yield ramp_s + (expected - at_full_rate) / rate_per_s


def address(number: int) -> str:
    """One address a buyer, all from the ranges kept for documentation; of IPv6, one /64 each."""
    if number < V4_BUYERS:
        network = ("192.0.2", "198.51.100")[number // V4_NETWORK]
        return f"{network}.{number % V4_NETWORK + 1}"
    return f"2001:db8:{number >> 16 & 0xFFFF:x}:{number & 0xFFFF:x}::1"


def draw_crowd(
    random: Random,
    *,
    buyers: int,
    rate_per_s: float | None,
    ramp_s: float,
    double_clicks: Share,
    bots: Share,
    sku_ids: Sequence[int],
    token_of: Callable[[int], str],
) -> list[Buyer]:
    """Draw the buyers in the order they come. Without a rate, all are there for the opening."""
    times = poisson(random, rate_per_s=rate_per_s, ramp_s=ramp_s) if rate_per_s else None
    return [
        draw_buyer(
            random,
            number,
            style=draw_style(random, double_clicks=double_clicks, bots=bots),
            arrives_s=next(times) - EARLY_S if times else 0.0,
            sku_ids=sku_ids,
            token_of=token_of,
        )
        for number in range(buyers)
    ]


def draw_style(random: Random, *, double_clicks: Share, bots: Share) -> Style:
    drawn = random.random()
    if drawn < bots:
        return Style.BOT
    return Style.DOUBLE if drawn < bots + double_clicks else Style.PLAIN


def draw_buyer(
    random: Random,
    number: int,
    *,
    style: Style,
    arrives_s: float,
    sku_ids: Sequence[int],
    token_of: Callable[[int], str],
) -> Buyer:
    member_id = MEMBER_FIRST + number
    is_bot = style is Style.BOT
    return Buyer(
        number=number,
        style=style,
        member_id=member_id,
        token=token_of(member_id),
        address=BOT_ADDRESS if is_bot else address(number),
        sku_id=random.choice(sku_ids),
        keys=[f"r{number}-{key}" for key in range(BOT_KEYS if is_bot else 1)],
        arrives_s=arrives_s,
    )
