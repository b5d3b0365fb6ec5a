from collections.abc import Collection, Sequence

from core.kit.db import Conn

from . import store
from .model import ITEMS_MAX, QUANTITY_MAX, Item, NotInCart, TooManyItems


async def add(conn: Conn, *, member_id: int, sku_id: int, quantity: int) -> None:
    """Put so many units more into a member's cart. Raises TooManyItems."""
    await store.open_cart(conn, member_id)
    if not await store.add(conn, member_id, sku_id, quantity, ITEMS_MAX, QUANTITY_MAX):
        raise TooManyItems(items_max=ITEMS_MAX, quantity_max=QUANTITY_MAX)


async def put(conn: Conn, *, member_id: int, sku_id: int, quantity: int) -> None:
    """Have so many units of what is in the cart; 0 takes it out. Raises NotInCart."""
    await store.open_cart(conn, member_id)
    if quantity:
        found = await store.put(conn, member_id, sku_id, quantity)
    else:
        found = await store.remove(conn, member_id, sku_id)
    if not found:
        raise NotInCart(sku_id=str(sku_id))


async def items(conn: Conn, *, member_id: int) -> list[Item]:
    """In the order in which they came."""
    return await store.items(conn, [member_id])


async def hold_many(conn: Conn, *, member_ids: Collection[int]) -> None:
    """Nobody else changes these carts until the transaction ends."""
    await store.hold_many(conn, member_ids)


async def items_of_many(conn: Conn, *, member_ids: Collection[int]) -> dict[int, list[Item]]:
    """Member id -> what is in the cart."""
    found: dict[int, list[Item]] = {member_id: [] for member_id in member_ids}
    for item in await store.items(conn, member_ids):
        found[item.member_id].append(item)
    return found


async def take_out(conn: Conn, bought: Sequence[tuple[int, int]]) -> None:
    """What was bought (member id, SKU id) is in no cart any more."""
    if bought:
        await store.take_out(conn, bought)
