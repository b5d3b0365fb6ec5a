"""How fast do ordinary orders reserve one hot SKU, against its row's lock through an ORM?

    python -m benchmarks.reserve [--rounds 12] [--connections 64] [--write]

So many callers, each with one reservation under way, in turn: through the shop's own path, on one
SKU and on ten thousand; each in a transaction of its own; through SQLAlchemy, which locks the row,
writes the same rows and commits, with a connection each or with eight. All on the same tables. At
the end the stock is exact to the unit, and proven by its rows. Medians of interleaved rounds.
"""

import argparse
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar

import msgspec
import uvloop
from sqlalchemy import BigInteger
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks import shop
from benchmarks.sides import Row, in_turn, measure, medians, show, turns
from core import inventory
from core.flows.reserve_stock import Reserver
from core.flows.stock_products import stock_products
from core.kit import db

SKUS = 10_000
UNITS = 1_000_000
FEW = 8
POOL_SIZE_MAX = 4
GOAL_TIMES = 5
GOAL_RATIO = 0.8
NUMBERS = itertools.count(1)

Reserve = Callable[[int], Awaitable[object]]


class Side(msgspec.Struct):
    """`skus` of them in turn, so many reservations a round."""

    reserve: Reserve
    skus: int
    count: int


class Table(DeclarativeBase):
    type_annotation_map: ClassVar = {int: BigInteger}


class Balance(Table):
    __tablename__ = "balances"
    __table_args__: ClassVar = {"schema": "inventory"}
    sku_id: Mapped[int] = mapped_column(primary_key=True)
    place_id: Mapped[int] = mapped_column(primary_key=True)
    on_hand: Mapped[int]
    reserved: Mapped[int]
    allocated: Mapped[int]


class Reservation(Table):
    __tablename__ = "reservations"
    __table_args__: ClassVar = {"schema": "inventory"}
    kept_for: Mapped[str] = mapped_column(primary_key=True)
    sku_id: Mapped[int] = mapped_column(primary_key=True)
    place_id: Mapped[int] = mapped_column(primary_key=True)
    reserved: Mapped[int]


class Movement(Table):
    __tablename__ = "movements"
    __table_args__: ClassVar = {"schema": "inventory"}
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    sku_id: Mapped[int]
    place_id: Mapped[int]
    quantity: Mapped[int]
    reference: Mapped[str]
    line_no: Mapped[int]
    kept_for: Mapped[str]
    by_whom: Mapped[str]


def purpose() -> str:
    return f"order:{next(NUMBERS):020}"


def wanted(sku_id: int) -> inventory.Wanted:
    return inventory.Wanted(purpose(), {sku_id: 1}, by="shop")


def by_batches(pool: db.Pool) -> Reserve:
    reserver = Reserver(pool)
    return lambda sku_id: reserver.reserve(wanted(sku_id))


def by_itself(pool: db.Pool) -> Reserve:
    async def reserve(sku_id: int) -> None:
        async with pool.acquire() as conn, conn.transaction():
            await inventory.reserve(conn, wanted(sku_id))

    return reserve


@asynccontextmanager
async def sessions_of(url: str, connections: int) -> AsyncIterator[async_sessionmaker]:
    """SQLAlchemy with so many connections."""
    engine = create_async_engine(
        url.replace("postgresql:", "postgresql+asyncpg:"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=120,
    )
    yield async_sessionmaker(engine, expire_on_commit=False)
    await engine.dispose()


async def reserve_by_lock(
    session: AsyncSession, kept_for: str, *, sku_id: int, quantity: int
) -> None:
    where = {"sku_id": sku_id, "place_id": int(inventory.MAIN)}
    balance = await session.get_one(Balance, tuple(where.values()), with_for_update=True)
    assert balance.on_hand - balance.reserved - balance.allocated >= quantity
    balance.reserved += quantity
    session.add(Reservation(kept_for=kept_for, **where, reserved=quantity))
    about = {"reference": kept_for, "line_no": 1, "kept_for": kept_for, "by_whom": "shop"}
    session.add(Movement(kind="reserve", **where, quantity=quantity, **about))


@asynccontextmanager
async def by_orm(url: str, connections: int) -> AsyncIterator[Reserve]:
    async with sessions_of(url, connections) as sessions:

        async def reserve(sku_id: int) -> None:
            async with sessions.begin() as session:
                await reserve_by_lock(session, purpose(), sku_id=sku_id, quantity=1)

        yield reserve


async def rounds(asked: argparse.Namespace) -> list[Row]:
    callers, found = asked.connections, []
    async with (
        shop.opened() as ours,
        db.create_pool(ours.url, size_max=POOL_SIZE_MAX) as pool,
        db.create_pool(ours.url, size_max=FEW) as each,
        by_orm(ours.url, callers) as orm,
        by_orm(ours.url, FEW) as orm_of_few,
    ):
        sku_ids = await stock_products(
            pool, products=shop.cups(SKUS), units=UNITS, reference="benchmark"
        )
        sides = {
            "by batches, one SKU": Side(by_batches(pool), 1, asked.count),
            f"by batches, {SKUS:,} SKUs": Side(by_batches(pool), SKUS, asked.count),
            f"each by itself, {FEW} connections": Side(by_itself(each), 1, asked.count // 8),
            f"ORM, {callers} connections": Side(orm, 1, asked.count // 16),
            f"ORM, {FEW} connections": Side(orm_of_few, 1, asked.count // 16),
        }
        pid = ours.postgres.pid
        for names in turns(sides, asked.rounds):
            for name in names:
                side = sides[name]
                bought = (sku_ids[number % side.skus] for number in range(side.count))
                call = in_turn(bought, side.reserve)
                found.append(await measure(name, call, callers=callers, postgres=pid))
        async with db.reading(pool) as conn:
            left = sum((await inventory.free(conn, sku_ids=sku_ids)).values())
            assert left == SKUS * UNITS - (next(NUMBERS) - 1)
            assert await inventory.audit(conn) == []
    return found[len(sides) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--count", type=int, default=3_000, help="reservations a round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    rows = uvloop.run(rounds(asked))
    told = medians(rows)
    show(told)
    hot, spread, _, *orms = told
    times = hot.per_s / max(orm.per_s for orm in orms)
    ratio = hot.per_s / spread.per_s
    print(
        f"the ORM's rate {times:.1f} times (goal {GOAL_TIMES}); one SKU / many {ratio:.2f}", end=""
    )
    print(f" (goal {GOAL_RATIO}); stock exact and proven")
    if asked.write:
        goals = {"times": GOAL_TIMES, "ratio": GOAL_RATIO}
        figures = {"times": round(times, 1), "ratio": round(ratio, 2)}
        shop.keep("reserve", {"medians": told, **figures, "goals": goals, "rounds": rows})


if __name__ == "__main__":
    main()
