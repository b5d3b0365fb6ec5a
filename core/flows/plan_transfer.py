"""A transfer of goods that the catalogue knows is written down; nothing moves before it is sent."""

from collections.abc import Mapping

from core import catalogue, inventory, staff
from core.kit import db


async def plan_transfer(
    pool: db.Pool,
    *,
    source_id: inventory.PlaceId,
    target_id: inventory.PlaceId,
    units: Mapping[int, int],
    by: str,
    author: staff.Author | None = None,
) -> inventory.Transfer:
    """Raises catalogue.NoSuchSku, inventory.NoSuchPlace, ImpossibleTransfer."""
    async with db.transaction(pool) as conn:
        await catalogue.skus(conn, sku_ids=[catalogue.SkuId(sku_id) for sku_id in units])
        planned = await inventory.plan_transfer(
            conn, source_id=source_id, target_id=target_id, units=units, by=by
        )
        told = {"transfer": planned, "units": units}
        await staff.note(conn, author, kind="transfer", object_id=str(planned.id), after=told)
    return planned
