"""What the shop offers."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api import texts
from api.problems import AnyRequest, InvalidValue, refuses
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import catalogue
from core.kit import db, ids

# A number, a yes or no, or a text: a choice's code, a date, or what it is in the asked language.
Value: TypeAlias = bool | int | float | str


class Sku(msgspec.Struct, frozen=True):
    """`price` is in minor units of `currency`; `prices` are in minor units of each currency.

    What the values of `attributes` mean stands with the product's category.
    """

    sku_id: str
    code: str
    gtin: str | None
    price: int
    currency: str
    prices: dict[str, int]
    attributes: dict[str, Value]


class Product(msgspec.Struct, frozen=True):
    """`images` are references, the main one first."""

    product_id: str
    code: str
    title: str
    description: str
    images: list[str]
    category_id: str | None
    attributes: dict[str, Value]
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
    """List products; texts come in English or Chinese, by Accept-Language."""
    start = catalogue.ProductId(after(cursor) or 0)
    async with db.snapshot(pool) as conn:
        products, skus = await catalogue.page(conn, after=start, page_max=limit)
    language = language_of(request)
    return Products(
        items=[shown(product, skus[product.id], language) for product in products],
        cursor=str(products[-1].id) if len(products) == limit else None,
    )


@get("/products/{product_id:str}", responses=refuses(catalogue.NoSuchProduct))
async def find(
    request: AnyRequest, product_id: FromPath[str], pool: NamedDependency[db.Pool]
) -> Product:
    """Look at a product that is on sale."""
    async with db.snapshot(pool) as conn:
        product, skus = await catalogue.find_published(conn, product_id=product_of(product_id))
    return shown(product, skus, language_of(request))


def shown(
    product: catalogue.Product, skus: list[catalogue.Sku], language: texts.Language
) -> Product:
    return Product(
        product_id=str(product.id),
        code=product.code,
        title=catalogue.text(product.title, language),
        description=catalogue.text(product.description, language),
        images=product.images,
        category_id=None if product.category_id is None else str(product.category_id),
        attributes=told(product.attributes, language),
        skus=[shown_sku(sku, language) for sku in skus],
    )


def shown_sku(sku: catalogue.Sku, language: texts.Language) -> Sku:
    return Sku(
        sku_id=str(sku.id),
        code=sku.code,
        gtin=sku.gtin,
        price=sku.price_minor,
        currency=sku.currency,
        prices=sku.prices,
        attributes=told(sku.attributes, language),
    )


def told(values: Mapping[str, Any], language: texts.Language) -> dict[str, Value]:
    """Values with each text in one language."""
    return {
        code: catalogue.text(value, language) if isinstance(value, dict) else value
        for code, value in values.items()
    }


def language_of(request: AnyRequest) -> texts.Language:
    return texts.language(request.headers.get("accept-language", ""))


def product_of(text: str) -> catalogue.ProductId:
    product_id = ids.parse(text)
    if product_id is None:
        raise catalogue.NoSuchProduct
    return catalogue.ProductId(product_id)


routes = Router("/v1", route_handlers=[listing, find], tags=["catalogue"])
