"""The provider's HTTP: what the shop calls, signed, and what a buyer's browser opens."""

import secrets
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import date
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs

import httpx
import msgspec
from litestar import Litestar, MediaType, Request, Response, get, post, put
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery

from api import played, texts
from core.settings import Settings, UnreadableSettings

from . import page, signature, store
from .delivery import Courier, announce, later_text, now_text
from .model import (
    Behaviour,
    Checkout,
    Movement,
    Named,
    OpenCheckout,
    WantChargeback,
    WantPayout,
    WantRefund,
)

BODY_BYTES_MAX = 65_536
PAGE_MAX = 500
SECRET_BYTES_MIN = 16

Shape = TypeVar("Shape")
AnyRequest = Request[Any, Any, Any]


class Opened(msgspec.Struct, frozen=True):
    checkout_id: str
    reference: str
    state: str
    pay_url: str


class Standing(msgspec.Struct, frozen=True):
    """How a checkout stands; `amount` is what was captured, else what was asked.

    What is to be captured later is held until `held_until`.
    """

    checkout_id: str
    reference: str
    state: str
    amount: int
    currency: str
    held_until: str | None


class Refunds(msgspec.Struct, frozen=True):
    """How many refunds there are by one reference: none or one."""

    count: int


class Refunded(msgspec.Struct, frozen=True):
    reference: str
    refund_reference: str
    amount: int
    currency: str


class Statement(msgspec.Struct, frozen=True):
    """`cursor` is where the next page begins; null at the end."""

    items: list[Movement]
    cursor: str | None


@post("/v1/checkouts")
async def open_checkout(request: AnyRequest, state: State) -> Opened:
    wanted = await read(request, OpenCheckout)
    with books(state) as conn:
        store.open_checkout(conn, secrets.token_urlsafe(24), wanted)
        checkout = named(conn, wanted.reference)
    if (checkout.amount, checkout.currency) != (wanted.amount, wanted.currency):
        raise refused(409, "this reference was used for another amount")
    return Opened(checkout.id, checkout.reference, checkout.state, f"{state.url}/pay/{checkout.id}")


@post("/v1/checkouts/look", status_code=200)
async def look(request: AnyRequest, state: State) -> Standing:
    wanted = await read(request, Named)
    with books(state) as conn:
        return standing(conn, named(conn, wanted.reference))


@post("/v1/checkouts/close", status_code=200)
async def close(request: AnyRequest, state: State) -> Standing:
    """Nobody pays it any more, and nothing is held. What is paid stays so."""
    wanted = await read(request, Named)
    with books(state) as conn:
        checkout = named(conn, wanted.reference)
        if checkout.state == "held":
            let_go(conn, checkout)
        elif checkout.state in page.PAYABLE:
            store.move(conn, checkout, "closed")
        told = standing(conn, named(conn, wanted.reference))
    state.courier.wake()
    return told


@post("/v1/checkouts/capture", status_code=200)
async def capture(request: AnyRequest, state: State) -> Standing:
    """Take what is held, once. What is not held any more is told, and stays so."""
    wanted = await read(request, Named)
    with books(state) as conn:
        checkout = named(conn, wanted.reference)
        if checkout.state not in {"held", "voided", "paid"}:
            raise refused(409, "nothing is held")
        if checkout.state == "held" and store.behaviour(conn).refuses_capture:
            raise refused(409, "what is held cannot be captured")
        if checkout.state == "held":
            take(conn, checkout)
        told = standing(conn, named(conn, wanted.reference))
    state.courier.wake()
    return told


@post("/v1/checkouts/void", status_code=200)
async def void(request: AnyRequest, state: State) -> Standing:
    """Let go what is held. What was captured is told, and stays so."""
    wanted = await read(request, Named)
    with books(state) as conn:
        checkout = named(conn, wanted.reference)
        if checkout.state not in {"held", "voided", "paid"}:
            raise refused(409, "nothing is held")
        let_go(conn, checkout)
        told = standing(conn, named(conn, wanted.reference))
    state.courier.wake()
    return told


def standing(conn: sqlite3.Connection, checkout: Checkout) -> Standing:
    moved = [m for m in store.movements_of(conn, checkout.reference) if m.kind == "capture"]
    amount, currency = checkout.amount, checkout.currency
    if moved:
        amount, currency = moved[0].amount, moved[0].currency
    return Standing(
        checkout.id, checkout.reference, checkout.state, amount, currency, checkout.held_until
    )


@get("/pay/{checkout_id:str}")
async def show(
    request: AnyRequest,
    state: State,
    checkout_id: FromPath[str],
    lang: FromQuery[str | None] = None,
) -> Response[str]:
    with books(state) as conn:
        checkout = opened(conn, checkout_id)
    language = texts.language(lang or request.headers.get("accept-language") or "")
    return Response(
        page.render(checkout, language), media_type=MediaType.HTML, headers=page.HEADERS
    )


@post("/pay/{checkout_id:str}")
async def choose(request: AnyRequest, state: State, checkout_id: FromPath[str]) -> Response[None]:
    """The buyer's click. A second one changes nothing; who declined may still pay."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    choice = form.get("choice", [""])[0]
    with books(state) as conn:
        checkout = opened(conn, checkout_id)
        if choice == "pay":
            pay(conn, checkout)
        elif choice == "decline":
            decline(conn, checkout)
        else:
            raise refused(400, "choice is pay or decline")
    state.courier.wake()
    return Response(None, status_code=303, headers={"Location": checkout.return_url})


def pay(conn: sqlite3.Connection, checkout: Checkout) -> None:
    if checkout.state in page.PAYABLE:
        (take if checkout.capture == "at_once" else hold)(conn, checkout)


def hold(conn: sqlite3.Connection, checkout: Checkout) -> None:
    until = later_text(store.behaviour(conn).held_s)
    if store.hold(conn, checkout, until=until):
        amount, currency = checkout.amount, checkout.currency
        held = named(conn, checkout.reference)
        announce(conn, held, "payment.authorized", amount=amount, currency=currency)


def let_go(conn: sqlite3.Connection, checkout: Checkout) -> None:
    if checkout.state == "held" and store.move(conn, checkout, "voided"):
        amount, currency = checkout.amount, checkout.currency
        announce(conn, checkout, "payment.voided", amount=amount, currency=currency)


def take(conn: sqlite3.Connection, checkout: Checkout) -> None:
    if not store.move(conn, checkout, "paid"):
        return
    behaviour = store.behaviour(conn)
    amount = max(0, checkout.amount + behaviour.amount_off)
    currency = behaviour.currency or checkout.currency
    at, fee = now_text(), amount * behaviour.fee_bps // 10_000
    store.capture(conn, checkout, amount=amount, currency=currency, at=at)
    if fee:
        reference = checkout.reference
        store.deduct(conn, "fee", reference=reference, amount=fee, currency=currency, at=at)
    announce(conn, checkout, "payment.captured", amount=amount, currency=currency)


def decline(conn: sqlite3.Connection, checkout: Checkout) -> None:
    if checkout.state == "open" and store.move(conn, checkout, "declined"):
        announce(
            conn, checkout, "payment.declined", amount=checkout.amount, currency=checkout.currency
        )


@post("/v1/refunds")
async def refund(request: AnyRequest, state: State) -> Refunded:
    """Once per refund reference, and never more than came."""
    wanted = await read(request, WantRefund)
    with books(state) as conn:
        checkout = named(conn, wanted.reference)
        movements = store.movements_of(conn, checkout.reference)
        before = [m for m in movements if m.refund_reference == wanted.refund_reference]
        if not before:
            refuse_overdraft(movements, wanted.amount, wanted.currency)
            store.refund(conn, wanted, at=now_text())
        elif (before[0].amount, before[0].currency) != (wanted.amount, wanted.currency):
            raise refused(409, "this refund reference was used for another amount")
    return Refunded(wanted.reference, wanted.refund_reference, wanted.amount, wanted.currency)


@post("/v1/refunds/look", status_code=200)
async def look_at_refund(request: AnyRequest, state: State) -> Refunds:
    wanted = await read(request, Named)
    with books(state) as conn:
        movements = store.movements_of(conn, wanted.reference)
    references = [m.refund_reference for m in movements if m.kind == "refund"]
    return Refunds(references.count(wanted.refund_reference))


def refuse_overdraft(movements: list[Movement], amount: int, currency: str) -> None:
    sign = {"capture": 1, "refund": -1, "chargeback": -1}
    left = sum(sign.get(m.kind, 0) * m.amount for m in movements if m.currency == currency)
    if not movements or amount > left:
        raise refused(409, "that is more than came")


@post("/v1/chargebacks")
async def charge_back(request: AnyRequest, state: State) -> Movement:
    """For tests: be the buyer's bank, and claim so much back."""
    wanted = await read(request, WantChargeback)
    amount, currency = wanted.amount, wanted.currency
    with books(state) as conn:
        checkout = named(conn, wanted.reference)
        refuse_overdraft(store.movements_of(conn, checkout.reference), amount, currency)
        kind = "payment.charged_back"
        event_id = announce(conn, checkout, kind, amount=amount, currency=currency)
        store.deduct(
            conn,
            "chargeback",
            reference=checkout.reference,
            event_id=event_id,
            amount=amount,
            currency=currency,
            at=now_text(),
        )
        movement = store.movements_of(conn, checkout.reference)[-1]
    state.courier.wake()
    return movement


@post("/v1/payouts")
async def pay_out(request: AnyRequest, state: State) -> dict[str, int]:
    """For tests: be the end of a day, and pay all that is held to the merchant's bank."""
    currency = (await read(request, WantPayout)).currency
    with books(state) as conn:
        amount = store.held(conn, currency)
        if amount <= 0:
            raise refused(409, "there is nothing to pay out")
        store.deduct(
            conn, "payout", reference=None, amount=amount, currency=currency, at=now_text()
        )
    return {"amount": amount}


@get("/v1/statement")
async def statement(
    request: AnyRequest,
    state: State,
    after: FromQuery[Annotated[int, msgspec.Meta(ge=0, le=2**62)]] = 0,
    limit: FromQuery[Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)]] = PAGE_MAX,
    day: FromQuery[date | None] = None,
) -> Statement:
    """Each movement of money, oldest first; of one day (in UTC) where one is named."""
    await check_signature(request)
    with books(state) as conn:
        wanted = None if day is None else day.isoformat()
        items = store.statement(conn, after=after, day=wanted, page_max=limit)
    return Statement(items, str(items[-1].id) if len(items) == limit else None)


@put("/v1/behaviour")
async def behave(request: AnyRequest, state: State) -> Behaviour:
    """For tests: from now on, misbehave like this."""
    said = await read(request, Behaviour)
    with books(state) as conn:
        played.behave(conn, said)
    return said


@get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "live"}


async def read(request: AnyRequest, shape: type[Shape]) -> Shape:
    body = await check_signature(request)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise refused(422, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise refused(400, "the body is not JSON") from None


async def check_signature(request: AnyRequest) -> bytes:
    body = await request.body()
    secret, claimed = request.app.state.secret, request.headers.get(signature.HEADER, "")
    if not signature.is_signed(secret, claimed, body, now_s=int(time.time())):
        raise refused(401, "the signature is not right")
    return body


def books(state: State) -> sqlite3.Connection:
    """`with` it for one transaction. No `await` inside: there is one connection for all."""
    return state.books


def named(conn: sqlite3.Connection, reference: str) -> Checkout:
    checkout = store.by_reference(conn, reference)
    if checkout is None:
        raise refused(404, "there is no such checkout")
    if checkout.state == "held" and (checkout.held_until or "") <= now_text():
        let_go(conn, checkout)
        return named(conn, reference)
    return checkout


def opened(conn: sqlite3.Connection, checkout_id: str) -> Checkout:
    checkout = store.by_id(conn, checkout_id)
    if checkout is None:
        raise refused(404, "there is no such checkout")
    return checkout


def refused(status: int, why: str) -> HTTPException:
    return HTTPException(status_code=status, detail=why)


def create_sandbox(settings: Settings) -> Litestar:
    """Keeps its books in `sandbox.db` under SLUICE_HOME."""
    secret = settings.sandbox_secret.encode()
    if len(secret) < SECRET_BYTES_MIN:
        raise UnreadableSettings(f"SLUICE_SANDBOX_SECRET needs {SECRET_BYTES_MIN} bytes or more")

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        with closing(store.connect(settings.home_path / "sandbox.db")) as conn:
            async with httpx.AsyncClient(trust_env=False) as http:
                app.state.books = conn
                app.state.courier = Courier(conn, http, secret)
                async with app.state.courier.running():
                    yield

    return Litestar(
        [
            open_checkout,
            look,
            close,
            capture,
            void,
            show,
            choose,
            refund,
            look_at_refund,
            charge_back,
            pay_out,
            statement,
            behave,
            live,
        ],
        state=State({"secret": secret, "url": settings.sandbox_url.rstrip("/")}),
        lifespan=[lifespan],
        openapi_config=None,
        request_max_body_size=BODY_BYTES_MAX,
    )
