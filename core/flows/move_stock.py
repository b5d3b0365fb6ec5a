"""Goods the catalogue knows come into a place, break, are mended or thrown away."""

from collections.abc import Mapping

from core import catalogue, inventory, staff
from core.kit import db

VERBS = {
    "receive": inventory.receive,
    "damage": inventory.damage,
    "mend": inventory.mend,
    "scrap": inventory.scrap,
}


async def move_stock(
    pool: db.Pool,
    *,
    kind: str,
    place_id: inventory.PlaceId,
    units: Mapping[int, int],
    reference: str,
    by: str,
    author: staff.Author | None = None,
) -> list[inventory.Balance]:
    """`kind` is one of VERBS. Return what the place shows of these SKUs then.

    Raises catalogue.NoSuchSku, inventory.NoSuchPlace, OutOfStock, ReferenceReused.
    """
    async with db.transaction(pool) as conn:
        await catalogue.skus(conn, sku_ids=[catalogue.SkuId(sku_id) for sku_id in units])
        await VERBS[kind](conn, place_id=place_id, units=units, reference=reference, by=by)
        found = await inventory.balances(conn, sku_ids=units)
        moved = {"kind": kind, "place_id": place_id, "units": units}
        await staff.note(conn, author, kind="movement", object_id=reference, after=moved)
    return [balance for balance in found if balance.place_id == place_id]


async def set_safety_stock(
    pool: db.Pool,
    *,
    sku_id: int,
    place_id: inventory.PlaceId,
    units: int,
    author: staff.Author | None = None,
) -> inventory.Balance:
    """Raises catalogue.NoSuchSku, inventory.NoSuchPlace."""
    async with db.transaction(pool) as conn:
        await catalogue.skus(conn, sku_ids=[catalogue.SkuId(sku_id)])
        before = await _balance(conn, sku_id, place_id)
        await inventory.set_safety_stock(conn, sku_id=sku_id, place_id=place_id, units=units)
        found = await _balance(conn, sku_id, place_id)
        assert found is not None, "it was opened"
        was = before and {"safety_stock": before.safety_stock}
        where, wanted = f"{sku_id}:{place_id}", {"safety_stock": units}
        await staff.note(conn, author, kind="balance", object_id=where, before=was, after=wanted)
    return found


async def _balance(
    conn: db.Conn, sku_id: int, place_id: inventory.PlaceId
) -> inventory.Balance | None:
    every = await inventory.balances(conn, sku_ids=[sku_id])
    return next((balance for balance in every if balance.place_id == place_id), None)
