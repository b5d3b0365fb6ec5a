from collections.abc import Sequence

from core.kit.db import Conn
from core.kit.ids import ID_MAX
from core.kit.refusal import Refusal, slug

from . import rules, store
from .model import (
    Difference,
    Feed,
    Heard,
    Kind,
    Message,
    MessagesMissing,
    NoSuchFeed,
    NoSuchSnapshot,
    ReferenceReused,
    Snapshot,
    SnapshotId,
    SnapshotOvertaken,
    TooManyFeeds,
)

FEEDS_MAX = 1_000


async def open_feed(conn: Conn, *, system: str, place_id: int, silent_max_s: int | None) -> None:
    """Let a system tell and hear about a place, or change its promise. Raises TooManyFeeds."""
    if len(await store.feeds(conn, FEEDS_MAX)) == FEEDS_MAX:
        raise TooManyFeeds(feeds_max=FEEDS_MAX)
    await store.open_feed(conn, system, place_id, silent_max_s)


async def close_feed(conn: Conn, *, system: str, place_id: int) -> None:
    """It holds from the next request on; what was told stays. Raises NoSuchFeed."""
    await hold_feed(conn, system=system, place_id=place_id)
    await store.close_feed(conn, system, place_id)


async def feeds(conn: Conn) -> list[Feed]:
    """Those that are open."""
    return await store.feeds(conn, FEEDS_MAX)


async def hold_feed(conn: Conn, *, system: str, place_id: int) -> Feed:
    """Raises NoSuchFeed. One that is closed is a feed still."""
    found = await store.hold(conn, system, place_id)
    if found is None:
        raise NoSuchFeed
    return found


async def places_of(conn: Conn, *, system: str) -> list[int]:
    """Of which places a system may hear. Raises NoSuchFeed where it is of none."""
    found = await store.of_system(conn, system)
    if not found:
        raise NoSuchFeed
    return [feed.place_id for feed in found]


async def hear(conn: Conn, *, system: str, place_id: int) -> None:
    """A system is alive, whatever becomes of what it tells. Raises NoSuchFeed."""
    if not await store.hear(conn, system, place_id):
        raise NoSuchFeed


async def take(conn: Conn, message: Message, *, system: str, place_id: int) -> bool:
    """Take a message as applied; the caller applies it in the same transaction. False where it was
    applied before, and is not to be applied again.

    Raises NoSuchFeed, UnfitMessage, ReferenceReused, MessagesMissing, SnapshotOvertaken.
    """
    feed = await hold_feed(conn, system=system, place_id=place_id)
    if feed.closed_at is not None:
        raise NoSuchFeed
    digest = rules.digest(message, place_id)
    before = await store.before(conn, system, message.reference)
    if before is not None and before.reason is None:
        if before.digest != digest:
            raise ReferenceReused(reference=message.reference)
        return False
    rules.check(message)
    if message.kind is Kind.SNAPSHOT:
        _insist_on_order(feed, message.told_before or 0)
    if not await store.write(conn, system, place_id, message, digest, None):
        raise ReferenceReused(reference=message.reference)
    await store.count_told(conn, system, place_id)
    return True


async def refuse(
    conn: Conn, message: Message, refusal: Refusal, *, system: str, place_id: int
) -> None:
    """Remember why a message was not applied, unless it was before."""
    digest = rules.digest(message, place_id)
    await store.write(conn, system, place_id, message, digest, slug(type(refusal)))


async def messages(
    conn: Conn, *, before: int | None, page_max: int, is_refused: bool
) -> list[Heard]:
    """Newest first, below `before`: all, or those that were refused and never came right."""
    below = ID_MAX if before is None else before
    look = store.refused if is_refused else store.messages
    return await look(conn, below, page_max)


async def keep_snapshot(
    conn: Conn,
    differing: Sequence[Difference],
    *,
    system: str,
    reference: str,
    place_id: int,
    skus: int,
) -> Snapshot:
    return await store.keep_snapshot(conn, system, reference, place_id, skus, differing)


async def snapshots(conn: Conn, *, before: int | None, page_max: int) -> list[Snapshot]:
    """Newest first, below `before`."""
    return await store.snapshots(conn, ID_MAX if before is None else before, page_max)


async def find_snapshot(
    conn: Conn, *, snapshot_id: SnapshotId
) -> tuple[Snapshot, list[Difference]]:
    """Raises NoSuchSnapshot."""
    found = await store.find_snapshot(conn, snapshot_id)
    if found is None:
        raise NoSuchSnapshot
    return found, await store.differences(conn, snapshot_id)


def _insist_on_order(feed: Feed, told_before: int) -> None:
    if feed.told < told_before:
        raise MessagesMissing(told=feed.told, told_before=told_before)
    if feed.told > told_before:
        raise SnapshotOvertaken(told=feed.told, told_before=told_before)
