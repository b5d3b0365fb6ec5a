"""What a buyer may ask for, and what goes back for it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from core.kit import money

from .model import Case, Kind, MoreThanWasPaid, NotShipped, Sold, TooLate, Wish
from .states import VOID, State

# Their units come back.
COMES_BACK = frozenset({Kind.RETURN, Kind.EXCHANGE})


def insist_on(
    wish: Wish, sold: Sold, cases: Iterable[Case], *, days: Mapping[str, int], now: datetime
) -> None:
    """Refuse what may not be asked for. `cases` are the order's; `days` count from delivery."""
    mine = [case for case in cases if case.line_no == wish.line_no]
    taken = units_of(mine) if wish.kind in COMES_BACK else 0
    if wish.quantity > sold.shipped - taken:
        raise NotShipped(line_no=sold.line_no, left=max(0, sold.shipped - taken))
    until = sold.delivered_at and sold.delivered_at + timedelta(days=days[wish.kind])
    if until is not None and now > until:
        raise TooLate(until=until)
    wanted = 1 if wish.kind is Kind.RETURN else wish.wanted_minor
    if wanted > sold.left_minor:
        raise MoreThanWasPaid(line_no=sold.line_no, left=sold.left_minor)


def units_of(cases: Iterable[Case], states: Iterable[State] = frozenset(State) - VOID) -> int:
    """How many units of a line came back, or are meant to."""
    wanted = set(states)
    return sum(c.quantity for c in cases if c.kind in COMES_BACK and c.state in wanted)


def worth(amounts: Mapping[int, int], *, before: int, quantity: int, of: int) -> dict[int, int]:
    """What so many of a line's units come to, of each of its parts.

    It depends on how many went `before`: however they go, all of it goes with the last unit.
    """
    return {
        number: minor * (before + quantity) // of - minor * before // of
        for number, minor in amounts.items()
    }


def capped(amounts: Mapping[int, int], left: Mapping[int, int]) -> dict[int, int]:
    """No more of each part than is left of it, and nothing where nothing is."""
    found = {number: min(minor, left.get(number, 0)) for number, minor in amounts.items()}
    return {number: minor for number, minor in found.items() if minor > 0}


def shared(total_minor: int, amounts: Mapping[int, int]) -> dict[int, int]:
    """A sum shared out over parts, in the measure of each. Raises MoreThanWasPaid."""
    whole = sum(amounts.values())
    if not 0 < total_minor <= whole:
        raise MoreThanWasPaid(left=whole)
    shares: Sequence[int] = money.allocate(total_minor, list(amounts.values()))
    return {number: minor for number, minor in zip(amounts, shares, strict=True) if minor}
