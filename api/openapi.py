"""The OpenAPI document, with what Litestar leaves out of it."""

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.routes import HTTPRoute

from api.requests import Body

# What a route reads as it comes, and so declares nowhere else.
CSV, XLSX = "text/csv", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SHEETS = {
    "/v1/admin/feeds/snapshots": (CSV, XLSX),
    "/v1/admin/imports": (CSV, XLSX),
    "/v1/admin/statements": (CSV,),
}
KEYED = ("/v1/sales/{sale_id}/orders", "/v1/checkouts", "/v1/orders/{order_id}/cases")
RETRYABLE = ("429", "503")

IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    param_in="header",
    required=True,
    description="Repeat a request with the same key, and it has its effect once.",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=64, pattern="^[!-~]+$"),
)
RETRY_AFTER = OpenAPIHeader(
    description="Seconds until another try makes sense.",
    required=True,
    schema=Schema(type=OpenAPIType.INTEGER, minimum=1),
)

CONFIG = OpenAPIConfig(
    title="Sluice",
    version="1",
    summary="Flash sales and orders that are never oversold.",
    path="/schema",
    render_plugins=[JsonRenderPlugin(path="/openapi.json")],
    components=Components(
        security_schemes={
            "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
        }
    ),
    use_handler_docstrings=True,
)


def complete(app: Litestar) -> None:
    """Write into the document what its generator does not know."""
    document = app.openapi_schema
    strict = {body.__name__ for body in _bodies()}
    for schema in (document.components.schemas if document.components else {}).values():
        if schema.title in strict:
            schema.additional_properties = False
    needed = permissions(app)
    for path, item in (document.paths or {}).items():
        for method, operation in (("GET", item.get), ("POST", item.post)):
            if operation is not None:
                _complete_operation(path, operation)
                if method == "POST" and path in SHEETS:
                    _tell_sheet(path, operation)
                _tell_permission(operation, needed.get((method, path)))


def permissions(app: Litestar) -> dict[tuple[str, str], str]:
    """What each route of the back office needs: method and path -> permission."""
    return {
        (method, route.path_format): handler.opt["permission"]
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if "permission" in handler.opt
    }


def _tell_permission(operation: Operation, permission: str | None) -> None:
    """OpenAPI lets a scheme that knows no scopes name what a caller has to be allowed."""
    if permission is not None:
        operation.security = [{"bearer": [permission]}]
        said = f"{operation.description}\n\n" if operation.description else ""
        operation.description = f"{said}Needs the permission `{permission}`."


def _complete_operation(path: str, operation: Operation) -> None:
    if path in KEYED:
        operation.parameters = [*(operation.parameters or []), IDEMPOTENCY_KEY]
    for status, response in (operation.responses or {}).items():
        if status in RETRYABLE and isinstance(response, OpenAPIResponse):
            response.headers = {**(response.headers or {}), "Retry-After": RETRY_AFTER}


def _tell_sheet(path: str, operation: Operation) -> None:
    file = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY))
    operation.request_body = RequestBody(dict.fromkeys(SHEETS[path], file), required=True)


def _bodies() -> list[type[Body]]:
    found = list(Body.__subclasses__())
    for body in found:
        found += body.__subclasses__()
    return found
