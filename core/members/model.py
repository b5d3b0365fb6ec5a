from datetime import datetime
from typing import NewType

import msgspec

from core.kit.refusal import Kind, Refusal

MemberId = NewType("MemberId", int)
AddressId = NewType("AddressId", int)

ADDRESSES_MAX = 50


class Address(msgspec.Struct, frozen=True):
    """`fields` are those of its country's form, the country among them."""

    id: AddressId
    member_id: int
    fields: dict[str, str]
    added_at: datetime


class NoSuchAddress(Refusal):
    """There is no such address."""

    kind = Kind.NOT_FOUND


class TooManyAddresses(Refusal):
    """There are as many addresses as there may be."""

    kind = Kind.CONFLICT
