"""What the shop offers."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api import texts
from api.problems import AnyRequest, InvalidValue, refuses
from api.shapes import CURSOR_MAX, PAGE_DEFAULT, Cursor, Limit
from api.shop.categories import category_of
from core import catalogue
from core.kit import db, ids

WORDS_MAX = 200
FACETS_MAX = 10
RANGES_MAX = 5
NUMBER_MAX = 10**15
NUMBER = r"-?[0-9]{1,15}(\.[0-9]{1,6})?"
# A price or a rank, as Python writes it: small, and never infinite.
KEY = re.compile(r"[0-9]{1,13}\.[0-9]{1,20}|[0-9](\.[0-9]{1,20})?e-[0-9]{2}", re.ASCII)

Category = Annotated[
    str | None,
    QueryParameter(max_length=CURSOR_MAX, description="Only what is in this category, or below."),
]
Facet = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,31}:[A-Za-z0-9_.+-]{1,40}$(?!\n)")]
Facets = Annotated[
    list[Facet] | None,
    QueryParameter(
        max_items=FACETS_MAX, description="Only with all of these values: `colour:red`, repeated."
    ),
]
Range = Annotated[
    str,
    msgspec.Meta(pattern=rf"^[a-z][a-z0-9_]{{0,31}}:({NUMBER})?\.\.({NUMBER})?$(?!\n)"),
]
Ranges = Annotated[
    list[Range] | None,
    QueryParameter(
        name="range",
        max_items=RANGES_MAX,
        description="Only with a number in all of these ranges: `weight:500..900`, `weight:500..`.",
    ),
]
Currency = Annotated[
    str | None,
    QueryParameter(pattern=r"^[A-Z]{3}$(?!\n)", description="Only with a price in this currency."),
]
Price = Annotated[
    int | None,
    QueryParameter(ge=0, le=catalogue.PRICE_MAX, description="In minor units of `currency`."),
]
Words = Annotated[
    str | None,
    QueryParameter(
        min_length=1, max_length=WORDS_MAX, description="All of these words, English or Chinese."
    ),
]
Sort = Annotated[
    Literal["price"] | None, QueryParameter(description="The lowest price in `currency` first.")
]

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


@get("/products", responses=refuses(catalogue.NoSuchCategory, InvalidValue))
async def listing(
    request: AnyRequest,
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
    category: Category = None,
    attribute: Facets = None,
    ranges: Ranges = None,
    currency: Currency = None,
    price_from: Price = None,
    price_to: Price = None,
    q: Words = None,
    sort: Sort = None,
) -> Products:
    """List products, or search them; texts come in English or Chinese, by Accept-Language."""
    words = None if q is None else q.replace("\0", " ")
    insist(currency or (price_from, price_to, sort) == (None,) * 3, "currency", "Name one.")
    insist(words is None or sort is None, "sort", "What is searched for is sorted by its rank.")
    wanted = catalogue.Wanted(
        category_id=None if category is None else category_of(category),
        facets=attribute or (),
        ranges=[range_of(one) for one in ranges or ()],
        currency=currency,
        lowest=price_from or 0,
        highest=catalogue.PRICE_MAX if price_to is None else price_to,
        words=words or "",
        is_by_price=sort == "price",
    )
    is_keyed = bool(wanted.words) or wanted.is_by_price
    place = place_of(cursor, is_keyed=is_keyed)
    async with db.snapshot(pool) as conn:
        hits, found = await catalogue.search(conn, wanted, after=place, page_max=limit)
    language = language_of(request)
    return Products(
        items=[shown(product, skus, language) for product, skus in found],
        cursor=cursor_of(hits[-1], is_keyed=is_keyed) if len(hits) == limit else None,
    )


def place_of(cursor: str | None, *, is_keyed: bool) -> catalogue.Hit | None:
    """Where the page before ended."""
    if cursor is None:
        return None
    key, parted, number = cursor.rpartition("_")
    product_id = ids.parse(number)
    fits = product_id is not None and is_keyed == bool(parted)
    if not fits or (is_keyed and not KEY.fullmatch(key)):
        raise InvalidValue(errors=[{"parameter": "cursor", "detail": "This is no cursor of ours."}])
    return catalogue.Hit(catalogue.ProductId(product_id or 0), float(key or 0))


def cursor_of(hit: catalogue.Hit, *, is_keyed: bool) -> str:
    return f"{hit.key!r}_{hit.product_id}" if is_keyed else str(hit.product_id)


def range_of(text: str) -> catalogue.Range:
    code, _, bounds = text.partition(":")
    lowest, _, highest = bounds.partition("..")
    return catalogue.Range(code, float(lowest or -NUMBER_MAX), float(highest or NUMBER_MAX))


def insist(holds: object, parameter: str, detail: str) -> None:
    if not holds:
        raise InvalidValue(detail, errors=[{"parameter": parameter, "detail": detail}])


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
