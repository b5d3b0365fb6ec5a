"""Several ways to do the same, side by side in one run: what each does a second, and costs.

The sides take turns, so that what else the machine does meets all of them.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import TypeVar

import msgspec

from benchmarks import shop

Call = Callable[[], Awaitable[int]]
Item = TypeVar("Item")


class Row(msgspec.Struct):
    """CPU in microseconds each of what is done: of the callers' process, and of Postgres."""

    side: str
    per_s: float
    callers_us: float
    postgres_us: float


def turns(sides: Collection[str], rounds: int) -> Iterator[list[str]]:
    """The sides of each round, before and after the other ones. One round more, to warm up."""
    names = list(sides)
    for number in range(rounds + 1):
        yield names if number % 2 else names[::-1]


def in_turn(items: Iterable[Item], do: Callable[[Item], Awaitable[object]]) -> Call:
    """A caller that does the next of these, until it and the others have done all."""
    left = iter(items)

    async def call() -> int:
        done = 0
        for item in left:
            await do(item)
            done += 1
        return done

    return call


async def measure(side: str, call: Call, *, callers: int, postgres: int) -> Row:
    """So many callers at once, each of whom says how much it did; `postgres` is a pid."""
    meter = shop.Meter({"postgres_us": postgres})
    cpu_s, began = time.process_time(), time.perf_counter()
    done = sum(await asyncio.gather(*(call() for _ in range(callers))))
    took_s = time.perf_counter() - began
    callers_us = 1e6 * (time.process_time() - cpu_s) / done
    return Row(side, done / took_s, callers_us, **meter.us_per(done))


def medians(rows: list[Row]) -> list[Row]:
    of_side: dict[str, list[Row]] = {}
    for row in rows:
        of_side.setdefault(row.side, []).append(row)
    figures = Row.__struct_fields__[1:]
    return [
        Row(side, **{f: statistics.median(getattr(row, f) for row in found) for f in figures})
        for side, found in of_side.items()
    ]


def show(rows: list[Row], *, decimals: int = 0) -> None:
    print(f"{'':32}{'a second':>10}{'callers us':>12}{'postgres us':>13}")
    for row in rows:
        costs = f"{row.callers_us:>12,.{decimals}f}{row.postgres_us:>13,.{decimals}f}"
        print(f"{row.side:32}{row.per_s:>10,.0f}{costs}")
