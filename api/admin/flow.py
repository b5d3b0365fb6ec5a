"""Look at an order's way through the house: who did what, when, and what it waits for."""

from datetime import datetime

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api import auth
from api.admin.orders import order_of
from api.problems import refuses
from core import fulfilment, orders
from core.flows import order_flow
from core.kit import db


class Step(msgspec.Struct, frozen=True):
    """`part` is order, payment, stock or dispatch. `by` is a role of `sluice work`, or a
    `member:ID`, a `provider:CHANNEL`, a `staff:NAME`.
    """

    part: str
    what: str
    happened_at: datetime
    by: str
    consignment_id: str | None
    place_id: str | None


class Lead(msgspec.Struct, frozen=True):
    """Seconds from the payment until the last consignment left, and until it was there."""

    paid_at: datetime
    to_shipped: float | None
    to_delivered: float | None


class Flow(msgspec.Struct, frozen=True):
    """Steps by their time. `waiting_for` is payment, stock, dispatch or delivery, or null.

    Money that is held for it, and not taken yet, is held until `held_until`: send it before.
    """

    order_id: str
    state: str
    waiting_for: str | None
    lead: Lead | None
    steps: list[Step]
    held_until: datetime | None


@get(
    "/{order_id:str}/flow",
    permission="orders:read",
    responses=refuses(*auth.SIGNED_IN, orders.NoSuchOrder, orders.TooManyEvents),
)
async def find_flow(order_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Flow:
    """Tell how an order came from its placing to its delivery, and by whom."""
    found = await order_flow.order_flow(pool, order_id=order_of(order_id))
    return Flow(
        order_id=order_id,
        state=found.order.shown,
        waiting_for=found.waiting_for,
        lead=None if found.lead is None else lead_of(found.lead),
        steps=[shown(step) for step in found.steps],
        held_until=found.held_until,
    )


def shown(step: order_flow.Step) -> Step:
    place_id = None if step.place_id is None else str(step.place_id)
    return Step(step.part, step.what, step.happened_at, step.by, step.consignment_id, place_id)


def lead_of(lead: fulfilment.Lead) -> Lead:
    ends = (lead.shipped_at, lead.delivered_at)
    took = [None if end is None else (end - lead.paid_at).total_seconds() for end in ends]
    return Lead(lead.paid_at, *took)


routes = Router("/orders", route_handlers=[find_flow], tags=["orders"])
