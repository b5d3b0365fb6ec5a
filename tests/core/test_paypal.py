"""PayPal's amounts, lines and answers, as our client reads them."""

import asyncio
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import payments
from core.kit import money
from core.payments import paypal_answers as said
from core.payments.paypal_client import movements

AMOUNTS = st.integers(min_value=0, max_value=10**14)
CURRENCIES = st.sampled_from(sorted(said.DIGITS))
LETTERS = st.text("0123456789.-+eE_, ٣", max_size=8)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@given(AMOUNTS, CURRENCIES)
def test_an_amount_is_written_and_read_exactly(amount_minor, currency):
    try:
        written = said.money(amount_minor, currency)
    except payments.CurrencyNotTaken:
        assert currency in ("HUF", "TWD")
        assert amount_minor % 100
        return
    iso_digits = money.DIGITS.get(currency, money.DIGITS_USUAL)
    assert Decimal(written["value"]) == Decimal(amount_minor).scaleb(-iso_digits)
    assert ("." in written["value"]) == (said.DIGITS[currency] > 0)
    if len(written["value"].partition(".")[0]) <= 13:
        assert said.minor(said.Money(**written)) == (amount_minor, currency)


@given(LETTERS, CURRENCIES)
def test_figures_are_read_exactly_or_refused(text, currency):
    try:
        amount_minor, _ = said.minor(said.Money(currency, text))
    except msgspec.ValidationError:
        return
    iso_digits = money.DIGITS.get(currency, money.DIGITS_USUAL)
    assert Decimal(text) == Decimal(amount_minor).scaleb(-iso_digits)


@pytest.mark.parametrize(
    ("text", "currency"),
    [("1.005", "USD"), ("1.5", "JPY"), ("-1", "USD"), ("01", "USD"), ("1,00", "USD"), ("1", "AAA")],
)
def test_what_is_no_amount_is_refused(text, currency):
    with pytest.raises(msgspec.ValidationError):
        said.minor(said.Money(currency, text))


def line(code, value, *, fee=None, name="ours", status="S") -> said.Transaction:
    return said.Transaction(
        transaction_id="TX",
        transaction_event_code=code,
        transaction_status=status,
        transaction_initiation_date=NOW,
        transaction_amount=said.Money("USD", value),
        fee_amount=said.Money("USD", fee) if fee else None,
        custom_field=name,
    )


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (line("T0006", "19.99"), [("capture", "ours", 1_999)]),
        (line("T0006", "19.99", fee="-0.99"), [("capture", "ours", 1_999), ("fee", "TX fee", 99)]),
        (line("T1107", "-5.00"), [("refund", "ours", 500)]),
        (line("T1106", "-5.00"), [("chargeback", "ours", 500)]),
        (line("T1201", "-5.00"), [("chargeback", "ours", 500)]),
        (line("T0400", "-80.00", name=None), [("payout", "", 8_000)]),
        (line("T0006", "19.99", status="P"), []),
        (line("T1501", "-5.00"), []),
        (line("T1110", "-19.99"), []),
        (line("T1111", "19.99"), []),
        (line("T0106", "-15.00", name=None), [("fee", "TX", 1_500)]),
        # Nobody here knows these, so they stand as differences.
        (line("T0006", "19.99", name=None), [("capture", "TX", 1_999)]),
        (line("T1202", "5.00", name=None), [("capture", "TX", 500)]),
        (line("T0106", "15.00", name=None), [("capture", "TX", 1_500)]),
        (line("T9900", "-5.00", name=None), [("refund", "TX", 500)]),
        (line("T1107", "-5.00", fee="0.30"), [("refund", "ours", 500), ("capture", "TX fee", 30)]),
    ],
)
def test_each_line_of_a_statement_is_read_for_what_it_is(told, found):
    assert [(m.kind, m.reference, m.amount_minor) for m in movements(told)] == found


PAYMENT = payments.Payment(
    id=payments.PaymentId("0193f0d1-0000-7000-8000-000000000001"),
    first_order_id="o",
    order_id="o",
    member_id=7,
    channel="paypal",
    amount_minor=1_999,
    currency="USD",
    taking="at_once",
    state="started",
    reason=None,
    captured_minor=None,
    captured_currency=None,
    provider_ref="ORDER1",
    pay_url="http://127.0.0.1/checkoutnow",
    capture_ref="CAPTURE1",
    started_at=NOW,
    expires_at=NOW,
    authorized_until=None,
    captured_at=None,
    refunded_at=None,
    refunded_minor=0,
)
CAPTURE = {"id": "C1", "status": "COMPLETED", "amount": {"currency_code": "USD", "value": "19.99"}}
ORDER = {
    "id": "ORDER1",
    "status": "COMPLETED",
    "purchase_units": [{"custom_id": PAYMENT.id, "payments": {"captures": [CAPTURE]}}],
    "links": [],
}
TOKEN = {"access_token": "t", "expires_in": 900}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=4) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def spoilt(document, where, what):
    """The document, with what stands at one of its places replaced."""
    places = []

    def visit(node):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, inner in list(items):
            places.append((node, key))
            if isinstance(inner, dict | list):
                visit(inner)

    copy = json.loads(json.dumps(document))
    visit(copy)
    node, key = places[where % len(places)]
    node[key] = what
    return copy


class Nonsense:
    """A server that gives a token, and to all else the answer it was told to give."""

    def __init__(self) -> None:
        self.status, self.body = 200, b""

    async def answer(self, reader, writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [
            int(h.split(b":")[1])
            for h in head.split(b"\r\n")
            if h.lower().startswith(b"content-length")
        ]
        await reader.readexactly(sum(length))
        is_token = b"/v1/oauth2/token" in head
        body = json.dumps(TOKEN).encode() if is_token else self.body
        status = 200 if is_token else self.status
        writer.write(
            b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            % (status, len(body))
        )
        writer.write(body)
        await writer.drain()
        writer.close()


VERBS = {
    "checkout": lambda client: client.checkout(PAYMENT),
    "look": lambda client: client.look(PAYMENT),
    "close": lambda client: client.close(PAYMENT),
    "is_refunded": lambda client: client.is_refunded(PAYMENT, refund_id="r"),
    "refund": lambda client: client.refund(PAYMENT, refund_id="r", amount_minor=1, reason="r"),
    "reversal": lambda client: client.reversal("R1"),
    "statement": lambda client: client.statement(date(2026, 11, 20)),
}


async def ask(nonsense, verb):
    server = await asyncio.start_server(nonsense.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient(trust_env=False) as http:
        client = payments.PayPalClient(
            http,
            url=f"http://127.0.0.1:{port}",
            client_id="c",
            secret="s",
            shop_url="http://127.0.0.1",
            clock=lambda: 0.0,
        )
        return await VERBS[verb](client)


@pytest.mark.parametrize("verb", ["look", "close", "is_refunded"])
def test_an_order_of_another_payment_is_refused(verb):
    nonsense = Nonsense()
    nonsense.body = json.dumps(ORDER).encode()
    asyncio.run(ask(nonsense, verb))
    nonsense.body = nonsense.body.replace(PAYMENT.id[-12:].encode(), b"000000000002")
    with pytest.raises(payments.ProviderRefused):
        asyncio.run(ask(nonsense, verb))


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(VERBS)),
    st.sampled_from([200, 201, 204, 302, 400, 401, 404, 409, 422, 429, 500]),
    st.integers(0, 100),
    JSON,
    st.sampled_from(["spoilt", "other", "cut"]),
)
def test_nonsense_is_never_taken_for_an_answer(verb, status, where, what, how):
    """It ends in a refusal, or in what the answer says where it is still whole."""
    document = spoilt(ORDER, where, what) if how == "spoilt" else what
    body = json.dumps(document).encode()
    nonsense = Nonsense()
    nonsense.status, nonsense.body = status, body[: len(body) // 2] if how == "cut" else body

    try:
        told = asyncio.run(ask(nonsense, verb))
    except (payments.ChannelUnavailable, payments.ProviderRefused):
        return
    assert 200 <= status < 300
    if isinstance(told, payments.Event) and told.kind == payments.EventKind.CAPTURED:
        (unit,) = document["purchase_units"]
        assert unit["custom_id"] == PAYMENT.id
        assert (
            Decimal(unit["payments"]["captures"][0]["amount"]["value"]) * 100 == told.amount_minor
        )
