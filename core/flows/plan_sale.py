"""Plan a sale: which SKUs, how many, at what price, from when to when."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from core import catalogue, sales, staff
from core.flows.agree_terms import agree_terms
from core.kit import db
from core.kit.refusal import Kind, Refusal

ITEMS_MAX = 20_000
HOLD_S = 15 * 60
BUCKETS_MAX = 64


class PlannedItem(msgspec.Struct, frozen=True):
    """`price_minor` is in the SKU's own currency; `member_limit` is per member and SKU."""

    sku_id: int
    quota: Annotated[int, msgspec.Meta(ge=1, le=10**12)]
    price_minor: Annotated[int, msgspec.Meta(ge=0, le=10**12)]
    member_limit: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class ImpossiblePlan(Refusal):
    """A sale cannot be planned so."""

    kind = Kind.INVALID


async def plan_sale(
    pool: db.Pool,
    *,
    name: str,
    starts_at: datetime,
    ends_at: datetime,
    items: Sequence[PlannedItem],
    hold_s: int = HOLD_S,
    shadow: bool = False,
    bucket_count: int = 1,
    author: staff.Author | None = None,
) -> sales.Sale:
    """Raises ImpossiblePlan, catalogue.NoSuchSku and NotOnSale. Draws no stock yet: arming does."""
    check_plan(starts_at, ends_at, items)
    async with db.transaction(pool) as conn:
        sku_ids = [catalogue.SkuId(item.sku_id) for item in items]
        skus = await catalogue.skus(conn, sku_ids=sku_ids)
        await catalogue.insist_on_sale(conn, sku_ids=sku_ids)
        sellers = await agree_terms(conn, sku_ids)
        sale = await sales.plan(
            conn,
            name=name,
            starts_at=starts_at,
            ends_at=ends_at,
            hold_s=hold_s,
            shadow=shadow,
            bucket_count=bucket_count,
            items=[
                sales.Item(
                    sale_id=sales.SaleId(0),
                    sku_id=item.sku_id,
                    price_minor=item.price_minor,
                    currency=skus[catalogue.SkuId(item.sku_id)].currency,
                    member_limit=item.member_limit,
                    quota=item.quota,
                    seller_id=sellers[item.sku_id].id,
                    commission_bps=sellers[item.sku_id].commission_bps,
                )
                for item in items
            ],
        )
        planned = {"sale": sale, "items": items}
        await staff.note(conn, author, kind="sale", object_id=str(sale.id), after=planned)
    return sale


def check_plan(starts_at: datetime, ends_at: datetime, items: Sequence[PlannedItem]) -> None:
    if ends_at <= starts_at:
        raise ImpossiblePlan("The sale ends before it starts.")
    if not items:
        raise ImpossiblePlan("The sale has no items.")
    if len(items) > ITEMS_MAX:
        raise ImpossiblePlan(f"The sale has more than {ITEMS_MAX} items.", items_max=ITEMS_MAX)
    if len({item.sku_id for item in items}) < len(items):
        raise ImpossiblePlan("A SKU stands twice in the sale.")
