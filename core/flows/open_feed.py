"""An account of staff that is a program may tell and hear about a place, or may no more."""

from core import feeds, inventory, staff
from core.kit import db


async def open_feed(
    pool: db.Pool,
    *,
    system: str,
    place_id: inventory.PlaceId,
    silent_max_s: int | None,
    author: staff.Author,
) -> feeds.Feed:
    """Or change its promise. Raises inventory.NoSuchPlace, feeds.TooManyFeeds."""
    async with db.transaction(pool) as conn:
        if place_id not in {place.id for place in await inventory.places(conn)}:
            raise inventory.NoSuchPlace(place_id=str(place_id))
        opened = {(feed.system, feed.place_id): feed for feed in await feeds.feeds(conn)}
        before = opened.get((system, int(place_id)))
        await feeds.open_feed(conn, system=system, place_id=place_id, silent_max_s=silent_max_s)
        found = await feeds.hold_feed(conn, system=system, place_id=place_id)
        await staff.note(
            conn,
            author,
            kind="feed",
            object_id=f"{system}:{place_id}",
            before=before and {"silent_max_s": before.silent_max_s},
            after={"silent_max_s": silent_max_s},
        )
    return found


async def close_feed(
    pool: db.Pool, *, system: str, place_id: inventory.PlaceId, author: staff.Author
) -> feeds.Feed:
    """Raises feeds.NoSuchFeed."""
    async with db.transaction(pool) as conn:
        found = await feeds.hold_feed(conn, system=system, place_id=place_id)
        await feeds.close_feed(conn, system=system, place_id=place_id)
        await staff.note(
            conn,
            author,
            kind="feed",
            object_id=f"{system}:{place_id}",
            before={"silent_max_s": found.silent_max_s},
        )
    return found
