"""Buy, look at an order, take it back."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api import auth, metrics
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, OrderLine, before, order_lines
from core import fulfilment, orders, risk, sales
from core.flows import cancel_order, find_order, list_orders, pass_risk, place_order
from core.flows.directory import Directory
from core.kit import db, ids
from core.kit.states import IllegalMove
from hotpath.claims import QUANTITY_MAX, Claim
from hotpath.gate import Gate
from hotpath.nodes import Redis
from hotpath.recall import Recall
from hotpath.receipts import Keyring
from hotpath.risk import Risk

# What nothing is ever sent for, or not yet.
UNSENT = frozenset({"accepted", orders.Shown.PENDING_PAYMENT, orders.Shown.REJECTED})
ANSWERS = (
    risk.RiskBlocked,
    sales.NoSuchSale,
    sales.NoSuchSku,
    sales.SaleNotOpen,
    sales.SoldOut,
    sales.MemberLimit,
    sales.KeyReused,
    sales.Busy,
    sales.SaleFenced,
    sales.OutcomeUnknown,
)


class Buy(Body, frozen=True):
    sku_id: str
    quantity: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]


class Accepted(msgspec.Struct, frozen=True):
    """These fields in this order: the same key gets the same bytes for ever."""

    order_id: str
    sale_id: str
    sku_id: str
    quantity: int
    state: str
    receipt: str


class ParcelLine(msgspec.Struct, frozen=True):
    line_no: int
    sku_id: str
    quantity: int


class Parcel(msgspec.Struct, frozen=True):
    """What is sent together; of other orders in it nothing is told. `tracking` once it has left."""

    state: str
    carrier: str | None
    tracking: str | None
    shipped_at: datetime | None
    delivered_at: datetime | None
    lines: list[ParcelLine]


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """While it is `accepted` it has neither amount nor times yet. Amounts are in minor units.

    A sale's order has a sale, a SKU and a quantity; an ordinary one has shipping instead, with the
    tax that is added to it and the tax that it includes. Both have lines, and parcels once paid.
    """

    order_id: str
    state: str
    sale_id: str | msgspec.UnsetType = msgspec.UNSET
    sku_id: str | msgspec.UnsetType = msgspec.UNSET
    quantity: int | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    amount: int | msgspec.UnsetType = msgspec.UNSET
    currency: str | msgspec.UnsetType = msgspec.UNSET
    placed_at: datetime | msgspec.UnsetType = msgspec.UNSET
    expires_at: datetime | msgspec.UnsetType = msgspec.UNSET
    follows: str | msgspec.UnsetType = msgspec.UNSET
    lines: list[OrderLine] | msgspec.UnsetType = msgspec.UNSET
    shipping: int | msgspec.UnsetType = msgspec.UNSET
    shipping_tax: int | msgspec.UnsetType = msgspec.UNSET
    shipping_included_tax: int | msgspec.UnsetType = msgspec.UNSET
    parcels: list[Parcel] | msgspec.UnsetType = msgspec.UNSET


class Orders(msgspec.Struct, frozen=True):
    """`cursor` is null on the last page."""

    items: list[Order]
    cursor: str | None


@post(
    "/sales/{sale_id:str}/orders",
    status_code=202,
    responses=refuses(*auth.SIGNED_IN, auth.MalformedKey, *READS_BODY, *ANSWERS),
    response_headers=[
        ResponseHeader("Location", documentation_only=True, description="Where the order is.")
    ],
)
async def place(
    sale_id: FromPath[str],
    data: JSONBody[Buy],
    member_id: NamedDependency[int],
    idempotency_key: NamedDependency[str],
    pool: NamedDependency[db.Pool],
    gate: NamedDependency[Gate],
    directory: NamedDependency[Directory],
    keyring: NamedDependency[Keyring],
    table: NamedDependency[Risk],
    recall: NamedDependency[Recall],
    origin: NamedDependency[risk.Origin],
) -> Response[Accepted]:
    """Buy units of one SKU. A 202 is durable: the receipt proves it."""
    with metrics.counting_claim():
        claim = Claim(
            sale_id=_sale_id(sale_id),
            member_id=member_id,
            key=idempotency_key,
            sku_id=_sku_id(data.sku_id),
            quantity=data.quantity,
        )
        is_new = await pass_risk.pass_risk(
            table, gate, directory, recall, claim=claim, origin=origin, now_s=time.time()
        )
        sold = await place_order.place_order(
            pool, gate, directory, keyring, claim=claim, is_new=is_new
        )
    return Response(
        Accepted(
            order_id=sold.order_id,
            sale_id=str(sold.sale_id),
            sku_id=str(sold.sku_id),
            quantity=sold.quantity,
            state="accepted",
            receipt=sold.receipt,
        ),
        headers={"Location": f"/v1/orders/{sold.order_id}"},
    )


@get("/orders", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_mine(
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Orders:
    """List one's own orders, newest first. One just accepted appears when it is written."""
    found = await list_orders.list_orders(
        pool, member_id=member_id, before=before(cursor), page_max=limit
    )
    items = [_shown(find_order.view(one)) for one in found]
    return Orders(items, items[-1].order_id if len(items) == limit else None)


@get(
    "/orders/{order_id:str}",
    responses=refuses(*auth.SIGNED_IN, orders.NoSuchOrder, sales.SaleFenced),
)
async def find(
    order_id: FromPath[str],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
    redis: NamedDependency[Redis],
    keyring: NamedDependency[Keyring],
) -> Order:
    """Look at an order of one's own, and where its parcels are."""
    found = await find_order.find_order(
        pool, redis, keyring, order_id=order_id, member_id=member_id
    )
    shown = _shown(found)
    if found.state in UNSENT:
        return shown
    async with db.snapshot(pool) as conn:
        sent = await fulfilment.of_orders(conn, order_ids=[found.order_id])
    return msgspec.structs.replace(shown, parcels=_parcels(found.order_id, sent) or msgspec.UNSET)


@post(
    "/orders/{order_id:str}/cancel",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        orders.NoSuchOrder,
        orders.NotYetWritten,
        orders.AlreadyShipped,
        IllegalMove,
        sales.SaleFenced,
    ),
)
async def cancel(
    order_id: FromPath[str],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
    redis: NamedDependency[Redis],
    keyring: NamedDependency[Keyring],
) -> Order:
    """Take an order back while nothing of it has left. What was paid goes back as it came."""
    return _shown(
        await cancel_order.cancel_order(
            pool, redis, keyring, order_id=order_id, member_id=member_id
        )
    )


def _sale_id(text: str) -> int:
    sale_id = ids.parse(text)
    if sale_id is None:
        raise sales.NoSuchSale
    return sale_id


def _sku_id(text: str) -> int:
    sku_id = ids.parse(text)
    if sku_id is None:
        raise sales.NoSuchSku
    return sku_id


def _shown(order: find_order.OrderView) -> Order:
    unset = msgspec.UNSET
    return Order(
        order_id=order.order_id,
        state=order.state,
        sale_id=_text_or_unset(order.sale_id),
        sku_id=_text_or_unset(order.sku_id),
        quantity=_set(order.quantity),
        reason=order.reason or unset,
        amount=_set(order.amount_minor),
        currency=order.currency or unset,
        placed_at=order.placed_at or unset,
        expires_at=order.expires_at or unset,
        follows=order.follows or unset,
        lines=order_lines(order.lines) or unset,
        shipping=_set(order.shipping_minor),
        shipping_tax=_set(order.shipping_tax_minor),
        shipping_included_tax=_set(order.shipping_included_tax_minor),
    )


def _parcels(order_id: str, sent: Sequence[fulfilment.Loaded]) -> list[Parcel]:
    return [
        Parcel(
            state=one.state,
            carrier=one.carrier,
            tracking=one.tracking,
            shipped_at=one.shipped_at,
            delivered_at=one.delivered_at,
            lines=[
                ParcelLine(line.line_no, str(line.sku_id), line.quantity)
                for line in lines
                if line.order_id == order_id
            ],
        )
        for one, lines in sent
        if one.state != fulfilment.State.CANCELLED
    ]


def _set(number: int | None) -> int | msgspec.UnsetType:
    return msgspec.UNSET if number is None else number


def _text_or_unset(number: int | None) -> str | msgspec.UnsetType:
    return msgspec.UNSET if number is None else str(number)


routes = Router(
    "/v1",
    route_handlers=[place, list_mine, find, cancel],
    guards=[auth.needs_member],
    security=auth.SECURITY,
    tags=["orders"],
)
