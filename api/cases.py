"""An after-sale case as its buyer and staff see it."""

from datetime import datetime

import msgspec

from core import aftersale
from core.kit import db, ids


class Case(msgspec.Struct, frozen=True):
    """`kind` is a return, an exchange or a claim. Amounts are in minor units of `currency`.

    `follow_up` is the order that sends other units for those that came back.
    """

    case_id: str
    order_id: str
    line_no: int
    sku_id: str
    kind: str
    quantity: int
    amount: int
    currency: str
    state: str
    reason: str
    answer: str | None
    carrier: str | None
    tracking: str | None
    place_id: str | None
    condition: str | None
    refund_id: str | None
    refunded: int
    follow_up: str | None
    asked_at: datetime
    ended_at: datetime | None


class Cases(msgspec.Struct, frozen=True):
    items: list[Case]


async def shown_case(conn: db.Conn, case_id: aftersale.CaseId) -> Case:
    return shown(await aftersale.find(conn, case_id=case_id))


def shown(one: aftersale.Case) -> Case:
    return Case(
        case_id=str(one.id),
        order_id=one.order_id,
        line_no=one.line_no,
        sku_id=str(one.sku_id),
        kind=one.kind,
        quantity=one.quantity,
        amount=one.wanted_minor,
        currency=one.currency,
        state=one.state,
        reason=one.reason,
        answer=one.answer,
        carrier=one.carrier,
        tracking=one.tracking,
        place_id=None if one.place_id is None else str(one.place_id),
        condition=one.condition,
        refund_id=one.refund_id,
        refunded=one.refunded_minor,
        follow_up=one.follow_up,
        asked_at=one.asked_at,
        ended_at=one.ended_at,
    )


def case_of(text: str) -> aftersale.CaseId:
    number = ids.parse(text)
    if number is None:
        raise aftersale.NoSuchCase
    return aftersale.CaseId(number)
