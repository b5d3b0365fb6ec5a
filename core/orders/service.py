from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime

from core.kit import outbox
from core.kit.db import Conn
from core.kit.states import IllegalMove, check_move
from core.kit.tail import Stretch
from hotpath.entries import Entry
from hotpath.records import Packer

from . import rows, store
from .model import (
    Agreed,
    Agreement,
    Authorized,
    Cancelled,
    CaseClosed,
    CaseOpened,
    Delivered,
    Event,
    Expired,
    Follows,
    Happened,
    KeyTaken,
    Logged,
    NewOrder,
    NoSuchOrder,
    Order,
    OrderId,
    Paid,
    PaidOrder,
    Purchase,
    Shipped,
    Standing,
    TooManyEvents,
    Written,
)
from .rules import after, as_bought, fold
from .states import AXES, MOVES, Shown, State

EVENTS_MAX = 1_000
PAID_TOPIC = "orders.paid"
BEFORE_ALL = OrderId("00000000-0000-0000-0000-000000000000")


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
            state=State.OPEN,
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


async def find_placed(
    conn: Conn, keys: Collection[tuple[int, str]]
) -> dict[tuple[int, str], Order]:
    """The ordinary orders under these keys (member id, key)."""
    found = await store.find_placed(conn, keys)
    return {(order.member_id, order.idempotency_key): order for order in found}


async def place(conn: Conn, purchases: Sequence[Purchase]) -> list[Order]:
    """Write ordinary orders whose keys were free a moment ago.

    Raises KeyTaken, for all of them, where another transaction was faster with one.
    """
    placed = {one.id: one for one in (await store.place(conn, purchases) if purchases else ())}
    if len(placed) < len(purchases):
        raise KeyTaken
    return [as_bought(purchase, placed[purchase.id]) for purchase in purchases]


async def agreement(conn: Conn, *, order_id: OrderId) -> Agreement:
    """Raises NoSuchOrder, also for an order of a flash sale."""
    found = await store.agreement(conn, order_id)
    if found is None:
        raise NoSuchOrder(order_id=order_id)
    return found


async def authorize(conn: Conn, order: Order, *, payment_id: str) -> None:
    """Its money is held: it may be got ready to leave. Raises IllegalMove, as `pay` does."""
    await append(conn, order, Authorized(payment_id))
    await outbox.add(conn, PAID_TOPIC, [PaidOrder(order.id)])


async def pay(conn: Conn, order: Order, *, payment_id: str) -> None:
    """Who sends it out finds it in the outbox.

    Raises IllegalMove, also when something happened to the order since we read it.
    """
    await append(conn, order, Paid(payment_id))
    await outbox.add(conn, PAID_TOPIC, [PaidOrder(order.id)])


async def cancel(conn: Conn, order: Order, *, reason: str, refund_id: str | None = None) -> None:
    """A paid order is cancelled by its refund, and no other way; one whose money is held, by none.

    Raises AlreadyShipped, and IllegalMove, as `pay`.
    """
    await append(conn, order, Cancelled(reason, refund_id))


async def follow(conn: Conn, order: Order, *, follows: OrderId) -> None:
    """Name the order that this one takes the place of.

    Raises NoSuchOrder where there is none, and IllegalMove, as `pay` does.
    """
    await find(conn, order_id=follows)
    await append(conn, order, Follows(follows))


async def ship(conn: Conn, order: Order, *, consignment_id: str, is_last: bool) -> None:
    """A parcel of it left; `is_last` where nothing of it is left here. Raises IllegalMove."""
    await append(conn, order, Shipped(consignment_id, is_last))


async def deliver(conn: Conn, order: Order, *, consignment_id: str, is_last: bool) -> None:
    """A parcel of it is there; `is_last` where all of it is. Raises IllegalMove."""
    await append(conn, order, Delivered(consignment_id, is_last))


async def open_case(conn: Conn, order: Order, *, case_id: str) -> None:
    """Something about it has to be put right. Raises IllegalMove."""
    await append(conn, order, CaseOpened(case_id))


async def close_case(
    conn: Conn,
    order: Order,
    *,
    case_id: str,
    came_to: str,
    refund_id: str | None = None,
    follow_up: str | None = None,
) -> None:
    """Raises IllegalMove."""
    await append(conn, order, CaseClosed(case_id, came_to, refund_id, follow_up))


async def hold(conn: Conn, *, order_ids: Collection[OrderId]) -> list[Order]:
    """Orders that nothing happens to until the transaction ends, by their ids."""
    await store.hold(conn, order_ids)
    return [await find(conn, order_id=order_id) for order_id in sorted(order_ids)]


async def append(conn: Conn, order: Order, event: Event) -> None:
    """Let something happen to an order. Whoever read it first, wins."""
    standing = after(order.standing, event)
    if standing.state != order.state:
        check_move(MOVES, State(order.state), standing.state)
    if not await store.append(conn, order, standing, event):
        raise IllegalMove(
            "The order moved while we were looking.",
            source=order.shown,
            target=standing.shown,
        )


async def expire(
    conn: Conn, *, spared: Sequence[int], batch_max: int, passed: Collection[OrderId] = ()
) -> list[Expired]:
    """Cancel pending orders whose hold is over, oldest first, but none of the `spared` buckets, and
    none that is `passed` over. Returns their lines.
    """
    check_move(MOVES, State.OPEN, State.CANCELLED)
    return await store.expire(conn, batch_max, spared, Cancelled("expired"), passed)


async def log(conn: Conn, *, order_id: OrderId) -> list[Logged]:
    """All that happened to an order since it was placed, in order. Raises TooManyEvents."""
    found = await store.log(conn, order_id, EVENTS_MAX + 1)
    if len(found) > EVENTS_MAX:
        raise TooManyEvents(events_max=EVENTS_MAX)
    return found


async def as_of(conn: Conn, *, order_id: OrderId, moment: datetime) -> Standing:
    """How an order stood at a moment.

    Raises NoSuchOrder, also for a moment before it was placed, and TooManyEvents.
    """
    order = await find(conn, order_id=order_id)
    if moment < order.placed_at:
        raise NoSuchOrder(order_id=order_id, placed_at=order.placed_at)
    happened = await log(conn, order_id=order_id)
    return fold(order, [logged for logged in happened if logged.happened_at <= moment])


async def listing(
    conn: Conn, *, shown: Shown | None, before: OrderId | None, page_max: int
) -> list[Order]:
    """Newest first, by what they show, or all; those that wait for payment by how long they may."""
    axes = AXES[shown] if shown else None
    await store.plan_anew(conn)
    if shown is Shown.PENDING_PAYMENT:
        return await store.pending(conn, before, page_max)
    return await store.listing(conn, axes, before, page_max)


async def of_member(
    conn: Conn,
    *,
    member_id: int,
    sale_ids: Sequence[int],
    before: OrderId | None,
    page_max: int,
) -> list[Order]:
    """A member's ordinary orders and those of these sales, newest first."""
    return await store.of_member(conn, member_id, sale_ids, before, page_max)


async def written_in(conn: Conn, *, bucket: int, page_max: int) -> AsyncIterator[list[Written]]:
    """Every order of a bucket, page by page."""
    after = OrderId("00000000-0000-0000-0000-000000000000")
    while page := await store.written_in(conn, bucket, after, page_max):
        yield page
        after = page[-1].id


async def happened(conn: Conn, stretch: Stretch, *, page_max: int) -> list[Happened]:
    """What happened to orders in a stretch, by transaction, and per order as it came."""
    found = await store.happened(conn, stretch, page_max)
    return sorted(found, key=lambda one: (one.xact, one.order_id, one.number))


async def agreed(conn: Conn, stretch: Stretch, *, page_max: int) -> list[Agreed]:
    """The ordinary orders that were placed in a stretch, by transaction."""
    return await store.agreed(conn, stretch, page_max)


async def find_all(conn: Conn, *, order_ids: Collection[OrderId]) -> list[Order]:
    """Those of them that there are."""
    return await store.find_all(conn, order_ids)


async def placed_in(
    conn: Conn, *, bucket: int, epoch: int, after: OrderId, page_max: int
) -> list[Order]:
    """Orders of a bucket's epoch, in the order of their ids, which is that of their commits."""
    return await store.placed_in(conn, bucket, epoch, after, page_max)


async def last_in(conn: Conn, *, bucket: int, epoch: int) -> OrderId:
    """The newest order of a bucket's epoch, or what is below all of them."""
    return await store.last_in(conn, bucket, epoch) or BEFORE_ALL
