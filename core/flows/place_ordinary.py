"""Ordinary orders are placed: stock keeps their units and they are written down, all at once."""

from collections.abc import Mapping, Sequence

from core import inventory, orders
from core.flows.reserve_stock import reserve_many
from core.kit import db
from core.kit.refusal import Refusal


def purpose(order_id: orders.OrderId) -> str:
    """What stock keeps an ordinary order's units for."""
    return f"order:{order_id}"


def wanted(purchase: orders.Purchase) -> inventory.Wanted:
    return inventory.Wanted(
        purpose(purchase.id),
        orders.units_of(purchase.lines),
        by="orders",
        region=region_of(purchase.agreement.address),
    )


def region_of(address: Mapping[str, str]) -> str:
    """Whose warehouses go first: `US-CA`, as places say where they are."""
    return f"{address['country']}-{address['region']}" if "region" in address else ""


async def place_many(
    conn: db.Conn, purchases: Sequence[orders.Purchase]
) -> list[orders.Order | Refusal]:
    """Place many orders, first come first served; what is refused to one leaves the others alone.

    Their keys were free a moment ago. Raises orders.KeyTaken and inventory.ReferenceReused for all
    of them where another transaction was faster with one.
    """
    outcomes = await reserve_many(conn, [wanted(purchase) for purchase in purchases])
    kept = {
        purchase.id: purchase
        for purchase, outcome in zip(purchases, outcomes, strict=True)
        if isinstance(outcome, list)
    }
    placed = {order.id: order for order in await orders.place(conn, list(kept.values()))}
    return [
        placed[purchase.id] if isinstance(outcome, list) else outcome
        for purchase, outcome in zip(purchases, outcomes, strict=True)
    ]
