"""Run sales: plan, arm, pause, resume, close, audit."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from api import auth, shapes
from api.admin.changes import Changes
from api.problems import refuses
from api.requests import READS_BODY, Body
from core import catalogue, inventory, sales
from core.flows import audit_sale, plan_sale, run_sale
from core.flows.directory import Directory, view_from_postgres
from core.kit import db, ids
from core.kit.states import IllegalMove
from hotpath.nodes import Redis

PLAN_BYTES_MAX = 4 * 1024 * 1024
NAME_MAX = 200
HOLD_MAX_S = 7 * 24 * 60 * 60

Move = Callable[..., Awaitable[sales.Sale]]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
MOVES = refuses(
    *auth.SIGNED_IN,
    sales.NoSuchSale,
    IllegalMove,
    catalogue.NotOnSale,
    sales.NotReady,
    inventory.OutOfStock,
    sales.Unavailable,
)


class PlannedItem(Body, frozen=True):
    """`price` is in minor units of the SKU's own currency; `limit` is per member."""

    sku_id: str
    quota: Annotated[int, msgspec.Meta(ge=1, le=10**12)]
    price: Annotated[int, msgspec.Meta(ge=0, le=10**12)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Plan(Body, frozen=True):
    """`hold_s` is how long an unpaid order keeps its units.

    Claims are decided in `buckets` parts side by side: more than 1 for a Redis Cluster.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]
    starts_at: Moment
    ends_at: Moment
    items: Annotated[list[PlannedItem], msgspec.Meta(min_length=1, max_length=plan_sale.ITEMS_MAX)]
    hold_s: Annotated[int, msgspec.Meta(ge=1, le=HOLD_MAX_S)] = plan_sale.HOLD_S
    buckets: Annotated[int, msgspec.Meta(ge=1, le=plan_sale.BUCKETS_MAX)] = 1


class RunSale(msgspec.Struct, frozen=True):
    """A sale as its operator sees it. `left` lags Redis by a quarter of a second."""

    sale_id: str
    name: str
    state: str
    starts_at: datetime
    ends_at: datetime
    settled: bool
    items: list[shapes.SaleItem]


class AuditedItem(msgspec.Struct, frozen=True):
    sku_id: str
    quota: int
    sold: int
    in_flight: int
    left: int
    returned: int
    drift: int


class Audit(msgspec.Struct, frozen=True):
    """quota = left + in_flight + sold + returned + drift, per SKU."""

    sale_id: str
    state: str
    items: list[AuditedItem]
    in_flight: int
    drift: int


@post(
    "/sales",
    permission="sales:plan",
    request_max_body_size=PLAN_BYTES_MAX,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        plan_sale.ImpossiblePlan,
        catalogue.NoSuchSku,
        catalogue.NotOnSale,
    ),
)
async def plan(
    data: JSONBody[Plan],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
    directory: NamedDependency[Directory],
) -> RunSale:
    """Write a sale down. It draws no stock before it is armed."""
    sale = await plan_sale.plan_sale(
        pool,
        name=data.name,
        starts_at=shapes.moment("starts_at", data.starts_at),
        ends_at=shapes.moment("ends_at", data.ends_at),
        items=[
            plan_sale.PlannedItem(_sku_id(item.sku_id), item.quota, item.price, item.limit)
            for item in data.items
        ],
        hold_s=data.hold_s,
        bucket_count=data.buckets,
        author=changes.author,
    )
    return await _shown(pool, directory, sale.id)


@get(
    "/sales/{sale_id:str}",
    permission="sales:read",
    responses=refuses(*auth.SIGNED_IN, sales.NoSuchSale),
)
async def find(
    sale_id: FromPath[str], pool: NamedDependency[db.Pool], directory: NamedDependency[Directory]
) -> RunSale:
    return await _shown(pool, directory, _sale_id(sale_id))


def mover(verb: str, flow: Move, what: str) -> HTTPRouteHandler:
    """The route that takes a sale through one flow."""

    @post(
        f"/sales/{{sale_id:str}}/{verb}",
        permission="sales:run",
        status_code=200,
        responses=MOVES,
        summary=verb.capitalize(),
        description=what,
    )
    async def move(
        sale_id: FromPath[str],
        changes: NamedDependency[Changes],
        pool: NamedDependency[db.Pool],
        redis: NamedDependency[Redis],
        directory: NamedDependency[Directory],
    ) -> RunSale:
        wanted = _sale_id(sale_id)
        await flow(pool, redis, sale_id=wanted, author=changes.author)
        await directory.refresh()
        return await _shown(pool, directory, wanted)

    return move


movers = [
    mover(
        "arm",
        run_sale.arm_sale,
        "Draw the quota from stock and load it; the sale opens at `starts_at`.",
    ),
    mover("pause", run_sale.pause_sale, "Take no claims until it is resumed."),
    mover("resume", run_sale.resume_sale, "Let a paused sale go on."),
    mover(
        "close",
        run_sale.close_sale,
        "End it for good. What was not sold goes back to stock.",
    ),
]


@get(
    "/sales/{sale_id:str}/audit",
    permission="sales:read",
    responses=refuses(*auth.SIGNED_IN, sales.NoSuchSale, audit_sale.CannotAudit),
)
async def audit(
    sale_id: FromPath[str], pool: NamedDependency[db.Pool], redis: NamedDependency[Redis]
) -> Audit:
    """Compare Redis with Postgres, unit by unit, while the sale runs."""
    return shown_audit(await audit_sale.audit_sale(pool, redis, sale_id=_sale_id(sale_id)))


def shown_audit(found: audit_sale.SaleAudit) -> Audit:
    return Audit(
        sale_id=str(found.sale_id),
        state=found.state,
        items=[
            AuditedItem(str(i.sku_id), i.quota, i.sold, i.in_flight, i.left, i.returned, i.drift)
            for i in found.items
        ],
        in_flight=found.in_flight,
        drift=found.drift,
    )


async def _shown(pool: db.Pool, directory: Directory, sale_id: sales.SaleId) -> RunSale:
    view = directory.sale(sale_id) or await view_from_postgres(pool, sale_id=sale_id)
    sale = shapes.sale(view, now=view.starts_at)
    return RunSale(
        sale_id=sale.sale_id,
        name=sale.name,
        state=sale.state,
        starts_at=sale.starts_at,
        ends_at=sale.ends_at,
        settled=view.settled,
        items=sale.items,
    )


def _sale_id(text: str) -> sales.SaleId:
    sale_id = ids.parse(text)
    if sale_id is None:
        raise sales.NoSuchSale
    return sales.SaleId(sale_id)


def _sku_id(text: str) -> int:
    sku_id = ids.parse(text)
    if sku_id is None:
        raise catalogue.NoSuchSku(sku_id=text[: shapes.CURSOR_MAX])
    return sku_id


routes = Router(
    "/",
    route_handlers=[plan, find, *movers, audit],
    tags=["back office"],
)
