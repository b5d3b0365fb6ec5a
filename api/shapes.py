"""What several routes read or write the same way: sales, lists, times."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar.params import QueryParameter

from api.problems import InvalidValue
from core import orders
from core.flows.directory import SaleView
from core.kit import ids
from hotpath.ids import is_id

PAGE_DEFAULT = 20
PAGE_MAX = 100
CURSOR_MAX = 64
# Postgres and Python agree on every time between these, in every time zone.
FIRST_YEAR, LAST_YEAR = 2000, 2200

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


class OrderLine(msgspec.Struct, frozen=True):
    """`price` is of one unit, the other amounts of all of them, in minor units.

    `tax` is added to the price, `included_tax` stands in it already: `amount` is what the units
    come to, less `discount`, plus `tax`.
    """

    line_no: int
    sku_id: str
    quantity: int
    price: int
    discount: int
    tax: int
    included_tax: int
    amount: int


def order_lines(lines: Iterable[orders.Line]) -> list[OrderLine]:
    return [
        OrderLine(
            line_no=line.line_no,
            sku_id=str(line.sku_id),
            quantity=line.quantity,
            price=line.price_minor,
            discount=line.discount_minor,
            tax=line.tax_minor,
            included_tax=line.included_tax_minor,
            amount=line.amount_minor,
        )
        for line in lines
    ]


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


def moment(field: str, value: datetime) -> datetime:
    """In UTC. Raises InvalidValue."""
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        detail = f"Expected a year between {FIRST_YEAR} and {LAST_YEAR}"
        raise InvalidValue(detail, errors=[{"pointer": f"/{field}", "detail": detail}])
    return value.astimezone(UTC)


def before(cursor: str | None) -> orders.OrderId | None:
    """The order that the last page ended with."""
    if cursor is not None and not is_id(cursor):
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
