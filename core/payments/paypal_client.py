"""PayPal, over HTTP: Orders v2, and the authorizations, captures and refunds of Payments v2.

A buyer who approves has not paid: the money moves when `look` takes it, or, where `look` only had
it held, when `capture` does, and by nothing else.
Nothing here asks twice; each verb bears being repeated, and the buyer or a role repeats it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, TypeVar
from urllib.parse import urlencode

import httpx
import msgspec
import structlog

from . import paypal_answers as said
from .model import (
    ChannelUnavailable,
    Dispute,
    Event,
    EventKind,
    Movement,
    Payment,
    PaymentId,
    Taking,
)
from .provider import Checkout, ProviderRefused
from .states import State

CHANNEL = "paypal"
# For all that one verb asks.
DEADLINE_S = 8.0
ANSWER_BYTES_MAX = 262_144
RETRY_AFTER_S = 2
NOTE_CHARS_MAX = 255
# A token is not used in its last moments.
TOKEN_SPARE_S = 60
UNAUTHORIZED = 401
# No answer to the question: too late, the same is under way, too many.
PASSING = frozenset({408, 409, 425, 429})

PAGE_MAX = 500
PAGES_MAX = 200
# Lines of the statement, by PayPal's codes: payments, refunds, reversals and chargebacks,
# withdrawals to our bank. Authorizations and holds move nothing.
DONE = "S"
KINDS = {
    "T00": "capture",
    "T1107": "refund",
    "T1106": "chargeback",
    "T1201": "chargeback",
    "T01": "fee",
    "T04": "payout",
}
# T1110 and T1111 hold what a dispute is about, and let it go.
NO_MOVES = frozenset({"T13", "T15", "T21", "T1110", "T1111"})

# What a dispute that is over can have come to with the money left with us; all else is the buyer's.
WON = frozenset({"RESOLVED_SELLER_FAVOUR", "RESOLVED_WITH_PAYOUT", "CANCELED_BY_BUYER", "DENIED"})
OVER = "RESOLVED"
OUR_TURN = frozenset({"OPEN", "WAITING_FOR_SELLER_RESPONSE"})

PAY_LINKS = ("payer-action", "approve")
MONEY_CAME = frozenset({"COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED"})
MONEY_NEVER_COMES = frozenset({"DECLINED", "FAILED"})
HELD = frozenset({"CREATED", "PENDING"})
# The buyer's side said no when the money was to be taken: another approval is needed.
DECLINES = frozenset(
    {
        "INSTRUMENT_DECLINED",
        "PAYER_ACCOUNT_LOCKED_OR_CLOSED",
        "PAYER_ACCOUNT_RESTRICTED",
        "PAYER_CANNOT_PAY",
        "TRANSACTION_BLOCKED_BY_PAYEE",
        "TRANSACTION_LIMIT_EXCEEDED",
        "TRANSACTION_REFUSED",
    }
)
# Somebody else was there first, or the buyer is not: the order says which.
LOOK_AGAIN = frozenset(
    {
        "ORDER_ALREADY_AUTHORIZED",
        "ORDER_ALREADY_CAPTURED",
        "ORDER_NOT_APPROVED",
        "PAYER_ACTION_REQUIRED",
    }
)
# What was held is held no more, whatever the order still shows.
HELD_NO_MORE = frozenset({"AUTHORIZATION_EXPIRED", "AUTHORIZATION_VOIDED", "PREVIOUSLY_VOIDED"})
# How an order names its intent, and the step that follows the buyer's approval.
STEPS = {
    Taking.AT_ONCE: ("CAPTURE", "capture"),
    Taking.AT_DISPATCH: ("AUTHORIZE", "authorize"),
}

REFERENCE = re.compile(r"[A-Za-z0-9-]{1,64}")
PAGE = re.compile(r"https?://[\x21-\x7e]{1,1000}")

log = structlog.get_logger()

_Answer = TypeVar("_Answer")


class _No(ProviderRefused):
    """`issue` is what the refusal is about, in PayPal's own name."""

    def __init__(self, path: str, status: int, issue: str) -> None:
        super().__init__(f"{path} answered {status}: {issue}")
        self.issue = issue


class _UnknownToken(Exception):
    """PayPal does not know the token, or, asked for one, not us. Nothing was done."""


class PayPalClient:
    """A `Holder`. `clock` tells seconds; `shop_url` is where the buyer comes back to."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        url: str,
        client_id: str,
        secret: str,
        shop_url: str,
        clock: Callable[[], float],
        taking: Taking = Taking.AT_ONCE,
    ) -> None:
        self.taking = taking
        self._http = http
        self._url = url.rstrip("/")
        self._basic = httpx.BasicAuth(client_id, secret)
        self._shop_url = shop_url.rstrip("/")
        self._clock = clock
        self._token = ""
        self._token_until_s = 0.0
        self._fetching = asyncio.Lock()

    async def checkout(self, payment: Payment) -> Checkout:
        back = f"{self._shop_url}/v1/payments/{payment.id}/back"
        wanted = {
            "intent": STEPS[Taking(payment.taking)][0],
            "purchase_units": [
                {
                    "reference_id": "default",
                    "custom_id": payment.id,
                    "invoice_id": payment.id,
                    "description": payment.first_order_id,
                    "amount": said.money(payment.amount_minor, payment.currency),
                }
            ],
            "payment_source": {
                "paypal": {
                    "experience_context": {
                        "user_action": "PAY_NOW",
                        "shipping_preference": "NO_SHIPPING",
                        "return_url": back,
                        "cancel_url": back,
                    }
                }
            },
        }
        async with _deadline():
            order = await self._ask(
                "POST", "/v2/checkout/orders", said.Order, wanted, request_id=payment.id
            )
        links = [link.href for rel in PAY_LINKS for link in order.links if link.rel == rel]
        if not links or PAGE.fullmatch(links[0]) is None:
            raise _unavailable()
        return Checkout(order.id, links[0])

    async def look(self, payment: Payment) -> Event | None:
        if payment.provider_ref is None:
            return None  # Nobody was sent to PayPal.
        async with _deadline():
            order = await self._order(payment)
            if order.status == "APPROVED" and payment.state == State.STARTED:
                return await self._take(payment)
        return _told(payment, order)

    async def close(self, payment: Payment) -> Event:
        """PayPal keeps an order open for hours. It costs nobody anything: we never take it."""
        closed = _event(payment, EventKind.CLOSED, f"{payment.id} closed")
        if payment.provider_ref is None:
            return closed
        async with _deadline():
            order = await self._order(payment)
            return await self._let_go(payment, order) or closed

    async def capture(self, payment: Payment) -> Event:
        """Asks first: what was declined is tried anew, and what came is not tried again."""
        async with _deadline():
            order = await self._order(payment)
            told = _told(payment, order)
            if told is not None and told.kind == EventKind.AUTHORIZED:
                told = await self._take_held(payment, order)
        if told is None:
            raise _unavailable()  # PayPal looks at it first.
        if told.kind not in {EventKind.CAPTURED, EventKind.VOIDED}:
            raise ProviderRefused(f"PayPal did not take payment {payment.id}: {told.kind}")
        return told

    async def void(self, payment: Payment) -> Event:
        async with _deadline():
            order = await self._order(payment)
            told = await self._let_go(payment, order)
        if told is not None and told.kind == EventKind.AUTHORIZED:
            raise _unavailable()
        if told is not None and told.kind == EventKind.CAPTURED:
            return told
        return _event(payment, EventKind.VOIDED, f"{payment.id} voided")

    async def is_refunded(self, payment: Payment, *, refund_id: str) -> bool:
        """Whether it has gone. Raises ProviderRefused where PayPal could not send it."""
        async with _deadline():
            order = await self._order(payment)
        mine = [one for one in order.unit.payments.refunds if one.custom_id == refund_id]
        return any(map(_is_gone, mine))

    async def refund(
        self, payment: Payment, *, refund_id: str, amount_minor: int, reason: str
    ) -> bool:
        currency = payment.captured_currency or payment.currency
        wanted = {
            "amount": said.money(amount_minor, currency),
            "custom_id": refund_id,
            "note_to_payer": reason[:NOTE_CHARS_MAX],
        }
        path = f"/v2/payments/captures/{_known(payment.capture_ref)}/refund"
        async with _deadline():
            refund = await self._ask("POST", path, said.Refund, wanted, request_id=refund_id)
        return _is_gone(refund)

    async def reversal(self, reversal_id: str) -> Event:
        """Money that PayPal gave back by its own judgement, as a chargeback of its payment.

        Raises ProviderRefused where PayPal knows of none such.
        """
        path = f"/v2/payments/refunds/{_known(reversal_id)}"
        async with _deadline():
            gone = await self._ask("GET", path, said.Refund)
            captures = [link.href.rpartition("/")[2] for link in gone.links if link.rel == "up"]
            if len(captures) != 1 or gone.status != "COMPLETED":
                raise ProviderRefused(f"{path} is nothing that has gone")
            capture_path = f"/v2/payments/captures/{_known(captures[0])}"
            capture = await self._ask("GET", capture_path, said.Capture)
        return _charged_back(gone, PaymentId(capture.custom_id or ""), capture.id)

    async def reversals(self, payment: Payment) -> list[Event]:
        """Refunds that are none of ours, by what PayPal calls them."""
        async with _deadline():
            order = await self._order(payment)
        return [
            _charged_back(gone, payment.id, payment.capture_ref or "")
            for gone in order.unit.payments.refunds
            if gone.status == "COMPLETED" and gone.custom_id in {None, payment.id}
        ]

    async def dispute(self, provider_ref: str) -> Dispute:
        async with _deadline():
            path = f"/v1/customer/disputes/{_known(provider_ref)}"
            told = await self._ask("GET", path, said.Dispute)
            capture_id = told.disputed_transactions[0].seller_transaction_id
            capture_path = f"/v2/payments/captures/{_known(capture_id)}"
            capture = await self._ask("GET", capture_path, said.Capture)
        if told.dispute_id != provider_ref:
            raise _unavailable()  # An answer to another question.
        amount_minor, currency = _exact(told.dispute_amount)
        return Dispute(
            channel=CHANNEL,
            provider_ref=provider_ref,
            payment_id=PaymentId(capture.custom_id or ""),
            state=_verdict(told),
            stage=told.dispute_life_cycle_stage.lower(),
            reason=told.reason.lower(),
            amount_minor=amount_minor,
            currency=currency,
            is_our_turn=told.status in OUR_TURN,
            respond_by=told.seller_response_due_date,
            told_at=told.update_time,
        )

    async def statement(self, day: date) -> list[Movement]:
        """PayPal's days are those of UTC; hours later it has written them, until then it raises."""
        ends = datetime.combine(day + timedelta(days=1), time(), UTC)
        asked = {
            "start_date": f"{day}T00:00:00.000Z",
            "end_date": f"{day}T23:59:59.999Z",
            "fields": "transaction_info",
            "page_size": str(PAGE_MAX),
        }
        found: list[Movement] = []
        for page in range(1, PAGES_MAX + 1):
            query = urlencode(asked | {"page": str(page)})
            async with _deadline():
                told = await self._ask("GET", f"/v1/reporting/transactions?{query}", said.Statement)
            if told.last_refreshed_datetime < ends:
                raise _unavailable()
            try:
                found += [
                    m for o in told.transaction_details for m in movements(o.transaction_info)
                ]
            except msgspec.ValidationError as error:
                raise _unavailable() from error
            if page >= told.total_pages:
                return found
        raise _unavailable()

    async def _order(self, payment: Payment) -> said.Order:
        path = f"/v2/checkout/orders/{_known(payment.provider_ref)}"
        order = await self._ask("GET", path, said.Order)
        if order.unit.custom_id != payment.id:
            raise ProviderRefused(f"{path} is not of payment {payment.id}")
        return order

    async def _take(self, payment: Payment) -> Event | None:
        """The buyer has approved: take the money or have it held, once, whoever else does so."""
        _, step = STEPS[Taking(payment.taking)]
        path = f"/v2/checkout/orders/{_known(payment.provider_ref)}/{step}"
        request_id = f"{payment.id}-{step}"
        try:
            order = await self._ask("POST", path, said.Order, {}, request_id=request_id)
        except _No as no:
            if no.issue in DECLINES:
                return _event(payment, EventKind.DECLINED, f"{payment.id} {no.issue}")
            if no.issue not in LOOK_AGAIN:
                raise
            order = await self._order(payment)
        return _told(payment, order)

    async def _take_held(self, payment: Payment, order: said.Order) -> Event | None:
        """Each try after a declined one is another request; two at once are the same."""
        request_id = f"{payment.id}-capture-{len(order.unit.payments.captures)}"
        wanted = {
            "amount": said.money(payment.amount_minor, payment.currency),
            "invoice_id": payment.id,
            "final_capture": True,
        }
        return await self._of_held(payment, order, "capture", wanted, request_id=request_id)

    async def _let_go(self, payment: Payment, order: said.Order) -> Event | None:
        """Let nothing be held any more; what became of it, where something had."""
        if order.capture is not None and order.capture.status == "PENDING":
            raise _unavailable()  # The money was taken, and may still come or not.
        held = order.authorization
        if held is None or held.status not in HELD:
            return _told(payment, order)
        return await self._of_held(payment, order, "void", {}, request_id=f"{payment.id}-void")

    async def _of_held(
        self, payment: Payment, order: said.Order, verb: str, wanted: object, *, request_id: str
    ) -> Event | None:
        """Whoever was there first, the order says what came of it."""
        assert order.authorization is not None
        path = f"/v2/payments/authorizations/{_known(order.authorization.id)}/{verb}"
        try:
            await self._ask("POST", path, said.Named, wanted, request_id=request_id)
        except _No as no:
            if no.issue in HELD_NO_MORE:
                return _voided(payment, order.authorization)
            told = _told(payment, await self._order(payment))
            if told is None or told.kind == EventKind.AUTHORIZED:
                raise
            return told
        return _told(payment, await self._order(payment))

    async def _ask(
        self,
        method: str,
        path: str,
        shape: type[_Answer],
        message: object = None,
        *,
        request_id: str = "",
    ) -> _Answer:
        headers = {"Prefer": "return=representation"}
        if request_id:
            headers["PayPal-Request-Id"] = request_id
        body = None
        if message is not None:
            headers["Content-Type"] = "application/json"
            body = msgspec.json.encode(message)
        request = {"headers": headers, "content": body}
        headers["Authorization"] = await self._bearer()
        try:
            return await self._call(method, path, shape, **request)
        except _UnknownToken:
            # It ended before its time.
            headers["Authorization"] = await self._bearer(instead_of=headers["Authorization"])
            return await self._call(method, path, shape, **request)

    async def _bearer(self, *, instead_of: str = "") -> str:
        async with self._fetching:
            if self._clock() >= self._token_until_s or self._token == instead_of:
                asked_at_s = self._clock()
                token = await self._call(
                    "POST",
                    "/v1/oauth2/token",
                    said.Token,
                    data={"grant_type": "client_credentials"},
                    auth=self._basic,
                )
                self._token = f"Bearer {token.access_token}"
                self._token_until_s = asked_at_s + token.expires_in - TOKEN_SPARE_S
            return self._token

    async def _call(
        self, method: str, path: str, shape: type[_Answer], **request: object
    ) -> _Answer:
        try:
            async with self._http.stream(
                method,
                self._url + path,
                follow_redirects=False,
                timeout=DEADLINE_S,
                **request,  # type: ignore[arg-type]
            ) as answer:
                told = await _read(answer)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unavailable() from error
        if answer.status_code == UNAUTHORIZED:
            log.warning("paypal_does_not_know_us", path=path)
            raise _UnknownToken
        if answer.is_client_error and answer.status_code not in PASSING:
            raise _No(path, answer.status_code, _issue_of(told))
        if not answer.is_success:
            raise _unavailable()
        try:
            return msgspec.json.decode(told, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _unavailable() from error


def _told(payment: Payment, order: said.Order) -> Event | None:
    """What an order says of its payment; None while nothing is decided."""
    capture = order.capture
    if capture is not None and capture.status in MONEY_CAME:
        amount_minor, currency = _exact(capture.amount)
        return Event(
            channel=payment.channel,
            id=f"{capture.id} captured",
            kind=EventKind.CAPTURED,
            payment_id=payment.id,
            provider_ref=order.id,
            amount_minor=amount_minor,
            currency=currency,
            capture_ref=capture.id,
        )
    held = order.authorization
    if held is not None and (capture is None or capture.status in MONEY_NEVER_COMES):
        return _told_of_held(payment, order, held)
    if capture is not None and capture.status in MONEY_NEVER_COMES:
        return _event(payment, EventKind.DECLINED, f"{capture.id} declined")
    if order.status == "VOIDED":
        return _event(payment, EventKind.CLOSED, f"{payment.id} voided")
    return None


def _told_of_held(payment: Payment, order: said.Order, held: said.Authorization) -> Event | None:
    if held.status == "VOIDED":
        return _voided(payment, held)
    if held.status == "DENIED":
        return _event(payment, EventKind.DECLINED, f"{held.id} denied")
    if held.status != "CREATED" or held.expiration_time is None:
        return None
    amount_minor, currency = _exact(held.amount)
    return Event(
        channel=payment.channel,
        id=f"{held.id} authorized",
        kind=EventKind.AUTHORIZED,
        payment_id=payment.id,
        provider_ref=order.id,
        amount_minor=amount_minor,
        currency=currency,
        authorized_until=held.expiration_time,
    )


def _voided(payment: Payment, held: said.Authorization) -> Event:
    return _event(payment, EventKind.VOIDED, f"{held.id} voided")


def movements(line: said.Transaction) -> Iterator[Movement]:
    """What a line of the statement says: its money, and what PayPal took for it.

    Raises msgspec.ValidationError. What we have no name for counts as a capture or a refund that
    nobody here knows, so that somebody looks at it.
    """
    amount_minor, currency = said.signed(line.transaction_amount)
    code, group = line.transaction_event_code, line.transaction_event_code[:3]
    if line.transaction_status != DONE or {code, group} & NO_MOVES:
        return
    kind = KINDS.get(code) or KINDS.get(group)
    if kind is None or (kind == "fee" and amount_minor > 0):
        kind = "refund" if amount_minor < 0 else "capture"
    moved_at = line.transaction_initiation_date
    reference = "" if kind == "payout" else line.custom_field or line.transaction_id
    if amount_minor:
        yield Movement(line.transaction_id, kind, reference, abs(amount_minor), currency, moved_at)
    fee_minor, fee_currency = said.signed(line.fee_amount) if line.fee_amount else (0, currency)
    if fee_minor:
        fee_id = f"{line.transaction_id} fee"
        # Of a fee that PayPal gives back there is no entry yet: it has to be seen, as money.
        fee_kind = "fee" if fee_minor < 0 else "capture"
        yield Movement(fee_id, fee_kind, fee_id, abs(fee_minor), fee_currency, moved_at)


def _exact(amount: said.Money) -> tuple[int, str]:
    try:
        return said.minor(amount)
    except msgspec.ValidationError as error:
        raise _unavailable() from error


def _charged_back(gone: said.Refund, payment_id: PaymentId, capture_id: str) -> Event:
    amount_minor, currency = _exact(gone.amount)
    return Event(
        channel=CHANNEL,
        id=gone.id,
        kind=EventKind.CHARGED_BACK,
        payment_id=payment_id,
        provider_ref=capture_id,
        amount_minor=amount_minor,
        currency=currency,
    )


def _verdict(told: said.Dispute) -> Literal["open", "won", "lost"]:
    if told.status != OVER:
        return "open"
    return "won" if told.dispute_outcome.outcome_code in WON else "lost"


def _event(payment: Payment, kind: EventKind, event_id: str) -> Event:
    """Something that moved no money."""
    return Event(
        channel=payment.channel,
        id=event_id,
        kind=kind,
        payment_id=payment.id,
        provider_ref=payment.provider_ref or "",
        amount_minor=payment.amount_minor,
        currency=payment.currency,
    )


def _is_gone(refund: said.Refund) -> bool:
    if refund.status in {"CANCELLED", "FAILED"}:
        raise ProviderRefused(f"PayPal could not send refund {refund.id}: {refund.status}")
    return refund.status == "COMPLETED"


def _known(reference: str | None) -> str:
    """PayPal's own name for something, fit for a path."""
    if reference is None or REFERENCE.fullmatch(reference) is None:
        raise ProviderRefused(f"PayPal has no such name as {reference!r}")
    return reference


def _issue_of(told: bytes) -> str:
    try:
        return msgspec.json.decode(told, type=said.Problem).issue
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return repr(told[:200])


@asynccontextmanager
async def _deadline() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield
    except (TimeoutError, _UnknownToken) as error:
        raise _unavailable() from error


async def _read(answer: httpx.Response) -> bytes:
    told = b""
    async for chunk in answer.aiter_bytes():
        told += chunk
        if len(told) > ANSWER_BYTES_MAX:
            raise _unavailable()
    return told


def _unavailable() -> ChannelUnavailable:
    return ChannelUnavailable(retry_after_s=RETRY_AFTER_S)
