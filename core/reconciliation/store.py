from collections.abc import Collection, Sequence
from datetime import date, datetime

from core.kit.db import Conn, many, one

from .model import Difference, DifferenceId, Finding, Line, Source, Statement, StatementId
from .states import State

OPEN = """
    INSERT INTO reconciliation.statements (channel, day, source) VALUES ($1, $2, $3)
    ON CONFLICT (channel, day) DO UPDATE SET source = excluded.source
 RETURNING id
"""


async def open_statement(conn: Conn, channel: str, day: date, source: Source) -> StatementId:
    """Holds it until the transaction ends."""
    return await conn.fetchval(OPEN, channel, day, source)


FORGET_LINES = "DELETE FROM reconciliation.lines WHERE statement_id = $1"


async def forget_lines(conn: Conn, statement_id: StatementId) -> None:
    await conn.execute(FORGET_LINES, statement_id)


ADD_LINES = """
    WITH told AS (
        INSERT INTO reconciliation.lines (statement_id, line_no, line_id, kind, reference,
                                          amount_minor, currency, moved_at)
        SELECT $1, line_no, line_id, kind, reference, amount_minor, currency, moved_at
          FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[],
                      $7::timestamptz[]) WITH ORDINALITY
            AS told (line_id, kind, reference, amount_minor, currency, moved_at, line_no)
     RETURNING 1
    )
    UPDATE reconciliation.statements
       SET line_count = (SELECT count(*) FROM told), checked_at = now() WHERE id = $1
"""


async def add_lines(conn: Conn, statement_id: StatementId, lines: Sequence[Line]) -> None:
    columns = (
        [line.id for line in lines],
        [line.kind for line in lines],
        [line.reference for line in lines],
        [line.amount_minor for line in lines],
        [line.currency for line in lines],
        [line.moved_at for line in lines],
    )
    await conn.execute(ADD_LINES, statement_id, *columns)


LINES = """ -- -> Line
    SELECT line_id AS id, kind, reference, amount_minor, currency, moved_at
      FROM reconciliation.lines WHERE statement_id = $1 ORDER BY line_no LIMIT $2
"""


async def lines(conn: Conn, statement_id: StatementId, lines_max: int) -> list[Line]:
    return many(Line, await conn.fetch(LINES, statement_id, lines_max))


# By reference for what is ours, by the provider's own id for the rest.
TOLD = """ -- -> Line
    SELECT line_id AS id, kind, reference, amount_minor, currency, moved_at
      FROM reconciliation.lines JOIN reconciliation.statements ON statements.id = statement_id
     WHERE channel = $1 AND CASE WHEN $3 THEN day < $2 ELSE day > $2 END
       AND (lines.reference = ANY($4::text[]) OR line_id = ANY($5::text[]))
"""


async def told(
    conn: Conn,
    channel: str,
    day: date,
    references: Collection[str],
    line_ids: Collection[str],
    *,
    is_before: bool,
) -> list[Line]:
    rows = await conn.fetch(TOLD, channel, day, is_before, references, line_ids)
    return many(Line, rows)


HAS_DAY = "SELECT EXISTS (SELECT FROM reconciliation.statements WHERE channel = $1 AND day = $2)"


async def has_day(conn: Conn, channel: str, day: date) -> bool:
    return await conn.fetchval(HAS_DAY, channel, day)


# What was told while the day went on is not all of it.
HAS_WHOLE_DAY = """
    SELECT EXISTS (SELECT FROM reconciliation.statements
                    WHERE channel = $1 AND day = $2 AND checked_at >= $3)
"""


async def has_whole_day(conn: Conn, channel: str, day: date, ends: datetime) -> bool:
    return await conn.fetchval(HAS_WHOLE_DAY, channel, day, ends)


TODAY = "SELECT (now() AT TIME ZONE make_interval(secs => $1))::date"


async def today(conn: Conn, offset_s: float) -> date:
    return await conn.fetchval(TODAY, offset_s)


FIND = """ -- -> Statement
    SELECT id, channel, day, source, line_count,
           (SELECT count(*) FROM reconciliation.differences
             WHERE statement_id = statements.id AND state = 'open') AS open_count, checked_at
      FROM reconciliation.statements WHERE id = $1
"""


async def find(conn: Conn, statement_id: StatementId) -> Statement | None:
    return one(Statement, await conn.fetchrow(FIND, statement_id))


LISTING = """ -- -> Statement
    SELECT id, channel, day, source, line_count,
           (SELECT count(*) FROM reconciliation.differences
             WHERE statement_id = statements.id AND state = 'open') AS open_count, checked_at
      FROM reconciliation.statements
     WHERE id < coalesce($1::bigint, 9223372036854775807) ORDER BY id DESC LIMIT $2
"""


async def listing(conn: Conn, before: StatementId | None, page_max: int) -> list[Statement]:
    return many(Statement, await conn.fetch(LISTING, before, page_max))


ADD_DIFFERENCES = """
    INSERT INTO reconciliation.differences (statement_id, what, kind, reference, line_id,
                                            there_minor, here_minor, currency)
    SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
                             $7::bigint[], $8::text[])
    ON CONFLICT (statement_id, what, kind, reference, line_id)
    DO UPDATE SET there_minor = excluded.there_minor, here_minor = excluded.here_minor,
                  currency = excluded.currency
"""


async def add_differences(
    conn: Conn, statement_id: StatementId, findings: Sequence[Finding]
) -> None:
    columns = (
        [one.what for one in findings],
        [one.kind for one in findings],
        [one.reference for one in findings],
        [one.line_id for one in findings],
        [one.there_minor for one in findings],
        [one.here_minor for one in findings],
        [one.currency for one in findings],
    )
    await conn.execute(ADD_DIFFERENCES, statement_id, *columns)


# State by state, however many there are in another. Where the order names the state, only the index
# that begins with it can give it, whatever the statistics think.
DIFFERENCES = """ -- -> Difference
    SELECT its.id, statement_id, channel, day, what, kind, reference, line_id, there_minor,
           here_minor, currency, state, note, ended_by, found_at, ended_at
      FROM (SELECT found.* FROM unnest($1::text[]) AS wanted (name)
             CROSS JOIN LATERAL (SELECT * FROM reconciliation.differences
                                  WHERE state >= wanted.name AND (state, id) < (
                                            wanted.name, coalesce($2::bigint, 9223372036854775807))
                                  ORDER BY state DESC, id DESC LIMIT $3) found
             ORDER BY found.id DESC LIMIT $3) its
      JOIN reconciliation.statements ON statements.id = statement_id
     ORDER BY its.id DESC
"""


async def differences(
    conn: Conn, states: Collection[State], before: DifferenceId | None, page_max: int
) -> list[Difference]:
    return many(Difference, await conn.fetch(DIFFERENCES, states, before, page_max))


DIFFERENCES_OF = """ -- -> Difference
    SELECT differences.id, statement_id, channel, day, what, kind, reference, line_id, there_minor,
           here_minor, currency, state, note, ended_by, found_at, ended_at
      FROM reconciliation.differences JOIN reconciliation.statements ON statements.id = statement_id
     WHERE statement_id = $1 AND state = ANY($2::text[])
     ORDER BY differences.id DESC LIMIT $3
"""


async def differences_of(
    conn: Conn, statement_id: StatementId, states: Collection[State], page_max: int
) -> list[Difference]:
    found = await conn.fetch(DIFFERENCES_OF, statement_id, states, page_max)
    return many(Difference, found)


FIND_DIFFERENCE = """ -- -> Difference
    SELECT differences.id, statement_id, channel, day, what, kind, reference, line_id, there_minor,
           here_minor, currency, state, note, ended_by, found_at, ended_at
      FROM reconciliation.differences JOIN reconciliation.statements ON statements.id = statement_id
     WHERE differences.id = $1
"""


async def find_difference(conn: Conn, difference_id: DifferenceId) -> Difference | None:
    return one(Difference, await conn.fetchrow(FIND_DIFFERENCE, difference_id))


MOVE = """
    UPDATE reconciliation.differences
       SET state = $3, note = $4, ended_by = $5,
           ended_at = CASE WHEN $3 <> 'open' THEN now() END
     WHERE id = $1 AND state = $2 RETURNING true
"""


async def move(
    conn: Conn, difference: Difference, target: str, note: str | None, by: str | None
) -> bool:
    found = await conn.fetchval(MOVE, difference.id, difference.state, target, note, by)
    return found or False
