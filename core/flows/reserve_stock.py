"""Ordinary orders reserve by group commit: what is asked for while a batch is being written makes
up the next one, so that a hot SKU's row is locked once a batch and not once an order.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from core import catalogue, inventory, staff
from core.kit import db

BATCH_MAX = 200
QUEUE_MAX = 10_000


class Asked(NamedTuple):
    wanted: inventory.Wanted
    answer: asyncio.Future[list[inventory.Kept]]
    author: staff.Author | None


class Reserver:
    """One in each process."""

    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool
        self._waiting: deque[Asked] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def reserve(
        self, wanted: inventory.Wanted, *, author: staff.Author | None = None
    ) -> list[inventory.Kept]:
        """Keep units, once for each purpose: who hears nothing asks again.

        Raises catalogue.NotOnSale, inventory.OutOfStock, ReferenceReused, TooManyReservations.
        """
        if len(self._waiting) >= QUEUE_MAX:
            raise inventory.TooManyReservations
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(Asked(wanted, answer, author))
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

    def _next_batch(self) -> list[Asked]:
        """The oldest ones, each purpose once: its repeat is answered by a later batch."""
        batch: dict[str, Asked] = {}
        again: list[Asked] = []
        while self._waiting and len(batch) < BATCH_MAX:
            asked = self._waiting.popleft()
            if asked.wanted.kept_for in batch:
                again.append(asked)
            elif not asked.answer.done():
                batch[asked.wanted.kept_for] = asked
        self._waiting.extendleft(reversed(again))
        return list(batch.values())

    async def _answer(self, batch: list[Asked]) -> None:
        try:
            async with db.transaction(self._pool) as conn:
                outcomes = await reserve_many(conn, [asked.wanted for asked in batch])
                await staff.note_all(conn, list(changes(batch, outcomes)))
        except inventory.ReferenceReused as refusal:
            # Another process serves one of these purposes right now; the rest have no part in it.
            if len(batch) == 1:
                refuse(batch, refusal)
            for asked in batch if len(batch) > 1 else ():
                await self._answer([asked])
        except Exception as error:  # noqa: BLE001 - each who asked raises it
            refuse(batch, error)
        else:
            for asked, outcome in zip(batch, outcomes, strict=True):
                tell(asked, outcome)


async def reserve_many(
    conn: db.Conn, wanted: Sequence[inventory.Wanted]
) -> list[inventory.Outcome]:
    """What is not on sale any more is kept for nobody anew; what is kept stays."""
    asked = {catalogue.SkuId(sku_id) for want in wanted for sku_id in want.units}
    gone = asked - await catalogue.on_sale(conn, sku_ids=asked)
    refused = {int(one): catalogue.NotOnSale(sku_ids=[str(one)], how_many=1) for one in gone}
    return await inventory.reserve_many(conn, wanted, refused=refused)


def changes(batch: list[Asked], outcomes: Sequence[inventory.Outcome]) -> Iterator[staff.Change]:
    """What staff has kept of this batch."""
    for asked, outcome in zip(batch, outcomes, strict=True):
        if asked.author is not None and isinstance(outcome, list):
            yield staff.Change(
                asked.author, "reservation", asked.wanted.kept_for, after={"kept": outcome}
            )


def tell(asked: Asked, outcome: inventory.Outcome) -> None:
    if asked.answer.done():
        return
    if isinstance(outcome, list):
        asked.answer.set_result(outcome)
    else:
        asked.answer.set_exception(outcome)


def refuse(batch: list[Asked], error: Exception) -> None:
    for asked in batch:
        if not asked.answer.done():
            asked.answer.set_exception(error)
