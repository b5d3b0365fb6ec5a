"""Inventory: how many units of each SKU are on hand, and every movement that made it so.

Owns    schema `inventory`
"""

from .model import OutOfStock
from .service import on_hand, put, take

__all__ = ["OutOfStock", "on_hand", "put", "take"]
