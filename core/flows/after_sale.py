"""A buyer wants something put right, and the shop sees to it: one transaction for each step.

A case that opens or ends is an event of its order. Locks, in this order: the payment where money
goes back, the order, its money in the ledger, the case, and the stock last.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec

from core import aftersale, fulfilment, inventory, ledger, orders, payments, sales
from core.flows import book_payment
from core.flows.place_ordinary import place_many
from core.kit import db
from hotpath.receipts import Keyring

# It is paid in the same breath.
HOLD_S = 60
GONE = frozenset({fulfilment.State.SHIPPED, fulfilment.State.DELIVERED})


async def ask(
    pool: db.Pool,
    *,
    order_id: orders.OrderId,
    member_id: int,
    wish: aftersale.Wish,
    key: str,
    days: Mapping[str, int],
    now: datetime,
) -> aftersale.Case:
    """Open a case, once for each key. `days` say how long after delivery each kind may be asked.

    Raises NoSuchOrder, also for another member's, aftersale.NoSuchLine, NotShipped, TooLate,
    MoreThanWasPaid, TooManyCases, sales.KeyReused, and IllegalMove for an order that has ended.
    """
    async with db.transaction(pool) as conn:
        order = await _hold_owned(conn, order_id, member_id)
        known = await aftersale.find_by_key(conn, order_id=order.id, key=key)
        if known is not None:
            if known.wish != wish:
                raise sales.KeyReused
            return known
        sold = await _sold(conn, order, wish.line_no)
        case = await aftersale.ask(conn, sold, wish, key=key, days=days, now=now)
        await orders.open_case(conn, order, case_id=str(case.id))
        await ledger.contest(conn, order_id=order.id)
        return case


async def withdraw(
    pool: db.Pool, *, order_id: orders.OrderId, member_id: int, case_id: aftersale.CaseId
) -> aftersale.Case:
    """Raises NoSuchOrder, NoSuchCase, and IllegalMove for goods that are on their way."""
    async with db.transaction(pool) as conn:
        order = await _hold_owned(conn, order_id, member_id)
        case = await aftersale.withdraw(conn, await of(conn, order, case_id))
        await _close(conn, order, case)
        return case


async def _close(conn: db.Conn, order: orders.Order, ended: aftersale.Case) -> None:
    """The order tells what came of the case, and its money is no longer kept because of it."""
    await orders.close_case(
        conn,
        order,
        case_id=str(ended.id),
        came_to=ended.state,
        refund_id=ended.refund_id,
        follow_up=ended.follow_up,
    )
    await ledger.concede(conn, order_id=order.id)


async def send_back(
    pool: db.Pool,
    *,
    order_id: orders.OrderId,
    member_id: int,
    case_id: aftersale.CaseId,
    parcel: fulfilment.Parcel,
) -> aftersale.Case:
    """Raises NoSuchOrder, NoSuchCase, and IllegalMove where the shop has not agreed."""
    async with db.transaction(pool) as conn:
        case = await of(conn, await owned(conn, order_id, member_id), case_id)
        return await aftersale.send_back(
            conn, case, carrier=parcel.carrier, tracking=parcel.tracking
        )


async def refuse(conn: db.Conn, case: aftersale.Case, *, answer: str) -> None:
    """Nothing will come of it. Raises IllegalMove."""
    order = await _hold(conn, case.order_id)
    ended = await aftersale.refuse(conn, case, answer=answer)
    await _close(conn, order, ended)


async def receive(
    conn: db.Conn,
    case: aftersale.Case,
    *,
    place_id: inventory.PlaceId,
    condition: aftersale.Condition,
    by: str,
) -> None:
    """Its goods are back in a place: for sale again, or set aside as damaged.

    Raises IllegalMove, inventory.NoSuchPlace.
    """
    await aftersale.receive(conn, case, place_id=place_id, condition=condition)
    units, reference = {case.sku_id: case.quantity}, f"case:{case.id}"
    await inventory.receive(conn, place_id=place_id, units=units, reference=reference, by=by)
    if condition is aftersale.Condition.DAMAGED:
        await inventory.damage(conn, place_id=place_id, units=units, reference=reference, by=by)


async def refund(
    conn: db.Conn,
    case: aftersale.Case,
    *,
    refund_id: payments.RefundId,
    amount_minor: int | None = None,
) -> None:
    """Owe the buyer what the units come to, or less; a claim's amount, or less.

    Goods that are back end their case also where nothing of their money is left to go back.
    Raises payments.NotRefundable, aftersale.MoreThanWasPaid, WrongKind, and IllegalMove.
    """
    payment = await payments.hold_kept(conn, order_id=case.order_id)
    order = await _hold(conn, case.order_id)
    amounts = await _due(conn, order, case)
    wanted = amount_minor
    if wanted is None:
        wanted = case.wanted_minor or sum(amounts.values())
    if wanted:
        lines = aftersale.shared(wanted, amounts)
        if payment is None:
            raise payments.NotRefundable
        await book_payment.owe(conn, payment, refund_id=refund_id, lines=lines, reason=case.kind)
    named = refund_id if wanted else None
    ended = await aftersale.refund(conn, case, refund_id=named, amount_minor=wanted)
    await _close(conn, order, ended)


async def replace(
    conn: db.Conn, keyring: Keyring, case: aftersale.Case, *, key: str, at_ms: int
) -> None:
    """Send its units anew, by an order of their own that costs nothing and is paid for.

    Raises inventory.OutOfStock, aftersale.WrongKind, and IllegalMove.
    """
    order = await _hold(conn, case.order_id)
    made = keyring.order_ids.of_key(at_ms, case.member_id, key)
    purchase = await _purchase(conn, order, case, order_id=orders.OrderId(made), key=key)
    ended = await aftersale.replace(conn, case, follow_up=purchase.id)
    await _close(conn, order, ended)
    (placed,) = await place_many(conn, [purchase])
    if isinstance(placed, Exception):
        raise placed
    await orders.pay(conn, placed, payment_id=f"case:{case.id}")


async def owned(conn: db.Conn, order_id: orders.OrderId, member_id: int) -> orders.Order:
    order = await orders.find(conn, order_id=order_id)
    if order.member_id != member_id:
        raise orders.NoSuchOrder(order_id=order_id)
    return order


async def _hold_owned(conn: db.Conn, order_id: orders.OrderId, member_id: int) -> orders.Order:
    await owned(conn, order_id, member_id)
    return await _hold(conn, order_id)


async def _hold(conn: db.Conn, order_id: str) -> orders.Order:
    (order,) = await orders.hold(conn, order_ids=[orders.OrderId(order_id)])
    return order


async def of(conn: db.Conn, order: orders.Order, case_id: aftersale.CaseId) -> aftersale.Case:
    """A case of this order, and of no other."""
    case = await aftersale.find(conn, case_id=case_id)
    if case.order_id != order.id:
        raise aftersale.NoSuchCase(case_id=str(case_id))
    return case


async def _sold(conn: db.Conn, order: orders.Order, line_no: int) -> aftersale.Sold:
    line = next((one for one in order.lines if one.line_no == line_no), None)
    if line is None:
        raise aftersale.NoSuchLine(line_no=line_no)
    every = await fulfilment.of_orders(conn, order_ids=[order.id])
    mine = [
        (one.consignment, units.quantity)
        for one in every
        for units in one.lines
        if (units.order_id, units.line_no) == (order.id, line_no)
    ]
    arrived = [one.delivered_at for one, _ in mine if one.state in GONE]
    return aftersale.Sold(
        order_id=order.id,
        line_no=line_no,
        member_id=order.member_id,
        seller_id=line.seller_id,
        sku_id=line.sku_id,
        quantity=line.quantity,
        shipped=sum(units for one, units in mine if one.state in GONE),
        delivered_at=max((at for at in arrived if at), default=None) if all(arrived) else None,
        left_minor=sum((await _left(conn, order, [line_no])).values()),
        currency=order.currency,
    )


async def _left(conn: db.Conn, order: orders.Order, line_nos: list[int]) -> dict[int, int]:
    """What is left of the money of these lines, goods and tax, by the numbers of their shares."""
    try:
        _, shares = await ledger.find_hold(conn, order_id=order.id)
    except ledger.NoSuchHold:
        return {}
    numbers = {n for line_no in line_nos for n in (line_no, book_payment.TAX_FROM + line_no)}
    return {s.line_no: s.amount_minor - s.returned_minor for s in shares if s.line_no in numbers}


async def _due(conn: db.Conn, order: orders.Order, case: aftersale.Case) -> dict[int, int]:
    """What a case may come to. Shipping goes back with the last unit of all that was bought."""
    left = await _left(conn, order, [case.line_no])
    if case.kind == aftersale.Kind.CLAIM:
        return left
    (line,) = (one for one in order.lines if one.line_no == case.line_no)
    refunded = [
        one
        for one in await aftersale.of_order(conn, order_id=order.id)
        if one.state == aftersale.State.REFUNDED
    ]
    before = aftersale.units_of(one for one in refunded if one.line_no == case.line_no)
    paid = {case.line_no: line.goods_minor, book_payment.TAX_FROM + case.line_no: line.tax_minor}
    amounts = aftersale.worth(paid, before=before, quantity=case.quantity, of=line.quantity)
    found = aftersale.capped(amounts, left)
    bought = sum(one.quantity for one in order.lines)
    if aftersale.units_of(refunded) + case.quantity == bought:
        shipping = await _left(conn, order, [book_payment.SHIPPING_NO])
        found |= aftersale.capped(shipping, shipping)
    return found


async def _purchase(
    conn: db.Conn, order: orders.Order, case: aftersale.Case, *, order_id: orders.OrderId, key: str
) -> orders.Purchase:
    try:
        agreed = await orders.agreement(conn, order_id=order.id)
    except orders.NoSuchOrder:
        # An order of a flash sale was placed without an address.
        agreed = orders.Agreement({}, [])
    line = orders.Line(
        order_id=order_id,
        line_no=1,
        sku_id=case.sku_id,
        quantity=case.quantity,
        price_minor=0,
        discount_minor=0,
        tax_minor=0,
        included_tax_minor=0,
        seller_id=case.seller_id,
        commission_bps=0,
    )
    return orders.Purchase(
        id=order_id,
        member_id=case.member_id,
        idempotency_key=key,
        asked=hashlib.sha256(key.encode()).digest(),
        lines=(line,),
        shipping_minor=0,
        shipping_tax_minor=0,
        shipping_included_tax_minor=0,
        currency=case.currency,
        hold_s=HOLD_S,
        agreement=msgspec.structs.replace(agreed, steps=[]),
    )
