"""Typed doors to what happens around claims: loading a bucket, its state, draining its stream.

The clients are redis-py's, made with retries off, as in `hotpath.scripts`.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from hotpath.scripts import BucketKeys, load, run

BEGIN = load("begin")
FILL = load("fill")
STATE = load("state")
DRAIN = load("drain")
TRIM = load("trim")

FIELDS_PER_CALL_MAX = 1_000


class EpochMoved(Exception):
    """Redis bears another stamp than ours: somebody loaded this bucket anew."""


class Drained(msgspec.Struct, frozen=True):
    """One accepted claim, still as the bytes that the stream keeps."""

    position: str
    record: bytes


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
    redis: Redis, keys: BucketKeys, *, stamp: str, after: str, batch_max: int
) -> list[Drained]:
    """Accepted claims after a position, oldest first. Raises EpochMoved."""
    try:
        flat = await run(redis, DRAIN, (keys.sale, keys.claims), (stamp, after, batch_max))
    except ResponseError as error:
        if str(error).startswith("EPOCH"):
            raise EpochMoved(stamp) from error
        raise
    return [
        Drained(position.decode("ascii"), record)
        for position, record in zip(flat[::2], flat[1::2], strict=True)
    ]


async def trim(redis: Redis, keys: BucketKeys, *, stamp: str, before: str) -> None:
    """Drop claims below a position that is written down. Raises EpochMoved."""
    if await run(redis, TRIM, (keys.sale, keys.claims), (stamp, before)) == -1:
        raise EpochMoved(stamp)


async def entry(redis: Redis, keys: BucketKeys, position: str) -> bytes | None:
    """The record that stands at one position of the stream, if it has not been trimmed."""
    found: Any = await redis.xrange(keys.claims, position, position)
    return found[0][1][b"c"] if found else None
