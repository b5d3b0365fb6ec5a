"""From paid to delivered with no hand: consignments, stock and the order's log move together."""

import asyncio
import itertools
from uuid import uuid4

import msgspec
import pytest

from core import fulfilment, inventory, ledger, orders, payments, staff
from core.flows.audit_ledger import audit_ledger
from core.flows.cancel_order import cancel_for_staff
from core.flows.dispatch_orders import dispatch_orders
from core.flows.run_sale import arm_sale, close_sale
from core.flows.send_consignments import (
    deliver_consignment,
    merge_consignments,
    ship_consignment,
    split_consignment,
)
from core.flows.settle_payment import settle_payment
from core.flows.settle_sale import settle_sale
from core.kit import db, outbox
from core.kit.states import IllegalMove
from hotpath.signing import Signer
from tests.core.steps import books, drain
from tests.core.test_payments import DEATHS, DOOM, mortal  # noqa: F401  found by its name
from tests.patience import PATIENCE_S

PRICE = 5_000
SEALER = staff.Sealer({1: Signer(b"n" * 32)})
AUTHOR = staff.Author(SEALER, "bea", staff.Permission.ORDERS_WRITE, "test", "r-1")
NO_CHANNELS = payments.Channels({})
UPS = fulfilment.Parcel("SF Express", "SF-1")
LEFT = "SELECT count(*) FROM kit.outbox WHERE topic = 'orders.paid'"
WAITING = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


class House(msgspec.Struct):
    """A sale whose quota stands in two warehouses, and everybody who works on its orders."""

    pool: db.Pool
    sku_id: int
    west: int
    sale: object
    buy: object
    writer: object

    async def paid(self, member, *, quantity=1) -> str:
        accepted = await self.buy(self.sale, member, quantity=quantity)
        await drain(self.writer)
        await pay(self.pool, accepted.order_id)
        return accepted.order_id

    async def sent(self, order_id) -> list[tuple]:
        """(state, place, units) of each consignment of an order."""
        async with db.snapshot(self.pool) as conn:
            found = await fulfilment.of_orders(conn, order_ids=[order_id])
        return [
            (one.consignment.state, one.consignment.place_id, sum(n.quantity for n in one.lines))
            for one in found
        ]

    async def ids(self, order_id) -> list[int]:
        async with db.snapshot(self.pool) as conn:
            found = await fulfilment.of_orders(conn, order_ids=[order_id])
        return [one.consignment.id for one in found]

    async def order(self, order_id) -> orders.Order:
        async with db.snapshot(self.pool) as conn:
            order = await orders.find(conn, order_id=order_id)
            log = await orders.log(conn, order_id=order_id)
        assert orders.first_broken(order, log) is None
        return order

    async def stock(self) -> dict[int, tuple[int, int, int]]:
        """Place -> (on hand, reserved, allocated); every figure is proven."""
        async with db.snapshot(self.pool) as conn:
            assert await inventory.audit(conn) == []
            found = await inventory.balances(conn, sku_ids=[self.sku_id])
        return {b.place_id: (b.on_hand, b.reserved, b.allocated) for b in found}


async def pay(pool, order_id) -> None:
    """All of it came, by way of the sandbox."""
    async with db.transaction(pool) as conn:
        order = await orders.find(conn, order_id=order_id)
        payment = await payments.start(
            conn,
            payment_id=payments.PaymentId(str(uuid4())),
            order_id=order_id,
            member_id=order.member_id,
            channel="sandbox",
            amount_minor=order.amount_minor,
            currency=order.currency,
            expires_at=order.expires_at,
        )
    event = payments.Event(
        channel="sandbox",
        id=str(uuid4()),
        kind=payments.EventKind.CAPTURED,
        payment_id=payment.id,
        provider_ref="ref",
        amount_minor=order.amount_minor,
        currency=order.currency,
    )
    await settle_payment(pool, event)


@pytest.fixture
async def house(pool, redis, plan, buy, writer, sku_ids) -> House:
    """Of one SKU the sale has one unit in the main warehouse and five in the west."""
    async with db.transaction(pool) as conn:
        name = {"en": "West", "zh": "西仓"}
        west = await inventory.add_place(
            conn, code="WEST", kind="warehouse", name=name, region="W", rank=5
        )
        elsewhere = inventory.Wanted(
            "order:elsewhere", {sku_ids[0]: 999}, by="test", place_id=inventory.MAIN
        )
        await inventory.reserve(conn, elsewhere)
        await inventory.receive(
            conn, place_id=west.id, units={sku_ids[0]: 5}, reference="van", by="test"
        )
    sale = await arm_sale(pool, redis, sale_id=(await plan(quota=6, limit=6)).id)
    return House(pool, sku_ids[0], west.id, sale, buy, writer)


async def test_a_paid_order_is_split_to_two_warehouses_shipped_in_parts_and_delivered(house):
    order_id = await house.paid(7, quantity=6)
    assert await house.stock() == {1: (1_000, 1_000, 0), house.west: (5, 5, 0)}
    assert await dispatch_orders(house.pool, batch_max=10) == 1
    assert await house.sent(order_id) == [("allocated", 1, 1), ("allocated", house.west, 5)]
    assert await house.stock() == {1: (1_000, 999, 1), house.west: (5, 0, 5)}
    main, west = await house.ids(order_id)
    seen = [(await house.order(order_id)).standing]
    for verb, number, stock, word in (
        ("ship", west, {1: (1_000, 999, 1), house.west: (0, 0, 0)}, "part_shipped"),
        ("deliver", west, {1: (1_000, 999, 1), house.west: (0, 0, 0)}, "part_shipped"),
        ("ship", main, {1: (999, 999, 0), house.west: (0, 0, 0)}, "shipped"),
        ("deliver", main, {1: (999, 999, 0), house.west: (0, 0, 0)}, "delivered"),
    ):
        # Again changes nothing.
        for _ in range(2):
            if verb == "ship":
                await ship_consignment(
                    house.pool, NO_CHANNELS, consignment_id=number, parcel=UPS, by="bea"
                )
            else:
                await deliver_consignment(house.pool, consignment_id=number, by="bea")
        order = await house.order(order_id)
        assert (order.fulfilment, await house.stock()) == (word, stock)
        seen.append(order.standing)
    assert (order.shown, order.version) == ("completed", 5)
    async with db.snapshot(house.pool) as conn:
        log = await orders.log(conn, order_id=order_id)
        moments = [one.happened_at for one in log]
        told = [await orders.as_of(conn, order_id=order_id, moment=at) for at in moments]
        lead = await fulfilment.lead(conn, order_id=order_id)
    assert told == seen
    assert moments[0] == lead.paid_at < lead.planned_at < lead.shipped_at < lead.delivered_at


async def test_a_message_that_comes_twice_or_is_cut_off_dispatches_once(house):
    order_id = await house.paid(7, quantity=2)
    async with db.transaction(house.pool) as conn:
        await outbox.add(conn, orders.PAID_TOPIC, [orders.PaidOrder(order_id)])
    await asyncio.gather(*(dispatch_orders(house.pool, batch_max=1) for _ in range(4)))
    assert await house.sent(order_id) == [("allocated", house.west, 2)]
    assert await house.stock() == {1: (1_000, 1_000, 0), house.west: (5, 3, 2)}
    assert await house.pool.fetchval(LEFT) == 0


async def test_wherever_the_dispatcher_dies_each_unit_is_picked_once(house, mortal):  # noqa: F811
    """Once before and once after each command; whoever comes next finds all or nothing done."""
    order_id = await house.paid(7, quantity=6)
    for step in itertools.count(1):
        DOOM.left = step
        try:
            await dispatch_orders(mortal["pool"], batch_max=10)
        except DEATHS:
            sent = await house.sent(order_id)
        else:
            break
        finally:
            DOOM.left = 0
        stock = {1: (1_000, 1_000, 0), house.west: (5, 5, 0)}
        if sent:
            stock = {1: (1_000, 999, 1), house.west: (5, 0, 5)}
        assert await house.stock() == stock
    assert step > 20, "there is more to die of than this"
    assert await house.sent(order_id) == [("allocated", 1, 1), ("allocated", house.west, 5)]
    assert await house.stock() == {1: (1_000, 999, 1), house.west: (5, 0, 5)}
    assert await dispatch_orders(house.pool, batch_max=10) == 0


async def test_the_days_of_escrow_begin_with_the_last_parcel(house):
    order_id = await house.paid(7, quantity=6)
    await dispatch_orders(house.pool, batch_max=10)
    for released, number in enumerate(await house.ids(order_id)):
        await ship_consignment(house.pool, NO_CHANNELS, consignment_id=number, parcel=UPS, by="bea")
        await deliver_consignment(house.pool, consignment_id=number, by="bea")
        async with db.transaction(house.pool) as conn:
            assert await ledger.release_due(conn, days=1, batch_max=10) == 0
            assert await ledger.release_due(conn, days=0, batch_max=10) == released


async def test_what_one_order_lacks_keeps_no_other_from_going_out(house):
    lacking, fine = await house.paid(7, quantity=5), await house.paid(8)
    purpose = f"sale:{house.sale.id}"
    taken = inventory.Deed(purpose, {house.sku_id: 5}, "theft", by="test")
    async with db.transaction(house.pool) as conn:
        await inventory.release(conn, [taken])
    assert await dispatch_orders(house.pool, batch_max=10) == 2
    assert await house.sent(lacking) == []
    assert await house.sent(fine) == [("allocated", house.west, 1)]
    waiting = await house.pool.fetchval("SELECT error FROM kit.outbox WHERE topic = 'orders.paid'")
    assert waiting == "the places keep less than was bought"
    assert (await house.order(lacking)).shown == "paid"


async def test_staff_cancel_what_has_not_left_and_its_units_are_for_sale_again(house, redis, relay):
    order_id = await house.paid(7, quantity=6)
    await dispatch_orders(house.pool, batch_max=10)
    refund_id = payments.RefundId(str(uuid4()))
    facts = {"order_id": order_id, "refund_id": refund_id, "author": AUTHOR}
    cancelled = await cancel_for_staff(house.pool, **facts)
    assert (cancelled.shown, cancelled.fulfilment) == ("cancelled", "unshipped")
    assert {state for state, *_ in await house.sent(order_id)} == {"cancelled"}
    assert await house.stock() == {1: (1_000, 1_000, 0), house.west: (5, 5, 0)}
    await relay.step()
    assert await books(house.pool, redis, house.sale) == (6, 0, 0, 0)
    for number in await house.ids(order_id):
        with pytest.raises(IllegalMove):
            await ship_consignment(
                house.pool, NO_CHANNELS, consignment_id=number, parcel=UPS, by="bea"
            )
    again = await house.paid(8, quantity=6)
    await dispatch_orders(house.pool, batch_max=10)
    assert await house.sent(again) == [("allocated", 1, 1), ("allocated", house.west, 5)]
    assert (await audit_ledger(house.pool)).mismatches == []


async def test_what_is_partly_shipped_is_not_cancelled(house):
    order_id = await house.paid(7, quantity=6)
    await dispatch_orders(house.pool, batch_max=10)
    main, _ = await house.ids(order_id)
    await ship_consignment(house.pool, NO_CHANNELS, consignment_id=main, parcel=UPS, by="bea")
    facts = {"order_id": order_id, "refund_id": str(uuid4()), "author": AUTHOR}
    with pytest.raises(orders.AlreadyShipped) as refused:
        await cancel_for_staff(house.pool, **facts)
    assert refused.value.facts == {"fulfilment": "part_shipped"}
    assert await house.sent(order_id) == [("shipped", 1, 1), ("allocated", house.west, 5)]


async def test_a_paid_order_of_a_settled_sale_goes_out_of_what_was_kept_for_it(house, redis):
    order_id = await house.paid(7, quantity=2)
    await close_sale(house.pool, redis, sale_id=house.sale.id)
    await settle_sale(house.pool, redis, sale_id=house.sale.id)
    assert await house.stock() == {1: (1_000, 999, 0), house.west: (5, 2, 0)}
    await dispatch_orders(house.pool, batch_max=10)
    assert await house.stock() == {1: (1_000, 999, 0), house.west: (5, 0, 2)}
    facts = {"order_id": order_id, "refund_id": str(uuid4()), "author": AUTHOR}
    await cancel_for_staff(house.pool, **facts)
    assert await house.stock() == {1: (1_000, 999, 0), house.west: (5, 0, 0)}


async def test_two_orders_share_a_parcel_and_one_of_them_is_cancelled(house):
    first = await house.paid(7, quantity=2)
    accepted = await house.buy(house.sale, 7, key="second", quantity=3)
    await drain(house.writer)
    second = accepted.order_id
    await pay(house.pool, second)
    await dispatch_orders(house.pool, batch_max=10)
    ids = [*await house.ids(first), *await house.ids(second)]
    one = await merge_consignments(house.pool, ids=ids, author=AUTHOR)
    assert await house.ids(first) == await house.ids(second) == [ids[0]]
    assert sum(line.goods_minor for line in one.lines) == 5 * PRICE
    leaving = {fulfilment.Spot(second, 1): 1}
    stays, leaves = await split_consignment(
        house.pool, consignment_id=ids[0], leaving=leaving, author=AUTHOR
    )
    assert [line.quantity for line in stays.lines + leaves.lines] == [2, 2, 1]
    facts = {"order_id": first, "refund_id": str(uuid4()), "author": AUTHOR}
    await cancel_for_staff(house.pool, **facts)
    assert sorted(await house.sent(first)) == [("cancelled", house.west, 2)]
    assert sorted(await house.sent(second)) == [
        ("allocated", house.west, 1),
        ("allocated", house.west, 2),
    ]
    for number in await house.ids(second):
        await ship_consignment(house.pool, NO_CHANNELS, consignment_id=number, parcel=UPS, by="bea")
    assert (await house.order(second)).fulfilment == "shipped"
    assert await house.stock() == {1: (1_000, 1_000, 0), house.west: (2, 2, 0)}


async def test_who_repacks_an_order_waits_for_who_holds_it(house):
    order_id = await house.paid(7, quantity=6)
    await dispatch_orders(house.pool, batch_max=10)
    main, west = await house.ids(order_id)
    leaving = {fulfilment.Spot(order_id, 1): 1}
    async with db.transaction(house.pool) as conn:
        await orders.hold(conn, order_ids=[order_id])
        waiting = [
            asyncio.create_task(verb)
            for verb in (
                split_consignment(house.pool, consignment_id=west, leaving=leaving),
                merge_consignments(house.pool, ids=[west, main]),
            )
        ]
        async with asyncio.timeout(PATIENCE_S):
            while await house.pool.fetchval(WAITING) < len(waiting):  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [one for one in done if isinstance(one, fulfilment.ImpossibleMerge)]
    assert sum(units for *_, units in await house.sent(order_id)) == 6


async def test_whoever_comes_first_ships_splits_merges_or_cancels(house):
    """Everything at once, many times: each unit leaves once or not at all, and nothing hangs."""
    order_id = await house.paid(7, quantity=5)
    await dispatch_orders(house.pool, batch_max=10)
    (number,) = await house.ids(order_id)
    leaving = {fulfilment.Spot(order_id, 1): 1}
    facts = {"order_id": order_id, "refund_id": str(uuid4()), "author": AUTHOR}
    done = await asyncio.gather(
        *(split_consignment(house.pool, consignment_id=number, leaving=leaving) for _ in range(3)),
        *(
            ship_consignment(house.pool, NO_CHANNELS, consignment_id=number, parcel=UPS, by=n)
            for n in "ab"
        ),
        cancel_for_staff(house.pool, **facts),
        return_exceptions=True,
    )
    odd = [one for one in done if isinstance(one, Exception)]
    assert all(isinstance(one, IllegalMove | orders.AlreadyShipped) for one in odd), odd
    order = await house.order(order_id)
    sent = await house.sent(order_id)
    assert sum(units for *_, units in sent) == 5
    left = 5 - sum(units for state, _, units in sent if state == "shipped")
    assert (await house.stock())[house.west][0] == left
    assert (order.state == "cancelled") == ({state for state, *_ in sent} == {"cancelled"})
