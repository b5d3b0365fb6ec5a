from collections.abc import Collection

from core.kit.db import Conn
from core.kit.states import check_move
from core.kit.tail import Stretch

from . import store
from .model import Dispute, DisputeId, Happened, NoSuchDispute, Standing, Told
from .states import MOVES, State

# What a provider forgot to tell is asked for after this.
PAUSE_S = 3_600.0


async def note(conn: Conn, told: Told, *, order_id: str) -> Dispute:
    """Keep what a provider says; what it said before that changes nothing any more.

    Who keeps it holds it until the transaction ends.
    """
    if await store.open(conn, told, order_id, PAUSE_S):
        before = await _held(conn, told)
        await store.add_event(conn, before.id, before.state)
        return before
    before = await _held(conn, told)
    if told.told_at < before.told_at:
        return before
    source, target = State(before.state), told.state
    if source is not target:
        check_move(MOVES, source, target)
        await store.add_event(conn, before.id, target)
    await store.move(conn, before, told, order_id, is_end=target is not State.OPEN)
    return await find(conn, dispute_id=before.id)


async def hold(conn: Conn, dispute: Dispute, *, is_holding: bool) -> None:
    """Note whether the money of its order waits for it."""
    await store.hold(conn, dispute.id, is_holding)


async def find(conn: Conn, *, dispute_id: DisputeId) -> Dispute:
    found = await store.find(conn, dispute_id)
    if found is None:
        raise NoSuchDispute(dispute_id=str(dispute_id))
    return found


async def listing(
    conn: Conn, *, state: State | None, before: DisputeId | None, page_max: int
) -> list[Dispute]:
    """Newest first, in one state or in all."""
    return await store.listing(conn, [state] if state else list(State), before, page_max)


async def take_due(conn: Conn, *, batch_max: int) -> list[Dispute]:
    """Open ones that nobody has told of for a while. Whoever takes one and dies delays it."""
    return await store.take_due(conn, batch_max, PAUSE_S)


async def find_all(conn: Conn, *, dispute_ids: Collection[DisputeId]) -> list[Dispute]:
    return await store.find_all(conn, dispute_ids)


async def happened(conn: Conn, stretch: Stretch, *, page_max: int) -> list[Happened]:
    """What happened in a stretch, by transaction."""
    return await store.happened(conn, stretch, page_max)


async def standing(conn: Conn) -> Standing:
    return await store.standing(conn)


async def _held(conn: Conn, told: Told) -> Dispute:
    found = await store.hold_told(conn, told.channel, told.provider_ref)
    assert found is not None
    return found
