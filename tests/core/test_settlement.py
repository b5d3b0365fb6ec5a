"""Settling with sellers and paying them: everything once, whoever is killed or comes at once."""

import asyncio
import itertools
import subprocess
import sys
from collections import Counter
from uuid import uuid4

import pytest

from core import ledger
from core.flows.pay_out import pay_out, send_payout
from core.flows.settle_sellers import settle_sellers
from core.kit import db
from tests.core.test_ledger import balances, bought, do, name, proven, tamper
from tests.patience import PATIENCE_S

SELLERS = 300
KILL_AT = (30, 120, 210)


class Teller:
    """A bank that keeps its books in memory, and says of each seller what it was told to say."""

    def __init__(self, **says):
        self.says = {int(seller.removeprefix("s")): state for seller, state in says.items()}
        self.asked: Counter[int] = Counter()
        self.paid: dict[int, int] = {}

    async def pay(self, payout):
        self.asked[payout.id] += 1
        state = self.says.get(payout.seller_id, "paid")
        if state == "away":
            raise ledger.BankUnavailable
        if state == "paid":
            assert self.paid.setdefault(payout.id, payout.amount_minor) == payout.amount_minor
        return ledger.Transfer(f"bank-{payout.id}", state, "no such account")


async def sold(pool, *amounts, seller=2) -> str:
    order_id = await bought(pool, *amounts, seller=seller)
    await do(pool, ledger.release, order_id=order_id)
    return order_id


async def settle(pool, reference, *, escrow_days=365) -> ledger.Run:
    return await settle_sellers(pool, reference=reference, escrow_days=escrow_days)


async def lines(pool, seller=2) -> list[tuple[int, int, int]]:
    async with db.reading(pool) as conn:
        found = await ledger.statements(
            conn, seller_id=ledger.SellerId(seller), before=None, page_max=100
        )
    return [(one.opening_minor, one.moved_minor, one.closing_minor) for one in found[::-1]]


async def payouts(pool) -> list[tuple[int, int, str]]:
    async with db.reading(pool) as conn:
        found = await ledger.payouts(conn, before=None, page_max=1_000)
    return [(one.seller_id, one.amount_minor, one.state) for one in found[::-1]]


async def test_a_seller_is_paid_what_was_released_and_the_statement_adds_up(pool):
    await sold(pool, 10_000)
    await bought(pool, 7_000)
    run = await settle(pool, "week 1")
    assert run.state == "closed"
    assert await lines(pool) == [(0, 9_500, 9_500)]
    assert await payouts(pool) == [(2, 9_500, "planned")]
    assert (await balances(pool))["payout_in_transit", "2", "CNY"] == -9_500
    assert await pay_out(pool, Teller()) == {"paid": 1}
    assert await pay_out(pool, Teller()) == {}
    found = await balances(pool)
    assert found["bank", "", "CNY"] == -9_500
    assert found["seller_payable", "2", "CNY"] == found["payout_in_transit", "2", "CNY"] == 0
    await sold(pool, 1_000)
    await settle(pool, "week 2")
    assert await lines(pool) == [(0, 9_500, 9_500), (9_500, -8_550, 950)]
    await proven(pool)


async def test_a_reference_is_settled_once(pool):
    await sold(pool, 10_000)
    first = await settle(pool, "week 1")
    await sold(pool, 10_000)
    assert await settle(pool, "week 1") == first
    assert len(await payouts(pool)) == 1


async def test_what_was_delivered_long_enough_ago_is_released_before_the_line_is_drawn(pool):
    order_id = await bought(pool, 10_000)
    await settle(pool, "week 1", escrow_days=0)
    await do(pool, ledger.delivered, order_id=order_id)
    await settle(pool, "week 2", escrow_days=1)
    assert await payouts(pool) == []
    await settle(pool, "week 3", escrow_days=0)
    assert await payouts(pool) == [(2, 9_500, "planned")]
    await proven(pool)


async def test_who_was_charged_back_after_a_payout_owes_it_and_works_it_off(pool):
    order_id = await sold(pool, 10_000)
    await settle(pool, "week 1")
    await pay_out(pool, Teller())
    await do(pool, ledger.charge_back, reference="c", order_id=order_id, lines={1: 10_000})
    await settle(pool, "week 2")
    await settle(pool, "week 3")
    await sold(pool, 4_000)
    await settle(pool, "week 4")
    await sold(pool, 10_000)
    await settle(pool, "week 5")
    assert await lines(pool) == [
        (0, 9_500, 9_500),
        (9_500, -19_000, -9_500),
        (-9_500, 3_800, -5_700),
        (-5_700, 9_500, 3_800),
    ]
    assert await payouts(pool) == [(2, 9_500, "paid"), (2, 3_800, "planned")]
    await proven(pool)


async def test_a_payout_that_fails_is_owed_again_and_paid_by_the_next_run(pool):
    await sold(pool, 10_000)
    await settle(pool, "week 1")
    assert await pay_out(pool, Teller(s2="sent")) == {"sent": 1}
    assert await pay_out(pool, Teller(s2="away")) == {"unknown": 1}
    assert await pay_out(pool, Teller(s2="failed")) == {"failed": 1}
    assert (await balances(pool))["seller_payable", "2", "CNY"] == -9_500
    await settle(pool, "week 2")
    assert await pay_out(pool, Teller()) == {"paid": 1}
    assert await payouts(pool) == [(2, 9_500, "failed"), (2, 9_500, "paid")]
    assert await lines(pool) == [(0, 9_500, 9_500), (9_500, 0, 9_500)]
    await proven(pool)


async def test_a_settlement_of_small_steps_comes_to_the_same(pool):
    for seller in range(2, 7):
        await sold(pool, 1_000, seller=seller)
    due = await bought(pool, 10_000)
    await do(pool, ledger.delivered, order_id=due)
    # Two steps release and carry forward; the first seller is the shop itself.
    for steps_max, planned in ((0, 0), (2, 0), (4, 1), (6, 5)):
        run = await settle_sellers(pool, reference="r", escrow_days=0, steps_max=steps_max)
        assert (run.state, len(await payouts(pool))) == ("open", planned)
    run = await settle_sellers(pool, reference="r", escrow_days=0, steps_max=3)
    assert run.state == "closed"
    assert sorted(await payouts(pool)) == [
        (2, 10_450, "planned"),
        *((seller, 950, "planned") for seller in range(3, 7)),
    ]
    await proven(pool)


async def test_one_payout_is_asked_for_until_its_end_is_known(pool):
    await sold(pool, 10_000)
    await sold(pool, 20_000, seller=3)
    await settle(pool, "week 1")
    async with db.reading(pool) as conn:
        planned = await ledger.payouts(
            conn, state=ledger.PayoutState.PLANNED, before=None, page_max=9
        )
    assert [one.seller_id for one in planned] == [3, 2]
    payout_id, bank = planned[1].id, Teller(s2="away")
    with pytest.raises(ledger.BankUnavailable):
        await send_payout(pool, bank, payout_id=payout_id)
    for state in ("sent", "paid", "failed"):
        bank.says[2] = state
        sent = await send_payout(pool, bank, payout_id=payout_id)
        assert sent.state == ("sent" if state == "sent" else "paid")
    assert bank.asked == {payout_id: 3}
    assert await payouts(pool) == [(2, 9_500, "paid"), (3, 19_000, "planned")]
    with pytest.raises(ledger.NoSuchPayout):
        await send_payout(pool, bank, payout_id=ledger.PayoutId(99))
    await proven(pool)


async def test_many_who_pay_out_at_once_pay_once(pool):
    for seller in range(2, 12):
        await sold(pool, 1_000, seller=seller)
    await settle(pool, "week 1")
    bank = Teller()
    await asyncio.gather(*(pay_out(pool, bank) for _ in range(4)))
    assert len(bank.paid) == 10
    assert (await balances(pool))["bank", "", "CNY"] == -9_500
    await proven(pool)


async def test_lines_are_drawn_under_a_seller_to_whom_money_comes_all_the_time(pool):
    """Each posting stands in exactly one statement, or behind the last one."""
    orders = [await bought(pool, 1_000) for _ in range(60)]
    await do(pool, ledger.release, order_id=await bought(pool, 1))
    turns = iter(orders)

    async def come() -> None:
        for number, order_id in enumerate(turns):
            await do(pool, ledger.release, order_id=order_id)
            if number % 3 == 0:
                facts = {"reference": "r", "order_id": order_id, "lines": {1: 500}}
                await do(pool, ledger.refund, **facts)

    async def draw() -> None:
        for number in itertools.count():
            await settle(pool, f"run {number}")
            if all(task.done() for task in coming):
                return

    coming = [asyncio.create_task(come()) for _ in range(2)]
    await asyncio.gather(*coming, draw(), draw())
    await settle(pool, "the last one")
    found = await lines(pool)
    assert len(found) > 3, "lines were drawn while money came"
    for before, after in itertools.pairwise(found):
        assert before[2] == after[0]
    await proven(pool)


@pytest.fixture
def cron(database_url, tmp_path):
    """`sluice ledger settle`, as a process of its own."""

    def start(reference) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "api.cli", "ledger", "settle", reference],
            env={"SLUICE_DATABASE_URL": database_url, "SLUICE_HOME": str(tmp_path)},
            stdout=subprocess.DEVNULL,
        )

    return start


async def test_a_run_that_is_killed_goes_on_where_it_was_and_pays_everybody_once(pool, cron):
    async with db.transaction(pool) as conn:
        for seller in range(2, SELLERS + 2):
            goods = ledger.goods(
                1, seller_id=ledger.SellerId(seller), amount_minor=1_000, commission_bps=500
            )
            facts = {"payment_id": name(), "order_id": str(uuid4()), "channel": "sandbox"}
            await ledger.capture_for_order(conn, [goods], currency="CNY", **facts)
            await ledger.release(conn, order_id=facts["order_id"])
    killed = 0
    async with asyncio.timeout(PATIENCE_S):
        for kill_at in (*KILL_AT, None):
            process = cron("week 1")
            while process.poll() is None:
                reached = await pool.fetchval("SELECT max(reached) FROM ledger.runs") or 0
                if kill_at is not None and reached >= kill_at:
                    process.kill()
                    process.wait()
                    killed += reached < SELLERS
                await asyncio.sleep(0.002)
    assert killed == len(KILL_AT), "it was killed in the middle each time"
    assert process.returncode == 0
    assert await payouts(pool) == [(seller, 950, "planned") for seller in range(2, SELLERS + 2)]
    assert await pool.fetchval("SELECT state FROM ledger.runs") == "closed"
    await proven(pool)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE ledger.statements SET moved_minor = 1, closing_minor = 1", "statement"),
        ("UPDATE ledger.statements SET opening_minor = 1, closing_minor = 9501", "statement"),
        ("UPDATE ledger.payouts SET amount_minor = 1", "payouts"),
        ("UPDATE ledger.payouts SET state = 'paid'", "payouts"),
        ("UPDATE ledger.shares SET returned_minor = 0 WHERE returned_minor > 0", "escrow"),
        ("UPDATE ledger.holds SET state = 'released' WHERE state = 'held'", "escrow"),
    ],
)
async def test_what_somebody_changed_behind_our_back_is_found(pool, change, found):
    await sold(pool, 10_000)
    order_id = await bought(pool, 5_000)
    await do(pool, ledger.refund, reference="r", order_id=order_id, lines={1: 100})
    await settle(pool, "week 1")
    await proven(pool)
    await tamper(pool, change)
    async with db.reading(pool) as conn:
        assert {d.what.partition(" ")[0] for d in await ledger.audit(conn)} == {found}
