"""Stock: the database refuses what no code may do, and what it shows is proven by its rows."""

import asyncio

import asyncpg
import pytest

from core import inventory
from core.flows.reserve_stock import Reserver
from core.kit import db

MAIN = inventory.MAIN
# Before this one there was one figure per SKU.
STOCK = next(name for name in db.migrations() if name.endswith("_stock.sql"))


def wanted(number, sku_id, quantity=1):
    return inventory.Wanted(f"order:{number}", {sku_id: quantity}, by="test")


async def test_nobody_changes_the_past(conn, sku_ids):
    for statement in (
        "UPDATE inventory.movements SET quantity = quantity + 1",
        "DELETE FROM inventory.movements",
        "TRUNCATE inventory.movements",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            async with conn.transaction():
                await conn.execute(statement)


@pytest.mark.parametrize(
    ("figure", "constraint"),
    [
        ("on_hand", "never_more_kept_than_on_hand"),
        ("reserved", "reserved_is_never_negative"),
        ("allocated", "allocated_is_never_negative"),
        ("in_transit", "in_transit_is_never_negative"),
        ("damaged", "damaged_is_never_negative"),
    ],
)
async def test_no_figure_is_ever_negative(conn, sku_ids, figure, constraint):
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await conn.execute(f"UPDATE inventory.balances SET {figure} = -1")
    assert refused.value.constraint_name == constraint


async def test_nothing_is_lost_without_a_reason(conn, sku_ids):
    lost = (
        "INSERT INTO inventory.movements (kind, sku_id, place_id, quantity, reference, line_no,"
        " by_whom, reason) VALUES ('lose', $1, 1, 1, 'r', 1, 'w', $2)"
    )
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        async with conn.transaction():
            await conn.execute(lost, sku_ids[0], None)
    assert refused.value.constraint_name == "what_is_lost_has_a_reason"
    await conn.execute(lost, sku_ids[0], "fell off")


async def test_what_is_not_proven_is_found(conn, sku_ids):
    assert await inventory.audit(conn) == []
    await inventory.reserve(conn, wanted(1, sku_ids[0], 10))
    for figure in ("on_hand", "in_transit", "damaged"):
        raised = f"UPDATE inventory.balances SET {figure} = {figure} + 1 WHERE sku_id = $1"
        async with conn.transaction():
            await conn.execute(raised, sku_ids[1])
        found = await inventory.audit(conn)
        assert {(d.sku_id, d.figure, d.shown - d.proven) for d in found} == {
            (sku_ids[1], figure, 1)
        }
        await conn.execute(raised.replace("+ 1", "- 1"), sku_ids[1])
    await conn.execute("UPDATE inventory.reservations SET reserved = 9")
    assert [(d.figure, d.shown, d.proven) for d in await inventory.audit(conn)] == [
        ("reserved", 10, 9)
    ]


async def test_every_kind_of_movement_is_known_to_both_sides(conn):
    known = {row["kind"] for row in await conn.fetch("SELECT kind FROM inventory.kinds")}
    assert known == set(inventory.Move)


async def test_a_crowd_gets_what_there_is_and_not_a_unit_more(pool, sku_ids):
    reserver = Reserver(pool)

    async def ask(number):
        try:
            return await reserver.reserve(wanted(number % 700, sku_ids[number % 2], 3))
        except inventory.OutOfStock:
            return None

    answers = await asyncio.gather(*(ask(number) for number in range(1_400)))
    # The second seven hundred repeat the first.
    assert answers[:700] == answers[700:]
    served = [answer for answer in answers[:700] if answer]
    assert len(served) == 2 * 333
    async with db.reading(pool) as conn:
        assert await inventory.free(conn, sku_ids=sku_ids[:2]) == dict.fromkeys(sku_ids[:2], 1)
        assert await inventory.audit(conn) == []


async def test_two_processes_that_serve_one_purpose_serve_it_once(pool, sku_ids):
    first, second = Reserver(pool), Reserver(pool)
    for number in range(20):
        asked = [
            first.reserve(wanted(number, sku_ids[0])),
            second.reserve(wanted(number, sku_ids[1])),
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {list, inventory.ReferenceReused}
    async with db.reading(pool) as conn:
        assert sum((await inventory.free(conn, sku_ids=sku_ids)).values()) == 3_000 - 20


async def test_one_refusal_leaves_the_rest_of_its_batch_alone(pool, sku_ids):
    reserver, stranger = Reserver(pool), Reserver(pool)
    reused = stranger.reserve(wanted(0, sku_ids[2]))
    asked = [wanted(n, sku_ids[0]) for n in range(5)] + [wanted(9, sku_ids[0], 5_000)]
    asked += [inventory.Wanted("order:8", {sku_ids[0]: 1}, by="test", place_id=99)]
    answers = await asyncio.gather(
        reused, *(reserver.reserve(one) for one in asked), return_exceptions=True
    )
    first = {type(answer) for answer in answers[:2]}
    assert first == {list, inventory.ReferenceReused}
    assert all(isinstance(answer, list) for answer in answers[2:6])
    assert [type(answer) for answer in answers[6:]] == [inventory.OutOfStock, inventory.NoSuchPlace]


async def test_a_shop_from_before_keeps_its_stock(postgres):
    name = "t_from_before"
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    await admin.execute(f"CREATE DATABASE {name}")
    conn = await asyncpg.connect(postgres.url_of(name))
    try:
        for migration in db.migrations():
            if migration < STOCK:
                await conn.execute(db.script(migration))
        await conn.execute("INSERT INTO inventory.stock VALUES (1, 70), (2, 0), (3, 5)")
        await conn.execute(
            "INSERT INTO inventory.movements (sku_id, quantity, reason, reference) VALUES"
            " (1, 100, 'stocked', 'x'), (1, -50, 'sale', '4'), (1, 20, 'sale-closed', '4'),"
            " (3, 5, 'stocked', 'x')"
        )
        for migration in db.migrations():
            if migration >= STOCK:
                await conn.execute(db.script(migration))
        assert await inventory.audit(conn) == []
        assert await inventory.free(conn, sku_ids=[1, 2, 3]) == {1: 70, 2: 0, 3: 5}
        (kept,) = await inventory.reservations(conn, kept_for="sale:4")
        assert (kept.sku_id, kept.reserved) == (1, 30)
    finally:
        await conn.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
