from collections.abc import Collection, Sequence

from core.kit.db import Conn, many, one

from .chart import MANY
from .model import (
    AccountLine,
    Audit,
    Balance,
    Drift,
    Entry,
    EntryId,
    NewEntry,
    Posting,
    Turnover,
)

POST = """
    WITH written AS (
        INSERT INTO ledger.entries (kind, reference)
        SELECT kind, reference FROM unnest($1::text[], $2::text[]) AS wanted (kind, reference)
        ON CONFLICT (kind, reference) DO NOTHING
     RETURNING id, kind, reference
    ), fresh AS (
        INSERT INTO ledger.fresh (entry_id) SELECT id FROM written
    ), posted AS (
        INSERT INTO ledger.postings (entry_id, line_no, account, owner, currency, amount_minor)
        SELECT id, line_no, account, owner, currency, amount_minor
          FROM unnest($3::text[], $4::text[], $5::smallint[], $6::text[], $7::text[], $8::text[],
                      $9::bigint[])
            AS wanted (kind, reference, line_no, account, owner, currency, amount_minor)
          JOIN written USING (kind, reference)
    )
    SELECT kind, reference FROM written
"""


async def post(conn: Conn, entries: Sequence[NewEntry]) -> set[tuple[str, str]]:
    """Kind and reference of those that were not there before."""
    postings = [
        (entry.kind, entry.reference, line_no, *where, entry.currency, amount)
        for entry in entries
        for line_no, (where, amount) in enumerate(entry.amounts.items(), 1)
    ]
    rows = await conn.fetch(
        POST,
        [entry.kind for entry in entries],
        [entry.reference for entry in entries],
        *map(list, zip(*postings, strict=True)),
    )
    return {(row["kind"], row["reference"]) for row in rows}


# In the order of the balances, so that two of these never wait in a ring.
CARRY_FORWARD = """
    WITH taken AS (
        DELETE FROM ledger.fresh
         WHERE entry_id IN (SELECT entry_id FROM ledger.fresh ORDER BY entry_id LIMIT $1
                               FOR UPDATE SKIP LOCKED)
     RETURNING entry_id
    ), sums AS (
        SELECT account, CASE WHEN account = ANY($2) THEN '' ELSE owner END AS owner, currency,
               sum(amount_minor)::bigint AS amount_minor
          FROM ledger.postings JOIN taken USING (entry_id) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ), carried AS (
        INSERT INTO ledger.balances AS old (account, owner, currency, amount_minor)
        SELECT account, owner, currency, amount_minor FROM sums
        ON CONFLICT (account, owner, currency)
        DO UPDATE SET amount_minor = old.amount_minor + excluded.amount_minor
    )
    SELECT count(*) FROM taken
"""


async def carry_forward(conn: Conn, batch_max: int) -> int:
    return await conn.fetchval(CARRY_FORWARD, batch_max, MANY) or 0


TRIAL_BALANCE = """ -- -> Balance
    SELECT account, owner, currency, sum(amount_minor)::bigint AS amount_minor
      FROM (SELECT account, owner, currency, amount_minor FROM ledger.balances
             UNION ALL
            SELECT account, CASE WHEN account = ANY($1) THEN '' ELSE owner END, currency,
                   amount_minor
              FROM ledger.postings JOIN ledger.fresh USING (entry_id)) AS every
     GROUP BY 1, 2, 3 ORDER BY 3, 1, 2
"""


async def trial_balance(conn: Conn) -> list[Balance]:
    return many(Balance, await conn.fetch(TRIAL_BALANCE, MANY))


FIND = """ -- -> Entry
    SELECT id, kind, reference, posted_at FROM ledger.entries WHERE id = $1
"""


async def find(conn: Conn, entry_id: EntryId) -> Entry | None:
    return one(Entry, await conn.fetchrow(FIND, entry_id))


ENTRIES = """ -- -> Entry
    SELECT id, kind, reference, posted_at FROM ledger.entries
     WHERE kind = ANY($1::text[]) AND reference = $2 ORDER BY id LIMIT $3
"""


async def entries(
    conn: Conn, kinds: Collection[str], reference: str, entries_max: int
) -> list[Entry]:
    return many(Entry, await conn.fetch(ENTRIES, kinds, reference, entries_max))


POSTINGS = """ -- -> Posting
    SELECT entry_id, account, owner, currency, amount_minor FROM ledger.postings
     WHERE entry_id = ANY($1::bigint[]) ORDER BY entry_id, line_no
"""


async def postings(conn: Conn, entry_ids: Collection[EntryId]) -> list[Posting]:
    return many(Posting, await conn.fetch(POSTINGS, entry_ids))


ACCOUNT = """ -- -> AccountLine
    SELECT entry_id, kind, reference, amount_minor, posted_at
      FROM ledger.postings JOIN ledger.entries ON entries.id = entry_id
     WHERE account = $1 AND owner = $2 AND currency = $3
       AND entry_id < coalesce($4::bigint, 9223372036854775807)
     ORDER BY entry_id DESC LIMIT $5
"""


async def account(
    conn: Conn, account: str, owner: str, currency: str, before: EntryId | None, page_max: int
) -> list[AccountLine]:
    return many(AccountLine, await conn.fetch(ACCOUNT, account, owner, currency, before, page_max))


TURNOVERS = """ -- -> Turnover
    SELECT reference, kind, currency, sum(amount_minor)::bigint AS amount_minor
      FROM (SELECT id, reference, kind FROM ledger.entries
             WHERE kind = ANY($1::text[]) AND reference > $2 AND reference <= $3
             ORDER BY reference, kind LIMIT $4) AS page
      JOIN ledger.postings ON entry_id = page.id AND amount_minor > 0
     GROUP BY reference, kind, currency ORDER BY reference, kind, currency
"""


async def turnovers(
    conn: Conn, kinds: Collection[str], after: str, upto: str, page_max: int
) -> list[Turnover]:
    return many(Turnover, await conn.fetch(TURNOVERS, kinds, after, upto, page_max))


# Three proofs: each entry sums to zero, each is whole, each balance is what its postings say.
DRIFTS = """ -- -> Drift
    WITH sums AS (
        SELECT entry_id, currency, sum(amount_minor)::bigint AS amount_minor
          FROM ledger.postings GROUP BY entry_id, currency HAVING sum(amount_minor) <> 0
    ), lines AS (
        SELECT entry_id, max(line_no)::bigint AS wanted, count(*) AS found
          FROM ledger.postings GROUP BY entry_id
    ), shown AS (
        SELECT account, owner, currency, sum(amount_minor)::bigint AS amount_minor
          FROM (SELECT account, owner, currency, amount_minor FROM ledger.balances
                 UNION ALL
                SELECT account, CASE WHEN account = ANY($2) THEN '' ELSE owner END, currency,
                       amount_minor
                  FROM ledger.postings JOIN ledger.fresh USING (entry_id)) AS every
         GROUP BY 1, 2, 3
    ), proven AS (
        SELECT account, CASE WHEN account = ANY($2) THEN '' ELSE owner END AS owner, currency,
               sum(amount_minor)::bigint AS amount_minor
          FROM ledger.postings GROUP BY 1, 2, 3
    )
    SELECT 'sum of entry ' || entry_id AS what, currency, amount_minor AS shown_minor,
           0::bigint AS proven_minor
      FROM sums
     UNION ALL
    SELECT 'lines of entry ' || coalesce(id, entry_id), '', coalesce(found, 0),
           coalesce(wanted, 1)
      FROM ledger.entries FULL JOIN lines ON entry_id = id
     WHERE wanted IS DISTINCT FROM found OR wanted IS NULL OR id IS NULL
     UNION ALL
    SELECT 'balance of ' || account || ' ' || owner, currency, coalesce(shown.amount_minor, 0),
           coalesce(proven.amount_minor, 0)
      FROM shown FULL JOIN proven USING (account, owner, currency)
     WHERE coalesce(shown.amount_minor, 0) <> coalesce(proven.amount_minor, 0)
     LIMIT $1
"""


async def drifts(conn: Conn, drifts_max: int) -> list[Drift]:
    return many(Drift, await conn.fetch(DRIFTS, drifts_max, MANY))


RECORD_AUDIT = """
    INSERT INTO ledger.audits (drift) VALUES ($1)
    ON CONFLICT (id) DO UPDATE SET drift = excluded.drift, audited_at = now()
"""


async def record_audit(conn: Conn, drift: int) -> None:
    await conn.execute(RECORD_AUDIT, drift)


LAST_AUDIT = """ -- -> Audit
    SELECT drift, extract(epoch FROM now() - audited_at)::float8 AS age_s FROM ledger.audits
"""


async def last_audit(conn: Conn) -> Audit | None:
    return one(Audit, await conn.fetchrow(LAST_AUDIT))
