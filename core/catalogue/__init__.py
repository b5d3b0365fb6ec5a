"""Catalogue: what the shop offers. A product (SPU) is described; its SKUs are sold.

Owns    schema `catalogue`
States  see `states.MOVES`
"""

from .model import (
    CodeTaken,
    Content,
    MalformedGtin,
    NewSku,
    NoOwnPrice,
    NoSuchProduct,
    NoSuchSku,
    NotComplete,
    Product,
    ProductId,
    Sku,
    SkuId,
    TooManySkus,
)
from .rules import text
from .service import (
    add_product,
    add_skus,
    count,
    describe,
    draft,
    every,
    find,
    find_published,
    move,
    page,
    set_prices,
    skus,
)
from .states import State

__all__ = [
    "CodeTaken",
    "Content",
    "MalformedGtin",
    "NewSku",
    "NoOwnPrice",
    "NoSuchProduct",
    "NoSuchSku",
    "NotComplete",
    "Product",
    "ProductId",
    "Sku",
    "SkuId",
    "State",
    "TooManySkus",
    "add_product",
    "add_skus",
    "count",
    "describe",
    "draft",
    "every",
    "find",
    "find_published",
    "move",
    "page",
    "set_prices",
    "skus",
    "text",
]
