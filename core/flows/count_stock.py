"""Somebody counts what stands in a place; a difference is worth what the catalogue says."""

from collections.abc import Mapping

from core import catalogue, inventory, staff
from core.kit import db


async def count_stock(
    pool: db.Pool,
    *,
    place_id: inventory.PlaceId,
    counted: Mapping[int, int],
    value_max: Mapping[str, int],
    reference: str,
    by: str,
    author: staff.Author | None = None,
) -> list[inventory.Count]:
    """Raises catalogue.NoSuchSku, inventory.NoSuchPlace, CountPending, ReferenceReused."""
    async with db.transaction(pool) as conn:
        found = await count(
            conn,
            place_id=place_id,
            counted=counted,
            value_max=value_max,
            reference=reference,
            by=by,
        )
        await staff.note(conn, author, kind="counts", object_id=reference, after=found)
    return found


async def count(
    conn: db.Conn,
    *,
    place_id: inventory.PlaceId,
    counted: Mapping[int, int],
    value_max: Mapping[str, int],
    reference: str,
    by: str,
) -> list[inventory.Count]:
    """The same in a transaction of the caller's. Nothing is done where nothing was counted."""
    if not counted:
        return []
    skus = await catalogue.skus(conn, sku_ids=[catalogue.SkuId(sku_id) for sku_id in counted])
    worths = {int(sku.id): inventory.Worth(sku.price_minor, sku.currency) for sku in skus.values()}
    return await inventory.count(
        conn,
        place_id=place_id,
        counted=counted,
        worths=worths,
        value_max=value_max,
        reference=reference,
        by=by,
    )
