"""Outside systems follow the stock: every movement once, in order, and the levels it leads to.

A cursor is the id of a movement. Ids are drawn before their transactions end, so a reader looks no
further than to where every earlier writer has come to an end: nothing appears behind a cursor.
"""

import asyncio
from collections.abc import Collection
from typing import NamedTuple

from core import inventory
from core.kit import db

# A page goes through so many movements of all places at the most.
WALK_MAX = 10_000
# Writers have deadlines; who waits longer for one of them asks again.
SETTLED_MAX_S = 3.0
LOOK_S = 0.01


class Cursor(NamedTuple):
    """Up to which movement all is known. While levels are listed for the first time: the shelf
    (SKU, place) that came last.
    """

    movement_id: int
    shelf: tuple[int, inventory.PlaceId] | None = None


class Followed(NamedTuple):
    """`is_more` says that there is more to hear right now."""

    movements: list[inventory.Movement]
    cursor: Cursor
    is_more: bool


class Levels(NamedTuple):
    balances: list[inventory.Balance]
    cursor: Cursor
    is_more: bool


async def follow_movements(
    pool: db.Pool, place_ids: Collection[inventory.PlaceId], *, after: int, page_max: int
) -> Followed:
    """Raises inventory.StillWriting."""
    last_id = await _settled(pool)
    upto = min(last_id, after + WALK_MAX)
    async with db.reading(pool) as conn:
        found = await inventory.follow(
            conn, place_ids=place_ids, after=after, upto=upto, page_max=page_max
        )
    reached = found[-1].id if len(found) == page_max else max(after, upto)
    return Followed(found, Cursor(reached), reached < last_id)


async def follow_levels(
    pool: db.Pool,
    place_ids: Collection[inventory.PlaceId],
    *,
    after: Cursor | None,
    page_max: int,
) -> Levels:
    """All levels from the first shelf on, then those that have moved since.

    Each is at least as new as its cursor; what is newer is told once more. Raises StillWriting.
    """
    if after is None:
        after = Cursor(await _settled(pool), (0, inventory.PlaceId(0)))
    if after.shelf is None:
        return await _moved(pool, place_ids, after.movement_id, page_max)
    async with db.reading(pool) as conn:
        page = await inventory.levels(
            conn, place_ids=place_ids, after=after.shelf, page_max=page_max
        )
    if len(page) < page_max:
        return Levels(page, Cursor(after.movement_id), is_more=False)
    last = (page[-1].sku_id, page[-1].place_id)
    return Levels(page, Cursor(after.movement_id, last), is_more=True)


async def _moved(
    pool: db.Pool, place_ids: Collection[inventory.PlaceId], after: int, page_max: int
) -> Levels:
    followed = await follow_movements(pool, place_ids, after=after, page_max=page_max)
    shelves = {(one.sku_id, one.place_id) for one in followed.movements}
    async with db.reading(pool) as conn:
        found = await inventory.balances(conn, sku_ids={sku_id for sku_id, _ in shelves})
    moved = [one for one in found if (one.sku_id, one.place_id) in shelves]
    return Levels(moved, followed.cursor, followed.is_more)


async def _settled(pool: db.Pool) -> int:
    """The id of a movement behind which none can appear any more. Raises StillWriting."""
    async with db.reading(pool) as conn:
        mark = await inventory.mark(conn)
        try:
            async with asyncio.timeout(SETTLED_MAX_S):
                while not await inventory.is_settled(conn, mark):  # noqa: ASYNC110 - Postgres knows
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise inventory.StillWriting from None
    return mark.last_id
