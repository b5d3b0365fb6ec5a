"""How many ordinary orders a second does a checkout place, against a row lock through an ORM?

    python -m benchmarks.checkout [--rounds 8] [--connections 64] [--write]

So many callers, each with one checkout under way, in turn: through the shop's own path, on one SKU
and on a thousand; and through SQLAlchemy, which locks the SKU's row, does the same (reads cart,
address and price, reserves, writes the order with its line, takes it out of the cart) and commits,
with a connection each or with eight. All on the same tables. At the end there are as many orders
as were answered, each with its units, and the stock is proven. Medians of interleaved rounds.
"""

import argparse
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
import uvloop
from sqlalchemy import DateTime, ForeignKey, LargeBinary, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks import shop
from benchmarks.reserve import Table, reserve_by_lock, sessions_of
from benchmarks.sides import Row, in_turn, measure, medians, show, turns
from core import countries, inventory, members, pricing
from core.flows.check_out import Cashier, Wish
from core.flows.quote_cart import quote_cart
from core.flows.stock_products import stock_products
from core.kit import db
from hotpath.ids import OrderIds

SKUS = 1_000
UNITS = 1_000_000
FEW = 8
POOL_SIZE_MAX = 4
GOAL_TIMES = 5
RATES = {"CNY": pricing.Shipping(1_000, free_from_minor=9_900)}
ORDER_IDS = OrderIds(b"k" * 32)
HOLD_S = 1_800
UUID = Uuid(as_uuid=False)
MEMBERS = itertools.count(1)
HOME = countries.fit(
    "DE", {"recipient": "Ann", "line1": "Am Hof 1", "city": "Köln", "postcode": "50667"}
)

Buy = Callable[["Buyer"], Awaitable[object]]

FILL = """
    WITH buyers AS (SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS b (member_id, sku_id)),
    carts AS (INSERT INTO carts.carts (member_id) SELECT member_id FROM buyers),
    items AS (INSERT INTO carts.items (member_id, sku_id, quantity) SELECT *, 1 FROM buyers)
    INSERT INTO members.addresses (member_id, fields) SELECT member_id, $3 FROM buyers
 RETURNING member_id, id
"""


class Buyer(msgspec.Struct):
    member_id: int
    sku_id: int
    address_id: int


class Side(msgspec.Struct):
    """`skus` of them in turn, so many checkouts a round."""

    buy: Buy
    skus: int
    count: int


class Address(Table):
    __tablename__ = "addresses"
    __table_args__: ClassVar = {"schema": "members"}
    id: Mapped[int] = mapped_column(primary_key=True)
    member_id: Mapped[int]
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Item(Table):
    __tablename__ = "items"
    __table_args__: ClassVar = {"schema": "carts"}
    member_id: Mapped[int] = mapped_column(primary_key=True)
    sku_id: Mapped[int] = mapped_column(primary_key=True)
    quantity: Mapped[int]


class Price(Table):
    __tablename__ = "prices"
    __table_args__: ClassVar = {"schema": "catalogue"}
    sku_id: Mapped[int] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    price_minor: Mapped[int]


class Order(Table):
    __tablename__ = "orders"
    __table_args__: ClassVar = {"schema": "orders"}
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    member_id: Mapped[int]
    idempotency_key: Mapped[str]
    asked: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str]
    amount_minor: Mapped[int]
    shipping_minor: Mapped[int]
    shipping_tax_minor: Mapped[int]
    shipping_included_tax_minor: Mapped[int]
    currency: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Line(Table):
    __tablename__ = "lines"
    __table_args__: ClassVar = {"schema": "orders"}
    # The key is the schema's in all but name: this tells SQLAlchemy what to write first.
    order_id: Mapped[str] = mapped_column(UUID, ForeignKey(Order.id), primary_key=True)
    line_no: Mapped[int] = mapped_column(primary_key=True)
    sku_id: Mapped[int]
    quantity: Mapped[int]
    price_minor: Mapped[int]
    discount_minor: Mapped[int]
    tax_minor: Mapped[int]
    included_tax_minor: Mapped[int]


class Agreement(Table):
    __tablename__ = "agreements"
    __table_args__: ClassVar = {"schema": "orders"}
    order_id: Mapped[str] = mapped_column(UUID, ForeignKey(Order.id), primary_key=True)
    address: Mapped[dict[str, Any]] = mapped_column(JSONB)
    steps: Mapped[list[Any]] = mapped_column(JSONB)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def by_cashier(pool: db.Pool) -> Buy:
    cashier = Cashier(pool, ORDER_IDS, RATES, hold_s=HOLD_S)
    seen: dict[int, str] = {}

    async def buy(buyer: Buyer) -> None:
        address_id = members.AddressId(buyer.address_id)
        if buyer.sku_id not in seen:
            # What everybody sees who sends one unit of it to such an address.
            look = await quote_cart(
                pool, RATES, member_id=buyer.member_id, address_id=address_id, currency="CNY"
            )
            seen[buyer.sku_id] = look.quote.digest
        await cashier.check_out(
            Wish(buyer.member_id, "k", address_id, "CNY", seen[buyer.sku_id], now_ms())
        )

    return buy


@asynccontextmanager
async def by_orm(url: str, connections: int) -> AsyncIterator[Buy]:
    async with sessions_of(url, connections) as sessions:

        async def buy(buyer: Buyer) -> None:
            order_id = ORDER_IDS.of_key(now_ms(), buyer.member_id, "k")
            async with sessions.begin() as session:
                item = await session.get_one(Item, (buyer.member_id, buyer.sku_id))
                address = await session.get_one(Address, buyer.address_id)
                price = await session.get_one(Price, (buyer.sku_id, "CNY"))
                kept_for, units = f"order:{order_id}", item.quantity
                await reserve_by_lock(session, kept_for, sku_id=item.sku_id, quantity=units)
                session.add_all(written(order_id, buyer, item, price, address))
                await session.delete(item)

        yield buy


def written(order_id: str, buyer: Buyer, item: Item, price: Price, address: Address) -> list[Any]:
    amount = item.quantity * price.price_minor
    shipping = 0 if amount >= RATES["CNY"].free_from_minor else RATES["CNY"].minor
    order = Order(
        id=order_id,
        member_id=buyer.member_id,
        idempotency_key="k",
        asked=bytes(32),
        state="open",
        amount_minor=amount + shipping,
        shipping_minor=shipping,
        shipping_tax_minor=0,
        shipping_included_tax_minor=round(shipping * 19 / 119),
        currency="CNY",
        expires_at=datetime.now(UTC) + timedelta(seconds=HOLD_S),
    )
    line = Line(
        order_id=order_id,
        line_no=1,
        sku_id=item.sku_id,
        quantity=item.quantity,
        price_minor=price.price_minor,
        discount_minor=0,
        tax_minor=0,
        included_tax_minor=round(amount * 19 / 119),
    )
    steps = [{"kind": "list", "reference": "", "changes": {"1": amount}}]
    return [order, line, Agreement(order_id=order_id, address=address.fields, steps=steps)]


async def fill(pool: db.Pool, side: Side, sku_ids: list[int]) -> list[Buyer]:
    """So many new members, each with an address and one unit in the cart."""
    chosen = {next(MEMBERS): sku_ids[number % side.skus] for number in range(side.count)}
    async with pool.acquire() as conn:
        rows = await conn.fetch(FILL, list(chosen), list(chosen.values()), HOME)
    return [Buyer(member_id, chosen[member_id], address_id) for member_id, address_id in rows]


async def rounds(asked: argparse.Namespace) -> list[Row]:
    callers, found = asked.connections, []
    async with (
        shop.opened() as ours,
        db.create_pool(ours.url, size_max=POOL_SIZE_MAX) as pool,
        by_orm(ours.url, callers) as orm,
        by_orm(ours.url, FEW) as orm_of_few,
    ):
        sku_ids = await stock_products(
            pool, products=shop.cups(SKUS), units=UNITS, reference="benchmark"
        )
        sides = {
            "checkout, one SKU": Side(by_cashier(pool), 1, asked.count),
            f"checkout, {SKUS:,} SKUs": Side(by_cashier(pool), SKUS, asked.count),
            f"ORM, {callers} connections": Side(orm, 1, asked.count // 8),
            f"ORM, {FEW} connections": Side(orm_of_few, 1, asked.count // 8),
        }
        pid = ours.postgres.pid
        for names in turns(sides, asked.rounds):
            for name in names:
                call = in_turn(await fill(pool, sides[name], sku_ids), sides[name].buy)
                found.append(await measure(name, call, callers=callers, postgres=pid))
        await prove(pool, sku_ids)
    return found[len(sides) :]


async def prove(pool: db.Pool, sku_ids: list[int]) -> None:
    """An order for each member, a line and a unit for each order, and nothing left in the carts."""
    bought = next(MEMBERS) - 1
    async with db.reading(pool) as conn:
        for table in ("orders.orders", "orders.lines", "orders.agreements"):
            assert await conn.fetchval(f"SELECT count(*) FROM {table}") == bought
        assert await conn.fetchval("SELECT count(*) FROM carts.items") == 0
        left = sum((await inventory.free(conn, sku_ids=sku_ids)).values())
        assert left == SKUS * UNITS - bought
        assert await inventory.audit(conn) == []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--count", type=int, default=2_000, help="checkouts a round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    rows = uvloop.run(rounds(asked))
    told = medians(rows)
    show(told)
    hot = next(row for row in told if row.side == "checkout, one SKU")
    times = hot.per_s / max(row.per_s for row in told if row.side.startswith("ORM"))
    print(f"the ORM's rate {times:.1f} times (goal {GOAL_TIMES}); every order has its units")
    if asked.write:
        figures = {"times": round(times, 1), "goals": {"times": GOAL_TIMES}}
        shop.keep("checkout", {"medians": told, **figures, "rounds": rows})


if __name__ == "__main__":
    main()
