"""The provider's HTTP: what a merchant calls with its token, and what a buyer's browser opens."""

import asyncio
import base64
import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode

import httpx
import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get, post, put
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery

from api import played, texts
from core.settings import Settings, UnreadableSettings

from . import acts, page, shapes, store
from .acts import Desk, Refused
from .certificates import Notary, establish
from .delivery import Courier
from .model import Behaviour, Order, Play, WantCapture, WantOrder, WantRefund

BODY_BYTES_MAX = 65_536
PAGE_MAX = 500
SENT_MAX = 500
SECRET_BYTES_MIN = 16
TOKEN_S = 32_400

Shape = TypeVar("Shape")
AnyRequest = Request[Any, Any, Any]
Answer = Response[Any]


@post("/v1/oauth2/token", status_code=200)
async def give_token(request: AnyRequest, state: State) -> shapes.Document:
    if not is_same(request.headers.get("authorization", ""), state.basic):
        raise Refused(401, "invalid_client", "Client Authentication failed")
    form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    if form.get("grant_type") != ["client_credentials"]:
        raise Refused(400, "unsupported_grant_type", "Grant Type is NULL")
    return {
        "scope": "https://uri.paypal.com/services/payments/payment",
        "access_token": state.token,
        "token_type": "Bearer",
        "app_id": "APP-80W284485P519543T",
        "expires_in": TOKEN_S,
        "nonce": secrets.token_hex(16),
    }


@post("/v2/checkout/orders")
async def create_order(request: AnyRequest, state: State) -> Answer:
    wanted, digest = await read(request, WantOrder)
    (unit,) = wanted.purchase_units
    desk = desk_of(state)
    with desk.conn:
        order_id, is_new = once(desk, request, digest, acts.new_id)
        if is_new:
            acts.open_order(desk, wanted, unit, order_id=order_id)
        return Response(desk.shown(desk.order(order_id)), status_code=201 if is_new else 200)


@get("/v2/checkout/orders/{order_id:str}")
async def show_order(state: State, order_id: FromPath[str]) -> shapes.Document:
    desk = desk_of(state)
    with desk.conn:
        return desk.shown(desk.order(order_id))


@post("/v2/checkout/orders/{order_id:str}/capture")
async def capture_order(request: AnyRequest, state: State, order_id: FromPath[str]) -> Answer:
    return take_step(request, state, order_id, acts.capture)


@post("/v2/checkout/orders/{order_id:str}/authorize")
async def authorize_order(request: AnyRequest, state: State, order_id: FromPath[str]) -> Answer:
    return take_step(request, state, order_id, acts.authorize)


def take_step(
    request: AnyRequest, state: State, order_id: str, act: Callable[[Desk, Order], None]
) -> Answer:
    desk = desk_of(state)
    with desk.conn:
        order = desk.order(order_id)
        _, is_new = once(desk, request, "", lambda: order.id)
        if is_new:
            act(desk, order)
        return Response(desk.shown(desk.order(order_id)), status_code=201 if is_new else 200)


@get("/v2/payments/authorizations/{authorization_id:str}")
async def show_authorization(state: State, authorization_id: FromPath[str]) -> shapes.Document:
    desk = desk_of(state)
    with desk.conn:
        return shapes.authorization_of(desk.authorization(authorization_id), url=state.url)


@post("/v2/payments/authorizations/{authorization_id:str}/capture")
async def capture_authorization(
    request: AnyRequest, state: State, authorization_id: FromPath[str]
) -> Answer:
    wanted, digest = await read(request, WantCapture)
    desk = desk_of(state)
    with desk.conn:
        held = desk.authorization(authorization_id)
    with desk.conn:
        capture_id, is_new = once(desk, request, digest, acts.new_id)
        if is_new:
            acts.capture_held(desk, held, wanted, capture_id=capture_id)
        told = shapes.capture_of(desk.capture(capture_id), url=state.url)
        return Response(told, status_code=201 if is_new else 200)


@post("/v2/payments/authorizations/{authorization_id:str}/void")
async def void_authorization(
    request: AnyRequest, state: State, authorization_id: FromPath[str]
) -> Answer:
    """With a body where the merchant wants one, as PayPal has it."""
    desk = desk_of(state)
    with desk.conn:
        held = desk.authorization(authorization_id)
    with desk.conn:
        _, is_new = once(desk, request, "", lambda: held.id)
        if is_new:
            acts.void(desk, held)
    told = shapes.authorization_of(desk.authorization(authorization_id), url=state.url)
    is_wanted = request.headers.get("prefer") == "return=representation"
    return Response(told) if is_wanted else Response(None, status_code=204)


@get("/v2/payments/captures/{capture_id:str}")
async def show_capture(state: State, capture_id: FromPath[str]) -> shapes.Document:
    return shapes.capture_of(desk_of(state).capture(capture_id), url=state.url)


@post("/v2/payments/captures/{capture_id:str}/refund")
async def refund_capture(request: AnyRequest, state: State, capture_id: FromPath[str]) -> Answer:
    wanted, digest = await read(request, WantRefund)
    desk = desk_of(state)
    with desk.conn:
        taken = desk.capture(capture_id)
        refund_id, is_new = once(desk, request, digest, acts.new_id)
        if is_new:
            acts.refund(desk, taken, wanted, refund_id=refund_id)
        told = shapes.refund_of(desk.refund(refund_id), url=state.url)
        return Response(told, status_code=201 if is_new else 200)


@get("/v2/payments/refunds/{refund_id:str}")
async def show_refund(state: State, refund_id: FromPath[str]) -> shapes.Document:
    return shapes.refund_of(desk_of(state).refund(refund_id), url=state.url)


@get("/v1/customer/disputes/{dispute_id:str}")
async def show_dispute(state: State, dispute_id: FromPath[str]) -> shapes.Document:
    desk = desk_of(state)
    found = desk.dispute(dispute_id)
    return shapes.dispute_of(desk.capture(found.capture_id), found)


@get("/v1/reporting/transactions")
async def statement(
    state: State,
    start_date: FromQuery[str],
    end_date: FromQuery[str],
    page: FromQuery[int] = 1,
    page_size: FromQuery[int] = 100,
) -> shapes.Document:
    """Each movement of money, oldest first."""
    if page < 1 or not 1 <= page_size <= PAGE_MAX:
        raise Refused(400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE")
    conn = desk_of(state).conn
    lines = store.statement(conn, since=start_date, until=end_date)
    written_at = datetime.now(UTC) + timedelta(seconds=store.behaviour(conn).written_s)
    shown = lines[(page - 1) * page_size : page * page_size]
    return {
        "transaction_details": [shapes.line_of(line) for line in shown],
        "last_refreshed_datetime": written_at.isoformat(),
        "page": page,
        "total_items": len(lines),
        "total_pages": -(-len(lines) // page_size),
    }


@get("/v1/notifications/certs/{certificate_id:str}", media_type=MediaType.TEXT)
async def certificate(state: State, certificate_id: FromPath[str]) -> bytes:
    if certificate_id != state.notary.certificate_id:
        raise acts.not_found()
    return state.notary.chain


@get("/checkoutnow")
async def ask_buyer(
    request: AnyRequest, state: State, token: FromQuery[str], lang: FromQuery[str | None] = None
) -> Response[str]:
    order = desk_of(state).order(token)
    language = texts.language(lang or request.headers.get("accept-language") or "")
    return Response(page.render(order, language), media_type=MediaType.HTML, headers=page.HEADERS)


@post("/checkoutnow")
async def choose(request: AnyRequest, state: State, token: FromQuery[str]) -> Response[None]:
    """The buyer's click."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    choice = form.get("choice", [""])[0]
    desk = desk_of(state)
    order = desk.order(token)
    back, told = order.cancel_url, {"token": order.id}
    if choice == "approve":
        with desk.conn:
            acts.approve(desk, order)
        back, told = order.return_url, {**told, "PayerID": "SLUICEBUYER00"}
    elif choice != "cancel":
        raise Refused(400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE")
    if back is None:
        raise acts.not_found()
    where = f"{back}{'&' if '?' in back else '?'}{urlencode(told)}"
    return Response(None, status_code=303, headers={"Location": where})


@put("/_behaviour")
async def behave(request: AnyRequest, state: State) -> Behaviour:
    """For tests: from now on, misbehave like this."""
    said, _ = await read(request, Behaviour)
    with desk_of(state).conn as conn:
        played.behave(conn, said)
    return said


@get("/_sent")
async def sent(state: State) -> list[shapes.Document]:
    """For tests: the webhooks, newest first, as they went out."""
    return [
        {"headers": msgspec.json.decode(one.headers), "body": one.body.decode()}
        for one in played.sent(desk_of(state).conn, page_max=SENT_MAX)
    ]


@post("/_sign", status_code=200)
async def sign(request: AnyRequest, state: State) -> dict[str, str]:
    """For tests: the headers that make a webhook of any body."""
    return desk_of(state).courier.signed(await request.body())


@post("/_play", status_code=200)
async def play(request: AnyRequest, state: State) -> Play:
    """For tests: what happens to money without the merchant."""
    said, _ = await read(request, Play)
    desk = desk_of(state)
    with desk.conn:
        acts.play(desk, said.id, said.act)
    return said


@get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "live"}


async def read(request: AnyRequest, shape: type[Shape]) -> tuple[Shape, str]:
    """What the body says, and its digest."""
    body = await request.body()
    try:
        return msgspec.json.decode(body or b"{}", type=shape), hashlib.sha256(body).hexdigest()
    except msgspec.ValidationError as error:
        raise Refused(400, "INVALID_REQUEST", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refused(400, "INVALID_REQUEST", "MALFORMED_REQUEST_JSON") from None


def once(desk: Desk, request: AnyRequest, digest: str, make: Callable[[], str]) -> tuple[str, bool]:
    """What a PayPal-Request-Id stands for, and whether that is new. Without one, all is new."""
    named = request.headers.get("paypal-request-id")
    key = f"{request.scope['path']} {named}"
    before = store.request(desk.conn, key) if named else None
    if before is None:
        made = make()
        if named:
            store.add_request(desk.conn, key, digest, made)
        return made, True
    if before[0] != digest:
        raise acts.unprocessable("PAYPAL_REQUEST_ID_PREVIOUSLY_USED")
    return before[1], False


def desk_of(state: State) -> Desk:
    """`with desk.conn` is one transaction. No `await` inside: there is one connection for all."""
    return state.desk


def is_same(claimed: str, expected: str) -> bool:
    return hmac.compare_digest(claimed.encode(), expected.encode())


def say_no(_: AnyRequest, refused: Refused) -> Answer:
    told: shapes.Document = {
        "name": refused.name,
        "message": "The requested action could not be performed.",
        "debug_id": secrets.token_hex(6),
        "details": [{"issue": refused.issue, "description": refused.issue}],
        "links": [],
    }
    if refused.name.islower():
        told = {"error": refused.name, "error_description": refused.issue}
    return Response(told, status_code=refused.status)


async def check_token(request: AnyRequest) -> None:
    if not is_same(request.headers.get("authorization", ""), f"Bearer {request.app.state.token}"):
        raise Refused(401, "AUTHENTICATION_FAILURE", "INVALID_TOKEN")


async def misbehave(request: AnyRequest) -> Answer | None:
    """Ahead of a merchant's call: be slow, or down. The path of certificates is one too."""
    behaviour = store.behaviour(desk_of(request.app.state).conn)
    await asyncio.sleep(behaviour.slow_s)
    if behaviour.down:
        return Response("<h1>503</h1>", status_code=503, media_type=MediaType.HTML)
    return None


async def check_token_and_misbehave(request: AnyRequest) -> Answer | None:
    await check_token(request)
    return await misbehave(request)


def losing(conn: sqlite3.Connection) -> Callable[[Answer], Awaitable[Answer]]:
    """Behind a call that was done: let the merchant not hear of it."""

    async def lose(answer: Answer) -> Answer:
        behaviour = store.behaviour(conn)
        if behaviour.loses_answers:
            return Response("<h1>504</h1>", status_code=504, media_type=MediaType.HTML)
        if behaviour.nonsense:
            return Response({"status": [17], "id": None}, status_code=200)
        return answer

    return lose


def routes(lose: Callable[[Answer], Awaitable[Answer]]) -> list[Any]:
    orders = [create_order, show_order, capture_order, authorize_order]
    held = [show_authorization, capture_authorization, void_authorization]
    return [
        Router(
            "/",
            route_handlers=[
                *orders,
                *held,
                show_capture,
                refund_capture,
                show_refund,
                show_dispute,
                statement,
            ],
            before_request=check_token_and_misbehave,
            after_request=lose,
        ),
        Router(
            "/",
            route_handlers=[give_token, certificate],
            before_request=misbehave,
            after_request=lose,
        ),
        Router("/", route_handlers=[behave, sent, sign, play], before_request=check_token),
        ask_buyer,
        choose,
        live,
    ]


def create_paypal(settings: Settings) -> Litestar:
    """Keeps its books in `paypal.db` and its keys in `paypal`, under SLUICE_HOME."""
    if len(settings.paypal_secret.encode()) < SECRET_BYTES_MIN:
        raise UnreadableSettings(f"SLUICE_PAYPAL_SECRET needs {SECRET_BYTES_MIN} bytes or more")
    folder = settings.home_path / "paypal"
    establish(folder)
    notary = Notary(folder)
    conn = store.connect(settings.home_path / "paypal.db")
    named = f"{settings.paypal_client_id}:{settings.paypal_secret}"
    known = {
        "basic": f"Basic {base64.b64encode(named.encode()).decode()}",
        "token": secrets.token_urlsafe(48),
        "notary": notary,
        "url": settings.paypal_url.rstrip("/"),
    }
    return Litestar(
        routes(losing(conn)),
        state=State(known),
        lifespan=[partial(open_desk, settings=settings, conn=conn)],
        exception_handlers={Refused: say_no},
        openapi_config=None,
        request_max_body_size=BODY_BYTES_MAX,
    )


@asynccontextmanager
async def open_desk(
    app: Litestar, *, settings: Settings, conn: sqlite3.Connection
) -> AsyncIterator[None]:
    """Deliver webhooks for as long as the service runs."""
    with closing(conn):
        async with httpx.AsyncClient(trust_env=False) as http:
            courier = Courier(
                conn,
                http,
                app.state.notary,
                url=app.state.url,
                hook_url=f"{settings.shop_url}/v1/webhooks/paypal",
                webhook_id=settings.paypal_webhook_id,
            )
            app.state.desk = Desk(conn, courier, app.state.url)
            async with courier.running():
                yield
