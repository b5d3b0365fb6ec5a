"""Returns, exchanges and claims: line by line, to the cent, each unit and each yuan once."""

import asyncio
from datetime import UTC, datetime, timedelta

import hypothesis
import pytest
from hypothesis import strategies as st

from core import aftersale, inventory, ledger, orders, sales
from core.flows.audit_ledger import audit_ledger
from core.kit import db
from core.kit.states import IllegalMove
from tests.core.keeper import Keeper

# Three kettles at 33.33, less 1.00, and 2.50 tax; a lid of another seller's; shipping with tax.
KETTLES = (0, 3, 3_333, 100, 250, 7, 500)
LIDS = (1, 2, 1_000, 0, 0, 1, 0)
FEES = {"shipping": 600, "shipping_tax": 60}
TAX = 10_000


@pytest.fixture
async def keeper(pool, keyring):
    return await Keeper(pool, keyring).open(100)


@pytest.fixture
async def there(keeper):
    """An order of member 7 that is delivered."""
    return await keeper.sent(7, [KETTLES, LIDS], **FEES)


async def test_a_line_that_comes_back_unit_by_unit_is_refunded_to_the_cent(keeper, there, pool):
    kettle = keeper.sku_ids[0]
    assert (await keeper.stock())[kettle] == (97, 0, 0, 0)
    worth = 3 * 3_333 - 100
    gone = 0
    for number, condition in enumerate(["good", "damaged", "good"], 1):
        case = await keeper.returned(there, 7, condition=condition)
        assert (await keeper.order(there)).shown == orders.Shown.AFTER_SALE
        ended = await keeper.refund(case)
        assert (await keeper.order(there)).shown == orders.Shown.COMPLETED
        gone += ended.refunded_minor
        assert gone == worth * number // 3 + 250 * number // 3
    assert await keeper.shares(there) == {1: worth, 2: 0, 0: 0, TAX + 1: 250, TAX: 0}
    # The damaged one is set aside, and not for sale.
    assert (await keeper.stock())[kettle] == (99, 0, 0, 1)
    for _ in range(2):
        case = await keeper.returned(there, 7, line_no=2)
        last = await keeper.refund(case)
    # Shipping goes back with the last unit of all.
    assert last.refunded_minor == 1_000 + 660
    order = await keeper.order(there)
    await keeper.settle_money()
    assert sum(keeper.till.went.values()) == order.amount_minor
    assert not any((await keeper.balances()).values())
    audit = await audit_ledger(pool)
    assert (audit.mismatches, audit.drifts) == ([], [])


async def test_a_claim_takes_part_of_a_line_and_the_goods_stay(keeper, there):
    case = await keeper.ask(there, 7, "claim", amount=1_001)
    ended = await keeper.refund(case)
    assert (ended.state, ended.refunded_minor) == ("refunded", 1_001)
    shares = await keeper.shares(there)
    assert shares[1] + shares[TAX + 1] == 1_001
    left = 3 * 3_333 - 100 + 250 - 1_001
    with pytest.raises(aftersale.MoreThanWasPaid) as refused:
        await keeper.ask(there, 7, "claim", amount=left + 1)
    assert refused.value.facts["left"] == left
    await keeper.refund(await keeper.ask(there, 7, "claim", amount=left))
    # What was claimed is not returned once more.
    with pytest.raises(aftersale.MoreThanWasPaid):
        await keeper.ask(there, 7, "return", quantity=3)


async def test_goods_that_come_back_when_no_money_is_left_end_their_case(keeper, there, pool):
    case = await keeper.returned(there, 7, quantity=3)
    whole = 3 * 3_333 - 100 + 250
    await keeper.refund(await keeper.ask(there, 7, "claim", amount=whole))
    with pytest.raises(aftersale.MoreThanWasPaid):
        await keeper.refund(case, 1)
    ended = await keeper.refund(case)
    assert (ended.state, ended.refund_id, ended.refunded_minor) == ("refunded", None, 0)
    assert (await keeper.order(there)).shown == orders.Shown.COMPLETED
    # The other seller is paid.
    async with db.transaction(pool) as conn:
        assert await ledger.release_due(conn, days=0, batch_max=9) == 1


async def test_an_exchange_for_which_there_is_nothing_left_to_send_is_refunded(keeper, there, pool):
    await keeper.refund(await keeper.returned(there, 7))
    case = await keeper.agree(await keeper.ask(there, 7, "exchange", quantity=2))
    await keeper.receive(case, "damaged")
    await keeper.place(8, [(0, 98, 3_333, 0, 0, 7, 500)])
    with pytest.raises(inventory.OutOfStock):
        await keeper.replace(case)
    ended = await keeper.refund(case)
    assert (ended.state, ended.follow_up) == ("refunded", None)
    assert await keeper.shares(there) == {1: 9_899, 2: 0, 0: 0, TAX + 1: 250, TAX: 0}
    last = await keeper.refund(await keeper.returned(there, 7, line_no=2, quantity=2))
    assert last.refunded_minor == 2_000 + 660
    await keeper.settle_money()
    assert sum(keeper.till.went.values()) == (await keeper.order(there)).amount_minor
    audit = await audit_ledger(pool)
    assert (audit.mismatches, audit.drifts) == ([], [])


async def test_an_order_takes_no_more_cases_than_its_log_has_room_for(keeper, there):
    for _ in range(200):
        await keeper.withdraw(await keeper.ask(there, 7, "return"), 7)
    with pytest.raises(aftersale.TooManyCases):
        await keeper.ask(there, 7, "return")
    assert (await keeper.order(there)).version > 2 * 200


@pytest.mark.parametrize("end", ["refund", "withdraw", "refuse"])
async def test_whoever_holds_the_order_never_waits_for_who_ends_a_case(keeper, there, pool, end):
    case = await keeper.ask(there, 7, "claim", amount=100)
    async with db.transaction(pool) as conn:
        (order,) = await orders.hold(conn, order_ids=[there])
        ends = {
            "refund": lambda: keeper.refund(case),
            "withdraw": lambda: keeper.withdraw(case, 7),
            "refuse": lambda: keeper.refuse(case),
        }
        ending = asyncio.create_task(ends[end]())
        await waits_for_a_lock(pool)
        await orders.open_case(conn, order, case_id="0")
        await ledger.contest(conn, order_id=there)
        await conn.fetch("SELECT FROM aftersale.cases WHERE id = $1 FOR UPDATE", case.id)
    await ending
    assert (await keeper.order(there)).open_cases == 1


async def waits_for_a_lock(pool):
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    for _ in range(2_000):
        if await pool.fetchval(waiting):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_an_exchange_sends_other_units_by_an_order_that_costs_nothing(keeper, there, pool):
    kettle, _ = keeper.sku_ids
    case = await keeper.agree(await keeper.ask(there, 7, "exchange", quantity=2))
    await keeper.send_back(case, 7)
    with pytest.raises(IllegalMove):
        await keeper.refund(case)
    await keeper.receive(case, "damaged")
    ended = await keeper.replace(case)
    assert (ended.state, (await keeper.order(there)).shown) == ("replaced", orders.Shown.COMPLETED)
    follow_up = await keeper.order(ended.follow_up)
    assert (follow_up.amount_minor, follow_up.shown) == (0, orders.Shown.PAID)
    assert follow_up.units == {kettle: 2}
    await keeper.dispatch()
    await keeper.ship(ended.follow_up)
    await keeper.deliver(ended.follow_up)
    assert (await keeper.order(ended.follow_up)).shown == orders.Shown.COMPLETED
    assert (await keeper.stock())[kettle] == (95, 0, 0, 2)
    audit = await audit_ledger(pool)
    assert (audit.mismatches, audit.drifts) == ([], [])


async def test_an_exchange_order_that_has_not_left_may_be_taken_back(keeper, there):
    case = await keeper.agree(await keeper.ask(there, 7, "exchange"))
    ended = await keeper.replace(await keeper.receive(case))
    await keeper.cancel(ended.follow_up, 7)
    assert (await keeper.order(ended.follow_up)).shown == orders.Shown.CANCELLED
    assert (await keeper.stock())[keeper.sku_ids[0]] == (98, 0, 0, 0)


async def test_no_more_units_are_asked_for_than_left_and_none_twice(keeper, there):
    with pytest.raises(aftersale.NotShipped):
        await keeper.ask(there, 7, "return", quantity=4)
    first = await keeper.ask(there, 7, "return", quantity=2)
    with pytest.raises(aftersale.NotShipped) as refused:
        await keeper.ask(there, 7, "exchange", quantity=2)
    assert refused.value.facts["left"] == 1
    await keeper.ask(there, 7, "exchange", quantity=1)
    await keeper.withdraw(first, 7)
    again = await keeper.ask(there, 7, "return", quantity=2)
    await keeper.refuse(again)
    await keeper.ask(there, 7, "return", quantity=2)
    assert (await keeper.order(there)).open_cases == 2


async def test_nothing_is_asked_before_it_left(keeper):
    order_id = await keeper.place(7, [KETTLES])
    await keeper.pay(order_id)
    for kind, amount in (("return", 0), ("claim", 5)):
        with pytest.raises(aftersale.NotShipped):
            await keeper.ask(order_id, 7, kind, amount=amount)


@pytest.mark.parametrize(("kind", "days"), [("return", 7), ("exchange", 15), ("claim", 30)])
async def test_the_days_count_from_delivery(keeper, there, kind, days):
    amount = 5 if kind == "claim" else 0
    late = datetime.now(UTC) + timedelta(days=days, minutes=1)
    with pytest.raises(aftersale.TooLate):
        await keeper.ask(there, 7, kind, amount=amount, now=late)
    await keeper.ask(there, 7, kind, amount=amount, now=late - timedelta(minutes=2))


async def test_one_key_asks_once_and_another_body_under_it_is_refused(keeper, there):
    first = await keeper.ask(there, 7, "return", key="k")
    assert await keeper.ask(there, 7, "return", key="k") == first
    with pytest.raises(sales.KeyReused):
        await keeper.ask(there, 7, "return", key="k", quantity=2)
    with pytest.raises(orders.NoSuchOrder):
        await keeper.ask(there, 8, "return", key="x")
    with pytest.raises(aftersale.NoSuchLine):
        await keeper.ask(there, 7, "return", line_no=3)


async def test_of_all_who_ask_at_once_no_more_is_granted_than_there_is(keeper, there):
    asked = [keeper.ask(there, 7, "return", quantity=2) for _ in range(4)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    granted = [one for one in outcomes if isinstance(one, aftersale.Case)]
    assert len(granted) == 1
    refused = [one for one in outcomes if one not in granted]
    assert all(isinstance(one, aftersale.NotShipped | IllegalMove) for one in refused)
    assert (await keeper.order(there)).open_cases == 1


async def test_of_all_who_refund_a_case_at_once_one_does(keeper, there):
    case = await keeper.returned(there, 7)
    outcomes = await asyncio.gather(
        *(keeper.refund(case) for _ in range(4)), return_exceptions=True
    )
    (done,) = [one for one in outcomes if isinstance(one, aftersale.Case)]
    await keeper.settle_money()
    assert list(keeper.till.went.values()) == [done.refunded_minor]


async def test_a_refund_after_the_seller_was_paid_is_taken_from_the_seller(keeper, there, pool):
    async with db.transaction(pool) as conn:
        await ledger.release(conn, order_id=there)
    before = await keeper.balances()
    ended = await keeper.refund(await keeper.returned(there, 7, quantity=3))
    worth = 3 * 3_333 - 100
    assert ended.refunded_minor == worth + 250
    after = await keeper.balances()
    commission = worth * 500 // 10_000
    assert after["seller_payable", "7"] - before["seller_payable", "7"] == worth - commission
    assert after["commission_revenue", ""] - before["commission_revenue", ""] == commission


@pytest.mark.parametrize("end", ["withdraw", "refuse", "refund"])
async def test_money_is_not_released_by_the_lapse_of_time_while_a_case_is_open(
    keeper, there, pool, end
):
    async def release():
        async with db.transaction(pool) as conn:
            return await ledger.release_due(conn, days=0, batch_max=9)

    case = await keeper.ask(there, 7, aftersale.Kind.CLAIM, amount=100)
    other = await keeper.ask(there, 7, aftersale.Kind.CLAIM, line_no=2, amount=100)
    assert await release() == 0
    await keeper.refuse(other)
    assert await release() == 0
    await {
        "withdraw": lambda: keeper.withdraw(case, 7),
        "refuse": lambda: keeper.refuse(case),
        "refund": lambda: keeper.refund(case),
    }[end]()
    assert await release() == 1


async def test_the_log_tells_what_came_of_a_case_and_how_the_order_stood(keeper, there, pool):
    before = datetime.now(UTC)
    case = await keeper.returned(there, 7)
    during = datetime.now(UTC)
    ended = await keeper.refund(case)
    async with db.snapshot(pool) as conn:
        past = [
            (await orders.as_of(conn, order_id=there, moment=moment)).shown
            for moment in (before, during, datetime.now(UTC))
        ]
        log = await orders.log(conn, order_id=there)
    assert past == ["completed", "after_sale", "completed"]
    closed = log[-1].event
    assert closed == orders.CaseClosed(str(case.id), "refunded", ended.refund_id)


async def test_a_member_takes_a_paid_order_back_that_has_not_left(keeper, pool):
    for is_packed in (False, True):
        order_id = await keeper.place(7, [KETTLES, LIDS], **FEES)
        await keeper.pay(order_id)
        if is_packed:
            await keeper.dispatch()
        seen = await keeper.cancel(order_id, 7)
        assert (seen.state, seen.reason) == ("cancelled", "member")
        with pytest.raises(IllegalMove):
            await keeper.cancel(order_id, 7)
        await keeper.settle_money()
        order = await keeper.order(order_id)
        assert keeper.till.went[order_id] == order.amount_minor
        assert order.payment == "refunded"
    await keeper.dispatch()
    assert set((await keeper.stock()).values()) == {(100, 0, 0, 0)}
    assert not any((await keeper.balances()).values())
    audit = await audit_ledger(pool)
    assert (audit.mismatches, audit.drifts) == ([], [])


async def test_what_has_left_is_not_cancelled_any_more(keeper, there):
    with pytest.raises(orders.AlreadyShipped):
        await keeper.cancel(there, 7)
    assert (await keeper.order(there)).shown == orders.Shown.COMPLETED


@hypothesis.given(
    amounts=st.dictionaries(st.integers(0, 5), st.integers(0, 10**9), min_size=1),
    parts=st.lists(st.integers(1, 7), min_size=1, max_size=8),
)
def test_however_units_go_back_all_of_their_worth_goes_with_the_last(amounts, parts):
    whole, before = sum(parts), 0
    gone = dict.fromkeys(amounts, 0)
    for quantity in parts:
        worth = aftersale.worth(amounts, before=before, quantity=quantity, of=whole)
        for number, minor in worth.items():
            assert abs(minor * whole - amounts[number] * quantity) < whole
            gone[number] += minor
        before += quantity
    assert gone == amounts


async def test_money_that_never_came_does_not_go_back(keeper, there):
    case = await keeper.agree(await keeper.ask(there, 7, "exchange"))
    ended = await keeper.replace(await keeper.receive(case))
    await keeper.dispatch()
    await keeper.ship(ended.follow_up)
    with pytest.raises(aftersale.MoreThanWasPaid):
        await keeper.ask(ended.follow_up, 7, "return")
    again = await keeper.agree(await keeper.ask(ended.follow_up, 7, "exchange"))
    ended = await keeper.refund(await keeper.receive(again))
    assert (ended.refund_id, keeper.till.went) == (None, {})
