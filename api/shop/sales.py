"""The sales, as a buyer sees them."""

import msgspec
from litestar import Router, get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from api import shapes
from api.problems import InvalidValue, refuses
from api.shapes import PAGE_DEFAULT, Cursor, Limit, Sale
from api.shop.events import TooManyWatchers, Watch
from core import sales
from core.flows.directory import Directory, SaleView, view_from_postgres
from core.kit import db, ids

WATCHED = frozenset({"armed", "open", "paused", "closed"})


class Sales(msgspec.Struct, frozen=True):
    """Newest first. `cursor` is null on the last page."""

    items: list[Sale]
    cursor: str | None


@get("/sales", responses=refuses(InvalidValue))
async def listing(
    directory: NamedDependency[Directory], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Sales:
    """List the sales that are announced, running or just over."""
    start = shapes.after(cursor)
    now = shapes.server_time()
    found = [sale for sale in directory.listing() if start is None or sale.id < start]
    page = found[:limit]
    return Sales(
        items=[shapes.sale(sale, now=now) for sale in page],
        cursor=str(page[-1].id) if len(found) > limit else None,
    )


@get("/sales/{sale_id:str}", responses=refuses(sales.NoSuchSale))
async def find(
    sale_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    directory: NamedDependency[Directory],
) -> Sale:
    """Look at a sale: its window, its prices, and what is left."""
    return shapes.sale(await find_view(sale_id, pool, directory), now=shapes.server_time())


@get(
    "/sales/{sale_id:str}/events",
    media_type="text/event-stream",
    cache_control=CacheControlHeader(no_store=True),
    responses=refuses(sales.NoSuchSale, TooManyWatchers),
)
async def events(
    sale_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    directory: NamedDependency[Directory],
    watch: NamedDependency[Watch],
) -> Stream:
    """Follow a sale: an event `sale` with `state`, `left` and `server_time` on every change."""
    sale = await find_view(sale_id, pool, directory)
    watch.refuse_when_full()
    return Stream(
        watch.stream(sale),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def find_view(text: str, pool: db.Pool, directory: Directory) -> SaleView:
    """Raises sales.NoSuchSale. A sale that nobody runs any more is read from Postgres."""
    sale_id = ids.parse(text)
    if sale_id is None:
        raise sales.NoSuchSale
    found = directory.sale(sale_id)
    if found is not None:
        return found
    view = await view_from_postgres(pool, sale_id=sales.SaleId(sale_id))
    if view.state in WATCHED:
        # It was armed a moment ago, and only the directory knows what is left.
        await directory.refresh()
    return directory.sale(sale_id) or view


routes = Router("/v1", route_handlers=[listing, find, events], tags=["sales"])
