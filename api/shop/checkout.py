"""The way from a cart to an order: fill it, see what it comes to, check out."""

import time
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api import auth
from api.problems import refuses
from api.requests import READS_BODY, Body
from api.shapes import OrderLine, order_lines
from api.shop.addresses import address_of
from api.shop.availability import Stock, shown
from core import carts, catalogue, inventory, members, orders, pricing, sales
from core.flows import check_out, fill_cart, quote_cart
from core.kit import db, ids

Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]


class Add(Body, frozen=True):
    sku_id: str
    quantity: Annotated[int, msgspec.Meta(ge=1, le=carts.QUANTITY_MAX)]


class Put(Body, frozen=True):
    """0 takes it out."""

    quantity: Annotated[int, msgspec.Meta(ge=0, le=carts.QUANTITY_MAX)]


class Item(msgspec.Struct, frozen=True):
    """`state` is `withdrawn` once it is not on sale any more, and then it has no prices."""

    sku_id: str
    quantity: int
    state: str
    code: str | None
    prices: dict[str, int]
    stock: Stock | None
    added_at: datetime


class Cart(msgspec.Struct, frozen=True):
    items: list[Item]


class Ask(Body, frozen=True):
    address_id: str
    currency: Currency


class Withheld(msgspec.Struct, frozen=True):
    """`reason` is `withdrawn` or `not-priced`."""

    sku_id: str
    quantity: int
    reason: str


class QuotedLine(OrderLine, frozen=True):
    stock: Stock


class Step(msgspec.Struct, frozen=True):
    """What one rule did: line number -> minor units that it added. Shipping is line 0."""

    kind: str
    reference: str
    changes: dict[str, int]


class Quote(msgspec.Struct, frozen=True):
    """What the cart comes to. Who checks out names `quote`, and pays `total` or nothing.

    All changes of all `steps` add up to `total`. `withheld` is in the cart and not in the price.
    """

    quote: str
    currency: str
    lines: list[QuotedLine]
    shipping: int
    shipping_tax: int
    shipping_included_tax: int
    total: int
    tax_ppm: int
    steps: list[Step]
    withheld: list[Withheld]


class CheckOut(Body, frozen=True):
    """`quote` is what `/v1/quotes` said last."""

    address_id: str
    currency: Currency
    quote: Annotated[str, msgspec.Meta(max_length=64)]


class Placed(msgspec.Struct, frozen=True):
    """These fields in this order: the same key gets the same bytes for ever."""

    order_id: str
    state: str
    amount: int
    currency: str
    lines: list[OrderLine]
    shipping: int
    shipping_tax: int
    shipping_included_tax: int
    placed_at: datetime
    expires_at: datetime


@get("/cart", responses=refuses(*auth.SIGNED_IN))
async def look(member_id: NamedDependency[int], pool: NamedDependency[db.Pool]) -> Cart:
    """Look into one's cart."""
    return await _cart(pool, member_id)


@post(
    "/cart",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        carts.TooManyItems,
    ),
)
async def add(
    data: JSONBody[Add], member_id: NamedDependency[int], pool: NamedDependency[db.Pool]
) -> Cart:
    """Put units of a SKU into the cart, beside those that are there."""
    sku_id = sku_of(data.sku_id)
    await fill_cart.add(pool, member_id=member_id, sku_id=sku_id, quantity=data.quantity)
    return await _cart(pool, member_id)


@post(
    "/cart/{sku_id:str}",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, *READS_BODY, carts.NotInCart),
)
async def put(
    sku_id: FromPath[str],
    data: JSONBody[Put],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
) -> Cart:
    """Say how many units of a SKU the cart shall have."""
    named = ids.parse(sku_id)
    if named is None:
        raise carts.NotInCart(sku_id=sku_id)
    async with db.transaction(pool) as conn:
        await carts.put(conn, member_id=member_id, sku_id=named, quantity=data.quantity)
    return await _cart(pool, member_id)


@post(
    "/quotes",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        members.NoSuchAddress,
        quote_cart.CurrencyNotOffered,
        quote_cart.NothingToBuy,
        pricing.NotPriceable,
    ),
)
async def ask(
    data: JSONBody[Ask],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
    cashier: NamedDependency[check_out.Cashier],
) -> Quote:
    """Ask what the cart comes to, and why. Nothing is kept and nothing is promised."""
    found = await quote_cart.quote_cart(
        pool,
        cashier.rates,
        member_id=member_id,
        address_id=address_of(data.address_id),
        currency=data.currency,
    )
    return _quoted(found)


@post(
    "/checkouts",
    responses=refuses(
        *auth.SIGNED_IN,
        auth.MalformedKey,
        *READS_BODY,
        members.NoSuchAddress,
        sales.KeyReused,
        quote_cart.CurrencyNotOffered,
        quote_cart.NothingToBuy,
        check_out.QuoteOutdated,
        check_out.TooManyCheckouts,
        pricing.NotPriceable,
        catalogue.NotOnSale,
        inventory.OutOfStock,
    ),
    response_headers=[
        ResponseHeader("Location", documentation_only=True, description="Where the order is.")
    ],
)
async def place(
    data: JSONBody[CheckOut],
    member_id: NamedDependency[int],
    idempotency_key: NamedDependency[str],
    cashier: NamedDependency[check_out.Cashier],
) -> Response[Placed]:
    """Buy what the cart holds, all or nothing. It waits for its payment until `expires_at`."""
    order = await cashier.check_out(
        check_out.Wish(
            member_id=member_id,
            key=idempotency_key,
            address_id=address_of(data.address_id),
            currency=data.currency,
            quote=data.quote,
            at_ms=time.time_ns() // 1_000_000,
        )
    )
    return Response(_placed(order), headers={"Location": f"/v1/orders/{order.id}"})


async def _cart(pool: db.Pool, member_id: int) -> Cart:
    found = await fill_cart.look(pool, member_id=member_id)
    return Cart([_item(one) for one in found])


def _item(one: fill_cart.InCart) -> Item:
    return Item(
        sku_id=str(one.item.sku_id),
        quantity=one.item.quantity,
        state="on_sale" if one.sku else "withdrawn",
        code=one.sku.code if one.sku else None,
        prices=one.sku.prices if one.sku else {},
        stock=Stock(*shown(one.free)) if one.sku else None,
        added_at=one.item.added_at,
    )


def _quoted(found: quote_cart.Look) -> Quote:
    quote = found.quote
    return Quote(
        quote=quote.digest,
        currency=quote.currency,
        lines=[
            QuotedLine(
                line_no=line.line_no,
                sku_id=str(line.sku_id),
                quantity=line.quantity,
                price=line.unit_minor,
                discount=line.discount_minor,
                tax=line.tax_minor,
                included_tax=line.included_tax_minor,
                amount=line.amount_minor,
                stock=Stock(*shown(found.free[line.sku_id])),
            )
            for line in quote.lines
        ],
        shipping=quote.shipping.minor,
        shipping_tax=quote.shipping.tax_minor,
        shipping_included_tax=quote.shipping.included_tax_minor,
        total=quote.total_minor,
        tax_ppm=quote.tax_ppm,
        steps=[_step(step) for step in quote.steps],
        withheld=[Withheld(str(w.sku_id), w.quantity, w.reason) for w in found.withheld],
    )


def _step(step: dict[str, Any]) -> Step:
    return Step(step["kind"], step["reference"], step["changes"])


def _placed(order: orders.Order) -> Placed:
    """As it was placed, whatever became of it since."""
    return Placed(
        order_id=order.id,
        state=orders.Shown.PENDING_PAYMENT,
        amount=order.amount_minor,
        currency=order.currency,
        lines=order_lines(order.lines),
        shipping=order.shipping_minor,
        shipping_tax=order.shipping_tax_minor,
        shipping_included_tax=order.shipping_included_tax_minor,
        placed_at=order.placed_at,
        expires_at=order.expires_at,
    )


def sku_of(text: str) -> catalogue.SkuId:
    sku_id = ids.parse(text)
    if sku_id is None:
        raise catalogue.NoSuchSku(sku_id=text)
    return catalogue.SkuId(sku_id)


routes = Router(
    "/v1",
    route_handlers=[look, add, put, ask, place],
    guards=[auth.needs_member],
    security=auth.SECURITY,
    tags=["checkout"],
)
