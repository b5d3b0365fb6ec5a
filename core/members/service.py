from collections.abc import Collection, Mapping

from core.kit.db import Conn

from . import store
from .model import ADDRESSES_MAX, Address, AddressId, NoSuchAddress, TooManyAddresses


async def enrol_demo(conn: Conn, *, first: int, count: int) -> None:
    """Make demo members `first` to `first + count - 1` where they are missing."""
    await store.enrol_range(conn, first, count)


async def add_address(conn: Conn, *, member_id: int, fields: Mapping[str, str]) -> Address:
    """Raises TooManyAddresses."""
    added = await store.add_address(conn, member_id, fields, ADDRESSES_MAX)
    if added is None:
        raise TooManyAddresses(addresses_max=ADDRESSES_MAX)
    return added


async def addresses(conn: Conn, *, member_id: int) -> list[Address]:
    """Oldest first."""
    return await store.addresses(conn, member_id, ADDRESSES_MAX)


async def find_address(conn: Conn, *, member_id: int, address_id: AddressId) -> Address:
    """Raises NoSuchAddress, also for another member's."""
    found = await store.find_addresses(conn, [(member_id, address_id)])
    if not found:
        raise NoSuchAddress
    return found[0]


async def addresses_of_many(
    conn: Conn, wanted: Collection[tuple[int, AddressId]]
) -> dict[tuple[int, AddressId], Address]:
    """Those of these addresses (member id, address id) that are that member's."""
    found = await store.find_addresses(conn, wanted)
    return {(address.member_id, address.id): address for address in found}


async def change_address(
    conn: Conn, *, member_id: int, address_id: AddressId, fields: Mapping[str, str]
) -> Address:
    """Raises NoSuchAddress. Orders that were placed keep the address they had."""
    changed = await store.change_address(conn, member_id, address_id, fields)
    if changed is None:
        raise NoSuchAddress(address_id=str(address_id))
    return changed


async def remove_address(conn: Conn, *, member_id: int, address_id: AddressId) -> None:
    """Raises NoSuchAddress."""
    if not await store.remove_address(conn, member_id, address_id):
        raise NoSuchAddress(address_id=str(address_id))
