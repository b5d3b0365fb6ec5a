"""Every route of the back office says who may take it, and what one changes is noted.

To add one: `permission="noun:verb"` in its decorator, and `changes: NamedDependency[Changes]` in
its signature, by which it opens its transaction or tells a flow who its author is.
"""

import base64

import pytest
from litestar import Litestar, Router, get, post
from litestar.testing import TestClient

from api import auth, problems
from api.app import create_app
from api.openapi import permissions
from core import staff
from core.settings import Settings
from tests.api.conftest import RECEIPT_KEY, SECRET, token

BACK_OFFICE = "/v1/admin"


def undeclared(app: Litestar) -> list[str]:
    """Routes of the back office without a permission that exists."""
    declared = permissions(app)
    return [
        f"{method} {path}"
        for method, path, _ in routes(app)
        if declared.get((method, path)) not in set(staff.Permission)
    ]


def unguarded(app: Litestar) -> list[str]:
    return [
        f"{method} {path}"
        for method, path, handler in routes(app)
        if auth.needs_permission not in {getattr(g, "ref", g) for g in handler.resolve_guards()}
    ]


def unnoted(app: Litestar) -> list[str]:
    """Routes that change something and have no author to note it by, and the other way round."""
    return [
        f"{method} {path}"
        for method, path, handler in routes(app)
        if (method != "GET") != ("changes" in handler.parsed_fn_signature.parameters)
    ]


def routes(app: Litestar):
    for route in app.routes:
        for handler in route.route_handlers:
            for method in sorted(set(getattr(handler, "http_methods", ())) - {"OPTIONS"}):
                if route.path_format.startswith(BACK_OFFICE):
                    yield method, route.path_format, handler


@pytest.fixture(scope="module")
def built():
    """The application, with nothing started."""
    keys = f"1:{base64.b64encode(RECEIPT_KEY).decode()}"
    return create_app(Settings(token_secret=SECRET, receipt_keys=keys))


def test_every_route_declares_a_permission_and_every_change_is_noted(built):
    assert len(list(routes(built))) > 40
    assert undeclared(built) == []
    assert unguarded(built) == []
    assert unnoted(built) == []


def test_only_what_changes_nothing_needs_a_permission_to_read(built):
    odd = [
        key
        for key, needed in permissions(built).items()
        if (key[0] == "GET") != needed.endswith(":read")
    ]
    assert odd == []


@get("/forgotten")
async def forgotten() -> None: ...


@post("/mistyped", permission="catalogue:destroy")
async def mistyped() -> None: ...


@post("/silent", permission="catalogue:write")
async def silent() -> None: ...


def test_a_route_that_forgets_is_found_and_closed_to_all():
    admin = Router(BACK_OFFICE, route_handlers=[forgotten, mistyped, silent])
    open_ = Litestar([admin], openapi_config=None)
    assert undeclared(open_) == ["GET /v1/admin/forgotten", "POST /v1/admin/mistyped"]
    assert unguarded(open_) == [*undeclared(open_), "POST /v1/admin/silent"]
    assert unnoted(open_) == ["POST /v1/admin/mistyped", "POST /v1/admin/silent"]

    admin.guards = [auth.needs_permission]
    closed = Litestar([admin], openapi_config=None, exception_handlers=problems.HANDLERS)
    closed.state.settings = Settings(token_secret=SECRET)
    headers = {"Authorization": f"Bearer {token('admin', 'admin')}"}
    with TestClient(closed) as client:
        assert client.get("/v1/admin/forgotten", headers=headers).status_code == 403
        assert client.post("/v1/admin/mistyped", headers=headers).status_code == 403
        assert client.post("/v1/admin/silent", headers=headers).status_code == 201


def test_the_document_tells_what_each_route_needs(built):
    told = built.openapi_schema.to_schema()["paths"]["/v1/admin/skus/{sku_id}/prices"]["post"]
    assert told["security"] == [{"bearer": ["catalogue:price"]}]
    assert told["description"].endswith("Needs the permission `catalogue:price`.")
    assert {"401", "403"} <= told["responses"].keys()
