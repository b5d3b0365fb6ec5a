"""What buyers contest at their providers: how it stands, and what there is to do."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api import auth
from api.problems import InvalidValue, refuses
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import disputes, ledger
from core.kit import db, ids

Next = Literal["answer", "wait", "charge_back", "nothing"]

State = Annotated[
    disputes.State | None, QueryParameter(name="state", description="How far a dispute is.")
]


class Dispute(msgspec.Struct, frozen=True):
    """A payment that its buyer contests at the provider. Amounts are in minor units.

    `next` is what there is to do: `answer` on the provider's pages, until `respond_by`; `wait` for
    somebody else; `charge_back`: it is lost, and nothing of its order was charged back yet; or
    `nothing`. While `holds`, the order's money is not released by the lapse of time.
    `charged_back` is what was, of all of the order; `stage` and `reason` are the provider's words.
    """

    dispute_id: str
    channel: str
    provider_ref: str
    payment_id: str
    order_id: str
    state: str
    stage: str
    reason: str
    amount: int
    currency: str
    next: Next
    respond_by: datetime | None
    holds: bool
    charged_back: int
    opened_at: datetime
    ended_at: datetime | None


class DisputesPage(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Dispute]
    cursor: str | None


@get("", permission="ledger:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_all(
    pool: NamedDependency[db.Pool],
    wanted: State = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> DisputesPage:
    """List what buyers contest."""
    last = after(cursor)
    before = None if last is None else disputes.DisputeId(last)
    async with db.reading(pool) as conn:
        found = await disputes.listing(conn, state=wanted, before=before, page_max=limit)
        claimed = await ledger.charged_back_of(conn, order_ids={one.order_id for one in found})
    items = [shown(one, claimed.get(one.order_id, 0)) for one in found]
    return DisputesPage(items, items[-1].dispute_id if len(items) == limit else None)


@get(
    "/{dispute_id:str}",
    permission="ledger:read",
    responses=refuses(*auth.SIGNED_IN, disputes.NoSuchDispute),
)
async def find(dispute_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Dispute:
    """Show how one stands."""
    number = ids.parse(dispute_id)
    if number is None:
        raise disputes.NoSuchDispute
    async with db.reading(pool) as conn:
        found = await disputes.find(conn, dispute_id=disputes.DisputeId(number))
        claimed = await ledger.charged_back_of(conn, order_ids=[found.order_id])
    return shown(found, claimed.get(found.order_id, 0))


def shown(one: disputes.Dispute, charged_back: int) -> Dispute:
    return Dispute(
        dispute_id=str(one.id),
        channel=one.channel,
        provider_ref=one.provider_ref,
        payment_id=one.payment_id,
        order_id=one.order_id,
        state=one.state,
        stage=one.stage,
        reason=one.reason,
        amount=one.amount_minor,
        currency=one.currency,
        next=next_of(one, charged_back),
        respond_by=one.respond_by,
        holds=one.is_holding,
        charged_back=charged_back,
        opened_at=one.opened_at,
        ended_at=one.ended_at,
    )


def next_of(one: disputes.Dispute, charged_back: int) -> Next:
    if one.state == disputes.State.OPEN:
        return "answer" if one.is_our_turn else "wait"
    is_missing = one.state == disputes.State.LOST and not charged_back
    return "charge_back" if is_missing else "nothing"


routes = Router("/disputes", route_handlers=[list_all, find], tags=["ledger"])
