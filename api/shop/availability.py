"""What can be had now: sent to the buyer, or picked up in a store."""

from typing import Annotated, Literal

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.problems import AnyRequest, InvalidValue, refuses
from api.shapes import CURSOR_MAX, PAGE_DEFAULT, Cursor, Limit, after
from api.shop.products import language_of, product_of
from core import catalogue, inventory
from core.flows import show_availability
from core.kit import db, ids

# Shops show the last few units one by one; how many more there are is for nobody to read off.
FEW_MAX = 5

State = Literal["in_stock", "few_left", "sold_out"]
Region = Annotated[
    str,
    QueryParameter(
        pattern=r"^[A-Z0-9-]{0,16}$(?!\n)", description="Where the buyer is, such as `CN-SH`."
    ),
]


class Stock(msgspec.Struct, frozen=True):
    """`left` is how many there are while they are few; null means more."""

    state: State
    left: int | None


class Delivery(Stock, frozen=True):
    """`ships_from` is the region that the first unit would come from, the buyer's own if it can."""

    ships_from: str | None
    is_regional: bool


class Offer(msgspec.Struct, frozen=True):
    """`stores` is how many stores have some; `/v1/skus/{sku_id}/stores` says which."""

    sku_id: str
    code: str
    delivery: Delivery
    stores: int


class Offers(msgspec.Struct, frozen=True):
    """`cursor` is null on the last page."""

    items: list[Offer]
    cursor: str | None


class Store(msgspec.Struct, frozen=True):
    place_id: str
    code: str
    name: str
    region: str
    pickup: Stock


class Stores(msgspec.Struct, frozen=True):
    """`cursor` is null on the last page."""

    items: list[Store]
    cursor: str | None


@get(
    "/products/{product_id:str}/availability",
    responses=refuses(catalogue.NoSuchProduct, InvalidValue),
)
async def of_product(
    product_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    region: Region = "",
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Offers:
    """Say of each SKU whether it can be sent now, from which region, and whether stores have it."""
    found = await show_availability.of_product(
        pool,
        product_id=product_of(product_id),
        region=region,
        after=after(cursor) or 0,
        page_max=limit,
    )
    items = [
        Offer(str(sku.id), sku.code, delivery(offer, region), offer.stores) for sku, offer in found
    ]
    return Offers(items, items[-1].sku_id if len(items) == limit else None)


@get("/skus/{sku_id:str}/stores", responses=refuses(catalogue.NoSuchSku, InvalidValue))
async def of_sku(
    request: AnyRequest,
    sku_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    region: Region = "",
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Stores:
    """List the stores, or those of one region, and whether a SKU can be picked up there now."""
    number = ids.parse(sku_id)
    if number is None:
        raise catalogue.NoSuchSku(sku_id=sku_id[:CURSOR_MAX])
    found = await show_availability.of_sku(
        pool,
        sku_id=catalogue.SkuId(number),
        region=region,
        after=after(cursor) or 0,
        page_max=limit,
    )
    language = language_of(request)
    items = [
        Store(
            place_id=str(store.place_id),
            code=store.code,
            name=catalogue.text(store.name, language),
            region=store.region,
            pickup=Stock(*shown(store.free)),
        )
        for store in found
    ]
    return Stores(items, items[-1].place_id if len(items) == limit else None)


def delivery(offer: inventory.Offer, region: str) -> Delivery:
    sender = offer.ships_from
    ships_from = sender.region or None if sender else None
    is_regional = bool(region) and ships_from == region
    return Delivery(*shown(offer.free), ships_from=ships_from, is_regional=is_regional)


def shown(units: int) -> tuple[State, int | None]:
    if units > FEW_MAX:
        return "in_stock", None
    return ("few_left" if units else "sold_out"), units


routes = Router("/v1", route_handlers=[of_product, of_sku], tags=["catalogue"])
