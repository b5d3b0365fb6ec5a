"""Who follows the stock hears of every movement once, whoever is writing meanwhile."""

import asyncio
import random
from collections import Counter

import asyncpg
import pytest

from core import inventory
from core.flows import follow_stock
from core.flows.follow_stock import follow_movements
from core.kit import db
from tests.patience import PATIENCE_S

WRITERS = 6
DEEDS_EACH = 40
SKUS = (1, 2, 3)
LATE_S_MAX = 0.02
SEED = 7
SIGNS = {"receive": 1, "damage": -1, "mend": 1}


@pytest.fixture
async def wide(database_url):
    """Enough connections for everybody at once."""
    async with db.create_pool(database_url, size_max=WRITERS + 4) as wide:
        yield wide


async def receive(conn, sku_id, reference, quantity=1):
    units = {sku_id: quantity}
    where = {"place_id": inventory.MAIN, "units": units, "reference": reference}
    await inventory.receive(conn, **where, by="w")


async def follow(pool, after=0, page_max=1_000):
    return await follow_movements(pool, [inventory.MAIN], after=after, page_max=page_max)


async def test_a_movement_that_is_late_is_waited_for(wide):
    async with wide.acquire() as late:
        transaction = late.transaction()
        await transaction.start()
        await receive(late, 1, "early and late")
        async with db.transaction(wide) as conn:
            await receive(conn, 2, "late and early")
        following = asyncio.create_task(follow(wide))
        await asyncio.wait([following], timeout=0.3)
        assert not following.done()
        await transaction.commit()
        async with asyncio.timeout(PATIENCE_S):
            found = await following
    assert [one.reference for one in found.movements] == ["early and late", "late and early"]
    assert not found.is_more


async def test_a_writer_that_does_not_end_is_not_waited_for_for_ever(wide, monkeypatch):
    monkeypatch.setattr(follow_stock, "SETTLED_MAX_S", 0.2)
    async with wide.acquire() as late:
        transaction = late.transaction()
        await transaction.start()
        await receive(late, 1, "never")
        with pytest.raises(inventory.StillWriting):
            await follow(wide)
        await transaction.rollback()
    assert (await follow(wide)).movements == []


async def test_a_walk_past_others_places_goes_on_where_it_was(wide, monkeypatch):
    monkeypatch.setattr(follow_stock, "WALK_MAX", 3)
    async with db.transaction(wide) as conn:
        for n in range(7):
            await receive(conn, 1, f"r{n}")
    elsewhere = await follow_movements(wide, [inventory.PlaceId(9)], after=0, page_max=10)
    assert (elsewhere.movements, elsewhere.is_more) == ([], True)
    assert elsewhere.cursor.movement_id == 3
    pages, cursor = [], 0
    while True:
        page = await follow(wide, after=cursor, page_max=2)
        pages.append([one.reference for one in page.movements])
        cursor = page.cursor.movement_id
        if not page.is_more:
            break
    assert [name for page in pages for name in page] == [f"r{n}" for n in range(7)]


async def write(pool, number, chance):
    """Change the stock in transactions that end in any order, some of them not well."""
    for n in range(DEEDS_EACH):
        sku_id, reference = chance.choice(SKUS), f"{number}:{n}"
        units = {sku_id: chance.randint(1, 3)}
        verb = chance.choice([inventory.receive, inventory.receive, inventory.damage])
        try:
            async with db.transaction(pool) as conn:
                await verb(conn, place_id=inventory.MAIN, units=units, reference=reference, by="w")
                await asyncio.sleep(chance.random() * LATE_S_MAX)
                if chance.random() < 0.1:
                    await receive(conn, sku_id, f"other:{reference}", -1)
        except (inventory.OutOfStock, asyncpg.CheckViolationError):
            continue


async def test_nothing_appears_behind_a_cursor_whoever_writes(wide):
    print(f"seed {SEED}")
    heard, cursor = [], 0
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        writers = [
            group.create_task(write(wide, number, random.Random(SEED + number)))
            for number in range(WRITERS)
        ]
        while True:
            is_last = all(writer.done() for writer in writers)
            page = await follow(wide, after=cursor)
            heard += page.movements
            assert page.cursor.movement_id >= cursor
            cursor = page.cursor.movement_id
            if is_last and not page.is_more:
                break
    async with db.reading(wide) as conn:
        every = await conn.fetch("SELECT id FROM inventory.movements ORDER BY id")
    assert [one.id for one in heard] == [row["id"] for row in every]
    assert len(heard) > WRITERS * DEEDS_EACH / 2
    figures = Counter()
    for one in heard:
        figures[one.sku_id] += SIGNS[one.kind] * one.quantity
        assert figures[one.sku_id] >= 0, "the movements of a SKU are told as they were booked"
