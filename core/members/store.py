from collections.abc import Collection, Mapping

from core.kit.db import Conn, many, one

from .model import Address, AddressId

ENROL_RANGE = """
    INSERT INTO members.members (id)
    SELECT generate_series($1::bigint, $1::bigint + $2::bigint - 1)
    ON CONFLICT (id) DO NOTHING
"""


async def enrol_range(conn: Conn, first: int, count: int) -> None:
    await conn.execute(ENROL_RANGE, first, count)


ADD_ADDRESS = """ -- -> Address
    INSERT INTO members.addresses (member_id, fields)
    SELECT $1, $2 WHERE (SELECT count(*) FROM members.addresses WHERE member_id = $1) < $3::int
 RETURNING id, member_id, fields, added_at
"""


async def add_address(
    conn: Conn, member_id: int, fields: Mapping[str, str], addresses_max: int
) -> Address | None:
    return one(Address, await conn.fetchrow(ADD_ADDRESS, member_id, fields, addresses_max))


ADDRESSES = """ -- -> Address
    SELECT id, member_id, fields, added_at FROM members.addresses
     WHERE member_id = $1 ORDER BY id LIMIT $2
"""


async def addresses(conn: Conn, member_id: int, page_max: int) -> list[Address]:
    return many(Address, await conn.fetch(ADDRESSES, member_id, page_max))


FIND_ADDRESSES = """ -- -> Address
    SELECT a.id, member_id, fields, added_at
      FROM unnest($1::bigint[], $2::bigint[]) AS wanted (member, address)
      JOIN members.addresses a ON a.id = address AND member_id = member
"""


async def find_addresses(conn: Conn, wanted: Collection[tuple[int, AddressId]]) -> list[Address]:
    if not wanted:
        return []
    return many(Address, await conn.fetch(FIND_ADDRESSES, *zip(*wanted, strict=True)))


CHANGE_ADDRESS = """ -- -> Address
    UPDATE members.addresses SET fields = $3 WHERE id = $2 AND member_id = $1
 RETURNING id, member_id, fields, added_at
"""


async def change_address(
    conn: Conn, member_id: int, address_id: AddressId, fields: Mapping[str, str]
) -> Address | None:
    return one(Address, await conn.fetchrow(CHANGE_ADDRESS, member_id, address_id, fields))


REMOVE_ADDRESS = "DELETE FROM members.addresses WHERE id = $2 AND member_id = $1 RETURNING true"


async def remove_address(conn: Conn, member_id: int, address_id: AddressId) -> bool:
    return await conn.fetchval(REMOVE_ADDRESS, member_id, address_id) or False
