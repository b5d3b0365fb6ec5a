"""Feeds: what the systems of warehouses (WMS) and of the books (ERP) tell us, each thing once.

Owns    schema `feeds`
Words   a system is an account of staff that is a program; a feed is what it tells about one place,
        with a promise of how long it is silent at the most; a message is told once, by its
        reference; a snapshot is a message that says all that stands in the place
"""

from .model import (
    Difference,
    DiffersTooMuch,
    Feed,
    Heard,
    Kind,
    Line,
    Message,
    MessagesMissing,
    NoSuchFeed,
    NoSuchSnapshot,
    ReferenceReused,
    Snapshot,
    SnapshotId,
    SnapshotOvertaken,
    TooManyFeeds,
    UnfitMessage,
)
from .rules import differences, insist_on_credible
from .service import (
    close_feed,
    feeds,
    find_snapshot,
    hear,
    hold_feed,
    keep_snapshot,
    messages,
    open_feed,
    places_of,
    refuse,
    snapshots,
    take,
)

__all__ = [
    "Difference",
    "DiffersTooMuch",
    "Feed",
    "Heard",
    "Kind",
    "Line",
    "Message",
    "MessagesMissing",
    "NoSuchFeed",
    "NoSuchSnapshot",
    "ReferenceReused",
    "Snapshot",
    "SnapshotId",
    "SnapshotOvertaken",
    "TooManyFeeds",
    "UnfitMessage",
    "close_feed",
    "differences",
    "feeds",
    "find_snapshot",
    "hear",
    "hold_feed",
    "insist_on_credible",
    "keep_snapshot",
    "messages",
    "open_feed",
    "places_of",
    "refuse",
    "snapshots",
    "take",
]
