"""An order's log: nobody changes it unseen, and it tells how the order stood at any moment."""

import asyncio

import asyncpg
import pytest

from core import orders
from core.kit import db
from tests.core.steps import drain

PLACED = ("orders.orders", "orders.lines")


@pytest.fixture
async def order_id(sale, buy, writer):
    accepted = await buy(sale, 7, key="a key | with ~signs", quantity=2)
    await drain(writer)
    return accepted.order_id


async def find(pool, order_id):
    async with db.reading(pool) as conn:
        return await orders.find(conn, order_id=order_id)


async def happen(pool, order_id, verb, **facts):
    async with db.transaction(pool) as conn:
        await verb(conn, await orders.find(conn, order_id=order_id), **facts)
    return await pool.fetchval("SELECT clock_timestamp()")


async def broken(pool, order_id):
    async with db.snapshot(pool) as conn:
        order = await orders.find(conn, order_id=order_id)
        return orders.first_broken(order, await orders.log(conn, order_id=order_id))


async def test_an_order_as_of_a_moment_is_what_was_seen_then(pool, buy, sale, writer, order_id):
    other_id = (await buy(sale, 8)).order_id
    await drain(writer)
    seen = []
    for verb, facts in (
        (None, {}),
        (orders.follow, {"follows": other_id}),
        (orders.pay, {"payment_id": "p"}),
    ):
        if verb is not None:
            await happen(pool, order_id, verb, **facts)
        now = await pool.fetchval("SELECT clock_timestamp()")
        seen.append((now, (await find(pool, order_id)).standing))
        await asyncio.sleep(0.002)
    assert len({standing for _, standing in seen}) == 3
    async with db.reading(pool) as conn:
        for moment, standing in seen:
            assert await orders.as_of(conn, order_id=order_id, moment=moment) == standing
        before = (await orders.find(conn, order_id=order_id)).placed_at.replace(year=2020)
        with pytest.raises(orders.NoSuchOrder):
            await orders.as_of(conn, order_id=order_id, moment=before)
    assert await broken(pool, order_id) is None


async def test_whoever_read_an_order_first_moves_it(pool, order_id):
    seen = await find(pool, order_id)
    await happen(pool, order_id, orders.cancel, reason="member")
    for verb, facts in ((orders.pay, {"payment_id": "p"}), (orders.cancel, {"reason": "staff"})):
        async with db.transaction(pool) as conn:
            with pytest.raises(orders.IllegalMove) as refused:
                await verb(conn, seen, **facts)
        assert refused.value.facts["source"] == "pending_payment"
    assert (await find(pool, order_id)).version == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE orders.events SET happened_at = now()",
        "DELETE FROM orders.events",
        "TRUNCATE orders.events",
        "UPDATE orders.orders SET amount_minor = 1",
        "UPDATE orders.orders SET member_id = 8",
        "UPDATE orders.lines SET quantity = 1",
    ],
)
async def test_nobody_changes_what_was(conn, statement):
    with pytest.raises(asyncpg.RestrictViolationError):
        await conn.execute(statement)


# Somebody with every right over the database takes the triggers off first.
EDITS = {
    "an event's time": (
        "UPDATE orders.events SET happened_at = happened_at - interval '1 s' WHERE number = 2",
        2,
    ),
    "an event's text": (
        """UPDATE orders.events SET event = '{"type":"paid","payment_id":"q"}' WHERE number = 2""",
        2,
    ),
    "the first event is gone": ("DELETE FROM orders.events WHERE number = 1", 1),
    "the last event is gone": ("DELETE FROM orders.events WHERE number = 2", 2),
    "two are swapped": (
        """UPDATE orders.events e SET event = f.event FROM orders.events f
            WHERE e.order_id = f.order_id AND e.number = 3 - f.number""",
        1,
    ),
    "the order as placed": ("UPDATE orders.orders SET amount_minor = 1 WHERE version > 0", 1),
    "a line": ("UPDATE orders.lines SET price_minor = 1", 1),
    "the state alone": ("UPDATE orders.orders SET payment = 'unpaid' WHERE version > 0", 3),
    "an event more than there was": (
        """INSERT INTO orders.events SELECT order_id, 3, happened_at, event, digest
             FROM orders.events WHERE number = 2""",
        3,
    ),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_every_edit_of_the_past_is_found(pool, buy, sale, writer, order_id, edit):
    other_id = (await buy(sale, 8)).order_id
    await drain(writer)
    await happen(pool, order_id, orders.follow, follows=other_id)
    await happen(pool, order_id, orders.pay, payment_id="p")
    assert await broken(pool, order_id) is None
    statement, number = EDITS[edit]
    for table in ("orders.events", *PLACED):
        await pool.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    await pool.execute(statement)
    assert await broken(pool, order_id) == number


async def test_a_hold_that_ends_is_in_the_log(pool, order_id):
    await pool.execute("UPDATE orders.orders SET expires_at = now()")
    async with db.transaction(pool) as conn:
        (expired,) = await orders.expire(conn, spared=[], batch_max=10)
    assert expired.id == order_id
    order = await find(pool, order_id)
    assert (order.shown, order.reason, order.version) == ("cancelled", "expired", 1)
    assert await broken(pool, order_id) is None
