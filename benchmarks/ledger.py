"""What does it cost to post to the journal, against a row for each account's balance?

    python -m benchmarks.ledger [--rounds 8] [--seconds 1.5] [--connections 16] [--write]

Captures are posted on so many connections, one a transaction or a hundred, in turn: as Sluice posts
them; and as a ledger does that keeps one row a balance: the very same entries, without the row
in `fresh`, and the balances of both accounts raised in the same transaction. At the end
every balance of ours is proven from its postings. Medians of interleaved rounds.
"""

import argparse
import itertools
import time
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks import shop
from benchmarks.sides import Call, Row, measure, medians, show, turns
from core import ledger
from core.kit import db
from core.ledger import rules, service
from core.ledger.model import NewEntry

BATCH = 100
PRICE = 5_000
NUMBERS = itertools.count(1)

ROWS = """
    CREATE SCHEMA by_row;
    CREATE TABLE by_row.entries (LIKE ledger.entries INCLUDING ALL);
    CREATE TABLE by_row.postings (LIKE ledger.postings INCLUDING ALL);
    CREATE TRIGGER an_entry_balances AFTER INSERT ON by_row.postings
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_what_does_not_balance();
    ALTER TABLE by_row.postings ADD FOREIGN KEY (entry_id) REFERENCES by_row.entries;
    ALTER TABLE by_row.entries ADD FOREIGN KEY (id, first_line)
    REFERENCES by_row.postings (entry_id, line_no) DEFERRABLE INITIALLY DEFERRED;
    CREATE TABLE by_row.balances (account text PRIMARY KEY, amount_minor bigint NOT NULL);
    INSERT INTO by_row.balances VALUES ('provider_clearing', 0), ('customer_funds', 0);
"""
POST = """
    WITH written AS (
        INSERT INTO by_row.entries (kind, reference)
        SELECT 'capture', unnest($1::text[]) ON CONFLICT (kind, reference) DO NOTHING
     RETURNING id, reference
    ), posted AS (
        INSERT INTO by_row.postings (entry_id, line_no, account, owner, currency, amount_minor)
        SELECT id, 1, 'provider_clearing', 'sandbox', 'CNY', $2::bigint FROM written
         UNION ALL
        SELECT id, 2, 'customer_funds', reference, 'CNY', -$2::bigint FROM written
    )
    SELECT count(*) FROM written
"""
RAISE = """
    UPDATE by_row.balances SET amount_minor = amount_minor + $2::bigint WHERE account = $1
"""

Post = Callable[[int], Awaitable[None]]


def references(count: int) -> list[str]:
    return [f"{next(NUMBERS):036}" for _ in range(count)]


def captured(payment_id: str) -> NewEntry:
    return rules.transfer(
        ledger.EntryKind.CAPTURE,
        payment_id,
        debit=rules.provider_clearing("sandbox"),
        credit=rules.customer_funds(payment_id),
        amount_minor=PRICE,
        currency="CNY",
    )


def into_the_journal(pool: db.Pool) -> Post:
    async def post(count: int) -> None:
        entries = [captured(one) for one in references(count)]
        async with db.transaction(pool) as conn:
            assert await service.post(conn, entries) == count

    return post


def with_rows(pool: db.Pool) -> Post:
    async def post(count: int) -> None:
        async with db.transaction(pool) as conn:
            assert await conn.fetchval(POST, references(count), PRICE) == count
            await conn.execute(RAISE, "customer_funds", -count * PRICE)
            await conn.execute(RAISE, "provider_clearing", count * PRICE)

    return post


def for_a_while(post: Post, batch: int, *, seconds: float) -> Call:
    """Who waits for a row posts less in that time, and pays no more for it."""

    async def call() -> int:
        posted, ends = 0, time.perf_counter() + seconds
        while time.perf_counter() < ends:
            await post(batch)
            posted += batch
        return posted

    return call


async def rounds(asked: argparse.Namespace) -> list[Row]:
    found = []
    async with (
        shop.opened() as ours,
        db.create_pool(ours.url, size_max=asked.connections) as pool,
    ):
        await pool.execute(ROWS)
        journal, rows = into_the_journal(pool), with_rows(pool)
        sides = {
            "journal, one by one": (journal, 1),
            "a row a balance, one by one": (rows, 1),
            f"journal, by {BATCH}": (journal, BATCH),
            f"a row a balance, by {BATCH}": (rows, BATCH),
        }
        callers, pid = asked.connections, ours.postgres.pid
        for names in turns(sides, asked.rounds):
            for name in names:
                call = for_a_while(*sides[name], seconds=asked.seconds)
                found.append(await measure(name, call, callers=callers, postgres=pid))
            async with db.transaction(pool) as conn:
                await ledger.carry_forward(conn, batch_max=1_000_000)
        await prove(pool)
    return found[len(sides) :]


async def prove(pool: db.Pool) -> None:
    async with db.snapshot(pool) as conn:
        assert await ledger.audit(conn) == []
        ours, theirs = await conn.fetchrow(
            "SELECT (SELECT sum(amount_minor) FROM ledger.balances WHERE amount_minor > 0),"
            "       (SELECT sum(amount_minor) FROM by_row.balances WHERE amount_minor > 0)"
        )
        assert ours + theirs == (next(NUMBERS) - 1) * PRICE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.5, help="a round of one side")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    rows = uvloop.run(rounds(asked))
    told = {row.side: row for row in medians(rows)}
    show(list(told.values()), decimals=1)
    times = {
        how: round(told[f"journal, {how}"].per_s / told[f"a row a balance, {how}"].per_s, 2)
        for how in ("one by one", f"by {BATCH}")
    }
    print(f"the journal's rate over the row's: {times}; every balance proven")
    if asked.write:
        shop.keep("ledger", {"medians": list(told.values()), "times": times, "rounds": rows})


if __name__ == "__main__":
    main()
