"""Orders of no sale: many lines, kept by stock, through everything that happens to an order."""

import hashlib
import time
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from core import inventory, ledger, orders
from core.flows import book_payment
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.flows.expire_holds import expire_holds
from core.flows.list_orders import list_orders
from core.flows.place_ordinary import place_many, purpose
from core.kit import db
from core.kit.states import IllegalMove
from tests.core.test_payments import Shop, Till

STEPS = [{"kind": "list", "changes": {"1": 9}}, {"kind": "tax", "changes": {}}]
AGREED = orders.Agreement({"country": "DE", "city": "Köln"}, STEPS)
STOCK = 1_000


def a_line(order_id, line_no, sku_id, **facts):
    usual = {
        "quantity": 2,
        "price_minor": 9_900,
        "discount_minor": 801,
        "tax_minor": 33,
        "included_tax_minor": 7,
        "seller_id": 1,
        "commission_bps": 500,
    }
    return orders.Line(order_id=order_id, line_no=line_no, sku_id=sku_id, **(usual | facts))


def now_ms():
    return time.time_ns() // 1_000_000


@pytest.fixture
async def shop(pool, redis, gate, directory, keyring, writer, sku_ids) -> Shop:
    return Shop(pool, redis, gate, directory, keyring, writer, sku_ids[0], Till(), Till())


@pytest.fixture
def purchase(keyring, sku_ids):
    """What a member buys: two units of one SKU and five of another, unless told otherwise."""

    def purchase(member, *, key="k", ms=1_700_000_000_000, quantities=(2, 5), hold_s=900):
        order_id = orders.OrderId(keyring.order_ids.of_key(ms, member, key))
        return orders.Purchase(
            id=order_id,
            member_id=member,
            idempotency_key=key,
            asked=hashlib.sha256(key.encode()).digest(),
            lines=tuple(
                a_line(order_id, line_no, sku_ids[line_no - 1], quantity=quantity)
                for line_no, quantity in enumerate(quantities, 1)
            ),
            shipping_minor=1_200,
            shipping_tax_minor=100,
            shipping_included_tax_minor=0,
            currency="CNY",
            hold_s=hold_s,
            agreement=AGREED,
        )

    return purchase


@pytest.fixture
def place(pool, purchase):
    async def place(member, **facts):
        async with db.transaction(pool) as conn:
            (outcome,) = await place_many(conn, [purchase(member, **facts)])
        if isinstance(outcome, orders.Order):
            return outcome
        raise outcome

    return place


async def find(pool, order_id):
    async with db.reading(pool) as conn:
        return await orders.find(conn, order_id=order_id)


async def free(pool, sku_ids):
    async with db.reading(pool) as conn:
        return list((await inventory.free(conn, sku_ids=sku_ids)).values())


async def check(shop):
    """The ledger is even, stock is, and each order's log is whole."""
    assert await audit_ledger(shop.pool) == LedgerAudit([], [])
    async with db.snapshot(shop.pool) as conn:
        assert await inventory.audit(conn) == []
        for order in await orders.listing(conn, shown=None, before=None, page_max=100):
            assert orders.first_broken(order, await orders.log(conn, order_id=order.id)) is None


async def test_what_was_placed_is_what_is_read(pool, place, sku_ids):
    placed = await place(7)
    assert await find(pool, placed.id) == placed
    assert placed.amount_minor == (2 * 9_900 - 801 + 33) + (5 * 9_900 - 801 + 33) + 1_300
    assert placed.units == {sku_ids[0]: 2, sku_ids[1]: 5}
    assert (placed.expires_at - placed.placed_at).total_seconds() == 900
    assert await free(pool, sku_ids) == [STOCK - 2, STOCK - 5, STOCK]
    async with db.reading(pool) as conn:
        assert await orders.agreement(conn, order_id=placed.id) == AGREED
        reserved = await inventory.reservations(conn, kept_for=purpose(placed.id))
        found = await orders.find_placed(conn, [(7, "k"), (7, "other"), (8, "k")])
    assert {one.sku_id: one.reserved for one in reserved} == placed.units
    assert found == {(7, "k"): placed}


async def test_what_is_refused_to_one_leaves_nothing_of_it_and_the_others_alone(
    pool, purchase, sku_ids
):
    several = [purchase(7), purchase(8, quantities=(2, STOCK)), purchase(9)]
    async with db.transaction(pool) as conn:
        first, second, third = await place_many(conn, several)
    assert isinstance(second, inventory.OutOfStock)
    assert [first.member_id, third.member_id] == [7, 9]
    for table in ("orders", "agreements"):
        assert await pool.fetchval(f"SELECT count(*) FROM orders.{table}") == 2
    assert await pool.fetchval("SELECT count(*) FROM orders.lines") == 4
    assert await free(pool, sku_ids) == [STOCK - 4, STOCK - 10, STOCK]


async def test_a_key_is_good_for_one_ordinary_order_of_its_member(pool, place, sku_ids):
    await place(7)
    with pytest.raises(orders.KeyTaken):
        await place(7, ms=1_700_000_000_001)
    assert await free(pool, sku_ids) == [STOCK - 2, STOCK - 5, STOCK]
    await place(8)
    await place(7, key="another")


async def test_a_member_sees_orders_of_carts_and_of_sales_newest_first(pool, shop, sale, place):
    before = await place(7, key="a", ms=now_ms() - 60_000)
    of_sale = await shop.written(sale, 7)
    after = await place(7, key="b", ms=now_ms() + 60_000)
    await place(8, key="c")
    mine = await list_orders(pool, member_id=7, before=None, page_max=10)
    assert [order.id for order in mine] == [after.id, of_sale, before.id]
    assert [len(order.lines) for order in mine] == [2, 1, 2]
    rest = await list_orders(pool, member_id=7, before=after.id, page_max=1)
    assert [order.id for order in rest] == [of_sale]


async def test_what_waits_for_payment_is_paged_by_how_long_it_may(pool, place):
    holds = {7: 900, 8: 300, 9: 600, 10: 300, 11: 100}
    placed = {member: await place(member, hold_s=hold_s) for member, hold_s in holds.items()}
    await pool.execute("UPDATE orders.orders SET payment = 'paid' WHERE member_id = 11")
    # Placed in one transaction each, so the later of two equals may wait longer.
    expected = sorted(
        (order for member, order in placed.items() if member != 11),
        key=lambda order: (order.expires_at, order.id),
        reverse=True,
    )
    found, last = [], None
    while True:
        async with db.snapshot(pool) as conn:
            page = await orders.listing(
                conn, shown=orders.Shown.PENDING_PAYMENT, before=last, page_max=2
            )
        found += page
        if not page:
            break
        last = page[-1].id
    assert found == expected
    assert [order.member_id for order in found][:2] == [7, 9]


async def test_an_unpaid_order_expires_with_its_units(pool, shop, place, sku_ids):
    first, second = await place(7, hold_s=0), await place(8, hold_s=0)
    later = await place(9)
    assert await expire_holds(pool, batch_max=10) == 2
    for order in (first, second):
        ended = await find(pool, order.id)
        assert (ended.shown, ended.reason) == ("cancelled", "expired")
    assert (await find(pool, later.id)).shown == "pending_payment"
    assert await free(pool, sku_ids) == [STOCK - 2, STOCK - 5, STOCK]
    await check(shop)


async def test_a_member_takes_an_unpaid_order_back_once(shop, place, sku_ids):
    order = await place(7)
    with pytest.raises(orders.NoSuchOrder):
        await shop.cancel(order.id, 8)
    await shop.cancel(order.id, 7)
    assert (await shop.look(order.id)).reason == "member"
    with pytest.raises(IllegalMove):
        await shop.cancel(order.id, 7)
    assert await free(shop.pool, sku_ids) == [STOCK] * 3
    await check(shop)


async def test_the_money_of_every_line_and_of_shipping_goes_to_whom_it_belongs(shop, place):
    order = await place(7)
    await shop.tell(await shop.start(order.id, 7))
    assert (await shop.look(order.id)).shown == "paid"
    async with db.snapshot(shop.pool) as conn:
        _, shares = await ledger.find_hold(conn, order_id=order.id)
    amounts = {share.line_no: (share.account, share.amount_minor) for share in shares}
    tax = book_payment.TAX_FROM
    assert amounts == {
        0: ("shipping_revenue", 1_200),
        1: ("seller_payable", 2 * 9_900 - 801),
        2: ("seller_payable", 5 * 9_900 - 801),
        tax: ("tax_payable", 100),
        tax + 1: ("tax_payable", 33),
        tax + 2: ("tax_payable", 33),
    }
    assert sum(minor for _, minor in amounts.values()) == order.amount_minor
    await check(shop)


async def test_staff_cancel_a_paid_order_and_all_of_its_money_goes_back(shop, place, sku_ids):
    order = await place(7)
    payment = await shop.start(order.id, 7)
    await shop.tell(payment)
    await shop.cancel_for_staff(order.id)
    await shop.settle_down()
    assert (await shop.look(order.id)).payment == "refunded"
    assert list(shop.till.went.values()) == [order.amount_minor]
    assert await free(shop.pool, sku_ids) == [STOCK] * 3
    await check(shop)


async def test_late_money_places_the_order_anew(shop, place, sku_ids):
    first = await place(7)
    payment = await shop.start(first.id, 7)
    await shop.cancel(first.id, 7)
    await shop.tell(payment)
    await shop.settle_down()
    kept = await shop.pay(payment.id)
    second = await shop.look(kept.order_id)
    assert (second.shown, second.follows, second.amount_minor) == (
        "paid",
        first.id,
        first.amount_minor,
    )
    assert second.id > first.id
    assert second.units == first.units
    assert await free(shop.pool, sku_ids) == [STOCK - 2, STOCK - 5, STOCK]
    await check(shop)


async def test_late_money_goes_back_where_stock_is_gone(shop, place, sku_ids):
    first = await place(7)
    payment = await shop.start(first.id, 7)
    await shop.cancel(first.id, 7)
    await place(8, quantities=(1, STOCK))
    await shop.tell(payment)
    await shop.settle_down()
    assert (await shop.pay(payment.id)).reason == "sold-out"
    assert shop.till.went == {payment.id: first.amount_minor}
    assert await shop.pool.fetchval("SELECT count(*) FROM orders.orders") == 2
    await check(shop)


EDITS = [
    "UPDATE orders.orders SET shipping_minor = shipping_minor + 1",
    "UPDATE orders.orders SET shipping_tax_minor = 0",
    "UPDATE orders.orders SET asked = sha256('other')",
    "UPDATE orders.lines SET discount_minor = 0 WHERE line_no = 2",
    "UPDATE orders.lines SET included_tax_minor = 8 WHERE line_no = 1",
    "DELETE FROM orders.lines WHERE line_no = 2",
]


@pytest.mark.parametrize("edit", EDITS)
async def test_an_edit_of_what_was_placed_is_found(pool, shop, place, edit):
    order = await place(7)
    await shop.cancel(order.id, 7)
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute(EDITS[0])
    for table in ("orders.orders", "orders.lines"):
        await pool.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    await pool.execute(edit)
    async with db.snapshot(pool) as conn:
        found = await orders.find(conn, order_id=order.id)
        assert orders.first_broken(found, await orders.log(conn, order_id=order.id)) == 1


async def test_a_discount_that_a_sale_never_gave_is_found(pool, shop, sale):
    order_id = await shop.written(sale, 7)
    await shop.cancel(order_id, 7)
    await pool.execute("ALTER TABLE orders.lines DISABLE TRIGGER USER")
    await pool.execute("UPDATE orders.lines SET discount_minor = 5")
    async with db.snapshot(pool) as conn:
        found = await orders.find(conn, order_id=order_id)
        assert orders.first_broken(found, await orders.log(conn, order_id=order_id)) == 1


async def test_an_order_is_of_a_sale_whole_or_not_at_all(conn):
    columns = "id, member_id, idempotency_key, state, amount_minor, currency, expires_at"
    facts = f"'{uuid4()}', 7, 'k', 'open', 1, 'CNY', now()"
    for more, values in (("sale_id", "1"), ("bucket", "1"), ("shipping_minor", "1")):
        with pytest.raises(asyncpg.CheckViolationError, match="an_order_is_of_a_sale_or_ordinary"):
            async with conn.transaction():
                await conn.execute(
                    f"INSERT INTO orders.orders ({columns}, {more}) VALUES ({facts}, {values})"
                )


async def test_a_discount_is_not_more_than_the_price(pool, purchase):
    bought = purchase(7)
    too_much = msgspec.structs.replace(bought.lines[0], discount_minor=2 * 9_900 + 1)
    bought = msgspec.structs.replace(bought, lines=(too_much, bought.lines[1]), shipping_minor=9**9)
    with pytest.raises(asyncpg.CheckViolationError, match="a_discount_is_part_of_the_price"):
        async with db.transaction(pool) as conn:
            await place_many(conn, [bought])
