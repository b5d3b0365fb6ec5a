"""After-sale: what a buyer asks for when something is wrong, line by line, and what came of it.

Owns    schema `aftersale`
States  see `states.MOVES`
Words   a case is a return (goods back, then money), an exchange (goods back, then other units) or a
        claim (money alone); a wish is what a buyer asks for; a worth is what units come to
"""

from .model import (
    Case,
    CaseId,
    Condition,
    Kind,
    MoreThanWasPaid,
    NoSuchCase,
    NoSuchLine,
    NotShipped,
    Sold,
    TooLate,
    TooManyCases,
    Wish,
    WrongKind,
)
from .rules import capped, shared, units_of, worth
from .service import (
    agree,
    ask,
    find,
    find_by_key,
    listing,
    of_order,
    receive,
    refund,
    refuse,
    replace,
    send_back,
    withdraw,
)
from .states import State

__all__ = [
    "Case",
    "CaseId",
    "Condition",
    "Kind",
    "MoreThanWasPaid",
    "NoSuchCase",
    "NoSuchLine",
    "NotShipped",
    "Sold",
    "State",
    "TooLate",
    "TooManyCases",
    "Wish",
    "WrongKind",
    "agree",
    "ask",
    "capped",
    "find",
    "find_by_key",
    "listing",
    "of_order",
    "receive",
    "refund",
    "refuse",
    "replace",
    "send_back",
    "shared",
    "units_of",
    "withdraw",
    "worth",
]
