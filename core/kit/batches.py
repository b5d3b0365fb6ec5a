"""Group commit: what is asked for while a batch is being written makes up the next one, so that a
hot row is locked once a batch and not once a request.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from . import db
from .refusal import Refusal

BATCH_MAX = 200
QUEUE_MAX = 10_000

Wish = TypeVar("Wish")
Given = TypeVar("Given")


class Asked(NamedTuple, Generic[Wish, Given]):
    wish: Wish
    answer: asyncio.Future[Given]


class Batches(Generic[Wish, Given]):
    """One of a kind in each process.

    `serve` answers the wishes of a batch in order, in its transaction. No two of a batch have the
    same `name`. Where it raises one of `crossed`, another process serves one of them right now,
    and each is served by itself.
    """

    def __init__(
        self,
        pool: db.Pool,
        serve: Callable[[db.Conn, Sequence[Wish]], Awaitable[Sequence[Given | Refusal]]],
        *,
        name: Callable[[Wish], Hashable],
        crossed: tuple[type[Refusal], ...],
        full: type[Refusal],
    ) -> None:
        self._pool = pool
        self._serve = serve
        self._name = name
        self._crossed = crossed
        self._full = full
        self._waiting: deque[Asked[Wish, Given]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def ask(self, wish: Wish) -> Given:
        """Wait for the answer, or raise the refusal. Raises `full` where too many wait."""
        if len(self._waiting) >= QUEUE_MAX:
            raise self._full
        answer: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self._waiting.append(Asked(wish, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        return await answer

    async def _write(self) -> None:
        # Whoever asks in this turn of the event loop still comes along.
        await asyncio.sleep(0)
        try:
            while batch := self._next_batch():
                await self._answer(batch)
        finally:
            self._writer = None

    def _next_batch(self) -> list[Asked[Wish, Given]]:
        """The oldest ones, each name once: its repeat is answered by a later batch."""
        batch: dict[Hashable, Asked[Wish, Given]] = {}
        again: list[Asked[Wish, Given]] = []
        while self._waiting and len(batch) < BATCH_MAX:
            asked = self._waiting.popleft()
            name = self._name(asked.wish)
            if name in batch:
                again.append(asked)
            elif not asked.answer.done():
                batch[name] = asked
        self._waiting.extendleft(reversed(again))
        return list(batch.values())

    async def _answer(self, batch: list[Asked[Wish, Given]]) -> None:
        try:
            async with db.transaction(self._pool) as conn:
                outcomes = await self._serve(conn, [asked.wish for asked in batch])
        except self._crossed as refusal:
            if len(batch) == 1:
                refuse(batch, refusal)
            for asked in batch if len(batch) > 1 else ():
                await self._answer([asked])
        except Exception as error:  # noqa: BLE001 - each who asked raises it
            refuse(batch, error)
        else:
            for asked, outcome in zip(batch, outcomes, strict=True):
                tell(asked, outcome)


def tell(asked: Asked[Wish, Given], outcome: Given | Refusal) -> None:
    if asked.answer.done():
        return
    if isinstance(outcome, Refusal):
        asked.answer.set_exception(outcome)
    else:
        asked.answer.set_result(outcome)


def refuse(batch: list[Asked[Wish, Given]], error: Exception) -> None:
    for asked in batch:
        if not asked.answer.done():
            asked.answer.set_exception(error)
