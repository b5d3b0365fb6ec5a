"""Does what the outbox says must happen outside of Postgres, each topic at its own pace."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from core.kit import db, outbox

BATCH_MAX = 100
AT_ONCE_MAX = 32
# A worker that dies with a batch in hand delays it by this much.
LEASE_S = 15.0
HANDLE_MAX_S = 10.0
REST_S = 0.05

log = structlog.get_logger()

Handler = Callable[[object], Awaitable[None]]


class OutboxRelay:
    def __init__(self, pool: db.Pool, handlers: Mapping[str, Handler]) -> None:
        self._pool = pool
        self._handlers = handlers
        self._hands = asyncio.Semaphore(AT_ONCE_MAX)

    async def step(self) -> bool:
        more = False
        for topic in self._handlers:
            async with db.transaction(self._pool) as conn:
                batch = await outbox.take(conn, topic, batch_max=BATCH_MAX, lease_s=LEASE_S)
            outcomes = await asyncio.gather(*(self._handle(message) for message in batch))
            await self._settle(batch, outcomes)
            more |= len(batch) == BATCH_MAX
        return more

    async def _handle(self, message: outbox.Message) -> str | None:
        """None when it is done, else why it is not."""
        async with self._hands:
            try:
                async with asyncio.timeout(HANDLE_MAX_S):
                    await self._handlers[message.topic](message.payload)
            except outbox.TryLater as later:
                return str(later)
            except Exception as error:  # noqa: BLE001 - one message's failure is not another's
                log.warning(
                    "message_failed",
                    topic=message.topic,
                    message_id=message.id,
                    attempts=message.attempts,
                    error=repr(error),
                )
                return repr(error)
            return None

    async def _settle(self, batch: list[outbox.Message], outcomes: list[str | None]) -> None:
        if not batch:
            return
        late: dict[str, list[int]] = {}
        for message, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None:
                late.setdefault(outcome, []).append(message.id)
        async with db.transaction(self._pool) as conn:
            await outbox.done(
                conn, [m.id for m, o in zip(batch, outcomes, strict=True) if o is None]
            )
            for error, ids in late.items():
                await outbox.later(conn, ids, error=error)
