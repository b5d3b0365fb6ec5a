"""What several routes read or write the same way: sales, lists, times."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar.params import QueryParameter

from api.problems import InvalidValue
from core import orders
from core.flows.directory import SaleView
from core.kit import ids
from hotpath.ids import parts

PAGE_DEFAULT = 20
PAGE_MAX = 100
CURSOR_MAX = 64

Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MAX, description="How many to list.")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=CURSOR_MAX, description="The last answer's `cursor`.")
]


class SaleItem(msgspec.Struct, frozen=True):
    """`price` is in minor units of `currency`; `limit` is per member and SKU."""

    sku_id: str
    price: int
    currency: str
    quota: int
    left: int
    limit: int


class Sale(msgspec.Struct, frozen=True):
    sale_id: str
    name: str
    state: str
    starts_at: datetime
    ends_at: datetime
    server_time: datetime
    items: list[SaleItem]


def sale(view: SaleView, *, now: datetime) -> Sale:
    return Sale(
        sale_id=str(view.id),
        name=view.name,
        state=view.state,
        starts_at=view.starts_at,
        ends_at=view.ends_at,
        server_time=now,
        items=[
            SaleItem(str(i.sku_id), i.price_minor, i.currency, i.quota, i.left, i.member_limit)
            for i in view.items
        ],
    )


def server_time() -> datetime:
    return datetime.now(UTC)


def before(cursor: str | None) -> orders.OrderId | None:
    """The order that the last page ended with."""
    if cursor is not None and parts(cursor) is None:
        raise InvalidValue(errors=[{"parameter": "cursor", "detail": "This is no cursor of ours."}])
    return None if cursor is None else orders.OrderId(cursor)


def after(cursor: str | None) -> int | None:
    """The id that the last page ended with."""
    if cursor is None:
        return None
    found = ids.parse(cursor)
    if found is None:
        raise InvalidValue(errors=[{"parameter": "cursor", "detail": "This is no cursor of ours."}])
    return found
