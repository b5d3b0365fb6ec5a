"""What Sluice is measured against: the same sale decided in one Postgres transaction.

Two good shops of the usual kind on the tables of Sluice: `orm` locks the SKU's row through an ORM,
`statement` does everything in one statement. Both give what a claim gives (no unit too many, the
member's limit, one effect a key, a 202 that is durable) and are spared receipts and risk.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, TypeAlias
from uuid import UUID

import asyncpg
import jwt
import msgspec
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from litestar.params import FromPath, JSONBody
from sqlalchemy import BigInteger, DateTime, ForeignKey, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from uuid_utils.compat import uuid7

from benchmarks.shop import SECRET

# More only queue inside of Postgres, behind one row; `rivals --pool` tries others.
POOL = int(os.environ.get("BENCHMARK_POOL", "8"))
TIMEOUT_S = 30.0
HOLDINGS = """
    CREATE SCHEMA IF NOT EXISTS rivals;
    CREATE TABLE IF NOT EXISTS rivals.holdings (
        sale_id bigint, sku_id bigint, member_id bigint, units int NOT NULL, units_max int NOT NULL,
        PRIMARY KEY (sale_id, sku_id, member_id),
        CONSTRAINT a_member_holds_no_more_than_the_limit CHECK (units <= units_max)
    );
"""
TERMS = """
    SELECT number, sku_id, price_minor, currency, member_limit, hold_s FROM sales.sales s
      JOIN sales.items ON sale_id = s.id JOIN sales.buckets b ON b.sale_id = s.id WHERE s.id = $1
"""
# Whatever the constraints refuse undoes all of it; a SKU that is sold out leaves nothing to undo.
BUY = """
    WITH taken AS (
        UPDATE sales.allotments SET sold = sold + $5
         WHERE bucket = $3 AND sku_id = $4 AND quota - sold >= $5 RETURNING true
    ), held AS (
        INSERT INTO rivals.holdings AS h (sale_id, sku_id, member_id, units, units_max)
        SELECT $2, $4, $6, $5, $11 FROM taken
            ON CONFLICT (sale_id, sku_id, member_id) DO UPDATE SET units = h.units + excluded.units
    ), placed AS (
        INSERT INTO orders.orders (id, sale_id, bucket, member_id, idempotency_key, epoch, key_id,
                                   state, amount_minor, currency, expires_at)
        SELECT $1, $2, $3, $6, $7, 1, 1, 'open', $8::bigint * $5, $9,
               now() + make_interval(secs => $10)
          FROM taken
    )
    INSERT INTO orders.lines (order_id, line_no, sku_id, quantity, price_minor)
    SELECT $1, 1, $4, $5, $8 FROM taken RETURNING true
"""
KNOWN = """
    SELECT id::text FROM orders.orders
     WHERE sale_id = $1 AND member_id = $2 AND idempotency_key = $3
"""


class Buy(msgspec.Struct, frozen=True):
    sku_id: str
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1_000)]


class Wish(msgspec.Struct, frozen=True):
    sale_id: int
    sku_id: int
    quantity: int
    member_id: int
    key: str


class Terms(msgspec.Struct, frozen=True):
    bucket: int
    sku_id: int
    price_minor: int
    currency: str
    limit: int
    hold_s: int


class Sold(msgspec.Struct, frozen=True):
    order_id: str
    sale_id: str
    sku_id: str
    quantity: int
    state: str = "accepted"


class Refused(Exception):
    """The sale says no."""


Place: TypeAlias = Callable[[Wish, Terms], Awaitable[str]]


class Unreset(asyncpg.Connection):
    """Returns to its pool without a question: nothing here changes a session."""

    def get_reset_query(self) -> str:
        return ""


@asynccontextmanager
async def pooled(size: int) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(
        os.environ["SLUICE_DATABASE_URL"],
        min_size=size,
        max_size=size,
        connection_class=Unreset,
        command_timeout=TIMEOUT_S,
    ) as pool:
        yield pool


def by_statement(pool: asyncpg.Pool) -> Place:
    async def place(wish: Wish, terms: Terms) -> str:
        order_id = uuid7()
        try:
            bought = await pool.fetchval(
                BUY,
                order_id,
                wish.sale_id,
                terms.bucket,
                wish.sku_id,
                wish.quantity,
                wish.member_id,
                wish.key,
                terms.price_minor,
                terms.currency,
                terms.hold_s,
                terms.limit,
            )
        except (asyncpg.UniqueViolationError, asyncpg.CheckViolationError):
            bought = None
        return str(order_id) if bought else await known_before(pool, wish)

    return place


async def known_before(pool: asyncpg.Pool, wish: Wish) -> str:
    """A no to a repeat is its first answer; any other no is a no."""
    order_id = await pool.fetchval(KNOWN, wish.sale_id, wish.member_id, wish.key)
    if order_id is None:
        raise Refused
    return order_id


class Table(DeclarativeBase):
    type_annotation_map: ClassVar = {int: BigInteger, datetime: DateTime(timezone=True)}


class Allotment(Table):
    __tablename__ = "allotments"
    __table_args__: ClassVar = {"schema": "sales"}
    bucket: Mapped[int] = mapped_column(primary_key=True)
    sku_id: Mapped[int] = mapped_column(primary_key=True)
    quota: Mapped[int]
    sold: Mapped[int]


class Order(Table):
    __tablename__ = "orders"
    __table_args__: ClassVar = {"schema": "orders"}
    id: Mapped[UUID] = mapped_column(primary_key=True)
    sale_id: Mapped[int]
    bucket: Mapped[int]
    member_id: Mapped[int]
    idempotency_key: Mapped[str]
    epoch: Mapped[int]
    key_id: Mapped[int]
    state: Mapped[str]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    expires_at: Mapped[datetime]
    lines: Mapped[list["Line"]] = relationship()


class Line(Table):
    __tablename__ = "lines"
    __table_args__: ClassVar = {"schema": "orders"}
    order_id: Mapped[UUID] = mapped_column(ForeignKey(Order.id), primary_key=True)
    line_no: Mapped[int] = mapped_column(primary_key=True)
    sku_id: Mapped[int]
    quantity: Mapped[int]
    price_minor: Mapped[int]


Sessions: TypeAlias = async_sessionmaker[AsyncSession]


def by_orm(sessions: Sessions, pool: asyncpg.Pool) -> Place:
    async def place(wish: Wish, terms: Terms) -> str:
        try:
            async with sessions.begin() as session:
                return await lock_check_write(session, wish, terms)
        except (Refused, IntegrityError):
            return await known_before(pool, wish)

    return place


async def lock_check_write(session: AsyncSession, wish: Wish, terms: Terms) -> str:
    where = (terms.bucket, wish.sku_id)
    allotment = await session.get_one(Allotment, where, with_for_update=True)
    if allotment.quota - allotment.sold < wish.quantity:
        raise Refused
    # Exact, since whoever buys this SKU stands behind the row that is locked by now.
    held = await session.scalar(
        select(func.coalesce(func.sum(Line.quantity), 0))
        .join(Order, Order.id == Line.order_id)
        .where(Order.sale_id == wish.sale_id, Order.member_id == wish.member_id)
        .where(Line.sku_id == wish.sku_id)
    )
    if held + wish.quantity > terms.limit:
        raise Refused
    allotment.sold += wish.quantity
    line = Line(
        line_no=1, sku_id=wish.sku_id, quantity=wish.quantity, price_minor=terms.price_minor
    )
    order = Order(
        id=uuid7(),
        sale_id=wish.sale_id,
        bucket=terms.bucket,
        member_id=wish.member_id,
        idempotency_key=wish.key,
        epoch=1,
        key_id=1,
        state="open",
        amount_minor=terms.price_minor * wish.quantity,
        currency=terms.currency,
        expires_at=datetime.now(UTC) + timedelta(seconds=terms.hold_s),
        lines=[line],
    )
    session.add(order)
    return str(order.id)


@asynccontextmanager
async def with_statement(app: Litestar) -> AsyncIterator[None]:
    async with pooled(POOL) as pool:
        app.state.update({"pool": pool, "place": by_statement(pool), "terms": {}})
        yield


@asynccontextmanager
async def with_orm(app: Litestar) -> AsyncIterator[None]:
    url = os.environ["SLUICE_DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:")
    engine = create_async_engine(url, pool_size=POOL, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with pooled(1) as pool:
        app.state.update({"pool": pool, "place": by_orm(sessions, pool), "terms": {}})
        yield
    await engine.dispose()


async def terms_of(state: State, sale_id: int, sku_id: int) -> Terms:
    """Read once: nothing of it changes while a sale is open."""
    if sale_id not in state.terms:
        rows = [Terms(*row) for row in await state.pool.fetch(TERMS, sale_id)]
        state.terms[sale_id] = {terms.sku_id: terms for terms in rows}
    return state.terms[sale_id][sku_id]


@post("/v1/sales/{sale_id:int}/orders", status_code=202)
async def buy(
    request: Request[None, None, State], sale_id: FromPath[int], data: JSONBody[Buy]
) -> Response[Sold | None]:
    token = request.headers["authorization"].removeprefix("Bearer ")
    facts = jwt.decode(token, SECRET, algorithms=["HS256"])
    state = request.app.state
    wish = Wish(
        sale_id=sale_id,
        sku_id=int(data.sku_id),
        quantity=data.quantity,
        member_id=int(facts["sub"]),
        key=request.headers["idempotency-key"],
    )
    try:
        order_id = await state.place(wish, await terms_of(state, sale_id, wish.sku_id))
    except Refused:
        return Response(None, status_code=409)
    return Response(Sold(order_id, str(sale_id), data.sku_id, data.quantity))


def shop(lifespan: Callable[[Litestar], AbstractAsyncContextManager[None]]) -> Litestar:
    return Litestar([buy], lifespan=[lifespan], openapi_config=None, logging_config=None)


statement = shop(with_statement)
orm = shop(with_orm)
