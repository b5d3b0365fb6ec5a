"""A provider's statement of a day, held against our own books. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import NamedTuple, TypeAlias

from .model import Booked, Finding, Line, LineKind, What

# Where the days of a provider begin; UTC where nothing else is known.
ZONES = {"alipay": timezone(timedelta(hours=8))}
# What is about to end a day for us may begin the next one for the provider: the next check looks.
MARGIN = timedelta(hours=1)
# A message that comes later than this says that something was wrong.
DELAY_MAX = timedelta(days=1)
# What has a counterpart with us; a fee and a payout only stand in the statement.
MATCHED = frozenset({LineKind.CAPTURE, LineKind.REFUND, LineKind.CHARGEBACK})

Key: TypeAlias = tuple[str, str]
"A line's kind, and what tells it from all others of its kind."


class Span(NamedTuple):
    since: datetime
    until: datetime


def key_of(line: Line) -> Key:
    """A payment is captured once and a refund sent once; other lines differ by their own ids."""
    is_ours = line.kind in {LineKind.CAPTURE, LineKind.REFUND}
    return line.kind, line.reference if is_ours else line.id


def day_of(channel: str, day: date) -> Span:
    begins = datetime.combine(day, time(), ZONES.get(channel, UTC))
    return Span(begins, begins + timedelta(days=1))


def due_in(channel: str, day: date, *, follows: bool) -> Span:
    """When what this statement has to tell, or one before it has told, was booked with us.

    We hear of everything a moment later; without the statement of the day before (`follows`)
    nobody can tell what of the first hour is ours.
    """
    begins, ends = day_of(channel, day)
    return Span(begins - MARGIN if follows else begins + MARGIN, ends - MARGIN)


def compare(
    lines: Sequence[Line],
    day: Span,
    *,
    known: Mapping[Key, Booked],
    due: Sequence[Booked],
    told_before: Collection[Key],
    told_after: Collection[Key],
) -> list[Finding]:
    """Every line against what we `known`ly have, and what is `due` against the lines.

    Other statements have told the rest. Of two that tell the same, the later one is the double.
    """
    seen = set(told_before)
    found: list[Finding] = []
    for line in lines:
        key = key_of(line)
        is_double, booked = key in seen, known.get(key)
        seen.add(key)
        found += _look(line, day, booked, is_double=is_double)
    told = seen | set(told_after)
    return found + [
        Finding(What.MISSING_THERE, b.kind, b.reference, "", 0, b.amount_minor, b.currency)
        for b in due
        if (b.kind, b.reference) not in told
    ]


def _look(line: Line, day: Span, booked: Booked | None, *, is_double: bool) -> Iterator[Finding]:
    here = booked.amount_minor if booked else 0
    if is_double:
        yield _finding(What.DOUBLE, line, here)
    elif booked is None and line.kind in MATCHED:
        yield _finding(What.MISSING_HERE, line, here)
    elif booked and (booked.amount_minor, booked.currency) != (line.amount_minor, line.currency):
        yield _finding(What.AMOUNT_OFF, line, here)
    elif _is_off(line, day, booked):
        yield _finding(What.DAY_OFF, line, here)


def _is_off(line: Line, day: Span, booked: Booked | None) -> bool:
    if not day.since <= line.moved_at < day.until:
        return True
    return booked is not None and abs(booked.booked_at - line.moved_at) > DELAY_MAX


def _finding(what: What, line: Line, here_minor: int) -> Finding:
    there = line.amount_minor
    return Finding(what, line.kind, line.reference, line.id, there, here_minor, line.currency)
