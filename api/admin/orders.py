"""Look at orders: which there are, what happened to each, how it stood at a moment; cancel one."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from uuid_utils import uuid7

from api import auth
from api.admin.changes import Changes
from api.problems import InvalidValue, refuses
from api.shapes import PAGE_DEFAULT, Cursor, Limit, OrderLine, before, order_lines
from core import orders, payments
from core.flows import cancel_order, list_orders
from core.kit import db, ids
from core.kit.states import IllegalMove
from hotpath.ids import is_id

State = Annotated[
    orders.Shown | None, QueryParameter(name="state", description="What the order shows.")
]
Member = Annotated[
    str | None, QueryParameter(name="member_id", max_length=20, description="Whose orders.")
]
Moment = Annotated[datetime, QueryParameter(description="RFC 3339, with its offset from UTC.")]


class Order(msgspec.Struct, frozen=True):
    """`state` is what the buyer is told, of `standing`, `payment` and `fulfilment` together.

    Amounts are in minor units, of shipping as of a line. `version` counts what happened since it
    was placed. An ordinary order has no sale.
    """

    order_id: str
    sale_id: str | None
    member_id: str
    state: str
    standing: str
    payment: str
    fulfilment: str
    reason: str | None
    lines: list[OrderLine]
    shipping: int
    shipping_tax: int
    shipping_included_tax: int
    amount: int
    currency: str
    placed_at: datetime
    expires_at: datetime
    follows: str | None
    version: int


class Orders(msgspec.Struct, frozen=True):
    """Newest first, but those that wait for their payment by how long they may; `cursor` is null on
    the last page.
    """

    items: list[Order]
    cursor: str | None


class Event(msgspec.Struct, frozen=True):
    """`digest` is the SHA-256, in hex, of the one before and of this event."""

    number: int
    happened_at: datetime
    event: Any
    digest: str


class Log(msgspec.Struct, frozen=True):
    """`first_broken` is null while every event is as it was written and the order is what they
    make it; else it is the number of the first that is not.
    """

    items: list[Event]
    first_broken: int | None


class Past(msgspec.Struct, frozen=True):
    """How an order stood at a moment."""

    order_id: str
    moment: datetime
    state: str
    standing: str
    payment: str
    fulfilment: str
    reason: str | None
    follows: str | None


class Refund(msgspec.Struct, frozen=True):
    """`state` is `owed` until the provider has sent the money, then `paid`."""

    refund_id: str
    amount: int
    currency: str
    reason: str
    state: str
    asked_at: datetime
    paid_at: datetime | None


class Refunds(msgspec.Struct, frozen=True):
    items: list[Refund]


@get("", permission="orders:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_all(
    pool: NamedDependency[db.Pool],
    wanted: State = None,
    whose: Member = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Orders:
    """List orders by what they show, or those of one member."""
    last = before(cursor)
    if whose is None:
        async with db.snapshot(pool) as conn:
            found = await orders.listing(conn, shown=wanted, before=last, page_max=limit)
    elif wanted is None:
        found = await list_orders.list_orders(
            pool, member_id=member_of(whose), before=last, page_max=limit
        )
    else:
        detail = "Ask by state or by member, not by both."
        raise InvalidValue(errors=[{"parameter": "state", "detail": detail}])
    return Orders([shown(one) for one in found], found[-1].id if len(found) == limit else None)


@get(
    "/{order_id:str}",
    permission="orders:read",
    responses=refuses(*auth.SIGNED_IN, orders.NoSuchOrder),
)
async def find(order_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Order:
    """Look at an order that is written down."""
    async with db.reading(pool) as conn:
        return shown(await orders.find(conn, order_id=order_of(order_id)))


@get(
    "/{order_id:str}/log",
    permission="orders:read",
    responses=refuses(*auth.SIGNED_IN, orders.NoSuchOrder, orders.TooManyEvents),
)
async def read_log(order_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Log:
    """Read all that happened to an order since it was placed, and whether anybody changed it."""
    async with db.snapshot(pool) as conn:
        order = await orders.find(conn, order_id=order_of(order_id))
        log = await orders.log(conn, order_id=order.id)
    items = [
        Event(one.number, one.happened_at, msgspec.Raw(one.text.encode()), one.digest.hex())
        for one in log
    ]
    return Log(items, orders.first_broken(order, log))


@get(
    "/{order_id:str}/as-of",
    permission="orders:read",
    responses=refuses(*auth.SIGNED_IN, InvalidValue, orders.NoSuchOrder, orders.TooManyEvents),
)
async def find_past(
    order_id: FromPath[str], pool: NamedDependency[db.Pool], moment: Moment
) -> Past:
    """Tell how an order stood at a moment; before it was placed, there was none."""
    if moment.tzinfo is None:
        detail = "A moment needs its offset from UTC."
        raise InvalidValue(errors=[{"parameter": "moment", "detail": detail}])
    async with db.snapshot(pool) as conn:
        past = await orders.as_of(conn, order_id=order_of(order_id), moment=moment)
    return Past(
        order_id=order_id,
        moment=moment,
        state=past.shown,
        standing=past.state,
        payment=past.payment,
        fulfilment=past.fulfilment,
        reason=past.reason,
        follows=past.follows,
    )


@post(
    "/{order_id:str}/cancel",
    permission="orders:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, orders.NoSuchOrder, orders.AlreadyShipped, IllegalMove),
)
async def cancel(
    order_id: FromPath[str], pool: NamedDependency[db.Pool], changes: NamedDependency[Changes]
) -> Order:
    """Cancel an order of which nothing has left: its money goes back by the way it came.

    Its units go back too.
    """
    after = await cancel_order.cancel_for_staff(
        pool,
        order_id=order_of(order_id),
        refund_id=payments.RefundId(str(uuid7())),
        author=changes.author,
    )
    return shown(after)


@get(
    "/{order_id:str}/refunds",
    permission="orders:read",
    responses=refuses(*auth.SIGNED_IN, orders.NoSuchOrder),
)
async def list_refunds(order_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Refunds:
    """List what went back of what an order kept, oldest first."""
    async with db.snapshot(pool) as conn:
        order = await orders.find(conn, order_id=order_of(order_id))
        found = await payments.refunds(conn, order_id=order.id)
    return Refunds(
        [
            Refund(r.id, r.amount_minor, r.currency, r.reason, r.state, r.asked_at, r.paid_at)
            for r in found
        ]
    )


def shown(order: orders.Order) -> Order:
    return Order(
        order_id=order.id,
        sale_id=None if order.sale_id is None else str(order.sale_id),
        member_id=str(order.member_id),
        state=order.shown,
        standing=order.state,
        payment=order.payment,
        fulfilment=order.fulfilment,
        reason=order.reason,
        lines=order_lines(order.lines),
        shipping=order.shipping_minor,
        shipping_tax=order.shipping_tax_minor,
        shipping_included_tax=order.shipping_included_tax_minor,
        amount=order.amount_minor,
        currency=order.currency,
        placed_at=order.placed_at,
        expires_at=order.expires_at,
        follows=order.follows,
        version=order.version,
    )


def order_of(text: str) -> orders.OrderId:
    if not is_id(text):
        raise orders.NoSuchOrder(order_id=text)
    return orders.OrderId(text)


def member_of(text: str) -> int:
    member_id = ids.parse(text)
    if member_id is None:
        raise InvalidValue(errors=[{"parameter": "member_id", "detail": "This is no member's id."}])
    return member_id


routes = Router(
    "/orders",
    route_handlers=[list_all, find, read_log, find_past, list_refunds, cancel],
    tags=["orders"],
)
