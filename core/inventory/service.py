from collections.abc import Iterable, Mapping

from core.kit.db import Conn

from . import store
from .model import OutOfStock


async def put(conn: Conn, *, units: Mapping[int, int], reason: str, reference: str) -> None:
    """Add `units` (SKU id -> how many, each > 0) to what is on hand."""
    if units:
        await store.put(conn, units, reason, reference)


async def take(conn: Conn, *, units: Mapping[int, int], reason: str, reference: str) -> None:
    """Take `units` (SKU id -> how many, each > 0) from what is on hand.

    Raises OutOfStock naming the SKU; the caller's transaction then takes nothing.
    """
    taken = await store.take(conn, units, reason, reference)
    for sku_id, quantity in units.items():
        if sku_id not in taken:
            raise OutOfStock(sku_id=str(sku_id), wanted=quantity)


async def on_hand(conn: Conn, *, sku_ids: Iterable[int]) -> dict[int, int]:
    return await store.on_hand(conn, list(sku_ids))
