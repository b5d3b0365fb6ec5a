"""Carts: what members mean to buy. A cart promises nothing: neither a price nor units.

Owns    schema `carts`
"""

from .model import QUANTITY_MAX, Item, NotInCart, TooManyItems
from .service import add, hold_many, items, items_of_many, put, take_out

__all__ = [
    "QUANTITY_MAX",
    "Item",
    "NotInCart",
    "TooManyItems",
    "add",
    "hold_many",
    "items",
    "items_of_many",
    "put",
    "take_out",
]
