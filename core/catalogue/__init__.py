"""Catalogue: what the shop offers. A product (SPU) is described; its SKUs are sold.

Owns    schema `catalogue`
"""

from .model import NoSuchSku, Product, ProductId, Sku, SkuId
from .service import add_product, count, page, skus

__all__ = [
    "NoSuchSku",
    "Product",
    "ProductId",
    "Sku",
    "SkuId",
    "add_product",
    "count",
    "page",
    "skus",
]
