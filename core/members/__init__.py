"""Members: who buys here, and where things are sent to.

Owns    schema `members`
"""

from .model import Address, AddressId, MemberId, NoSuchAddress, TooManyAddresses
from .service import (
    add_address,
    addresses,
    addresses_of_many,
    change_address,
    enrol_demo,
    find_address,
    remove_address,
)

__all__ = [
    "Address",
    "AddressId",
    "MemberId",
    "NoSuchAddress",
    "TooManyAddresses",
    "add_address",
    "addresses",
    "addresses_of_many",
    "change_address",
    "enrol_demo",
    "find_address",
    "remove_address",
]
