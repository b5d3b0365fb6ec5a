"""What the shop offers."""

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency

from api import texts
from api.problems import AnyRequest, InvalidValue, refuses
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import catalogue
from core.kit import db


class Sku(msgspec.Struct, frozen=True):
    """`price` is in minor units of `currency`."""

    sku_id: str
    code: str
    price: int
    currency: str


class Product(msgspec.Struct, frozen=True):
    product_id: str
    title: str
    skus: list[Sku]


class Products(msgspec.Struct, frozen=True):
    """`cursor` is null on the last page."""

    items: list[Product]
    cursor: str | None


@get("/products", responses=refuses(InvalidValue))
async def listing(
    request: AnyRequest,
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Products:
    """List products; titles come in English or Chinese, by Accept-Language."""
    start = catalogue.ProductId(after(cursor) or 0)
    async with db.snapshot(pool) as conn:
        products, skus = await catalogue.page(conn, after=start, page_max=limit)
    language = texts.language(request.headers.get("accept-language", ""))
    return Products(
        items=[
            Product(
                product_id=str(product.id),
                title=product.title.get(language) or next(iter(product.title.values()), ""),
                skus=[Sku(str(s.id), s.code, s.price_minor, s.currency) for s in skus[product.id]],
            )
            for product in products
        ],
        cursor=str(products[-1].id) if len(products) == limit else None,
    )


routes = Router("/v1", route_handlers=[listing], tags=["catalogue"])
