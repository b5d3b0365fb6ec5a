"""One entry of the stream holds many claims: each becomes what it would have become alone."""

import asyncio

import pytest

from core import sales
from core.flows.audit_sale import audit_sale
from core.flows.find_order import find_order
from core.flows.place_order import Accepted, place_order
from core.flows.write_orders import stream_of, terms_of, write_orders
from core.jobs import order_writer
from core.jobs.order_writer import OrderWriter
from core.kit import db
from hotpath import loading
from hotpath.claims import Claim
from hotpath.entries import claims_of
from hotpath.scripts import BucketKeys
from tests.core.steps import books, drain

CLAIMS, SALE = "sluice:{1}:claims", "sluice:{1}:sale"


@pytest.fixture
def rush(pool, gate, directory, keyring, sku_ids):
    """Let many members claim a unit in one turn, so that one entry holds all their claims."""

    async def rush(sale, members) -> list[Accepted]:
        await directory.refresh()
        wanted = [Claim(sale.id, member, f"key {member}", sku_ids[0], 1) for member in members]
        return await asyncio.gather(
            *(place_order(pool, gate, directory, keyring, claim=claim) for claim in wanted)
        )

    return rush


@pytest.fixture
def states(pool, redis, keyring):
    async def states(accepted, members) -> list[str]:
        found = [
            await find_order(pool, redis, keyring, order_id=one.order_id, member_id=member)
            for one, member in zip(accepted, members, strict=True)
        ]
        return [seen.state for seen in found]

    return states


async def replace_records(redis, old: bytes, new: bytes) -> None:
    """Change bytes of the only entry, as a disk does: it stays where it is."""
    ((position, fields),) = await redis.xrange(CLAIMS)
    assert fields[b"c"].count(old) == 1
    last = (await redis.xinfo_stream(CLAIMS))["last-generated-id"]
    await redis.delete(CLAIMS)
    await redis.xadd(CLAIMS, {**fields, b"c": fields[b"c"].replace(old, new)}, id=position)
    await redis.execute_command("XSETID", CLAIMS, last)


async def test_claims_of_one_turn_are_one_entry_and_orders_of_their_own(
    pool, redis, sale, rush, writer, states
):
    members = range(1, 41)
    accepted = await rush(sale, members)
    assert await redis.xlen(CLAIMS) == 1
    assert await states(accepted, members) == ["accepted"] * 40
    assert await books(pool, redis, sale) == (60, 40, 0, 0)
    await drain(writer)
    assert await states(accepted, members) == ["pending_payment"] * 40
    assert await books(pool, redis, sale) == (60, 0, 40, 0)


async def test_a_poisonous_and_a_damaged_claim_cost_their_entry_nothing_else(
    pool, redis, sale, rush, writer, relay, states
):
    members = range(1, 41)
    accepted = await rush(sale, members)
    async with db.reading(pool) as conn:
        await conn.execute(
            "ALTER TABLE orders.orders ADD CHECK (member_id <> 7 OR state = 'rejected')"
        )
    await replace_records(redis, b",key 30\n", b",kay 30\n")
    await drain(writer)
    expected = ["pending_payment"] * 40
    expected[6], expected[29] = "rejected", "accepted"
    assert await states(accepted, members) == expected
    assert await books(pool, redis, sale) == (60, 2, 38, 0)
    await relay.step()
    assert await books(pool, redis, sale) == (61, 1, 38, 0)


async def test_a_lost_line_end_costs_no_claim(pool, redis, sale, rush, writer, states):
    members = range(1, 11)
    accepted = await rush(sale, members)
    await replace_records(redis, b",key 4\n", b",key 4J")
    assert await states(accepted, members) == ["accepted"] * 10
    assert await books(pool, redis, sale) == (90, 10, 0, 0)
    await drain(writer)
    assert await states(accepted, members) == ["pending_payment"] * 10
    assert await books(pool, redis, sale) == (90, 0, 10, 0)


async def test_a_claim_that_nobody_wrote_down_is_drift_though_the_units_add_up(
    pool, redis, sale, rush, writer
):
    await rush(sale, range(1, 4))
    await drain(writer)
    await redis.hincrby(SALE, "accepted", 1)
    assert (await audit_sale(pool, redis, sale_id=sale.id)).drift == 1
    await redis.hincrby(SALE, "accepted", -2)
    assert (await audit_sale(pool, redis, sale_id=sale.id)).drift == 1


async def test_two_writers_of_one_entry_write_it_once(pool, redis, keyring, sale, rush):
    await rush(sale, range(1, 31))
    writers = [OrderWriter(pool, redis, keyring) for _ in range(3)]
    await asyncio.gather(*(writer.step() for writer in writers))
    assert await books(pool, redis, sale) == (70, 0, 30, 0)


async def test_a_sifted_entry_is_all_or_nothing(pool, redis, keyring, sale, rush, monkeypatch):
    """A writer that dies while it sifts leaves nothing behind, and the next one sifts again."""
    await rush(sale, range(1, 9))
    await replace_records(redis, b",key 3\n", b",kay 3\n")
    async with db.snapshot(pool) as conn:
        (bucket,) = await sales.buckets(conn, sale_id=sale.id)
        terms = terms_of(sale, await sales.items(conn, sale_id=sale.id))
    keys, stream = BucketKeys(bucket.number), stream_of(keyring, bucket, terms)
    (entry,) = await loading.drain(redis, keys, stamp=bucket.stamp, after="0-0", claims_max=9)
    assert len(claims_of(entry)) == 8
    async with db.reading(pool) as conn:
        await conn.execute(
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.member_id = 8 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
            " RETURN NEW; END $$;"
            " CREATE TRIGGER die BEFORE INSERT ON orders.orders FOR EACH ROW EXECUTE FUNCTION die()"
        )
    with pytest.raises(Exception, match=r"terminat|closed"):
        await write_orders(pool, stream, [entry], cursor="0-0")
    async with db.reading(pool) as conn:
        assert await conn.fetchval("SELECT count(*) FROM orders.orders") == 0
        assert await sales.dead_letters(conn, page_max=9) == []
        await conn.execute("DROP TRIGGER die ON orders.orders")
    await write_orders(pool, stream, [entry], cursor="0-0")
    assert await books(pool, redis, sale) == (92, 1, 7, 0)


async def test_what_is_trimmed_never_looks_like_claims_that_are_gone(
    pool, redis, sale, rush, writer
):
    for first in (1, 11, 21):
        await rush(sale, range(first, first + 10))
        await drain(writer)
        later = order_writer.TRIM_LAG_S * 2 * first
        writer._clock = lambda: asyncio.get_running_loop().time() + later  # noqa: B023
        await drain(writer)
    assert await redis.xlen(CLAIMS) < 3
    assert await books(pool, redis, sale) == (70, 0, 30, 0)


async def test_what_is_written_down_makes_room_in_the_backlog_with_the_next_step(
    pool, redis, keyring, gate, sale, rush, writer
):
    gate._backlog_max = 5
    await rush(sale, range(1, 6))
    with pytest.raises(sales.Busy):
        await rush(sale, [6])
    await drain(writer)
    await writer.step()
    await rush(sale, range(6, 11))
    with pytest.raises(sales.Busy):
        await rush(sale, [11])
    # A writer that died before it said so: the next one says it.
    await drain(writer)
    await drain(OrderWriter(pool, redis, keyring))
    await rush(sale, [11])
    assert [int(n) for n in await redis.hmget(SALE, "accepted", "written")] == [11, 10]
