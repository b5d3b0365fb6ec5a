"""The journeys of a sale, from its plan to its retirement, with real servers and no HTTP."""

import asyncio

import pytest

from core import inventory, orders, sales
from core.flows.audit_sale import audit_sale
from core.flows.cancel_order import cancel_order
from core.flows.expire_holds import expire_holds
from core.flows.find_order import find_order
from core.flows.place_order import Accepted
from core.flows.rebuild_sale import rebuild_sale
from core.flows.retire_sale import retire_sale
from core.flows.run_sale import arm_sale, close_sale, pause_sale, resume_sale
from core.flows.settle_sale import settle_sale
from core.kit import db
from core.kit.refusal import Refusal
from tests.core.steps import books, drain, plant


async def test_a_claim_becomes_an_order_and_the_books_add_up_at_every_step(
    pool, redis, keyring, sale, buy, writer
):
    assert await books(pool, redis, sale) == (100, 0, 0, 0)
    accepted = await buy(sale, 7, quantity=2)
    assert await books(pool, redis, sale) == (98, 2, 0, 0)
    seen = await find_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    assert (seen.state, seen.quantity) == ("accepted", 2)

    await drain(writer)
    assert await books(pool, redis, sale) == (98, 0, 2, 0)
    seen = await find_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    assert (seen.state, seen.amount_minor, seen.currency) == ("pending_payment", 10_000, "CNY")


async def test_a_repeat_gets_the_same_answer_and_another_body_is_refused(sale, buy, writer):
    first = await buy(sale, 7, key="a")
    assert await buy(sale, 7, key="a") == first
    with pytest.raises(sales.KeyReused):
        await buy(sale, 7, key="a", quantity=2)
    await drain(writer)
    assert await buy(sale, 7, key="a") == first


async def test_one_hundred_units_go_to_one_hundred_of_many_buyers(pool, redis, sale, buy, writer):
    outcomes = await asyncio.gather(
        *(buy(sale, member) for member in range(1, 301)), return_exceptions=True
    )
    accepted = {o.order_id for o in outcomes if isinstance(o, Accepted)}
    assert len(accepted) == 100
    assert all(isinstance(o, (Accepted, sales.SoldOut)) for o in outcomes)
    await drain(writer)
    assert await books(pool, redis, sale) == (0, 0, 100, 0)


async def test_nobody_else_sees_an_order(pool, redis, keyring, sale, buy, writer):
    accepted = await buy(sale, 7)
    for _ in range(2):
        with pytest.raises(orders.NoSuchOrder):
            await find_order(pool, redis, keyring, order_id=accepted.order_id, member_id=8)
        await drain(writer)


async def test_a_cancelled_order_gives_its_units_back_once(
    pool, redis, keyring, sale, buy, writer, relay
):
    accepted = await buy(sale, 7, quantity=2)
    with pytest.raises(orders.NotYetWritten):
        await cancel_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    await drain(writer)
    seen = await cancel_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    assert (seen.state, seen.reason) == ("cancelled", "member")
    assert await books(pool, redis, sale) == (98, 2, 0, 0)

    await relay.step()
    assert await books(pool, redis, sale) == (100, 0, 0, 0)
    with pytest.raises(orders.IllegalMove):
        await cancel_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    # The member's count went down with it, and the old key keeps its answer.
    assert (await buy(sale, 7, quantity=2)) == accepted
    await buy(sale, 7, key="again", quantity=2)


async def test_an_unpaid_order_expires_and_its_units_are_sold_again(
    pool, redis, plan, buy, writer, relay
):
    sale = await arm_sale(pool, redis, sale_id=(await plan(quota=1, hold_s=1)).id)
    await buy(sale, 7)
    await drain(writer)
    with pytest.raises(sales.SoldOut):
        await buy(sale, 8)
    assert await expire_holds(pool, batch_max=10) == 0
    await asyncio.sleep(1.1)
    assert await expire_holds(pool, batch_max=10) == 1
    await relay.step()
    await buy(sale, 8)
    await drain(writer)
    assert await books(pool, redis, sale) == (0, 0, 1, 0)


async def test_the_quota_comes_out_of_stock_and_what_is_left_goes_back(
    pool, redis, keyring, sku_ids, sale, buy, writer
):
    async def free():
        async with db.reading(pool) as conn:
            return (await inventory.free(conn, sku_ids=sku_ids))[sku_ids[0]]

    assert await free() == 900
    accepted = await buy(sale, 7)
    await close_sale(pool, redis, sale_id=sale.id)
    with pytest.raises(sales.SaleNotOpen):
        await buy(sale, 8)
    assert not await settle_sale(pool, redis, sale_id=sale.id)  # not drained yet
    await drain(writer)
    assert await settle_sale(pool, redis, sale_id=sale.id)
    assert await free() == 999
    assert await books(pool, redis, sale) == (0, 0, 1, 99)

    await cancel_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    assert await free() == 1_000
    assert await books(pool, redis, sale) == (0, 0, 0, 100)


async def test_a_release_on_its_way_when_the_sale_closes_is_counted_once(
    pool, redis, keyring, sale, buy, writer, relay
):
    accepted = await buy(sale, 7)
    await drain(writer)
    await cancel_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    await close_sale(pool, redis, sale_id=sale.id)
    assert await books(pool, redis, sale) == (99, 1, 0, 0)
    await relay.step()
    assert await books(pool, redis, sale) == (99, 1, 0, 0)
    assert await settle_sale(pool, redis, sale_id=sale.id)
    assert await books(pool, redis, sale) == (0, 0, 0, 100)


async def test_a_paused_sale_refuses_until_it_is_resumed(pool, redis, sale, buy):
    await pause_sale(pool, redis, sale_id=sale.id)
    with pytest.raises(sales.SaleNotOpen):
        await buy(sale, 7)
    assert (await resume_sale(pool, redis, sale_id=sale.id)).state == "open"
    await buy(sale, 7)


async def test_an_armed_sale_opens_at_its_time(pool, redis, plan, buy):
    sale = await arm_sale(pool, redis, sale_id=(await plan(starts_in_s=1)).id)
    assert sale.state == "armed"
    with pytest.raises(sales.SaleNotOpen):
        await buy(sale, 7)
    await asyncio.sleep(1.1)
    await buy(sale, 7)


async def test_a_sale_that_stock_cannot_cover_is_not_armed(pool, redis, plan):
    planned = await plan(quota=1_001)
    with pytest.raises(inventory.OutOfStock):
        await arm_sale(pool, redis, sale_id=planned.id)
    async with db.reading(pool) as conn:
        assert (await sales.find(conn, sale_id=planned.id)).state == "planned"
        assert await sales.buckets(conn, sale_id=planned.id) == []


async def test_a_retired_sale_answers_repeats_from_postgres(pool, redis, sale, buy, writer):
    first = await buy(sale, 7, key="a")
    await drain(writer)
    with pytest.raises(sales.NotReady):
        await retire_sale(pool, redis, sale_id=sale.id, age_min_s=0)
    await close_sale(pool, redis, sale_id=sale.id)
    await settle_sale(pool, redis, sale_id=sale.id)
    await retire_sale(pool, redis, sale_id=sale.id, age_min_s=0)
    assert await redis.dbsize() == 0
    assert await buy(sale, 7, key="a") == first
    with pytest.raises(sales.KeyReused):
        await buy(sale, 7, key="a", quantity=2)
    with pytest.raises(sales.SaleNotOpen):
        await buy(sale, 7, key="b")


async def test_a_rebuild_keeps_every_answer_every_limit_and_the_books(
    pool, redis, keyring, sale, buy, writer, relay
):
    first = await buy(sale, 7, key="a", quantity=2)
    cancelled = await buy(sale, 8, key="b")
    await drain(writer)
    await cancel_order(pool, redis, keyring, order_id=cancelled.order_id, member_id=8)
    (rebuilt,) = await rebuild_sale(pool, redis, sale_id=sale.id)
    assert (rebuilt.ended_epoch, rebuilt.epoch) == (1, 2)
    assert await books(pool, redis, sale) == (98, 0, 2, 0)
    await relay.step()  # the release of the old epoch is void
    assert await books(pool, redis, sale) == (98, 0, 2, 0)

    assert await buy(sale, 7, key="a", quantity=2) == first
    assert await buy(sale, 8, key="b") == cancelled
    with pytest.raises(sales.MemberLimit):
        await buy(sale, 7, key="c")
    await buy(sale, 8, key="c")
    await drain(writer)
    assert await books(pool, redis, sale) == (97, 0, 3, 0)


async def test_a_rebuild_waits_for_what_was_accepted_and_loses_none_of_it(
    pool, redis, keyring, sale, buy, writer
):
    accepted = await buy(sale, 7)
    with pytest.raises(sales.NotReady):
        await rebuild_sale(pool, redis, sale_id=sale.id, drain_s=0.2)
    with pytest.raises(Refusal):
        await buy(sale, 8)
    await drain(writer)
    await rebuild_sale(pool, redis, sale_id=sale.id)
    seen = await find_order(pool, redis, keyring, order_id=accepted.order_id, member_id=7)
    assert seen.state == "pending_payment"


async def test_a_poisonous_claim_is_rejected_alone_and_its_units_go_back(
    pool, redis, keyring, sale, buy, writer, relay, sku_ids
):
    before = await buy(sale, 1, key="a")
    poison = await buy(sale, 2, key="b")
    after = await buy(sale, 3, key="c")
    async with db.reading(pool) as conn:
        # Whatever makes the database refuse this one row and no other.
        await conn.execute(
            "ALTER TABLE orders.orders ADD CHECK (member_id <> 2 OR state = 'rejected')"
        )
    await drain(writer)
    states = {
        member: await find_order(pool, redis, keyring, order_id=a.order_id, member_id=member)
        for member, a in ((1, before), (2, poison), (3, after))
    }
    assert [seen.state for seen in states.values()] == [
        "pending_payment",
        "rejected",
        "pending_payment",
    ]
    assert await books(pool, redis, sale) == (97, 1, 2, 0)
    await relay.step()
    assert await books(pool, redis, sale) == (98, 0, 2, 0)


async def test_a_damaged_claim_is_buried_and_delays_nobody(
    pool, redis, keyring, sale, buy, writer, sku_ids
):
    accepted = await buy(sale, 1)
    await plant(redis, f"2,1,9,{sku_ids[0]},1,1,00000000,damaged")
    await redis.hincrby("sluice:{1}:left", str(sku_ids[0]), -1)
    assert await books(pool, redis, sale) == (98, 2, 0, 0)
    await drain(writer)
    assert await books(pool, redis, sale) == (98, 1, 1, 0)
    seen = await find_order(pool, redis, keyring, order_id=accepted.order_id, member_id=1)
    assert seen.state == "pending_payment"
    async with db.reading(pool) as conn:
        (letter,) = await sales.dead_letters(conn, page_max=10)
    assert (letter.sku_id, letter.member_id, letter.quantity) == (sku_ids[0], 9, 1)


async def test_an_order_follows_no_order_that_does_not_exist(pool, sale, buy, writer):
    first, second = await buy(sale, 1), await buy(sale, 2)
    await drain(writer)
    nobody = orders.OrderId("00000000-0000-8000-8000-000000000000")
    async with db.transaction(pool) as conn:
        order = await orders.find(conn, order_id=second.order_id)
        with pytest.raises(orders.NoSuchOrder):
            await orders.follow(conn, order, follows=nobody)
        await orders.follow(conn, order, follows=first.order_id)
        for _ in range(2):
            with pytest.raises(orders.IllegalMove):
                await orders.follow(conn, order, follows=first.order_id)
            order = await orders.find(conn, order_id=second.order_id)


async def test_planted_drift_is_found(pool, redis, sale, buy, writer, sku_ids):
    await buy(sale, 1)
    for units in (1, -1):
        await redis.hincrby("sluice:{1}:left", str(sku_ids[0]), units)
        assert (await audit_sale(pool, redis, sale_id=sale.id)).items[0].drift == -units
        await redis.hincrby("sluice:{1}:left", str(sku_ids[0]), -units)
    async with db.reading(pool) as conn:
        await conn.execute("UPDATE sales.allotments SET sold = sold + 3")
    assert (await audit_sale(pool, redis, sale_id=sale.id)).items[0].drift == -3
