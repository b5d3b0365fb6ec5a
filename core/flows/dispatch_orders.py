"""What is paid, or has its money held, goes out with no hand: each such order becomes consignments,
and their places pick its units.

Which orders these are stands in the outbox, by the transaction that paid them. Planning and picking
are one transaction with the end of that message: whenever it is cut off, all of it happens later.
"""

from collections.abc import Sequence

import msgspec
import structlog

from core import fulfilment, inventory, orders, sales
from core.flows import place_ordinary, run_sale
from core.kit import db, outbox
from core.kit.outbox import TryLater
from core.kit.refusal import Refusal

BY = "dispatcher"
# As far as its buyer is concerned; whichever comes first.
PAID = (orders.Authorized, orders.Paid)

log = structlog.get_logger()


async def dispatch_orders(pool: db.Pool, *, batch_max: int) -> int:
    """Returns how many orders were looked at; `batch_max` of them means that more may be due."""
    async with db.transaction(pool) as conn:
        batch = await outbox.take(conn, orders.PAID_TOPIC, each_max=batch_max, lease_s=0)
        if not batch:
            return 0
        try:
            async with db.savepoint(conn):
                await _dispatch(conn, batch)
        except Exception:  # noqa: BLE001 - what is wrong with one is no matter of the others
            for message in batch:
                await _dispatch_alone(conn, message)
        else:
            await outbox.done(conn, [message.id for message in batch])
    return len(batch)


async def _dispatch_alone(conn: db.Conn, message: outbox.Message) -> None:
    try:
        async with db.savepoint(conn):
            await _dispatch(conn, [message])
    except (Refusal, TryLater) as error:
        await outbox.later(conn, [message.id], error=str(error))
    except Exception as error:  # noqa: BLE001 - it is parked in the end, and a person looks
        log.warning("order_not_dispatched", paid=message.payload, error=repr(error))
        await outbox.failed(conn, [message.id], error=repr(error))
    else:
        await outbox.done(conn, [message.id])


async def _dispatch(conn: db.Conn, batch: Sequence[outbox.Message]) -> None:
    """Raises TryLater, inventory.NotKept and NoSuchReservation where units are missing."""
    ids = {msgspec.convert(message.payload, orders.PaidOrder).order_id for message in batch}
    planned: list[fulfilment.Loaded] = []
    for order in await orders.hold(conn, order_ids=ids):
        if order.shown == orders.Shown.PAID:
            planned += await _plan(conn, order)
    # Stock is locked last, all of it at once, so that nobody waits in a ring.
    await inventory.allocate(conn, deeds(planned, by=BY))
    await fulfilment.allocate(conn, planned)


async def _plan(conn: db.Conn, order: orders.Order) -> list[fulfilment.Loaded]:
    kept_for = await _purpose(conn, order)
    if kept_for is None or await fulfilment.is_planned(conn, order_id=order.id):
        return []
    stock = await _left(conn, kept_for)
    planned = await fulfilment.plan(conn, await _paid(conn, order, kept_for), stock)
    if planned is None:
        raise TryLater("the places keep less than was bought")
    return planned


async def _purpose(conn: db.Conn, order: orders.Order) -> str | None:
    """What stock keeps its units for. None for a rehearsal's order, for which it keeps nothing."""
    if order.claimed is None:
        return place_ordinary.purpose(order.id)
    sale = await sales.find(conn, sale_id=sales.SaleId(order.claimed.sale_id))
    return None if sale.shadow else run_sale.purpose(sale.id)


async def _left(conn: db.Conn, kept_for: str) -> dict[int, dict[int, int]]:
    """SKU -> place -> what is reserved for this purpose and not meant for a consignment yet."""
    meant = await fulfilment.planned_units(conn, kept_for=kept_for)
    left: dict[int, dict[int, int]] = {}
    for one in await inventory.reservations(conn, kept_for=kept_for):
        units = one.reserved - meant.get((one.sku_id, one.place_id), 0)
        left.setdefault(one.sku_id, {})[one.place_id] = max(0, units)
    return left


async def _paid(conn: db.Conn, order: orders.Order, kept_for: str) -> fulfilment.PaidOrder:
    log = await orders.log(conn, order_id=order.id)
    return fulfilment.PaidOrder(
        order_id=order.id,
        member_id=order.member_id,
        currency=order.currency,
        kept_for=kept_for,
        shipping_minor=order.shipping_minor + order.shipping_tax_minor,
        paid_at=next(one.happened_at for one in log if isinstance(one.event, PAID)),
        lines=[
            fulfilment.PaidLine(
                line_no=line.line_no,
                sku_id=line.sku_id,
                seller_id=line.seller_id,
                quantity=line.quantity,
                goods_minor=line.quantity * line.price_minor,
                discount_minor=line.discount_minor,
                tax_minor=line.tax_minor,
            )
            for line in order.lines
        ],
    )


def deeds(every: Sequence[fulfilment.Loaded], *, by: str) -> list[inventory.Deed]:
    """What happens to the units of these, once for each consignment and purpose."""
    return [
        inventory.Deed(
            kept_for,
            units,
            f"consignment:{loaded.consignment.id}:{kept_for}",
            by=by,
            place_id=inventory.PlaceId(loaded.consignment.place_id),
        )
        for loaded in every
        for kept_for, units in fulfilment.units_of(loaded.lines).items()
    ]
