"""Orders: what was bought, by whom, and how far along it is.

Owns    schema `orders`
States  see `states.MOVES` (does it stand) and `states.PAYMENT_MOVES` (is its money here)
Words   shown: what its buyer is told, all axes in one word; the log: all that happened since it was
        placed; its standing is what the log makes of the order as it was placed
"""

from core.kit.states import IllegalMove

from .model import (
    SHOP,
    Agreement,
    Claimed,
    Expired,
    KeyTaken,
    Line,
    Logged,
    NewOrder,
    NoSuchOrder,
    NotYetWritten,
    Order,
    OrderId,
    Purchase,
    Standing,
    TooManyEvents,
    Written,
    units_of,
)
from .rows import Price, packer
from .rules import first_broken, fold
from .service import (
    agreement,
    as_of,
    cancel,
    expire,
    find,
    find_by_key,
    find_placed,
    follow,
    listing,
    log,
    of_member,
    pay,
    place,
    reject,
    write,
    written_in,
)
from .states import MOVES, PAYMENT_MOVES, Payment, Shown, State, shown

__all__ = [
    "MOVES",
    "PAYMENT_MOVES",
    "SHOP",
    "Agreement",
    "Claimed",
    "Expired",
    "IllegalMove",
    "KeyTaken",
    "Line",
    "Logged",
    "NewOrder",
    "NoSuchOrder",
    "NotYetWritten",
    "Order",
    "OrderId",
    "Payment",
    "Price",
    "Purchase",
    "Shown",
    "Standing",
    "State",
    "TooManyEvents",
    "Written",
    "agreement",
    "as_of",
    "cancel",
    "expire",
    "find",
    "find_by_key",
    "find_placed",
    "first_broken",
    "fold",
    "follow",
    "listing",
    "log",
    "of_member",
    "packer",
    "pay",
    "place",
    "reject",
    "shown",
    "units_of",
    "write",
    "written_in",
]
