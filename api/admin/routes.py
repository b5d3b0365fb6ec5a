"""Every route of the back office, behind one guard: each declares the permission it needs."""

from litestar import Router
from litestar.di import Provide

from api import auth
from api.admin import (
    cases,
    categories,
    changes,
    consignments,
    counts,
    disputes,
    feeds,
    flow,
    ledger,
    log,
    orders,
    people,
    products,
    sales,
    settlement,
    sheets,
    statements,
    stock,
    transfers,
    webhooks,
)

routes = Router(
    "/v1/admin",
    route_handlers=[
        categories.routes,
        products.routes,
        orders.routes,
        flow.routes,
        consignments.routes,
        cases.routes,
        sales.routes,
        sheets.routes,
        stock.routes,
        transfers.routes,
        counts.routes,
        feeds.routes,
        ledger.routes,
        settlement.routes,
        statements.routes,
        disputes.routes,
        log.routes,
        people.routes,
        webhooks.routes,
    ],
    guards=[auth.needs_permission],
    security=auth.SECURITY,
    dependencies={"changes": Provide(changes.provide_changes, sync_to_thread=False)},
)
