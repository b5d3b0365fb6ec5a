"""Countries: what an address there has, and what tax is taken of what is sent there.

Owns    nothing that is stored; all of it is `table`
Words   form: the fields of an address in a country; fit: an address that a form has room for
"""

from .model import Country, Field, Tax, UnfitAddress
from .rules import country, fit, tax_of
from .table import COUNTRIES

__all__ = [
    "COUNTRIES",
    "Country",
    "Field",
    "Tax",
    "UnfitAddress",
    "country",
    "fit",
    "tax_of",
]
