"""Pricing: what a basket comes to, as ordered steps that explain it to the cent.

Owns    nothing that is stored
Words   list: before any offer; an offer is a unit price or a discount; a quote is the outcome
"""

from .model import (
    SHIPPING,
    Basket,
    Discount,
    Line,
    NotPriceable,
    Priced,
    Quote,
    Shipping,
    Step,
    UnitPrice,
)
from .rules import price

__all__ = [
    "SHIPPING",
    "Basket",
    "Discount",
    "Line",
    "NotPriceable",
    "Priced",
    "Quote",
    "Shipping",
    "Step",
    "UnitPrice",
    "price",
]
