"""The journal: whole and even or not at all, once, for ever; and a proof that finds what is not."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from core import ledger, payments
from core.flows.audit_ledger import FIRST, Mismatch, audit_ledger, audit_page
from core.jobs.auditor import Auditor
from core.kit import db
from core.ledger import rules, service, store
from core.payments import store as payments_store

A_CAPTURE = {"channel": "sandbox", "amount_minor": 5_000, "currency": "CNY"}


def name() -> str:
    return str(uuid4())


async def captured(pool, payment_id=None, *, order_id=None, **facts) -> str:
    payment_id = payment_id or name()
    told = {"payment_id": payment_id, **A_CAPTURE, **facts}
    async with db.transaction(pool) as conn:
        if order_id is None:
            await ledger.capture(conn, **told)
        else:
            amount_minor = told.pop("amount_minor")
            parts = [
                ledger.goods(
                    1, seller_id=ledger.OWN_SHOP, amount_minor=amount_minor, commission_bps=0
                )
            ]
            await ledger.capture_for_order(conn, parts, order_id=order_id, **told)
    return payment_id


async def balances(pool) -> dict[tuple[str, str, str], int]:
    async with db.reading(pool) as conn:
        found = await ledger.trial_balance(conn)
    return {(b.account, b.owner, b.currency): b.amount_minor for b in found}


async def proven(pool) -> None:
    async with db.reading(pool) as conn:
        assert await ledger.audit(conn) == []
        assert await ledger.uneven(conn) == []


async def tamper(pool, statement: str) -> None:
    """What only somebody can do who switches the triggers off."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute(statement)


WRITE = """
    WITH written AS (
        INSERT INTO ledger.entries (kind, reference) VALUES ('capture', 'x') RETURNING id
    )
    INSERT INTO ledger.postings (entry_id, line_no, account, owner, currency, amount_minor)
    SELECT id, line_no, account, '', currency, amount FROM written,
           (VALUES {}) AS wanted (line_no, account, currency, amount)
"""


@pytest.mark.parametrize(
    "postings",
    [
        "(1, 'a', 'CNY', 2), (2, 'b', 'CNY', -1)",
        "(1, 'a', 'CNY', 1)",
        "(1, 'a', 'CNY', 1), (2, 'b', 'USD', -1)",
        "(1, 'a', 'CNY', 1), (2, 'b', 'CNY', -2), (3, 'c', 'USD', 1)",
        "(1, 'a', 'CNY', 1), (2, 'b', 'CNY', 0), (3, 'c', 'CNY', -1)",
        "(1, 'a', 'CNY', 1), (3, 'b', 'CNY', -1)",
        "(0, 'a', 'CNY', 1), (1, 'b', 'CNY', -1)",
    ],
)
async def test_the_database_refuses_what_is_not_whole_and_even(conn, postings):
    with pytest.raises(asyncpg.CheckViolationError):
        await conn.execute(WRITE.format(postings))


async def test_an_entry_may_be_even_in_several_currencies(conn):
    even = "(1, 'a', 'CNY', 1), (2, 'b', 'CNY', -1), (3, 'a', 'USD', 2), (4, 'b', 'USD', -2)"
    await conn.execute(WRITE.format(even))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO ledger.entries (kind, reference) VALUES ('capture', 'x')",
        "INSERT INTO ledger.postings VALUES (7, 1, 'a', '', 'CNY', 1), (7, 2, 'b', '', 'CNY', -1)",
    ],
)
async def test_no_entry_is_without_postings_and_no_posting_without_its_entry(pool, statement):
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await pool.execute(statement)


@pytest.mark.parametrize(
    ("lines", "error"),
    [((1, 2), asyncpg.UniqueViolationError), ((3, 4), asyncpg.CheckViolationError)],
)
async def test_nothing_is_added_to_an_entry_that_stands(pool, lines, error):
    await captured(pool)
    entry_id = await pool.fetchval("SELECT id FROM ledger.entries")
    with pytest.raises(error):
        await pool.execute(
            "INSERT INTO ledger.postings"
            " VALUES ($1, $2, 'a', '', 'CNY', 1), ($1, $3, 'b', '', 'CNY', -1)",
            entry_id,
            *lines,
        )


@pytest.mark.parametrize("table", ["entries", "postings"])
@pytest.mark.parametrize(
    "change", ["UPDATE {} SET {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"], ids=lambda c: c[:6]
)
async def test_the_past_does_not_change(pool, table, change):
    await captured(pool)
    column = {"entries": "reference = 'y'", "postings": "amount_minor = 2 * amount_minor"}[table]
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute(change.format(f"ledger.{table}", column))
    await proven(pool)


async def test_money_of_a_payment_walks_from_the_provider_and_back(pool):
    payment_id = await captured(pool)
    facts = {"payment_id": payment_id, **A_CAPTURE}
    async with db.transaction(pool) as conn:
        await ledger.send_back(conn, **facts)
    assert await balances(pool) == {
        ("provider_clearing", "sandbox", "CNY"): 5_000,
        ("customer_funds", "", "CNY"): 0,
        ("refunds", "sandbox", "CNY"): -5_000,
    }
    async with db.transaction(pool) as conn:
        await ledger.sent_back(conn, **facts)
    assert set((await balances(pool)).values()) == {0}
    async with db.reading(pool) as conn:
        told = await ledger.entries(conn, reference=payment_id)
    assert [entry.kind for entry in told] == ["capture", "send_back", "sent_back"]
    await proven(pool)


async def test_a_capture_that_is_repeated_at_once_is_posted_once(pool):
    payment_id = name()
    await asyncio.gather(*(captured(pool, payment_id) for _ in range(16)))
    assert await pool.fetchval("SELECT count(*) FROM ledger.entries") == 1
    assert (await balances(pool))["provider_clearing", "sandbox", "CNY"] == 5_000


@pytest.mark.parametrize(
    "facts", [{"amount_minor": 5_001}, {"currency": "USD"}, {"channel": "x"}, {"order_id": "o"}]
)
async def test_a_reference_means_one_thing(pool, facts):
    payment_id = await captured(pool)
    with pytest.raises(ledger.ReferenceReused):
        await captured(pool, payment_id, **facts)
    await captured(pool, payment_id)
    await proven(pool)


async def test_nothing_is_posted_of_nothing(pool):
    await captured(pool, amount_minor=0)
    assert await pool.fetchval("SELECT count(*) FROM ledger.entries") == 0


async def test_balances_are_proven_while_entries_come_and_are_carried_forward(pool):
    async def carry() -> int:
        async with db.transaction(pool) as conn:
            return await ledger.carry_forward(conn, batch_max=7)

    async def come() -> None:
        for _ in range(20):
            await captured(pool, order_id=name())
            await asyncio.gather(carry(), proven(pool))

    await asyncio.gather(come(), come())
    while await carry():
        pass
    expected = {
        ("provider_clearing", "sandbox", "CNY"): 40 * 5_000,
        ("escrow", "", "CNY"): -40 * 5_000,
    }
    assert await balances(pool) == expected
    assert await pool.fetchval("SELECT count(*) FROM ledger.balances") == 2
    await proven(pool)


async def test_an_account_is_listed_page_by_page_newest_first(pool):
    payments = [await captured(pool) for _ in range(5)]
    found, before = [], None
    while True:
        async with db.reading(pool) as conn:
            page = await ledger.account(
                conn,
                account="provider_clearing",
                owner="sandbox",
                currency="CNY",
                before=before,
                page_max=2,
            )
        found += [line.reference for line in page]
        if len(page) < 2:
            break
        before = page[-1].entry_id
    assert found == payments[::-1]


async def test_what_somebody_tampered_with_is_found(pool):
    await captured(pool)
    async with db.transaction(pool) as conn:
        await ledger.carry_forward(conn, batch_max=10)
    await tamper(pool, "UPDATE ledger.postings SET amount_minor = 4999 WHERE amount_minor > 0")
    async with db.reading(pool) as conn:
        found = {drift.what.partition(" ")[0] for drift in await ledger.audit(conn)}
    assert found == {"sum", "balance"}
    await tamper(pool, "UPDATE ledger.postings SET amount_minor = 5000 WHERE amount_minor > 0")
    await proven(pool)
    await tamper(pool, "DELETE FROM ledger.postings")
    async with db.reading(pool) as conn:
        found = {drift.what.partition(" ")[0] for drift in await ledger.audit(conn)}
    assert found == {"lines", "balance"}


async def paid(pool, state="captured") -> str:
    """A payment as its own domain keeps it, which the ledger has not heard of."""
    payment_id, order_id = name(), name()
    await pool.execute(
        "INSERT INTO payments.payments (id, first_order_id, order_id, member_id, channel,"
        " amount_minor, currency, state, reason, captured_minor, captured_currency)"
        " VALUES ($1, $2, $2, 7, 'sandbox', 5000, 'CNY', $3, 'x', 5000, 'CNY')",
        payment_id,
        order_id,
        state,
    )
    return payment_id


async def refunded(pool, payment_id) -> str:
    """A refund of all of it, which the ledger has not heard of either."""
    refund_id = payments.RefundId(name())
    async with db.transaction(pool) as conn:
        kept = await payments.find(conn, payment_id=payment_id)
        await payments.owe(conn, kept, refund_id=refund_id, amount_minor=5_000, reason="x")
    return f"{kept.order_id}:{refund_id}"


@pytest.mark.parametrize("page_max", [1, 2, 3, 500])
async def test_every_missing_and_every_needless_entry_is_found(pool, page_max):
    wanted = set()
    for _ in range(3):
        even = await paid(pool)
        await captured(pool, even)
        wanted.add(Mismatch(await paid(pool), "capture", "CNY", 5_000, 0))
        wanted.add(Mismatch(await captured(pool), "capture", "CNY", 0, 5_000))
        owed = await paid(pool, "refunding")
        await captured(pool, owed)
        wanted.add(Mismatch(owed, "send_back", "CNY", 5_000, 0))
        refund_id = await refunded(pool, await captured(pool, await paid(pool)))
        wanted.add(Mismatch(refund_id, "refund", "CNY", 5_000, 0))
        short = await captured(pool, await paid(pool), amount_minor=4_999)
        wanted.add(Mismatch(short, "capture", "CNY", 5_000, 4_999))
    found, reached = [], FIRST
    while reached is not None:
        page = await audit_page(pool, after=reached, page_max=page_max)
        found += page.mismatches
        reached = page.reached
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert set((await audit_ledger(pool)).mismatches) == wanted


async def test_the_auditor_tells_drift_until_it_is_gone(pool, redis):
    auditor = Auditor(pool, redis)
    payment_id = await paid(pool)
    await auditor.step()
    async with db.reading(pool) as conn:
        assert (await ledger.last_audit(conn)).drift == 1
    await captured(pool, payment_id)
    await auditor.step()
    async with db.reading(pool) as conn:
        assert (await ledger.last_audit(conn)).drift == 0
    assert await pool.fetchval("SELECT count(*) FROM ledger.fresh") == 0
    await tamper(pool, "UPDATE ledger.balances SET amount_minor = 1 WHERE amount_minor > 0")
    await auditor.step()
    async with db.reading(pool) as conn:
        assert (await ledger.last_audit(conn)).drift == 1


def parts_of(*amounts, seller=2, bps=500) -> list[ledger.Part]:
    return [
        ledger.goods(n, seller_id=ledger.SellerId(seller), amount_minor=amount, commission_bps=bps)
        for n, amount in enumerate(amounts, 1)
    ]


async def bought(pool, *amounts, **facts) -> str:
    """An order whose money is held."""
    order_id = name()
    async with db.transaction(pool) as conn:
        await ledger.capture_for_order(
            conn,
            parts_of(*amounts, **facts),
            payment_id=name(),
            channel="sandbox",
            order_id=order_id,
            currency="CNY",
        )
    return order_id


async def do(pool, verb, **facts):
    async with db.transaction(pool) as conn:
        return await verb(conn, **facts)


async def test_a_released_order_pays_its_seller_and_the_platform(pool):
    order_id = await bought(pool, 10_000, 2_000)
    await asyncio.gather(*(do(pool, ledger.release, order_id=order_id) for _ in range(4)))
    assert await balances(pool) == {
        ("provider_clearing", "sandbox", "CNY"): 12_000,
        ("escrow", "", "CNY"): 0,
        ("commission_revenue", "", "CNY"): -600,
        ("seller_payable", "2", "CNY"): -11_400,
    }
    await proven(pool)


@pytest.mark.parametrize("is_released", [False, True])
@pytest.mark.parametrize(
    ("verb", "paid", "owed"),
    [
        (ledger.refund, ledger.refund_paid, "refunds"),
        (ledger.charge_back, ledger.chargeback_paid, "chargebacks"),
    ],
)
async def test_a_part_goes_back_with_its_commission_once(pool, verb, paid, owed, is_released):
    order_id = await bought(pool, 10_000, 2_000)
    if is_released:
        await do(pool, ledger.release, order_id=order_id)
    facts = {"reference": "r", "order_id": order_id}
    again = [do(pool, verb, lines={1: 5_000}, **facts) for _ in range(4)]
    await asyncio.gather(*again)
    if not is_released:
        await do(pool, ledger.release, order_id=order_id)
    await proven(pool)
    found = await balances(pool)
    assert found[owed, "sandbox", "CNY"] == -5_000
    assert found["commission_revenue", "", "CNY"] == -350
    assert found["seller_payable", "2", "CNY"] == -6_650
    await do(pool, paid, amount_minor=5_000, **facts)
    found = await balances(pool)
    assert (found[owed, "sandbox", "CNY"], found["provider_clearing", "sandbox", "CNY"]) == (
        0,
        7_000,
    )
    with pytest.raises(ledger.ReferenceReused):
        await do(pool, verb, lines={1: 4_999}, **facts)
    await proven(pool)


@pytest.mark.parametrize("lines", [{1: 10_001}, {3: 1}, {1: 0}, {1: -1}, {1: 1, 2: 2_001}])
async def test_no_more_goes_back_than_there_is(pool, lines):
    order_id = await bought(pool, 10_000, 2_000)
    with pytest.raises(ledger.MoreThanIsLeft):
        await do(pool, ledger.refund, reference="r", order_id=order_id, lines=lines)
    with pytest.raises(ledger.NoSuchHold):
        await do(pool, ledger.refund, reference="r", order_id="x", lines=lines)
    await proven(pool)


async def test_many_refunds_at_once_never_return_more_than_there_is(pool):
    order_id = await bought(pool, 1_000)

    async def give_back(number):
        await do(pool, ledger.refund, reference=f"r{number}", order_id=order_id, lines={1: 300})

    answers = await asyncio.gather(*(give_back(n) for n in range(6)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, ledger.MoreThanIsLeft)]
    assert (len(refused), answers.count(None)) == (3, 3)
    await proven(pool)


async def test_what_was_delivered_long_ago_is_released_by_many_at_once(pool):
    orders = [await bought(pool, 1_000, seller=2 + n % 3) for n in range(12)]
    assert await do(pool, ledger.release_due, days=0, batch_max=100) == 0
    for order_id in orders:
        await do(pool, ledger.delivered, order_id=order_id)
    assert await do(pool, ledger.release_due, days=1, batch_max=10) == 0
    done = await asyncio.gather(
        *(do(pool, ledger.release_due, days=0, batch_max=5) for _ in range(4))
    )
    assert sum(done) == len(orders)
    found = await balances(pool)
    assert found["escrow", "", "CNY"] == 0
    assert [found["seller_payable", str(seller), "CNY"] for seller in (2, 3, 4)] == [-3_800] * 3
    await proven(pool)


async def test_a_seller_has_the_usual_terms_unless_something_else_is_agreed(conn):
    async def rate(seller_id):
        return (await ledger.seller(conn, seller_id=ledger.SellerId(seller_id))).commission_bps

    assert (await rate(1), await rate(7)) == (0, 500)
    await ledger.agree(conn, seller_id=ledger.SellerId(7), commission_bps=250)
    assert await rate(7) == 250


@pytest.mark.parametrize(
    ("statement", "facts"),
    [
        (store.CARRY_FORWARD, [10, store.MANY]),
        (store.TRIAL_BALANCE, [store.MANY]),
        (store.TURNOVERS, [list(ledger.PAYMENT_KINDS), FIRST, "~", 10]),
        (store.ACCOUNT, ["provider_clearing", "sandbox", "CNY", None, 0, 10]),
        (payments_store.TAKEN, [FIRST, 10]),
    ],
    ids=["carry", "trial balance", "turnovers", "account", "taken"],
)
async def test_nobody_reads_the_whole_journal_for_a_page(pool, statement, facts):
    """Whatever Postgres believes of tables that nobody has analyzed yet."""
    where = {"debit": rules.provider_clearing("sandbox"), "credit": rules.refunds("sandbox")}
    about = {**where, "amount_minor": 1, "currency": "CNY"}
    entries = [rules.transfer(ledger.EntryKind.CAPTURE, str(n), **about) for n in range(3_000)]
    async with db.transaction(pool) as conn:
        await service.post(conn, entries)
        await ledger.carry_forward(conn, batch_max=2_990)
        await conn.execute(
            "INSERT INTO payments.payments (id, first_order_id, order_id, member_id, channel,"
            " amount_minor, currency, state, captured_minor, captured_currency)"
            " SELECT id, id, id, 7, 'sandbox', 1, 'CNY', 'captured', 1, 'CNY'"
            "  FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 3000)) AS made"
        )
        plan = await conn.fetch(f"EXPLAIN {statement}", *facts)
    seen = {line[0].strip() for line in plan if "Seq Scan on" in line[0]}
    assert not [line for line in seen if "postings" in line or "payments" in line], seen
