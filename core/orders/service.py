from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from core.kit.db import Conn
from core.kit.states import IllegalMove, check_move
from hotpath.entries import Entry
from hotpath.records import Packer

from . import rows, store
from .model import Expired, NewOrder, NoSuchOrder, Order, OrderId, Written
from .states import MOVES, State


async def write(
    conn: Conn,
    packer: Packer,
    entries: Sequence[Entry],
    *,
    sale_id: int,
    bucket: int,
    epoch: int,
    expires_at: datetime,
) -> dict[int, int] | None:
    """Write accepted claims down, each as an order that waits for its payment.

    Returns the units by SKU; None, with nothing written, where a claim cannot be an order.
    """
    found = packer.pack(
        entries,
        rows.common(
            sale_id=sale_id,
            bucket=bucket,
            epoch=epoch,
            state=State.PENDING_PAYMENT,
            expires_at=expires_at,
        ),
    )
    if found is None:
        return None
    await store.copy(conn, rows.whole(found.orders), rows.whole(found.lines))
    return found.sold


async def reject(conn: Conn, order: NewOrder, *, reason: str) -> None:
    """Write a claim down that cannot become an order, so that its buyer is told so."""
    await store.insert(conn, order, State.REJECTED, reason)


async def find(conn: Conn, *, order_id: OrderId) -> Order:
    order = await store.find(conn, order_id)
    if order is None:
        raise NoSuchOrder(order_id=order_id)
    return order


async def find_by_key(conn: Conn, *, sale_id: int, member_id: int, key: str) -> Order | None:
    return await store.find_by_key(conn, sale_id, member_id, key)


async def move(conn: Conn, order: Order, target: State, *, reason: str | None = None) -> None:
    """Raises IllegalMove, also when somebody else moved the order since we read it."""
    check_move(MOVES, State(order.state), target)
    if not await store.move(conn, order.id, order.state, target, reason):
        raise IllegalMove(
            "The order moved while we were looking.", source=order.state, target=target.value
        )


async def expire(conn: Conn, *, spared: Sequence[int], batch_max: int) -> list[Expired]:
    """Cancel pending orders whose hold is over, oldest first, but none of the `spared` buckets."""
    check_move(MOVES, State.PENDING_PAYMENT, State.CANCELLED)
    return await store.expire(conn, batch_max, spared)


async def follow(conn: Conn, *, order_id: OrderId, follows: OrderId) -> bool:
    """Name the order that this one takes the place of; false where it has one, or there is none."""
    return await store.follow(conn, order_id, follows)


async def written_in(conn: Conn, *, bucket: int, page_max: int) -> AsyncIterator[list[Written]]:
    """Every order of a bucket, page by page."""
    after = OrderId("00000000-0000-0000-0000-000000000000")
    while page := await store.written_in(conn, bucket, after, page_max):
        yield page
        after = page[-1].id
