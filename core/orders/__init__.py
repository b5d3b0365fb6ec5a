"""Orders: what was bought, by whom, and how far along it is.

Owns    schema `orders`
States  see `states.MOVES`
"""

from core.kit.states import IllegalMove

from .model import Expired, NewOrder, NoSuchOrder, NotYetWritten, Order, OrderId, Written
from .rows import Price, packer
from .service import (
    expire,
    find,
    find_by_key,
    follow,
    move,
    reject,
    write,
    written_in,
)
from .states import MOVES, State

__all__ = [
    "MOVES",
    "Expired",
    "IllegalMove",
    "NewOrder",
    "NoSuchOrder",
    "NotYetWritten",
    "Order",
    "OrderId",
    "Price",
    "State",
    "Written",
    "expire",
    "find",
    "find_by_key",
    "follow",
    "move",
    "packer",
    "reject",
    "write",
    "written_in",
]
