"""A provider's statement, held against our books: what differs is found, and nothing else."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from core import ledger, payments, reconciliation
from core.flows import book_payment, check_statement
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.jobs.statement_taker import DAYS_MAX, StatementTaker
from core.kit import db
from core.kit.states import IllegalMove
from core.reconciliation import LineKind, What

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CHANNEL = "sandbox"
ORDERS = 8


class Books:
    """Paid orders, some with refunds and a chargeback, and the statement that tells the same."""

    def __init__(self, pool, seed):
        self.pool, self.draw = pool, random.Random(seed)
        self.lines = []
        self.differences = set()

    def id(self):
        return str(UUID(int=self.draw.getrandbits(128), version=4))

    def tell(self, kind, reference, amount, moment, line_id=None):
        line_id = line_id or f"{len(self.lines)}-{kind}"
        self.lines.append(reconciliation.Line(line_id, kind, reference, amount, "CNY", moment))

    async def sell(self, at, *, delay_s=None):
        """An order that is paid, as the provider tells it a moment before we hear of it."""
        payment_id, order_id = self.id(), self.id()
        amount = self.draw.randrange(100, 10_000)
        async with db.transaction(self.pool) as conn:
            payment = await payments.start(
                conn,
                payment_id=payment_id,
                order_id=order_id,
                member_id=7,
                channel=CHANNEL,
                amount_minor=amount,
                currency="CNY",
                expires_at=at + timedelta(minutes=15),
            )
            event = payments.Event(
                CHANNEL, self.id(), "payment.captured", payment_id, "c", amount, "CNY", "c"
            )
            await payments.capture(conn, payment, event)
            parts = [
                ledger.goods(
                    1,
                    seller_id=ledger.SellerId(7),
                    amount_minor=amount - 10,
                    commission_bps=500,
                ),
                ledger.shipping(2, amount_minor=10),
            ]
            await ledger.capture_for_order(
                conn,
                parts,
                payment_id=payment_id,
                channel=CHANNEL,
                order_id=order_id,
                currency="CNY",
            )
            delay_s = self.draw.randrange(120) if delay_s is None else delay_s
            heard = at + timedelta(seconds=delay_s)
            await conn.execute(
                "UPDATE payments.payments SET captured_at = $2 WHERE id = $1", payment_id, heard
            )
        self.tell(LineKind.CAPTURE, payment_id, amount, at)
        return await self.payment(payment_id)

    async def payment(self, payment_id):
        async with db.reading(self.pool) as conn:
            return await payments.find(conn, payment_id=payment_id)

    async def refund(self, payment, amount, at):
        refund_id = payments.RefundId(self.id())
        async with db.transaction(self.pool) as conn:
            await book_payment.owe(
                conn, payment, refund_id=refund_id, lines={1: amount}, reason="test"
            )
            owed = await payments.find_refund(conn, refund_id=refund_id)
            await book_payment.refund_paid(conn, payment, owed)
            await conn.execute(
                "UPDATE payments.refunds SET paid_at = $2 WHERE id = $1", refund_id, at
            )
        self.tell(LineKind.REFUND, refund_id, amount, at)

    async def charge_back(self, payment, amount, at, currency="CNY"):
        event = payments.Event(
            CHANNEL, self.id(), "payment.charged_back", payment.id, "c", amount, currency
        )
        async with db.transaction(self.pool) as conn:
            await book_payment.charge_back(conn, payment, event)
        self.tell(LineKind.CHARGEBACK, payment.id, amount, at, event.id)

    async def take(self, day=DAY):
        async with db.transaction(self.pool) as conn:
            return await check_statement.take_statement(
                conn, self.lines, channel=CHANNEL, day=day, source="uploaded"
            )

    async def found(self, state=reconciliation.State.OPEN):
        async with db.reading(self.pool) as conn:
            every = await reconciliation.differences(conn, state=state, before=None, page_max=100)
        return sorted((one.what, one.kind, one.reference) for one in every)

    async def balance(self, account):
        async with db.reading(self.pool) as conn:
            every = await ledger.trial_balance(conn)
        return sum(one.amount_minor for one in every if one.account == account)


@pytest.fixture
async def books(pool, request):
    """A day with captures, partial refunds, fees and a payout, all of it told."""
    books = Books(pool, getattr(request, "param", 1))
    for number in range(ORDERS):
        payment = await books.sell(NOON + timedelta(minutes=number))
        if number % 2:
            await books.refund(payment, 40 + number, NOON + timedelta(hours=1, minutes=number))
        books.tell(LineKind.FEE, payment.id, 3, NOON + timedelta(minutes=number))
    books.tell(LineKind.PAYOUT, "", 150, NOON + timedelta(hours=8))
    return books


async def test_a_statement_that_tells_the_same_has_no_differences_and_books_what_it_alone_knows(
    books, pool
):
    held = await books.balance("provider_clearing")
    for _ in range(2):
        taken = await books.take()
        assert (taken.line_count, taken.open_count) == (len(books.lines), 0)
        assert await books.balance("provider_fees") == 3 * ORDERS
        assert await books.balance("bank") == 150
        assert await books.balance("provider_clearing") == held - 3 * ORDERS - 150
    audit = await audit_ledger(pool)
    assert (audit.mismatches, audit.drifts) == ([], [])


def drop_a_line(books, kind):
    line = books.draw.choice([one for one in books.lines if one.kind == kind])
    books.lines.remove(line)
    return What.MISSING_THERE, kind, line.reference


def invent_a_line(books, kind):
    reference = books.draw.choice([books.id(), "not-one-of-ours"])
    books.tell(kind, reference, 100, NOON)
    return What.MISSING_HERE, kind, reference


def change_a_line(books, kind, what, **facts):
    line = books.draw.choice([one for one in books.lines if one.kind == kind])
    books.lines[books.lines.index(line)] = msgspec.structs.replace(line, **facts)
    return what, kind, line.reference


def tell_twice(books, kind):
    line = books.draw.choice([one for one in books.lines if one.kind == kind])
    is_ours = kind in {LineKind.CAPTURE, LineKind.REFUND}
    line_id = books.id() if is_ours else line.id
    books.lines.append(msgspec.structs.replace(line, id=line_id))
    return What.DOUBLE, kind, line.reference


PLANTS = {
    "a capture is missing there": lambda b: drop_a_line(b, LineKind.CAPTURE),
    "a refund is missing there": lambda b: drop_a_line(b, LineKind.REFUND),
    "a capture is missing here": lambda b: invent_a_line(b, LineKind.CAPTURE),
    "a refund is missing here": lambda b: invent_a_line(b, LineKind.REFUND),
    "a chargeback is missing here": lambda b: invent_a_line(b, LineKind.CHARGEBACK),
    "a cent": lambda b: change_a_line(b, LineKind.CAPTURE, What.AMOUNT_OFF, amount_minor=99),
    "a refund's cent": lambda b: change_a_line(b, LineKind.REFUND, What.AMOUNT_OFF, amount_minor=1),
    "a currency": lambda b: change_a_line(b, LineKind.CAPTURE, What.AMOUNT_OFF, currency="USD"),
    "a day": lambda b: change_a_line(
        b, LineKind.CAPTURE, What.DAY_OFF, moved_at=NOON + timedelta(days=1)
    ),
    "a capture twice": lambda b: tell_twice(b, LineKind.CAPTURE),
    "a refund twice": lambda b: tell_twice(b, LineKind.REFUND),
    "a fee twice": lambda b: tell_twice(b, LineKind.FEE),
    "a payout twice": lambda b: tell_twice(b, LineKind.PAYOUT),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
@pytest.mark.parametrize("books", [2, 3], indirect=True)
async def test_a_planted_difference_is_found_and_nothing_else(books, plant):
    planted = plant(books)
    for _ in range(2):
        assert (await books.take()).open_count == 1
        assert await books.found() == [planted]


async def test_a_difference_is_resolved_once_and_stays_so_or_is_gone_when_it_is_mended(books, pool):
    lost, wrong = books.lines.pop(0), books.lines[1]
    books.lines[1] = msgspec.structs.replace(wrong, amount_minor=wrong.amount_minor + 1)
    assert (await books.take()).open_count == 2
    async with db.transaction(pool) as conn:
        every = await reconciliation.differences(conn, before=None, page_max=100)
        (explained,) = [one for one in every if one.what == What.AMOUNT_OFF]
        await reconciliation.resolve(conn, explained, note="they corrected it", by="bea")
        stale = await reconciliation.find_difference(conn, difference_id=explained.id)
        with pytest.raises(IllegalMove):
            await reconciliation.resolve(conn, stale, note="again", by="bea")
    assert (await books.take()).open_count == 1
    books.lines.append(lost)
    assert (await books.take()).open_count == 0
    assert await books.found(reconciliation.State.GONE) == [
        (What.MISSING_THERE, LineKind.CAPTURE, lost.reference)
    ]
    books.lines.remove(lost)
    assert (await books.take()).open_count == 1


async def test_what_happens_around_midnight_is_no_difference(pool):
    """Told on the day it moved, heard of on the next one; each of two statements knows its own."""
    books = Books(pool, 5)
    await books.take(DAY - timedelta(days=1))
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    for seconds in (-1_800, -3, -1, 1, 1_800):
        await books.sell(midnight + timedelta(seconds=seconds))
    every = books.lines
    for day in (0, 1):
        books.lines = [one for one in every if (one.moved_at >= midnight) == bool(day)]
        taken = await books.take(DAY + timedelta(days=day))
        assert taken.open_count == 0, await books.found()


async def test_a_clock_that_is_ahead_of_the_providers_makes_no_difference(pool):
    """Booked a moment before midnight, told as a moment after it."""
    books = Books(pool, 8)
    await books.sell(datetime(2026, 11, 21, 0, 0, 2, tzinfo=UTC), delay_s=-5)
    every, books.lines = books.lines, []
    assert (await books.take()).open_count == 0
    books.lines = every
    assert (await books.take(DAY + timedelta(days=1))).open_count == 0


async def test_a_first_statement_does_not_miss_what_the_day_before_would_have_told(pool):
    books = Books(pool, 9)
    await books.sell(datetime(2026, 11, 19, 23, 59, 59, tzinfo=UTC), delay_s=60)
    books.lines = []
    assert (await books.take()).open_count == 0


async def test_a_line_that_two_days_tell_is_the_later_ones_double(books):
    assert (await books.take()).open_count == 0
    again = books.lines[0]
    books.lines = [msgspec.structs.replace(again, id="x", moved_at=NOON + timedelta(days=1))]
    assert (await books.take(DAY + timedelta(days=1))).open_count == 1
    assert await books.found() == [(What.DOUBLE, again.kind, again.reference)]


async def test_a_chargeback_that_the_provider_deducted_is_paid_by_its_statement(pool):
    books = Books(pool, 6)
    now = datetime.now(UTC)
    payment = await books.sell(now)
    claimed = payment.captured_minor // 3
    await books.charge_back(payment, claimed, now)
    assert await books.balance("chargebacks") == -claimed
    taken = await books.take(now.date())
    assert taken.open_count == 0
    assert await books.balance("chargebacks") == 0
    assert await books.balance("provider_clearing") == payment.captured_minor - claimed
    async with db.transaction(pool) as conn:
        _, shares = await ledger.find_hold(conn, order_id=payment.order_id)
    assert sum(share.returned_minor for share in shares) == claimed
    assert all(share.returned_minor > 0 for share in shares)


@pytest.mark.parametrize("is_released", [False, True])
async def test_a_chargeback_over_what_an_order_keeps_is_booked_in_full_and_the_rest_is_lost(
    pool, is_released
):
    books = Books(pool, 7)
    now = datetime.now(UTC)
    payment = await books.sell(now)
    await books.refund(payment, 30, now)
    if is_released:
        async with db.transaction(pool) as conn:
            await ledger.release(conn, order_id=payment.order_id)
    for _ in range(2):
        await books.charge_back(payment, payment.captured_minor + 1, now)
    assert await books.balance("escrow") == 0
    assert await books.balance("seller_payable") == 0
    assert await books.balance("commission_revenue") == 0
    assert await books.balance("chargeback_losses") == payment.captured_minor + 32
    assert await books.balance("chargebacks") == -2 * (payment.captured_minor + 1)
    assert (await books.take(now.date())).open_count == 0
    assert await books.balance("chargebacks") == 0
    assert await audit_ledger(pool) == LedgerAudit([], [])


@pytest.mark.parametrize("state", ["sent back", "late", "another currency"])
async def test_a_chargeback_of_money_that_no_order_keeps_is_lost_and_touches_no_order(pool, state):
    books = Books(pool, 8)
    now = datetime.now(UTC)
    payment = await books.sell(now)
    kept = await books.balance("escrow")
    if state == "sent back":
        payment = msgspec.structs.replace(payment, state=payments.State.REFUNDED)
    elif state == "late":
        payment = msgspec.structs.replace(payment, order_id="another")
    currency = "USD" if state == "another currency" else "CNY"
    await books.charge_back(payment, 50, now, currency)
    assert await books.balance("escrow") == kept
    assert await books.balance("chargeback_losses") == 50
    assert await books.balance("chargebacks") == -50
    async with db.reading(pool) as conn:
        assert await ledger.uneven(conn) == []


async def test_a_fee_that_was_another_is_refused_and_changes_nothing(books):
    await books.take()
    place = next(n for n, one in enumerate(books.lines) if one.kind == LineKind.FEE)
    books.lines[place] = msgspec.structs.replace(books.lines[place], amount_minor=4)
    with pytest.raises(ledger.ReferenceReused):
        await books.take()
    assert await books.balance("provider_fees") == 3 * ORDERS


def test_a_file_is_read_as_it_was_written():
    lines = [
        reconciliation.Line("1", LineKind.CAPTURE, "p-1", 5_000, "CNY", NOON),
        reconciliation.Line("2", LineKind.PAYOUT, "", 4_000, "CNY", NOON),
    ]
    assert reconciliation.read(b"\xef\xbb\xbf" + reconciliation.write(lines)) == lines


HEAD = b"id,kind,reference,amount,currency,at\n"


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"id,kind\n",
        HEAD + b"1,capture,p,5,CNY\n",
        HEAD + b"1,gift,p,5,CNY,2026-11-20T00:00:00Z\n",
        HEAD + b"1,capture,,5,CNY,2026-11-20T00:00:00Z\n",
        HEAD + b"1,capture,p,-5,CNY,2026-11-20T00:00:00Z\n",
        HEAD + b"1,capture,p,0,CNY,2026-11-20T00:00:00Z\n",
        HEAD + b"1,capture,p,5.00,CNY,2026-11-20T00:00:00Z\n",
        HEAD + b"1,capture,p,5,cny,2026-11-20T00:00:00Z\n",
        HEAD + b"1,capture,p,5,CNY,2026-11-20\n",
        HEAD + b"1,capture,p,5,CNY,yesterday\n",
        HEAD + b"1,capture,\0,5,CNY,2026-11-20T00:00:00Z\n",
        HEAD + b'1,capture,"p,5,CNY,2026-11-20T00:00:00Z\n',
        HEAD + b"\xff\n",
    ],
)
def test_what_is_no_statement_is_refused(file):
    with pytest.raises(reconciliation.UnreadableStatement):
        reconciliation.read(file)


class Teller:
    """A provider that tells its days; `away` makes it not answer."""

    def __init__(self):
        self.asked, self.away = [], True

    async def statement(self, day):
        self.asked.append(day)
        if self.away:
            raise payments.ChannelUnavailable(retry_after_s=2)
        moment = datetime(day.year, day.month, day.day, 5, tzinfo=UTC)
        return [payments.Movement(f"fee-{day}", "fee", "p", 7, "CNY", moment)]


async def test_the_last_days_are_fetched_each_once_and_later_where_the_provider_is_away(pool):
    teller = Teller()
    taker = StatementTaker(pool, payments.Channels({CHANNEL: teller}))
    await whole_round(taker)
    teller.away = False
    for _ in range(2):
        await whole_round(taker)
    async with db.reading(pool) as conn:
        kept = await reconciliation.listing(conn, before=None, page_max=100)
        today = await conn.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    days = [today - timedelta(days=back) for back in range(DAYS_MAX, 0, -1)]
    assert [one.day for one in kept][::-1] == days
    assert teller.asked == days + days
    async with db.reading(pool) as conn:
        (fees,) = [b for b in await ledger.trial_balance(conn) if b.account == "provider_fees"]
    assert fees.amount_minor == 7 * DAYS_MAX


async def test_a_day_that_was_told_before_it_was_over_is_asked_for_again(pool):
    teller = Teller()
    teller.away = False
    taker = StatementTaker(pool, payments.Channels({CHANNEL: teller}))
    await whole_round(taker)
    early, late = teller.asked[2:4]
    # The one was told within its last second, the other at its very end.
    told = "UPDATE reconciliation.statements SET checked_at = $2 WHERE day = $1"
    for day, second in ((early, 86_399), (late, 86_400)):
        begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
        await pool.execute(told, day, begins + timedelta(seconds=second))
    await whole_round(taker)
    assert teller.asked[DAYS_MAX:] == [early]


class Hung(Teller):
    """A provider whose statements take longer than a step may."""

    async def statement(self, day):
        self.asked.append(day)
        await asyncio.sleep(600)


async def test_a_statement_that_takes_too_long_costs_no_other_its_turn(pool):
    hung, teller = Hung(), Teller()
    teller.away = False
    taker = StatementTaker(pool, payments.Channels({"alipay": hung, CHANNEL: teller}))
    await whole_round(taker, step_max_s=0.3)
    assert len(teller.asked) == len(set(hung.asked)) == DAYS_MAX


async def whole_round(taker, *, step_max_s=60):
    for _ in range(100):
        try:
            async with asyncio.timeout(step_max_s):
                if not await taker.step():
                    return
        except TimeoutError:
            continue
    raise AssertionError("it never comes to an end")
