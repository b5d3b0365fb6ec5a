from collections.abc import Collection, Sequence
from datetime import UTC, date, timedelta

from core.kit.db import Conn
from core.kit.states import IllegalMove, check_move

from . import rules, store
from .model import (
    Difference,
    DifferenceId,
    Finding,
    Line,
    NoSuchDayStatement,
    NoSuchDifference,
    Source,
    Statement,
    StatementId,
    UnreadableStatement,
)
from .rules import Key, key_of
from .sheet import LINES_MAX, YEARS
from .states import MOVES, State

DIFFERENCES_MAX = 2 * LINES_MAX


async def keep(
    conn: Conn, *, channel: str, day: date, source: Source, lines: Sequence[Line]
) -> Statement:
    """Keep what a provider says of a day; what it says later replaces it.

    Raises UnreadableStatement for a day of another age.
    """
    if day.year not in YEARS:
        raise UnreadableStatement("No provider tells of that day.", day=str(day))
    statement_id = await store.open_statement(conn, channel, day, source)
    await store.forget_lines(conn, statement_id)
    await store.add_lines(conn, statement_id, lines[:LINES_MAX])
    return await find(conn, statement_id=statement_id)


async def find(conn: Conn, *, statement_id: StatementId) -> Statement:
    found = await store.find(conn, statement_id)
    if found is None:
        raise NoSuchDayStatement(statement_id=str(statement_id))
    return found


async def lines(conn: Conn, *, statement_id: StatementId) -> list[Line]:
    return await store.lines(conn, statement_id, LINES_MAX)


async def listing(conn: Conn, *, before: StatementId | None, page_max: int) -> list[Statement]:
    """Statements, the one that was told last first."""
    return await store.listing(conn, before, page_max)


async def has_day(conn: Conn, *, channel: str, day: date) -> bool:
    return await store.has_day(conn, channel, day)


async def missing_days(conn: Conn, *, channel: str, days_max: int) -> list[date]:
    """Of the last days that are over where the provider is, those without a whole statement."""
    offset = rules.ZONES.get(channel, UTC).utcoffset(None)
    today = await store.today(conn, offset.total_seconds())
    past = [today - timedelta(days=back) for back in range(days_max, 0, -1)]
    ends = {day: rules.day_of(channel, day).until for day in past}
    return [day for day in past if not await store.has_whole_day(conn, channel, day, ends[day])]


async def told(
    conn: Conn, statement: Statement, keys: Collection[Key], *, is_before: bool
) -> set[Key]:
    """Which of these other statements of the same provider tell: earlier ones, or later ones."""
    names = [name for _, name in keys]
    found = await store.told(
        conn, statement.channel, statement.day, names, names, is_before=is_before
    )
    return {key_of(line) for line in found}


async def judge(conn: Conn, statement: Statement, findings: Sequence[Finding]) -> None:
    """Let the differences of a statement be these. What is explained stays so."""
    await store.add_differences(conn, statement.id, findings)
    wanted = {(f.what, f.kind, f.reference, f.line_id) for f in findings}
    for one in await store.differences_of(conn, statement.id, list(State), DIFFERENCES_MAX):
        is_there = (one.what, one.kind, one.reference, one.line_id) in wanted
        if is_there and one.state == State.GONE:
            await _move(conn, one, State.OPEN)
        if not is_there and one.state == State.OPEN:
            await _move(conn, one, State.GONE)


async def differences(
    conn: Conn,
    *,
    state: State | None = None,
    before: DifferenceId | None,
    page_max: int,
) -> list[Difference]:
    """Newest first, in one state or in all."""
    states = [state] if state else list(State)
    return await store.differences(conn, states, before, page_max)


async def open_in(conn: Conn, *, statement_id: StatementId, page_max: int) -> list[Difference]:
    """The open differences of a statement, newest first."""
    return await store.differences_of(conn, statement_id, [State.OPEN], page_max)


async def find_difference(conn: Conn, *, difference_id: DifferenceId) -> Difference:
    found = await store.find_difference(conn, difference_id)
    if found is None:
        raise NoSuchDifference(difference_id=str(difference_id))
    return found


async def resolve(conn: Conn, difference: Difference, *, note: str, by: str) -> None:
    """Somebody says how it came about. Raises IllegalMove where it is not open."""
    await _move(conn, difference, State.RESOLVED, note, by)


async def _move(
    conn: Conn,
    difference: Difference,
    target: State,
    note: str | None = None,
    by: str | None = None,
) -> None:
    check_move(MOVES, State(difference.state), target)
    if not await store.move(conn, difference, target, note, by):
        raise IllegalMove(
            "The difference moved while we were looking.",
            source=difference.state,
            target=target.value,
        )
