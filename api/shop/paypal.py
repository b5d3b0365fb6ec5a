"""What PayPal tells us, and a buyer who comes back from there. Both only make us ask PayPal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.problems import AnyRequest, BodyTooLarge, refuses
from api.requests import READS_BYTES, decode, fit
from core import payments
from core.flows.follow_disputes import follow_dispute
from core.flows.settle_payment import settle_payment
from core.kit import db

WEBHOOK_BYTES_MAX = 65_536
CHANNEL = "paypal"
HEADERS = (
    "paypal-transmission-id",
    "paypal-transmission-time",
    "paypal-transmission-sig",
    "paypal-auth-algo",
    "paypal-cert-url",
)
# Whatever else PayPal tells says nothing about money that we wait for: of our refunds we ask.
HEARD = frozenset(
    {
        "CHECKOUT.ORDER.APPROVED",
        "CHECKOUT.ORDER.VOIDED",
        "PAYMENT.AUTHORIZATION.CREATED",
        "PAYMENT.AUTHORIZATION.VOIDED",
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.CAPTURE.DECLINED",
        "PAYMENT.CAPTURE.DENIED",
        "PAYMENT.CAPTURE.PENDING",
    }
)
REVERSED = "PAYMENT.CAPTURE.REVERSED"
DISPUTED = frozenset(
    {"CUSTOMER.DISPUTE.CREATED", "CUSTOMER.DISPUTE.UPDATED", "CUSTOMER.DISPUTE.RESOLVED"}
)
# PayPal is asked while it waits for our answer.
ASK_S_MAX = 4.0

Name = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,128}\Z")]
Ours = Annotated[str, msgspec.Meta(max_length=255)]


class Unit(msgspec.Struct, frozen=True):
    custom_id: Ours | None = None


class Resource(msgspec.Struct, frozen=True):
    """An order, authorization, capture or refund, or a dispute, which names itself otherwise.

    `custom_id` is what we called the payment.
    """

    id: Name | None = None
    dispute_id: Name | None = None
    custom_id: Ours | None = None
    purchase_units: list[Unit] = []

    @property
    def payment_id(self) -> payments.PaymentId:
        named = self.custom_id or (self.purchase_units[0].custom_id if self.purchase_units else "")
        return payments.PaymentId(named or "")


class Webhook(msgspec.Struct, frozen=True):
    """What PayPal says. It says more than we read."""

    id: Name
    event_type: Name
    resource: Resource


class Heard(msgspec.Struct, frozen=True):
    event_id: str


@post(
    "/webhooks/paypal",
    status_code=200,
    responses=refuses(
        payments.Forged,
        payments.NoSuchPayment,
        payments.ChannelUnavailable,
        *READS_BYTES,
    ),
)
async def hear(
    request: AnyRequest,
    pool: NamedDependency[db.Pool],
    channels: NamedDependency[payments.Channels],
    paypal: NamedDependency[payments.PayPalWebhooks | None],
) -> Heard:
    """PayPal says that something happened, signed. Repeats change nothing."""
    told = fit(decode(await read_signed(request, paypal)), Webhook)
    if told.event_type == REVERSED:
        await charge_back(pool, channels, told.resource.id or "")
    elif told.event_type in DISPUTED:
        await follow(pool, channels, told.resource.dispute_id or "")
    elif told.event_type in HEARD:
        await wake(pool, told)
    return Heard(told.id)


async def wake(pool: db.Pool, told: Webhook) -> None:
    async with db.transaction(pool) as conn:
        payment = await payments.find(conn, payment_id=told.resource.payment_id)
        if payment.channel != CHANNEL:
            raise payments.NoSuchPayment(payment_id=payment.id)
        await payments.hear(conn, payment, event_id=told.id, kind=told.event_type)


async def charge_back(pool: db.Pool, channels: payments.Channels, reversal_id: str) -> None:
    """PayPal gave the buyer money back by itself."""
    async with asking():
        event = await client(channels).reversal(reversal_id)
    await settle_payment(pool, event)


async def follow(pool: db.Pool, channels: payments.Channels, dispute_id: str) -> None:
    """A buyer contests a payment, or something has become of that."""
    async with asking():
        await follow_dispute(pool, client(channels), dispute_id)


@asynccontextmanager
async def asking() -> AsyncIterator[None]:
    """PayPal waits for our answer, and tells us again until it says the same when it is asked."""
    try:
        async with asyncio.timeout(ASK_S_MAX):
            yield
    except (TimeoutError, payments.ProviderRefused) as error:
        raise payments.ChannelUnavailable from error


def client(channels: payments.Channels) -> payments.PayPalClient:
    provider = channels.of(CHANNEL)
    assert isinstance(provider, payments.PayPalClient)
    return provider


@get(
    "/payments/{payment_id:str}/back",
    status_code=303,
    responses=refuses(payments.NoSuchPayment),
)
async def come_back(payment_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Response[None]:
    """A buyer comes back from PayPal, whatever was chosen there, and goes on to the order."""
    async with db.transaction(pool) as conn:
        payment = await payments.find(conn, payment_id=payments.PaymentId(payment_id))
        if payment.state == payments.State.STARTED:
            await payments.wake(conn, payment)
    where = {"Location": f"/?order={payment.order_id}", "Cache-Control": "no-store"}
    return Response(None, status_code=303, headers=where)


async def read_signed(request: AnyRequest, paypal: payments.PayPalWebhooks | None) -> bytes:
    """The body, just as it was signed. Nothing of it is read before the signature is checked."""
    if paypal is None:
        raise payments.Forged("Nobody signs for a channel that is not offered.")
    body = await request.body()
    if len(body) > WEBHOOK_BYTES_MAX:
        raise BodyTooLarge(bytes_max=WEBHOOK_BYTES_MAX)
    claimed = [request.headers.getall(name, []) for name in HEADERS]
    if any(len(values) != 1 for values in claimed):
        raise payments.Forged
    await paypal.check(payments.Transmission(*(values[0] for values in claimed)), body)
    return body


routes = Router("/v1", route_handlers=[hear, come_back], tags=["payments"])
