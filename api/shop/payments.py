"""Pay an order, and hear from the provider what became of it."""

import re
import time
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from uuid_utils import uuid7

from api import auth
from api.problems import AnyRequest, BodyTooLarge, refuses
from api.requests import READS_BODY, READS_BYTES, Body, decode, fit
from core import orders, payments, sales
from core.flows.settle_payment import settle_payment
from core.flows.start_payment import start_payment
from core.kit import db
from core.settings import Settings
from hotpath.nodes import Redis
from hotpath.receipts import Keyring

WEBHOOK_BYTES_MAX = 65_536
SECRET_BYTES_MIN = 16

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Name = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,128}\Z")]
Channel = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{1,32}\Z")]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]


class StartPayment(Body, frozen=True):
    channel: Channel


class Payment(msgspec.Struct, frozen=True):
    """`pay_url` is the provider's page; `amount` is in minor units of `currency`."""

    payment_id: str
    order_id: str
    state: str
    pay_url: str | None
    amount: int
    currency: str


class Webhook(msgspec.Struct, frozen=True):
    """What the provider says. It may say more than we read."""

    event_id: Name
    kind: Name
    checkout_id: Name
    reference: Name
    amount: Amount
    currency: Currency
    held_until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Heard(msgspec.Struct, frozen=True):
    event_id: str


class OfferedChannel(msgspec.Struct, frozen=True):
    channel: str


class OfferedChannels(msgspec.Struct, frozen=True):
    items: list[OfferedChannel]


@get("/payment-channels", responses=refuses())
async def offered(channels: NamedDependency[payments.Channels]) -> OfferedChannels:
    """Each way to pay that this shop offers, by name."""
    return OfferedChannels([OfferedChannel(channel) for channel in channels.offered])


@post(
    "/orders/{order_id:str}/payments",
    guards=[auth.needs_member],
    security=auth.SECURITY,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        orders.NoSuchOrder,
        orders.NotYetWritten,
        payments.NotPayable,
        payments.ChannelNotOffered,
        payments.CurrencyNotTaken,
        payments.ChannelUnavailable,
        sales.SaleFenced,
    ),
)
async def start(
    order_id: FromPath[str],
    data: JSONBody[StartPayment],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
    redis: NamedDependency[Redis],
    keyring: NamedDependency[Keyring],
    channels: NamedDependency[payments.Channels],
) -> Payment:
    """Start to pay an order. While a payment is open, starting again answers with that one."""
    payment = await start_payment(
        pool,
        redis,
        channels,
        keyring,
        payment_id=payments.PaymentId(str(uuid7())),
        order_id=order_id,
        member_id=member_id,
        channel=data.channel,
    )
    return Payment(
        payment_id=payment.id,
        order_id=payment.order_id,
        state=payment.state,
        pay_url=payment.pay_url,
        amount=payment.amount_minor,
        currency=payment.currency,
    )


@post(
    "/webhooks/sandbox",
    status_code=200,
    responses=refuses(
        payments.Forged,
        payments.NoSuchPayment,
        payments.NotUnderstood,
        payments.ChannelUnavailable,
        *READS_BYTES,
    ),
)
async def hear_sandbox(
    request: AnyRequest, pool: NamedDependency[db.Pool], settings: NamedDependency[Settings]
) -> Heard:
    """The sandbox provider says what became of a payment, signed. Repeats change nothing."""
    told = fit(decode(await read_signed(request, settings.sandbox_secret.encode())), Webhook)
    if UUID.fullmatch(told.reference) is None:
        raise payments.NoSuchPayment
    if told.kind == payments.EventKind.AUTHORIZED and told.held_until is None:
        raise payments.NotUnderstood
    event = payments.Event(
        channel="sandbox",
        id=told.event_id,
        kind=told.kind,
        payment_id=payments.PaymentId(told.reference),
        provider_ref=told.checkout_id,
        amount_minor=told.amount,
        currency=told.currency,
        capture_ref=told.checkout_id,
        authorized_until=told.held_until,
    )
    await settle_payment(pool, event)
    return Heard(told.event_id)


@post(
    "/webhooks/alipay",
    status_code=200,
    media_type="text/plain",
    responses=refuses(
        payments.Forged,
        payments.NoSuchPayment,
        payments.NotUnderstood,
        BodyTooLarge,
        408,
    ),
)
async def hear_alipay(
    request: AnyRequest,
    pool: NamedDependency[db.Pool],
    channels: NamedDependency[payments.Channels],
) -> str:
    """Alipay says what became of a payment, signed. It repeats itself until it hears `success`."""
    if "alipay" not in channels.offered:
        raise payments.Forged("Nobody signs for a channel that is not offered.")
    alipay = channels.of("alipay")
    assert isinstance(alipay, payments.AlipayClient)
    await settle_payment(pool, alipay.hear(await read_webhook(request)))
    return "success"


async def read_webhook(request: AnyRequest) -> bytes:
    body = await request.body()
    if len(body) > WEBHOOK_BYTES_MAX:
        raise BodyTooLarge(bytes_max=WEBHOOK_BYTES_MAX)
    return body


async def read_signed(request: AnyRequest, secret: bytes) -> bytes:
    """The body, just as it was signed. Nothing of it is read before the signature is checked."""
    if len(secret) < SECRET_BYTES_MIN:
        raise payments.ChannelUnavailable
    body = await read_webhook(request)
    claimed = request.headers.getall(payments.SIGNATURE_HEADER.lower(), [])
    if len(claimed) != 1:
        raise payments.Forged
    payments.check_signature(secret, claimed[0], body, now_s=int(time.time()))
    return body


routes = Router(
    "/v1", route_handlers=[offered, start, hear_sandbox, hear_alipay], tags=["payments"]
)
route_handlers = [routes]
