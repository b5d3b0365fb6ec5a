from collections.abc import Collection, Mapping, Sequence

from core.kit.db import Conn, many, one

from .chart import MANY
from .model import (
    AccountLine,
    Audit,
    Balance,
    Drift,
    Entry,
    EntryId,
    Hold,
    NewEntry,
    Posting,
    Seller,
    SellerId,
    Share,
    Turnover,
)
from .rules import COMMISSION_BPS_USUAL

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


SELLER = """ -- -> Seller
    SELECT id, commission_bps FROM ledger.sellers WHERE id = $1
"""


async def seller(conn: Conn, seller_id: SellerId) -> Seller | None:
    return one(Seller, await conn.fetchrow(SELLER, seller_id))


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
     WHERE state = 'held' AND held_at <= now() - make_interval(days => $1)
     ORDER BY held_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""


async def hold_due(conn: Conn, days: int, batch_max: int) -> list[Hold]:
    return many(Hold, await conn.fetch(HOLD_DUE, days, batch_max))


SHARES = """ -- -> Share
    SELECT order_id, line_no, account, owner, amount_minor, commission_minor, returned_minor
      FROM ledger.shares WHERE order_id = ANY($1::text[]) ORDER BY order_id, line_no
"""


async def shares(conn: Conn, order_ids: Collection[str]) -> list[Share]:
    return many(Share, await conn.fetch(SHARES, order_ids))


# The caller holds them.
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


# Four proofs: each entry sums to zero, each is whole, each balance is what its postings say, and
# what is held for each order is what is left of its shares.
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
