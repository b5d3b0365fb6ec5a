from datetime import datetime

import msgspec

from core.kit.refusal import Kind, Refusal

ITEMS_MAX = 100
QUANTITY_MAX = 999


class Item(msgspec.Struct, frozen=True):
    member_id: int
    sku_id: int
    quantity: int
    added_at: datetime


class TooManyItems(Refusal):
    """There is no room for that much in a cart."""

    kind = Kind.CONFLICT


class NotInCart(Refusal):
    """That is not in the cart."""

    kind = Kind.NOT_FOUND
