"""Keep the goods: describe products, give them SKUs and prices, publish and withdraw them."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api import auth
from api.admin.changes import Changes
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from api.shop.categories import category_of
from api.shop.products import product_of
from core import catalogue
from core.kit import db, ids
from core.kit.states import IllegalMove

SKUS_AT_ONCE_MAX = 100
PRICE_MAX = 10**12
NUMBER_MAX = 10**15
ATTRIBUTES_MAX = 50
WORDS_MAX = 200

# `$` alone lets a line break pass behind it.
NO_BREAK = r"(?!\n)"

Code = Annotated[str, msgspec.Meta(pattern=catalogue.shapes.CODE.pattern + NO_BREAK)]
SellerId = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,17}$(?!\n)")]
Attribute = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$(?!\n)")]
Gtin = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{8}|[0-9]{12,14})$(?!\n)")]
Currency = Annotated[str, msgspec.Meta(pattern=catalogue.shapes.CURRENCY.pattern + NO_BREAK)]
Language = Annotated[str, msgspec.Meta(pattern=catalogue.shapes.LANGUAGE.pattern + NO_BREAK)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=catalogue.shapes.TITLE_MAX)]
Description = Annotated[str, msgspec.Meta(max_length=catalogue.shapes.DESCRIPTION_MAX)]
Image = Annotated[str, msgspec.Meta(pattern=catalogue.shapes.IMAGE.pattern + NO_BREAK)]
Images = Annotated[list[Image], msgspec.Meta(max_length=catalogue.shapes.IMAGES_MAX)]
Price = Annotated[int, msgspec.Meta(ge=0, le=PRICE_MAX)]
Titles = Annotated[
    dict[Language, Title], msgspec.Meta(min_length=1, max_length=catalogue.shapes.LANGUAGES_MAX)
]
Descriptions = Annotated[
    dict[Language, Description], msgspec.Meta(max_length=catalogue.shapes.LANGUAGES_MAX)
]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=catalogue.shapes.TITLE_MAX)]
Number = Annotated[int, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
KeptValue: TypeAlias = bool | int | float | str | dict[str, str]
Value: TypeAlias = bool | Number | float | Word | Titles
Values = Annotated[dict[Attribute, Value], msgspec.Meta(max_length=ATTRIBUTES_MAX)]
Prices = Annotated[
    dict[Currency, Price], msgspec.Meta(min_length=1, max_length=catalogue.shapes.CURRENCIES_MAX)
]
InState = Annotated[
    catalogue.State | None,
    QueryParameter(name="state", description="List only what is in this state."),
]
OfCode = Annotated[
    str | None,
    QueryParameter(
        pattern=r"^[A-Z0-9][A-Z0-9._-]{0,63}$(?!\n)",
        description="List only what has this code, or has a SKU with this code or GTIN.",
    ),
]

Words = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=WORDS_MAX,
        description="List only what has all of these words in its code, titles or descriptions: "
        "a thousand at most.",
    ),
]


class Content(Body, frozen=True):
    """A text per language. `images` are references (https, or a path here), the main one first."""

    title: Titles
    description: Descriptions = msgspec.field(default_factory=dict)
    images: Images = msgspec.field(default_factory=list)
    category_id: str | None = None
    attributes: Values = msgspec.field(default_factory=dict)


class NewProduct(Content, frozen=True):
    """Without a `code` it gets one. `seller_id` is whose goods they are for good; 1 is the shop."""

    code: Code | None = None
    seller_id: SellerId = str(catalogue.OWN_SHOP)


class NewSku(Body, frozen=True):
    """`prices` are in minor units, one of them in `currency`, which is the SKU's own.

    A draft is shown to nobody, and may lack attributes until it is put on sale.
    """

    code: Code
    currency: Currency
    prices: Prices
    gtin: Gtin | None = None
    attributes: Values = msgspec.field(default_factory=dict)
    state: Literal["draft", "on_sale"] = "on_sale"


class NewSkus(Body, frozen=True):
    """All of them, or none."""

    skus: Annotated[list[NewSku], msgspec.Meta(min_length=1, max_length=SKUS_AT_ONCE_MAX)]


class NewPrices(Body, frozen=True):
    """These and no others."""

    prices: Prices


class NewValues(Body, frozen=True):
    """These and no others."""

    attributes: Values


class KeptSku(msgspec.Struct, frozen=True):
    """Buyers see it while it is `on_sale` and its product is published."""

    sku_id: str
    code: str
    state: catalogue.SkuState
    gtin: str | None
    price: int
    currency: str
    prices: dict[str, int]
    attributes: dict[str, KeptValue]


class KeptProduct(msgspec.Struct, frozen=True):
    """A product as staff see it, in every language."""

    product_id: str
    code: str
    state: catalogue.State
    title: dict[str, str]
    description: dict[str, str]
    images: list[str]
    category_id: str | None
    attributes: dict[str, KeptValue]
    seller_id: str
    skus: list[KeptSku]


class KeptProducts(msgspec.Struct, frozen=True):
    """`cursor` is null on the last page."""

    items: list[KeptProduct]
    cursor: str | None


MOVES = refuses(
    *auth.SIGNED_IN,
    catalogue.NoSuchProduct,
    catalogue.NotComplete,
    catalogue.UnfitAttribute,
    IllegalMove,
)


SKU_MOVES = refuses(
    *auth.SIGNED_IN,
    catalogue.NoSuchSku,
    catalogue.NotComplete,
    catalogue.UnfitAttribute,
    IllegalMove,
)


@get("/products", permission="catalogue:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def listing(
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
    only: InState = None,
    code: OfCode = None,
    q: Words = None,
) -> KeptProducts:
    """List products in every state, or search them."""
    if code is not None and q is not None:
        detail = "Ask by a code, or by words."
        raise InvalidValue(errors=[{"parameter": "q", "detail": detail}])
    words = None if q is None else q.replace("\0", " ")
    start = catalogue.ProductId(after(cursor) or 0)
    async with db.snapshot(pool) as conn:
        products, skus = await catalogue.every(
            conn, after=start, page_max=limit, state=only, code=code, words=words
        )
    return KeptProducts(
        [shown(product, skus[product.id]) for product in products],
        str(products[-1].id) if len(products) == limit else None,
    )


@post(
    "/products",
    permission="catalogue:write",
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.CodeTaken,
        catalogue.NoSuchCategory,
        catalogue.UnfitAttribute,
    ),
)
async def draft(data: JSONBody[NewProduct], changes: NamedDependency[Changes]) -> KeptProduct:
    """Write a product down. Nobody can buy it before it has SKUs and is published."""
    content = content_of(data)
    async with changes.adding("product", kept) as change:
        change.object_id = await catalogue.draft(
            change.conn, content, code=data.code, seller_id=int(data.seller_id)
        )
    return change.after


@get(
    "/products/{product_id:str}",
    permission="catalogue:read",
    responses=refuses(*auth.SIGNED_IN, catalogue.NoSuchProduct),
)
async def find(product_id: FromPath[str], pool: NamedDependency[db.Pool]) -> KeptProduct:
    async with db.snapshot(pool) as conn:
        return await kept(conn, product_of(product_id))


@post(
    "/products/{product_id:str}",
    permission="catalogue:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchProduct,
        catalogue.NoSuchCategory,
        catalogue.NotComplete,
        catalogue.UnfitAttribute,
        IllegalMove,
    ),
)
async def describe(
    product_id: FromPath[str], data: JSONBody[Content], changes: NamedDependency[Changes]
) -> KeptProduct:
    """Write anew what is said about a product."""
    wanted = product_of(product_id)
    content = content_of(data)
    async with changes.of("product", wanted, kept) as change:
        await catalogue.describe(change.conn, content, product_id=wanted)
    return change.after


@post(
    "/products/{product_id:str}/skus",
    permission="catalogue:write",
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchProduct,
        catalogue.CodeTaken,
        catalogue.MalformedGtin,
        catalogue.NoOwnPrice,
        catalogue.TooManySkus,
        catalogue.UnfitAttribute,
        catalogue.NotComplete,
        IllegalMove,
    ),
)
async def add_skus(
    product_id: FromPath[str], data: JSONBody[NewSkus], changes: NamedDependency[Changes]
) -> KeptProduct:
    wanted = product_of(product_id)
    skus = [new_sku(one) for one in data.skus]
    async with changes.of("product", wanted, kept) as change:
        await catalogue.add_skus(change.conn, skus, product_id=wanted)
    return change.after


@post(
    "/skus/{sku_id:str}/prices",
    permission="catalogue:price",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        catalogue.NoOwnPrice,
        IllegalMove,
    ),
)
async def set_prices(
    sku_id: FromPath[str], data: JSONBody[NewPrices], changes: NamedDependency[Changes]
) -> KeptSku:
    """Set what a SKU costs. What is in a flash sale, or was ordered, keeps its price."""
    wanted = sku_of(sku_id)
    async with changes.of("sku", wanted, kept_sku) as change:
        await catalogue.set_prices(change.conn, sku_id=wanted, prices=data.prices)
    return change.after


@post(
    "/skus/{sku_id:str}/attributes",
    permission="catalogue:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        catalogue.UnfitAttribute,
        catalogue.NotComplete,
        IllegalMove,
    ),
)
async def set_attributes(
    sku_id: FromPath[str], data: JSONBody[NewValues], changes: NamedDependency[Changes]
) -> KeptSku:
    """Say what a SKU is like, in the attributes that its category asks of SKUs."""
    wanted = sku_of(sku_id)
    async with changes.of("sku", wanted, kept_sku) as change:
        await catalogue.set_attributes(change.conn, sku_id=wanted, values=data.attributes)
    return change.after


@post(
    "/products/{product_id:str}/publish",
    permission="catalogue:publish",
    status_code=200,
    responses=MOVES,
)
async def publish(product_id: FromPath[str], changes: NamedDependency[Changes]) -> KeptProduct:
    """Show a product in the shop."""
    return await moved(changes, product_id, catalogue.State.PUBLISHED)


@post(
    "/products/{product_id:str}/withdraw",
    permission="catalogue:publish",
    status_code=200,
    responses=MOVES,
)
async def withdraw(product_id: FromPath[str], changes: NamedDependency[Changes]) -> KeptProduct:
    """Take a product out of the shop; it can come back."""
    return await moved(changes, product_id, catalogue.State.WITHDRAWN)


@post(
    "/products/{product_id:str}/archive",
    permission="catalogue:publish",
    status_code=200,
    responses=MOVES,
)
async def archive(product_id: FromPath[str], changes: NamedDependency[Changes]) -> KeptProduct:
    """Put a product away for good."""
    return await moved(changes, product_id, catalogue.State.ARCHIVED)


@post(
    "/skus/{sku_id:str}/offer",
    permission="catalogue:publish",
    status_code=200,
    responses=SKU_MOVES,
)
async def offer_sku(sku_id: FromPath[str], changes: NamedDependency[Changes]) -> KeptSku:
    """Put a SKU on sale. Buyers see it once its product is published."""
    return await moved_sku(changes, sku_id, catalogue.SkuState.ON_SALE)


@post(
    "/skus/{sku_id:str}/withdraw",
    permission="catalogue:publish",
    status_code=200,
    responses=SKU_MOVES,
)
async def withdraw_sku(sku_id: FromPath[str], changes: NamedDependency[Changes]) -> KeptSku:
    """Sell a SKU no more: no new sale, no new reservation. What is reserved or sold goes on."""
    return await moved_sku(changes, sku_id, catalogue.SkuState.WITHDRAWN)


async def moved_sku(changes: Changes, sku_id: str, target: catalogue.SkuState) -> KeptSku:
    wanted = sku_of(sku_id)
    async with changes.of("sku", wanted, kept_sku) as change:
        await catalogue.move_sku(change.conn, sku_id=wanted, target=target)
    return change.after


async def moved(changes: Changes, product_id: str, target: catalogue.State) -> KeptProduct:
    wanted = product_of(product_id)
    async with changes.of("product", wanted, kept) as change:
        await catalogue.move(change.conn, product_id=wanted, target=target)
    return change.after


async def kept(conn: db.Conn, product_id: catalogue.ProductId) -> KeptProduct:
    return shown(*await catalogue.find(conn, product_id=product_id))


async def kept_sku(conn: db.Conn, sku_id: catalogue.SkuId) -> KeptSku:
    return shown_sku((await catalogue.skus(conn, sku_ids=[sku_id]))[sku_id])


def shown(product: catalogue.Product, skus: list[catalogue.Sku]) -> KeptProduct:
    return KeptProduct(
        product_id=str(product.id),
        code=product.code,
        state=catalogue.State(product.state),
        title=product.title,
        description=product.description,
        images=product.images,
        category_id=None if product.category_id is None else str(product.category_id),
        attributes=product.attributes,
        seller_id=str(product.seller_id),
        skus=[shown_sku(sku) for sku in skus],
    )


def shown_sku(sku: catalogue.Sku) -> KeptSku:
    return KeptSku(
        sku_id=str(sku.id),
        code=sku.code,
        state=catalogue.SkuState(sku.state),
        gtin=sku.gtin,
        price=sku.price_minor,
        currency=sku.currency,
        prices=sku.prices,
        attributes=sku.attributes,
    )


def content_of(data: Content) -> catalogue.Content:
    category_id = None if data.category_id is None else category_of(data.category_id)
    return catalogue.Content(
        data.title, data.description, data.images, category_id, data.attributes
    )


def new_sku(one: NewSku) -> catalogue.NewSku:
    state = catalogue.SkuState(one.state)
    return catalogue.NewSku(one.code, one.currency, one.prices, one.gtin, one.attributes, state)


def sku_of(text: str) -> catalogue.SkuId:
    sku_id = ids.parse(text)
    if sku_id is None:
        raise catalogue.NoSuchSku
    return catalogue.SkuId(sku_id)


routes = Router(
    "/",
    route_handlers=[
        listing,
        draft,
        find,
        describe,
        add_skus,
        set_prices,
        set_attributes,
        publish,
        withdraw,
        archive,
        offer_sku,
        withdraw_sku,
    ],
    tags=["catalogue"],
)
