"""Typed doors to what happens around claims: loading a bucket, its state, draining its stream.

The clients are redis-py's, made with retries off, as in `hotpath.scripts`.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from hotpath.entries import Entry, claims_of
from hotpath.scripts import BucketKeys, load, run

BEGIN = load("begin")
FILL = load("fill")
STATE = load("state")
DRAIN = load("drain")
TRIM = load("trim")

FIELDS_PER_CALL_MAX = 1_000


class EpochMoved(Exception):
    """Redis bears another stamp than ours: somebody loaded this bucket anew."""


class Undrained(Exception):
    """The epoch that should end still holds claims that nobody has written down."""


async def begin(
    redis: Redis,
    keys: BucketKeys,
    *,
    stamp: str,
    opens_at_ms: int,
    closes_at_ms: int,
    old_stamp: str,
    cursor: str,
) -> None:
    """Empty a bucket and begin an epoch.

    Raises EpochMoved where a later one has begun, Undrained where the old one, which is written
    down up to `cursor`, goes on above it.
    """
    arguments = (stamp, opens_at_ms, closes_at_ms, old_stamp, cursor)
    outcome = await run(redis, BEGIN, keys.all(), arguments)
    if outcome == -1:
        raise Undrained(old_stamp)
    if outcome != 1:
        raise EpochMoved(stamp)


async def fill(
    redis: Redis, keys: BucketKeys, key: str, fields: Mapping[str, int | str], *, stamp: str
) -> None:
    """Fill one hash of a bucket between `begin` and `set_state`, or raise EpochMoved."""
    pairs = iter(fields.items())
    while chunk := list(islice(pairs, FIELDS_PER_CALL_MAX)):
        arguments = [part for pair in chunk for part in pair]
        if await run(redis, FILL, (keys.sale, key), (stamp, *arguments)) != 1:
            raise EpochMoved(stamp)


async def set_state(redis: Redis, keys: BucketKeys, *, stamp: str, state: str) -> None:
    """`state` is open, paused or closed, and closed for good. Raises EpochMoved."""
    if await run(redis, STATE, (keys.sale,), (stamp, state)) == 0:
        raise EpochMoved(stamp)


async def drain(
    redis: Redis,
    keys: BucketKeys,
    *,
    stamp: str,
    after: str,
    claims_max: int,
    written: int | None = None,
) -> list[Entry]:
    """Entries after a position, oldest first, until they hold so many claims. Raises EpochMoved.

    `written` tells Redis how many claims of this epoch are written down, which is what room its
    backlog has.
    """
    arguments = (stamp, after, claims_max, "" if written is None else written)
    try:
        flat = await run(redis, DRAIN, (keys.sale, keys.claims), arguments)
    except ResponseError as error:
        if str(error).startswith("EPOCH"):
            raise EpochMoved(stamp) from error
        raise
    return [
        Entry(position.decode("ascii"), records, count)
        for position, records, count in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]


async def trim(redis: Redis, keys: BucketKeys, *, stamp: str, before: str) -> None:
    """Drop entries below one that is written down, up to this position. Raises EpochMoved."""
    if await run(redis, TRIM, (keys.sale, keys.claims), (stamp, before)) == -1:
        raise EpochMoved(stamp)


async def record_at(redis: Redis, keys: BucketKeys, position: str) -> bytes | None:
    """The record that stands at one position of the stream, if it has not been trimmed."""
    found: Any = await redis.xrevrange(keys.claims, position, "-", count=1)
    for place, fields in found:
        entry = Entry(place.decode("ascii"), fields.get(b"c", b""), fields.get(b"n", b""))
        for claim in claims_of(entry):
            if claim.position == position:
                return claim.record
    return None
