"""Reservations are made by group commit, so that a hot SKU's row is locked once a batch."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from core import catalogue, inventory, staff
from core.kit import db
from core.kit.batches import Batches
from core.kit.refusal import Refusal


class Asked(NamedTuple):
    wanted: inventory.Wanted
    author: staff.Author | None


class Reserver:
    """One in each process."""

    def __init__(self, pool: db.Pool) -> None:
        self._batches: Batches[Asked, list[inventory.Kept]] = Batches(
            pool,
            serve,
            name=lambda asked: asked.wanted.kept_for,
            crossed=(inventory.ReferenceReused,),
            full=inventory.TooManyReservations,
        )

    async def reserve(
        self, wanted: inventory.Wanted, *, author: staff.Author | None = None
    ) -> list[inventory.Kept]:
        """Keep units, once for each purpose: who hears nothing asks again.

        Raises catalogue.NotOnSale, inventory.OutOfStock, ReferenceReused, TooManyReservations.
        """
        return await self._batches.ask(Asked(wanted, author))


async def serve(conn: db.Conn, batch: Sequence[Asked]) -> list[list[inventory.Kept] | Refusal]:
    outcomes = await reserve_many(conn, [asked.wanted for asked in batch])
    await staff.note_all(conn, list(changes(batch, outcomes)))
    return outcomes


async def reserve_many(
    conn: db.Conn, wanted: Sequence[inventory.Wanted]
) -> list[inventory.Outcome]:
    """What is not on sale any more is kept for nobody anew; what is kept stays."""
    asked = {catalogue.SkuId(sku_id) for want in wanted for sku_id in want.units}
    gone = asked - await catalogue.on_sale(conn, sku_ids=asked)
    refused = {int(one): catalogue.NotOnSale(sku_ids=[str(one)], how_many=1) for one in gone}
    return await inventory.reserve_many(conn, wanted, refused=refused)


def changes(
    batch: Sequence[Asked], outcomes: Sequence[inventory.Outcome]
) -> Iterator[staff.Change]:
    """What staff has kept of this batch."""
    for asked, outcome in zip(batch, outcomes, strict=True):
        if asked.author is not None and isinstance(outcome, list):
            yield staff.Change(
                asked.author, "reservation", asked.wanted.kept_for, after={"kept": outcome}
            )
