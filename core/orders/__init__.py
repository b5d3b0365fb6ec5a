"""Orders: what was bought, by whom, and how far along it is.

Owns    schema `orders`
States  see `states.MOVES` (does it stand) and `states.PAYMENT_MOVES` (is its money here)
Words   shown: what its buyer is told, all axes in one word; the log: all that happened since it was
        placed; its standing is what the log makes of the order as it was placed
"""

from core.kit.states import IllegalMove

from .model import (
    Expired,
    Logged,
    NewOrder,
    NoSuchOrder,
    NotYetWritten,
    Order,
    OrderId,
    Standing,
    TooManyEvents,
    Written,
)
from .rows import Price, packer
from .rules import first_broken, fold
from .service import (
    as_of,
    cancel,
    expire,
    find,
    find_by_key,
    follow,
    listing,
    log,
    of_member,
    pay,
    reject,
    write,
    written_in,
)
from .states import MOVES, PAYMENT_MOVES, Payment, Shown, State, shown

__all__ = [
    "MOVES",
    "PAYMENT_MOVES",
    "Expired",
    "IllegalMove",
    "Logged",
    "NewOrder",
    "NoSuchOrder",
    "NotYetWritten",
    "Order",
    "OrderId",
    "Payment",
    "Price",
    "Shown",
    "Standing",
    "State",
    "TooManyEvents",
    "Written",
    "as_of",
    "cancel",
    "expire",
    "find",
    "find_by_key",
    "first_broken",
    "fold",
    "follow",
    "listing",
    "log",
    "of_member",
    "packer",
    "pay",
    "reject",
    "shown",
    "write",
    "written_in",
]
