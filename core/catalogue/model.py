from typing import NewType

import msgspec

from core.kit.refusal import Kind, Refusal

ProductId = NewType("ProductId", int)
SkuId = NewType("SkuId", int)


class Product(msgspec.Struct, frozen=True):
    """`title` holds one text per language: {"en": ..., "zh": ...}."""

    id: ProductId
    title: dict[str, str]


class Sku(msgspec.Struct, frozen=True):
    id: SkuId
    product_id: ProductId
    code: str
    price_minor: int
    currency: str


class NoSuchSku(Refusal):
    """There is no such SKU."""

    kind = Kind.NOT_FOUND
