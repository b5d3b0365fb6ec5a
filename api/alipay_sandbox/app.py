"""The HTTP of the Alipay we play: `gateway.do`, and the page that a buyer's browser opens."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import msgspec
from litestar import Litestar, MediaType, Request, Response, get, post, put, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery

from api import played, texts
from api.sandbox import page
from api.sandbox.model import Checkout

from . import clock, store
from .bills import Desk
from .delivery import Courier
from .gateway import CLOSED, PAID, SUCCESS, WAITING, Answer, Gateway, Refused, read
from .model import Address, Behaviour, Merchant, Trade, WantBill, WantTrade
from .signature import Signer, joined

BODY_BYTES_MAX = 65_536
FIELDS_MAX = 100
EXPIRY_S = 15 * 24 * 3600.0
ENDLESS_BYTES = 1_048_576
NAME = {"en": "Alipay, as Sluice plays it", "zh": "支付宝 · Sluice 模拟"}
BILL = "alipay.data.dataservice.bill.downloadurl.query"
# What the page of the sandbox calls a trade's status; one that was refunded says so by its sum.
SHOWN = {WAITING: "open", PAID: "paid", CLOSED: "closed"}
# method -> product code
PAGES = {
    "alipay.trade.page.pay": "FAST_INSTANT_TRADE_PAY",
    "alipay.trade.wap.pay": "QUICK_WAP_WAY",
}

AnyRequest = Request[Any, Any, Any]


@route("/gateway.do", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
async def gateway(request: AnyRequest, state: State) -> Response[Any]:
    fields = await read_fields(request)
    behaviour = store.behaviour(state.books)
    await asyncio.sleep(behaviour.slow_s)
    if behaviour.down:
        raise refused(503, "down")
    method = fields.get("method", "")
    if method in PAGES:
        return open_page(state, fields, method)
    name = method.replace(".", "_") + "_response"
    answer = answer_to(state, fields, method, site=f"{request.base_url}")
    return spoilt(state, name, answer, behaviour)


def answer_to(state: State, fields: dict[str, str], method: str, *, site: str) -> Answer:
    content = fields.get("biz_content", "")
    try:
        check(state, fields)
        with state.books:
            if method == BILL:
                return bill_address(state, content, site)
            return state.gateway.answer(method, content)
    except Refused as no:
        return no.answer


def bill_address(state: State, content: str, site: str) -> Answer:
    try:
        found = state.desk.address(state.books, read(content, WantBill), site=site)
    except ValueError as error:
        raise Refused("isp.inline_invalid_arguments", str(error)) from None
    if found is None:
        raise Refused("isp.bill_not_exist", "账单不存在")
    return {**SUCCESS, "bill_download_url": found}


def check(state: State, fields: dict[str, str]) -> None:
    wrong = {
        "isv.invalid-app-id": fields.get("app_id") != state.merchant.app_id,
        "isv.invalid-signature-type": fields.get("sign_type") != "RSA2",
        "isv.invalid-charset": fields.get("charset", "").lower() != "utf-8",
        "isv.invalid-version": fields.get("version") != "1.0",
        "isv.invalid-timestamp": not clock.is_time(fields.get("timestamp", "")),
        "isv.invalid-signature": not state.signer.is_from_app(fields),
    }
    for sub_code, is_wrong in wrong.items():
        if is_wrong:
            raise Refused(sub_code, "验签或公共参数错误", code="40002")


def open_page(state: State, fields: dict[str, str], method: str) -> Response[None]:
    """A buyer arrives. From now on there is a trade, and it waits for money."""
    try:
        check(state, fields)
        wanted = wanted_trade(fields, method)
        expires_at_s = clock.seconds(wanted.time_expire) if wanted.time_expire else None
    except (Refused, msgspec.ValidationError, ValueError) as no:
        raise refused(400, str(no)) from None
    with state.books:
        store.open_trade(
            state.books,
            f"{datetime.now(clock.CHINA):%Y%m%d}22{secrets.randbelow(10**18):018}",
            wanted.out_trade_no,
            clock.fen(wanted.total_amount),
            wanted.subject,
            fields["notify_url"],
            fields["return_url"],
            expires_at_s or time.time() + EXPIRY_S,
            clock.now_text(),
        )
        trade = store.find(state.books, out_trade_no=wanted.out_trade_no)
    assert trade is not None
    if trade.status == WAITING and trade.amount != clock.fen(wanted.total_amount):
        raise refused(400, "ACQ.CONTEXT_INCONSISTENT")
    return Response(None, status_code=302, headers={"Location": f"/cashier/{trade.trade_no}"})


def wanted_trade(fields: dict[str, str], method: str) -> WantTrade:
    wanted = read(fields.get("biz_content", ""), WantTrade)
    if wanted.product_code != PAGES[method]:
        raise Refused("isv.invalid-parameter", "product_code", code="40002")
    for name in ("notify_url", "return_url"):
        msgspec.convert(fields.get(name), Address)
    return wanted


@get("/cashier/{trade_no:str}")
async def show(
    request: AnyRequest,
    state: State,
    trade_no: FromPath[str],
    lang: FromQuery[str | None] = None,
) -> Response[str]:
    with state.books:
        trade = state.gateway.standing(opened(state, trade_no))
    language = texts.language(lang or request.headers.get("accept-language") or "")
    shown = Checkout(
        id=trade.trade_no,
        reference=trade.out_trade_no,
        amount=trade.amount,
        currency="CNY",
        description=trade.subject,
        return_url=trade.return_url,
        notify_url=trade.notify_url,
        state=SHOWN[trade.status],
    )
    html = page.render(shown, language, provider=NAME[language])
    return Response(html, media_type=MediaType.HTML, headers=page.HEADERS)


@post("/cashier/{trade_no:str}")
async def choose(request: AnyRequest, state: State, trade_no: FromPath[str]) -> Response[None]:
    """The buyer pays, or goes back without; who went back may still pay."""
    form = await read_fields(request)
    if form.get("choice") not in {"pay", "decline"}:
        raise refused(400, "choice is pay or decline")
    with state.books:
        trade = opened(state, trade_no)
        if form["choice"] == "pay":
            trade = state.gateway.pay(trade)
    state.courier.wake()
    where = trade.return_url if trade.status == WAITING else returned(state, trade)
    return Response(None, status_code=303, headers={"Location": where})


def returned(state: State, trade: Trade) -> str:
    """The shop's address, with what Alipay appends to it."""
    fields = {
        "charset": "utf-8",
        "out_trade_no": trade.out_trade_no,
        "method": "alipay.trade.page.pay.return",
        "total_amount": clock.yuan(trade.amount),
        "trade_no": trade.trade_no,
        "auth_app_id": state.merchant.app_id,
        "version": "1.0",
        "app_id": state.merchant.app_id,
        "seller_id": state.merchant.seller_id,
        "timestamp": clock.now_text(),
    }
    signed = {**fields, "sign_type": "RSA2", "sign": state.signer.sign(joined(fields))}
    joint = "&" if urlsplit(trade.return_url).query else "?"
    return f"{trade.return_url}{joint}{urlencode(signed)}"


@get("/downloadBillFile.resource", media_type="application/zip")
async def download(state: State, token: FromQuery[str]) -> bytes:
    found = state.desk.take(token)
    if found is None:
        raise refused(403, "下载超时")
    return found


@post("/withdrawals")
async def withdraw(request: AnyRequest, state: State) -> None:
    """For tests: be the merchant, and take so much to the bank."""
    form = await read_fields(request)
    with state.books:
        state.gateway.withdraw(clock.fen(form["amount"]))


@put("/behaviour")
async def behave(request: AnyRequest, state: State) -> Behaviour:
    """For tests: from now on, misbehave like this."""
    try:
        said = msgspec.json.decode(await request.body(), type=Behaviour)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise refused(400, str(error)) from None
    with state.books:
        played.behave(state.books, said)
    state.courier.wake()
    return said


@get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "live"}


def spoilt(state: State, name: str, answer: Answer, behaviour: Behaviour) -> Response[Any]:
    """The answer, signed over its very text; or what `nonsense` makes of it."""
    state.courier.wake()
    text = msgspec.json.encode(answer).decode()
    sign = state.signer.sign(text)
    match behaviour.nonsense:
        case "other key":
            sign = base64.b64encode(secrets.token_bytes(256)).decode()
        case "unsigned":
            return Response(f'{{"{name}":{text}}}', media_type=MediaType.JSON)
        case "flipped":
            text = text.replace("Success", "success").replace("40004", "10000")
        case "html":
            return Response("<html>502 Bad Gateway</html>", media_type=MediaType.HTML)
        case "endless":
            return Response("[" * ENDLESS_BYTES, media_type=MediaType.JSON)
    whole = f'{{"{name}":{text},"sign":"{sign}"}}'
    if behaviour.nonsense == "half":
        whole = whole[: len(whole) // 2]
    return Response(whole, media_type=MediaType.JSON)


async def read_fields(request: AnyRequest) -> dict[str, str]:
    """What stands in the query and in the form, as one."""
    body = (await request.body()).decode("utf-8", "replace")
    query = request.scope["query_string"].decode("latin-1")
    try:
        pairs = [
            pair
            for text in (query, body)
            for pair in parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
        ]
    except ValueError as error:
        raise refused(400, str(error)) from None
    return dict(pairs)


def opened(state: State, trade_no: str) -> Trade:
    trade = store.find(state.books, trade_no=trade_no)
    if trade is None:
        raise refused(404, "there is no such trade")
    return trade


def refused(status: int, why: str) -> HTTPException:
    return HTTPException(status_code=status, detail=why)


def create_alipay(merchant: Merchant, *, home: Path) -> Litestar:
    """Keeps its books in `alipay.db` under `home`."""
    signer = Signer(merchant.gateway_private_key, merchant.app_public_key)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        with closing(store.connect(home / "alipay.db")) as conn:
            async with httpx.AsyncClient(trust_env=False) as http:
                app.state.books = conn
                app.state.gateway = Gateway(conn, merchant, signer)
                app.state.courier = Courier(conn, http)
                async with app.state.courier.running():
                    yield

    return Litestar(
        [gateway, show, choose, download, withdraw, behave, live],
        state=State({"merchant": merchant, "signer": signer, "desk": Desk(merchant)}),
        lifespan=[lifespan],
        openapi_config=None,
        request_max_body_size=BODY_BYTES_MAX,
    )
