from collections.abc import Collection, Mapping, Sequence

import asyncpg

from core.kit.db import Conn, Shape, many, one
from core.kit.tail import Stretch

from .chart import MANY
from .model import (
    AccountLine,
    Audit,
    Balance,
    ChargedBack,
    Drift,
    Entry,
    EntryId,
    Hold,
    NewEntry,
    Payout,
    PayoutId,
    Posted,
    Posting,
    Run,
    RunId,
    Seller,
    SellerId,
    Share,
    Statement,
    StatementId,
    Turnover,
)
from .rules import COMMISSION_BPS_USUAL
from .states import PayoutState

# The whole journal is read.
AUDIT_TIMEOUT_S = 600.0


def just(shape: type[Shape], row: asyncpg.Record | None) -> Shape:
    """A row that is there, whatever happens."""
    found = one(shape, row)
    assert found is not None
    return found


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


# Sellers of the usual terms have no row before something is owed to them.
OPEN_SELLERS = """
    INSERT INTO ledger.sellers (id, commission_bps)
    SELECT id, $2 FROM unnest($1::bigint[]) AS wanted (id)
     WHERE NOT EXISTS (SELECT FROM ledger.sellers WHERE sellers.id = wanted.id) ORDER BY id
    ON CONFLICT DO NOTHING
"""
HOLD_SELLERS_SHARED = """
    SELECT FROM ledger.sellers WHERE id = ANY($1::bigint[]) ORDER BY id FOR SHARE
"""


async def hold_sellers_shared(conn: Conn, seller_ids: Collection[SellerId]) -> None:
    if seller_ids:
        await conn.execute(OPEN_SELLERS, seller_ids, COMMISSION_BPS_USUAL)
        await conn.execute(HOLD_SELLERS_SHARED, seller_ids)


SELLERS = """ -- -> Seller
    SELECT id, commission_bps FROM ledger.sellers WHERE id = ANY($1::bigint[])
"""


async def sellers(conn: Conn, seller_ids: Collection[SellerId]) -> list[Seller]:
    return many(Seller, await conn.fetch(SELLERS, seller_ids))


AGREE = """
    INSERT INTO ledger.sellers (id, commission_bps) VALUES ($1, $2)
    ON CONFLICT (id) DO UPDATE SET commission_bps = excluded.commission_bps
"""


async def agree(conn: Conn, seller_id: SellerId, commission_bps: int) -> None:
    await conn.execute(AGREE, seller_id, commission_bps)


HOLD = """
    WITH held AS (
        INSERT INTO ledger.holds (order_id, channel, currency, state) VALUES ($1, $2, $3, 'held')
     RETURNING order_id
    )
    INSERT INTO ledger.shares (order_id, line_no, account, owner, amount_minor, commission_minor)
    SELECT order_id, line_no, account, owner, amount_minor, commission_minor
      FROM held, unnest($4::smallint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[])
        AS wanted (line_no, account, owner, amount_minor, commission_minor)
"""


async def hold(
    conn: Conn, order_id: str, channel: str, currency: str, shares: Sequence[Share]
) -> None:
    await conn.execute(
        HOLD,
        order_id,
        channel,
        currency,
        [share.line_no for share in shares],
        [share.account for share in shares],
        [share.owner for share in shares],
        [share.amount_minor for share in shares],
        [share.commission_minor for share in shares],
    )


FIND_HOLD = """ -- -> Hold
    SELECT order_id, channel, currency, state, held_at FROM ledger.holds WHERE order_id = $1
"""


async def find_hold(conn: Conn, order_id: str) -> Hold | None:
    return one(Hold, await conn.fetchrow(FIND_HOLD, order_id))


HOLD_ORDER = """ -- -> Hold
    SELECT order_id, channel, currency, state, held_at FROM ledger.holds
     WHERE order_id = $1 FOR UPDATE
"""


async def hold_order(conn: Conn, order_id: str) -> Hold | None:
    return one(Hold, await conn.fetchrow(HOLD_ORDER, order_id))


HOLD_DUE = """ -- -> Hold
    SELECT order_id, channel, currency, state, held_at FROM ledger.holds
     WHERE state = 'held' AND contested = 0
       AND delivered_at <= now() - make_interval(days => $1)
     ORDER BY delivered_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""


async def hold_due(conn: Conn, days: int, batch_max: int) -> list[Hold]:
    return many(Hold, await conn.fetch(HOLD_DUE, days, batch_max))


CONTEST = """
    UPDATE ledger.holds SET contested = contested + $2 WHERE order_id = $1 RETURNING true
"""


async def contest(conn: Conn, order_id: str, cases: int) -> bool:
    return await conn.fetchval(CONTEST, order_id, cases) or False


SHARES = """ -- -> Share
    SELECT order_id, line_no, account, owner, amount_minor, commission_minor, returned_minor
      FROM ledger.shares WHERE order_id = ANY($1::text[]) ORDER BY order_id, line_no
"""


async def shares(conn: Conn, order_ids: Collection[str]) -> list[Share]:
    return many(Share, await conn.fetch(SHARES, order_ids))


# The caller holds them.
DELIVERED = """
    UPDATE ledger.holds SET delivered_at = now() WHERE order_id = $1 AND delivered_at IS NULL
"""


async def delivered(conn: Conn, order_id: str) -> None:
    await conn.execute(DELIVERED, order_id)


RELEASE = """
    UPDATE ledger.holds SET state = 'released'
     WHERE order_id = ANY($1::text[]) AND state = 'held'
"""


async def release(conn: Conn, order_ids: Collection[str]) -> None:
    await conn.execute(RELEASE, order_ids)


# The caller holds the order.
TAKE_BACK = """
    UPDATE ledger.shares SET returned_minor = returned_minor + amount
      FROM unnest($2::smallint[], $3::bigint[]) AS back (line_no, amount)
     WHERE order_id = $1 AND shares.line_no = back.line_no
"""


async def take_back(conn: Conn, order_id: str, lines: Mapping[int, int]) -> None:
    await conn.execute(TAKE_BACK, order_id, list(lines), list(lines.values()))


OPEN_RUN = """
    INSERT INTO ledger.runs (reference, state) VALUES ($1, 'open') ON CONFLICT DO NOTHING
"""


async def open_run(conn: Conn, reference: str) -> None:
    await conn.execute(OPEN_RUN, reference)


RUN = """ -- -> Run
    SELECT id, reference, state, reached, started_at, ended_at
      FROM ledger.runs WHERE reference = $1
"""


async def run(conn: Conn, reference: str) -> Run:
    return just(Run, await conn.fetchrow(RUN, reference))


HOLD_RUN = """ -- -> Run
    SELECT id, reference, state, reached, started_at, ended_at
      FROM ledger.runs WHERE id = $1 FOR UPDATE
"""


async def hold_run(conn: Conn, run_id: RunId) -> Run:
    return just(Run, await conn.fetchrow(HOLD_RUN, run_id))


# The caller holds it.
REACH = """ -- -> Run
    UPDATE ledger.runs SET reached = $2 WHERE id = $1
 RETURNING id, reference, state, reached, started_at, ended_at
"""


async def reach(conn: Conn, run_id: RunId, seller_id: SellerId) -> Run:
    return just(Run, await conn.fetchrow(REACH, run_id, seller_id))


CLOSE_RUN = """ -- -> Run
    UPDATE ledger.runs SET state = 'closed', ended_at = now() WHERE id = $1 AND state = 'open'
 RETURNING id, reference, state, reached, started_at, ended_at
"""


async def close_run(conn: Conn, run_id: RunId) -> Run:
    return just(Run, await conn.fetchrow(CLOSE_RUN, run_id))


RUNS = """ -- -> Run
    SELECT id, reference, state, reached, started_at, ended_at FROM ledger.runs
     WHERE id < coalesce($1::bigint, 9223372036854775807) ORDER BY id DESC LIMIT $2
"""


async def runs(conn: Conn, before: RunId | None, page_max: int) -> list[Run]:
    return many(Run, await conn.fetch(RUNS, before, page_max))


NEXT_SELLER = "SELECT id FROM ledger.sellers WHERE id > $1 ORDER BY id LIMIT 1"


async def next_seller(conn: Conn, after: int) -> SellerId | None:
    return await conn.fetchval(NEXT_SELLER, after)


HOLD_SELLER = "SELECT FROM ledger.sellers WHERE id = $1 FOR UPDATE"


async def hold_seller(conn: Conn, seller_id: SellerId) -> None:
    await conn.execute(HOLD_SELLER, seller_id)


# The caller holds the seller. A currency that was never carried forward waits for the next run.
DRAW_LINES = """ -- -> Statement
    INSERT INTO ledger.statements (run_id, seller_id, currency, after_entry, upto_entry,
                                   opening_minor, moved_minor, closing_minor)
    SELECT $1, $2::bigint, balances.currency, coalesce(last.upto_entry, 0), moved.upto_entry,
           coalesce(closing_minor, 0), amount, coalesce(closing_minor, 0) + amount
      FROM ledger.balances
      LEFT JOIN LATERAL (
           SELECT upto_entry, closing_minor FROM ledger.statements
            WHERE seller_id = $2 AND statements.currency = balances.currency
            ORDER BY after_entry DESC LIMIT 1) AS last ON true
     CROSS JOIN LATERAL (
           SELECT max(entry_id) AS upto_entry, -sum(amount_minor)::bigint AS amount
             FROM ledger.postings
            WHERE account = 'seller_payable' AND postings.owner = balances.owner
              AND postings.currency = balances.currency
              AND entry_id > coalesce(last.upto_entry, 0)) AS moved
     WHERE account = 'seller_payable' AND owner = $2::bigint::text AND amount IS NOT NULL
 RETURNING id, run_id, seller_id, currency, after_entry, upto_entry, opening_minor, moved_minor,
           closing_minor, drawn_at
"""


async def draw_lines(conn: Conn, run_id: RunId, seller_id: SellerId) -> list[Statement]:
    return many(Statement, await conn.fetch(DRAW_LINES, run_id, seller_id))


STATEMENTS = """ -- -> Statement
    SELECT id, run_id, seller_id, currency, after_entry, upto_entry, opening_minor, moved_minor,
           closing_minor, drawn_at
      FROM ledger.statements
     WHERE seller_id = $1 AND id < coalesce($2::bigint, 9223372036854775807)
     ORDER BY id DESC LIMIT $3
"""


async def statements(
    conn: Conn, seller_id: SellerId, before: StatementId | None, page_max: int
) -> list[Statement]:
    return many(Statement, await conn.fetch(STATEMENTS, seller_id, before, page_max))


STATEMENT = """ -- -> Statement
    SELECT id, run_id, seller_id, currency, after_entry, upto_entry, opening_minor, moved_minor,
           closing_minor, drawn_at
      FROM ledger.statements WHERE id = $1
"""


async def statement(conn: Conn, statement_id: StatementId) -> Statement | None:
    return one(Statement, await conn.fetchrow(STATEMENT, statement_id))


PLAN_PAYOUT = """ -- -> Payout
    INSERT INTO ledger.payouts (run_id, seller_id, currency, amount_minor, state)
    VALUES ($1, $2, $3, $4, 'planned')
 RETURNING id, run_id, seller_id, currency, amount_minor, state, bank_ref, reason, planned_at,
           ended_at
"""


async def plan_payout(conn: Conn, line: Statement) -> Payout:
    row = await conn.fetchrow(
        PLAN_PAYOUT, line.run_id, line.seller_id, line.currency, line.closing_minor
    )
    return just(Payout, row)


OPEN_PAYOUTS = """ -- -> Payout
    SELECT id, run_id, seller_id, currency, amount_minor, state, bank_ref, reason, planned_at,
           ended_at
      FROM ledger.payouts WHERE state IN ('planned', 'sent') AND id > $1 ORDER BY id LIMIT $2
"""


async def open_payouts(conn: Conn, after: PayoutId, page_max: int) -> list[Payout]:
    return many(Payout, await conn.fetch(OPEN_PAYOUTS, after, page_max))


PAYOUTS = """ -- -> Payout
    SELECT id, run_id, seller_id, currency, amount_minor, state, bank_ref, reason, planned_at,
           ended_at
      FROM ledger.payouts WHERE id < coalesce($1::bigint, 9223372036854775807)
     ORDER BY id DESC LIMIT $2
"""


async def payouts(conn: Conn, before: PayoutId | None, page_max: int) -> list[Payout]:
    return many(Payout, await conn.fetch(PAYOUTS, before, page_max))


# Where the order names the state, only the index that begins with it can give it, whatever the
# statistics think.
PAYOUTS_IN = """ -- -> Payout
    SELECT id, run_id, seller_id, currency, amount_minor, state, bank_ref, reason, planned_at,
           ended_at
      FROM ledger.payouts
     WHERE state >= $1 AND (state, id) < ($1, coalesce($2::bigint, 9223372036854775807))
     ORDER BY state DESC, id DESC LIMIT $3
"""


async def payouts_in(
    conn: Conn, state: PayoutState, before: PayoutId | None, page_max: int
) -> list[Payout]:
    return many(Payout, await conn.fetch(PAYOUTS_IN, state, before, page_max))


PAYOUT = """ -- -> Payout
    SELECT id, run_id, seller_id, currency, amount_minor, state, bank_ref, reason, planned_at,
           ended_at
      FROM ledger.payouts WHERE id = $1
"""


async def payout(conn: Conn, payout_id: PayoutId) -> Payout | None:
    return one(Payout, await conn.fetchrow(PAYOUT, payout_id))


# Names the state we read, so a racing writer makes this match nothing.
MOVE_PAYOUT = """
    UPDATE ledger.payouts
       SET state = $3, bank_ref = $4, reason = $5,
           ended_at = CASE WHEN $3 <> 'sent' THEN now() END
     WHERE id = $1 AND state = $2 RETURNING true
"""


async def move_payout(
    conn: Conn,
    payout_id: PayoutId,
    source: PayoutState,
    target: PayoutState,
    bank_ref: str,
    reason: str | None,
) -> bool:
    found = await conn.fetchval(MOVE_PAYOUT, payout_id, source, target, bank_ref, reason)
    return found or False


# In the order of the balances, so that two of these never wait in a ring. Here and below, LATERAL
# lets nobody plan to read the whole journal for a few entries of it.
CARRY_FORWARD = """
    WITH taken AS (
        DELETE FROM ledger.fresh
         WHERE entry_id IN (SELECT entry_id FROM ledger.fresh ORDER BY entry_id LIMIT $1
                               FOR UPDATE SKIP LOCKED)
     RETURNING entry_id
    ), sums AS (
        SELECT account, CASE WHEN account = ANY($2) THEN '' ELSE owner END AS owner, currency,
               sum(amount_minor)::bigint AS amount_minor
          FROM taken CROSS JOIN LATERAL (
               SELECT account, owner, currency, sum(amount_minor) AS amount_minor
                 FROM ledger.postings WHERE postings.entry_id = taken.entry_id
                GROUP BY account, owner, currency) AS of_entry
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
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
              FROM ledger.fresh CROSS JOIN LATERAL (
                   SELECT account, owner, currency, sum(amount_minor) AS amount_minor
                     FROM ledger.postings WHERE postings.entry_id = fresh.entry_id
                    GROUP BY account, owner, currency) AS of_entry) AS every
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


# The page first: joined at once, entries would be walked from the newest down to where it begins.
ACCOUNT = """ -- -> AccountLine
    SELECT entry_id, kind, reference, amount_minor, posted_at
      FROM (SELECT entry_id, amount_minor FROM ledger.postings
             WHERE account = $1 AND owner = $2 AND currency = $3
               AND entry_id < coalesce($4::bigint, 9223372036854775807) AND entry_id > $5
             ORDER BY entry_id DESC LIMIT $6) page
      JOIN ledger.entries ON entries.id = entry_id ORDER BY entry_id DESC
"""


async def account(
    conn: Conn,
    account: str,
    owner: str,
    currency: str,
    before: EntryId | None,
    after: EntryId,
    page_max: int,
) -> list[AccountLine]:
    rows = await conn.fetch(ACCOUNT, account, owner, currency, before, after, page_max)
    return many(AccountLine, rows)


CHARGED_BACK_OF = """
    SELECT order_id, sum(-amount_minor)::bigint AS amount_minor
      FROM unnest($1::text[]) AS wanted (order_id)
      JOIN ledger.entries ON kind = 'chargeback'
       AND reference > order_id || ':' AND reference < order_id || ';'
      JOIN ledger.postings ON entry_id = entries.id AND account = 'chargebacks'
     GROUP BY order_id
"""


async def charged_back_of(conn: Conn, order_ids: Collection[str]) -> dict[str, int]:
    rows = await conn.fetch(CHARGED_BACK_OF, order_ids)
    return {row["order_id"]: row["amount_minor"] for row in rows}


CHARGED_BACK = """ -- -> ChargedBack
    SELECT entry_id, owner AS channel, currency, -amount_minor AS amount_minor, posted_at
      FROM ledger.entries JOIN ledger.postings ON entry_id = entries.id
     WHERE kind = 'chargeback' AND reference = $1 AND account = 'chargebacks'
"""


async def charged_back(conn: Conn, reference: str) -> ChargedBack | None:
    return one(ChargedBack, await conn.fetchrow(CHARGED_BACK, reference))


TURNOVERS = """ -- -> Turnover
    SELECT reference, kind, currency, amount_minor
      FROM (SELECT id, reference, kind FROM ledger.entries
             WHERE kind = ANY($1::text[]) AND reference > $2 AND reference <= $3
             ORDER BY reference, kind LIMIT $4) AS page
     CROSS JOIN LATERAL (
           SELECT currency, sum(amount_minor)::bigint AS amount_minor
             FROM ledger.postings WHERE entry_id = page.id AND amount_minor > 0
            GROUP BY currency) AS of_entry
     ORDER BY reference, kind, currency
"""


async def turnovers(
    conn: Conn, kinds: Collection[str], after: str, upto: str, page_max: int
) -> list[Turnover]:
    return many(Turnover, await conn.fetch(TURNOVERS, kinds, after, upto, page_max))


# The proofs: each entry sums to zero, each is whole, each balance is what its postings say, what is
# held for an order is what is left of its shares, a statement goes on from the one before with its
# own postings, and what is on its way to a seller are its open payouts.
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
    ), escrow AS (
        SELECT owner, currency, -sum(amount_minor)::bigint AS amount_minor
          FROM ledger.postings WHERE account = 'escrow' GROUP BY owner, currency
    ), held AS (
        SELECT order_id AS owner, currency, sum(CASE WHEN state = 'held'
               THEN amount_minor - returned_minor ELSE 0 END)::bigint AS amount_minor
          FROM ledger.holds JOIN ledger.shares USING (order_id) GROUP BY order_id, currency
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
     UNION ALL
    SELECT 'escrow of order ' || owner, currency, coalesce(escrow.amount_minor, 0),
           coalesce(held.amount_minor, 0)
      FROM escrow FULL JOIN held USING (owner, currency)
     WHERE coalesce(escrow.amount_minor, 0) <> coalesce(held.amount_minor, 0)
     UNION ALL
    SELECT 'statement ' || id, currency, opening_minor + moved_minor, before + moved
      FROM (SELECT id, currency, opening_minor, moved_minor, coalesce(
                   lag(closing_minor) OVER (PARTITION BY seller_id, currency ORDER BY after_entry),
                   0) AS before
              FROM ledger.statements) AS drawn
      JOIN (SELECT statements.id, -sum(amount_minor)::bigint AS moved
              FROM ledger.statements JOIN ledger.postings
                ON account = 'seller_payable' AND owner = seller_id::text
               AND postings.currency = statements.currency
               AND entry_id > after_entry AND entry_id <= upto_entry
             GROUP BY statements.id) AS posted USING (id)
     WHERE (opening_minor, moved_minor) IS DISTINCT FROM (before, moved)
     UNION ALL
    SELECT 'payouts of seller ' || owner, currency, coalesce(in_transit.amount_minor, 0),
           coalesce(planned.amount_minor, 0)
      FROM (SELECT owner, currency, -sum(amount_minor)::bigint AS amount_minor
              FROM ledger.postings WHERE account = 'payout_in_transit'
             GROUP BY owner, currency) AS in_transit
      FULL JOIN (SELECT seller_id::text AS owner, currency, sum(amount_minor)::bigint
                        AS amount_minor
                   FROM ledger.payouts WHERE state IN ('planned', 'sent')
                  GROUP BY seller_id, currency) AS planned USING (owner, currency)
     WHERE coalesce(in_transit.amount_minor, 0) <> coalesce(planned.amount_minor, 0)
     LIMIT $1
"""


async def drifts(conn: Conn, drifts_max: int) -> list[Drift]:
    rows = await conn.fetch(DRIFTS, drifts_max, MANY, timeout=AUDIT_TIMEOUT_S)
    return many(Drift, rows)


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


# WITH TIES: a transaction is read whole. What a payment does is in one currency.
POSTED = """ -- -> Posted
    SELECT e.xact, kind, reference, posted_at, min(currency)::text AS currency,
           jsonb_agg(jsonb_build_array(account, owner, amount_minor) ORDER BY line_no) AS rows
      FROM ledger.entries e JOIN ledger.postings ON entry_id = e.id
     WHERE e.xact >= $1 AND e.xact < $2 AND posted_at >= $3 AND kind = ANY($4::text[])
     GROUP BY e.id ORDER BY e.xact FETCH FIRST $5 ROWS WITH TIES
"""


async def posted_since(
    conn: Conn, stretch: Stretch, kinds: Collection[str], page_max: int
) -> list[Posted]:
    where = (stretch.reached, stretch.horizon, stretch.since)
    return many(Posted, await conn.fetch(POSTED, *where, list(kinds), page_max))
