"""Asks Redis whether keys have been answered: many at once, in one round trip, changing nothing.

For claims that risk would refuse: one that was accepted before must get its 202 all the same.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from hotpath.nodes import Redis
from hotpath.scripts import BucketKeys

QUEUE_MAX = 20_000
BATCH_MAX = 500


class TooManyAsk(Exception):
    """The queue is full. Nothing was asked."""


class Found(msgspec.Struct, frozen=True):
    """Whether the key has an answer, by a Redis that bears this stamp ("" for none)."""

    answered: bool
    stamp: str


class Recall:
    def __init__(self, redis: Redis, *, queue_max: int = QUEUE_MAX) -> None:
        self._redis = redis
        self._queue_max = queue_max
        self._queue: deque[tuple[int, str, asyncio.Future[Found]]] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, bucket: int, *, member_id: int, key: str) -> Found:
        """Raises TooManyAsk, and redis' errors."""
        if len(self._queue) >= self._queue_max:
            raise TooManyAsk
        told: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._queue.append((bucket, f"{member_id}:{key}", told))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all())
        return await told

    async def _ask_all(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]
            try:
                found = await self._look_up([(bucket, field) for bucket, field, _ in batch])
            except Exception as error:  # noqa: BLE001 - whoever asked decides what it means
                for _, _, told in batch:
                    if not told.done():
                        told.set_exception(error)
            else:
                for (_, _, told), one in zip(batch, found, strict=True):
                    if not told.done():
                        told.set_result(one)

    async def _look_up(self, asked: list[tuple[int, str]]) -> list[Found]:
        nodes = {bucket: await self._redis.of(bucket) for bucket, _ in asked}
        found: dict[tuple[int, str], Found] = {}
        for node in {*nodes.values()}:
            found |= await ask_node(node, [one for one in asked if nodes[one[0]] is node])
        return [found[one] for one in asked]


async def ask_node(node: Redis, asked: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Found]:
    # First the answer, then the stamp: if the stamp is ours still, the answer was.
    pipe = node.pipeline(transaction=False)
    for bucket, field in asked:
        pipe.hexists(BucketKeys(bucket).answers, field)
    buckets = sorted({bucket for bucket, _ in asked})
    for bucket in buckets:
        pipe.hget(BucketKeys(bucket).sale, "stamp")
    replies = await pipe.execute()
    stamps = dict(zip(buckets, replies[len(asked) :], strict=True))
    return {
        one: Found(bool(answered), (stamps[one[0]] or b"").decode("ascii", "replace"))
        for one, answered in zip(asked, replies, strict=False)
    }
