"""Does what the outbox says must happen outside of Postgres, each topic at its own pace."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
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

BATCH_MAX = 100
AT_ONCE_MAX = 32
# A worker that dies with a batch in hand delays it by this much.
LEASE_S = 15.0
HANDLE_MAX_S = 10.0
REST_S = 0.05
REFUNDS_REST_S = 0.25

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
    def __init__(
        self, pool: db.Pool, handlers: Mapping[str, Handler], *, batch_max: int = BATCH_MAX
    ) -> None:
        self._pool = pool
        self._handlers = handlers
        self._batch_max = batch_max
        self._hands = asyncio.Semaphore(AT_ONCE_MAX)

    async def step(self) -> bool:
        more = False
        for topic in self._handlers:
            async with db.transaction(self._pool) as conn:
                batch = await outbox.take(conn, topic, batch_max=self._batch_max, lease_s=LEASE_S)
            if batch:
                await self._deliver(batch)
            more |= len(batch) == self._batch_max
        return more

    async def _deliver(self, batch: list[outbox.Message]) -> None:
        outcomes = await asyncio.gather(*(self._handle(message) for message in batch))
        by_outcome: dict[Outcome, list[int]] = {}
        for message, outcome in zip(batch, outcomes, strict=True):
            by_outcome.setdefault(outcome, []).append(message.id)
        async with db.transaction(self._pool) as conn:
            for outcome, ids in by_outcome.items():
                await outcome.note(conn, ids)

    async def _handle(self, message: outbox.Message) -> Outcome:
        async with self._hands:
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
