"""Damage in Redis is set aside, stated and mendable, and delays no other claim or sale."""

import asyncio

import pytest

from core import orders, sales
from core.flows.audit_sale import CannotAudit, audit_sale
from core.flows.find_order import find_order
from core.flows.give_back_dead_letter import give_back_dead_letter
from core.flows.rebuild_sale import rebuild_sale
from core.flows.run_sale import arm_sale, pause_sale
from core.jobs.auditor import Auditor
from core.jobs.conductor import Conductor
from core.jobs.order_writer import OrderWriter
from core.kit import db
from tests.core.steps import books, drain, plant

CLAIMS, LEFT, SALE = "sluice:{1}:claims", "sluice:{1}:left", "sluice:{1}:sale"


@pytest.fixture
def state(pool, redis, keyring):
    async def state(accepted, member) -> tuple[str, str | None]:
        seen = await find_order(pool, redis, keyring, order_id=accepted.order_id, member_id=member)
        return seen.state, seen.reason

    return state


async def letters(pool) -> list[sales.DeadLetter]:
    async with db.reading(pool) as conn:
        return await sales.dead_letters(conn, page_max=10)


async def damage_last_claim(redis) -> str:
    """Flip a byte of the last claim, as a disk does: it stays where it is, with a wrong CRC."""
    ((position, fields),) = await redis.xrevrange(CLAIMS, count=1)
    record = fields[b"c"]
    await redis.xdel(CLAIMS, position)
    # Only a stream that is made anew takes an id at or below its last one.
    others = await redis.xrange(CLAIMS)
    await redis.delete(CLAIMS)
    for other, kept in others:
        await redis.xadd(CLAIMS, kept, id=other)
    damaged = record[:-1] + bytes([record[-1] ^ 1])
    await redis.xadd(CLAIMS, {**fields, b"c": damaged}, id=position)
    return position.decode()


@pytest.mark.parametrize(("member", "quantity"), [("9", 100), ("9" * 25, 1)])
async def test_a_damaged_claim_that_seems_impossible_stops_no_one(
    pool, redis, sale, buy, writer, sku_ids, member, quantity
):
    await buy(sale, 1)
    await plant(redis, f"2,1,{member},{sku_ids[0]},{quantity},1,00000000,k")
    await buy(sale, 2)
    await drain(writer)
    audit = await audit_sale(pool, redis, sale_id=sale.id)
    assert (audit.items[0].sold, audit.drift) == (2, 0)
    (letter,) = await letters(pool)
    assert letter.quantity == 0


async def test_a_claim_that_nobody_can_read_is_accepted_until_a_person_decides(
    pool, redis, keyring, sale, buy, writer, relay, state
):
    accepted = await buy(sale, 7)
    await damage_last_claim(redis)
    assert await state(accepted, 7) == ("accepted", None)
    await drain(writer)
    assert await state(accepted, 7) == ("accepted", None)
    (letter,) = await letters(pool)
    await give_back_dead_letter(pool, keyring, letter_id=letter.id)
    assert await state(accepted, 7) == ("rejected", "damaged")
    await relay.step()
    assert await books(pool, redis, sale) == (100, 0, 0, 0)
    await rebuild_sale(pool, redis, sale_id=sale.id)
    assert await state(accepted, 7) == ("rejected", "damaged")


async def test_a_sale_whose_last_claims_are_gone_can_be_rebuilt_and_says_so(
    pool, redis, sale, buy, writer, state
):
    written, lost = await buy(sale, 7), await buy(sale, 8)
    await redis.xdel(CLAIMS, (await redis.xrevrange(CLAIMS, count=1))[0][0])
    await drain(writer)
    await rebuild_sale(pool, redis, sale_id=sale.id, drain_s=0.3)
    assert await state(written, 7) == ("pending_payment", None)
    assert await state(lost, 8) == ("rejected", "epoch-lost")
    assert await books(pool, redis, sale) == (99, 0, 1, 0)


async def test_an_order_is_not_denied_while_nobody_knows_what_redis_kept(
    pool, redis, sale, buy, state
):
    accepted = await buy(sale, 7)
    await redis.flushall()
    with pytest.raises(sales.Unavailable):
        await state(accepted, 7)
    async with db.reading(pool) as conn:
        await conn.execute("UPDATE sales.buckets SET run_id = repeat('0', 40)")
    with pytest.raises(sales.Unavailable):
        await state(accepted, 7)
    await rebuild_sale(pool, redis, sale_id=sale.id)
    assert await state(accepted, 7) == ("rejected", "epoch-lost")


async def test_an_id_that_names_a_written_position_but_no_order_is_denied(
    pool, redis, keyring, sale, buy, writer
):
    await buy(sale, 7)
    await drain(writer)
    never = keyring.order_ids.make(1, 1, "1-0", 7)
    with pytest.raises(orders.NoSuchOrder):
        await find_order(pool, redis, keyring, order_id=never, member_id=7)


async def test_damaged_counts_of_one_sale_hold_no_other_up_and_a_rebuild_mends_them(
    pool, redis, keyring, plan, buy, fence, directory, sku_ids
):
    first = await arm_sale(pool, redis, sale_id=(await plan()).id)
    second = await arm_sale(pool, redis, sale_id=(await plan()).id)
    await redis.hset(LEFT, str(sku_ids[0]), "many")
    await redis.set("sluice:{1}:back", "no hash")
    async with db.reading(pool) as conn:
        await conn.execute("UPDATE sales.buckets SET run_id = repeat('0', 40)")

    await drain_all(fence, Auditor(pool, redis), Conductor(pool, redis))
    await directory.refresh()
    assert directory.sale(second.id).items[0].left == 100
    await buy(second, 7)
    with pytest.raises(CannotAudit):
        await audit_sale(pool, redis, sale_id=first.id)
    async with db.reading(pool) as conn:
        problems = {audit.sale_id: audit.problem for audit in await sales.audits(conn)}
    assert problems[first.id]
    assert second.id in problems

    await rebuild_sale(pool, redis, sale_id=first.id)
    assert await books(pool, redis, first) == (100, 0, 0, 0)
    await pause_sale(pool, redis, sale_id=first.id)


async def drain_all(fence, *others) -> None:
    """Let roles take the steps that they would take, whatever comes of them."""
    for role in (fence, *others):
        for _ in range(2):
            await asyncio.gather(role.step(), return_exceptions=True)
            if role is fence:
                await asyncio.sleep(0.7)


async def test_a_bucket_that_cannot_be_drained_holds_no_other_up(
    pool, redis, keyring, plan, buy, monkeypatch
):
    broken = await arm_sale(pool, redis, sale_id=(await plan()).id)
    sale = await arm_sale(pool, redis, sale_id=(await plan()).id)
    await buy(broken, 7)
    await buy(sale, 7)
    writer = OrderWriter(pool, redis, keyring)
    async with db.reading(pool) as conn:
        await conn.execute("ALTER TABLE sales.cursors ADD CHECK (bucket <> 1 OR position = '0-0')")
    await asyncio.gather(writer.step(), return_exceptions=True)
    assert await books(pool, redis, sale) == (99, 0, 1, 0)
