"""Does what the outbox says must happen outside of Postgres, each topic at its own pace."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import structlog
from asyncpg import InterfaceError, InternalClientError, PostgresConnectionError
from redis.exceptions import (
    AskError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.kit import db, outbox

# So many of a topic are handled at once.
BATCH_MAX = 32
# A worker that dies with a batch in hand delays it by this much.
LEASE_S = 15.0
HANDLE_MAX_S = 10.0
REST_S = 0.1
# How long a step waits for what it handed out. What takes longer stays under way.
PATIENCE_S = 1.0

# A server that is away, or full, or hands a bucket over, is no fault of the message.
AWAY = (
    OSError,
    TimeoutError,
    RedisConnectionError,
    RedisTimeoutError,
    OutOfMemoryError,
    ReadOnlyError,
    AskError,  # and MovedError, its child
    TryAgainError,
    ClusterDownError,
    PostgresConnectionError,
    InterfaceError,
    InternalClientError,
)

log = structlog.get_logger()

Handler = Callable[[object], Awaitable[None]]


class Outcome(NamedTuple):
    """What to note of a message, and why."""

    kind: Callable[..., Awaitable[None]]
    error: str = ""

    async def note(self, conn: db.Conn, ids: list[int]) -> None:
        await (self.kind(conn, ids, error=self.error) if self.error else self.kind(conn, ids))


DONE = Outcome(outbox.done)


class OutboxRelay:
    def __init__(self, pool: db.Pool, handlers: Mapping[str, Handler]) -> None:
        self._pool = pool
        self._handlers = handlers
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def step(self) -> bool:
        """Hand out what is due until nothing is. No topic waits for a slower one."""
        patient_until = time.monotonic() + PATIENCE_S
        more = await self._hand_out()
        while self._under_way and time.monotonic() < patient_until:
            await asyncio.wait(self._under_way.values(), timeout=REST_S)
            more = await self._hand_out()
        return more

    async def end(self) -> None:
        """Leave what is under way: its messages are due again when their lease is over."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hand_out(self) -> bool:
        """A batch to each topic that has none in hand; true where one may have more."""
        for topic in [topic for topic, task in self._under_way.items() if task.done()]:
            self._under_way.pop(topic).result()
        idle = self._handlers.keys() - self._under_way.keys()
        if not idle:
            return False
        async with db.autocommit(self._pool) as conn:
            taken = await outbox.take(conn, *idle, each_max=BATCH_MAX, lease_s=LEASE_S)
        batches: dict[str, list[outbox.Message]] = {}
        for message in taken:
            batches.setdefault(message.topic, []).append(message)
        for topic, batch in batches.items():
            self._under_way[topic] = asyncio.create_task(self._deliver(batch))
        return any(len(batch) == BATCH_MAX for batch in batches.values())

    async def _deliver(self, batch: Sequence[outbox.Message]) -> None:
        outcomes = await asyncio.gather(*(self._handle(message) for message in batch))
        by_outcome: dict[Outcome, list[int]] = {}
        for message, outcome in zip(batch, outcomes, strict=True):
            by_outcome.setdefault(outcome, []).append(message.id)
        async with db.transaction(self._pool) as conn:
            for outcome, ids in by_outcome.items():
                await outcome.note(conn, ids)

    async def _handle(self, message: outbox.Message) -> Outcome:
        try:
            async with asyncio.timeout(HANDLE_MAX_S):
                await self._handlers[message.topic](message.payload)
        except (outbox.TryLater, *AWAY) as later:
            return Outcome(outbox.later, str(later) or repr(later))
        except Exception as error:  # noqa: BLE001 - one message's failure is not another's
            log.warning(
                "message_failed",
                topic=message.topic,
                message_id=message.id,
                attempts=message.attempts,
                error=repr(error),
            )
            return Outcome(outbox.failed, repr(error))
        return DONE
