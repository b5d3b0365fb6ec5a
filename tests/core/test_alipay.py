"""What Alipay tells us, read: nothing that it did not sign, and every amount to the fen."""

import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import httpx
import msgspec
import pytest
from alipay.aop.api.util.SignatureUtils import get_sign_content, sign_with_rsa2, verify_with_rsa
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from core import payments
from core.payments.alipay_client import minor, yuan

APP_ID, SELLER_ID = "2021000000000001", "2088000000000001"
PRICE = 5_000


class Pair(msgspec.Struct):
    """An RSA key as Alipay's merchants have it."""

    key: rsa.RSAPrivateKey

    def private(self, form=PrivateFormat.PKCS8, encoding=Encoding.PEM) -> bytes:
        return self.key.private_bytes(encoding, form, NoEncryption())

    def public(self) -> str:
        form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return self.key.public_key().public_bytes(*form).decode()

    def sign(self, fields) -> str:
        """As the vendor's own code does it."""
        pem = self.private(PrivateFormat.TraditionalOpenSSL).decode()
        return sign_with_rsa2(pem, get_sign_content(fields), "utf-8")


def pair() -> Pair:
    return Pair(rsa.generate_private_key(65_537, 2_048))


APP, ALIPAY, STRANGER = pair(), pair(), pair()


@pytest.fixture
async def client():
    async with httpx.AsyncClient() as http:
        yield client_of(http)


def client_of(http) -> payments.AlipayClient:
    keys = payments.Keys(private_key=APP.private().decode(), their_public_key=ALIPAY.public())
    return payments.AlipayClient(
        http,
        keys=keys,
        app_id=APP_ID,
        seller_id=SELLER_ID,
        gateway="https://gateway.example/gateway.do",
        product="page",
        shop_url="https://shop.example",
        clock=time.time,
    )


def payment(**facts) -> payments.Payment:
    now = datetime.now(UTC)
    order_id = str(uuid4())
    plain = {
        "id": str(uuid4()),
        "first_order_id": order_id,
        "order_id": order_id,
        "member_id": 7,
        "channel": "alipay",
        "amount_minor": PRICE,
        "currency": "CNY",
        "taking": "at_once",
        "state": "started",
        "started_at": now,
        "expires_at": now + timedelta(minutes=15),
        "refunded_minor": 0,
    }
    plain |= dict.fromkeys(("reason", "captured_minor", "captured_currency", "provider_ref"))
    plain |= dict.fromkeys(("pay_url", "capture_ref", "captured_at", "refunded_at"))
    plain |= dict.fromkeys(("authorized_until",))
    return payments.Payment(**{**plain, **facts})


def notice(signer: Pair = ALIPAY, **changed) -> bytes:
    """A genuine notification, but for what is changed before it is signed. None leaves out."""
    fields = {
        "gmt_create": "2026-11-22 20:11:12",
        "charset": "utf-8",
        "subject": "茶壶 & tea=1 +1%",
        "buyer_id": "2088000000000007",
        "body": "",
        "invoice_amount": "50.00",
        "notify_id": uuid4().hex,
        "fund_bill_list": '[{"amount":"50.00","fundChannel":"PCREDIT"}]',
        "notify_type": "trade_status_sync",
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "50.00",
        "app_id": APP_ID,
        "seller_id": SELLER_ID,
        "out_trade_no": uuid4().hex,
        "trade_no": "2026112222001400000000000001",
        "version": "1.0",
    }
    fields = {name: v for name, v in {**fields, **changed}.items() if v is not None}
    return urlencode({**fields, "sign_type": "RSA2", "sign": signer.sign(fields)}).encode()


def flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


async def test_a_genuine_notification_is_read(client):
    number = uuid4()
    event = client.hear(notice(out_trade_no=number.hex, notify_id="n-1"))
    assert event == payments.Event(
        channel="alipay",
        id="n-1",
        kind="payment.captured",
        payment_id=str(number),
        provider_ref=number.hex,
        amount_minor=PRICE,
        currency="CNY",
        capture_ref="2026112222001400000000000001",
    )
    kinds = {
        status: client.hear(notice(trade_status=status)).kind
        for status in ("TRADE_FINISHED", "TRADE_CLOSED", "WAIT_BUYER_PAY")
    }
    assert kinds == {
        "TRADE_FINISHED": "payment.captured",
        "TRADE_CLOSED": "payment.closed",
        "WAIT_BUYER_PAY": "WAIT_BUYER_PAY",
    }


async def test_one_bit_changed_anywhere_is_refused_or_changes_nothing(client):
    body = notice()
    genuine = client.hear(body)
    same = 0
    for bit in range(8 * len(body)):
        try:
            assert client.hear(flipped(body, bit)) == genuine, bit
        except payments.Forged:
            continue
        same += 1
    # The case of a hex digit after a percent sign, and the last bits of the Base64, say nothing.
    assert 0 < same < 200


async def test_what_alipay_did_not_sign_is_refused(client):
    genuine = notice()
    fields = dict(parse_qsl(genuine.decode(), keep_blank_values=True))
    unsigned = {name: v for name, v in fields.items() if name != "sign"}
    for body in (
        b"",
        b"sign=",
        b"\xff=1",
        b"a",
        notice(STRANGER),
        notice(APP),
        urlencode(unsigned).encode(),
        urlencode({**fields, "sign_type": "RSA"}).encode(),
        urlencode({**fields, "sign": fields["sign"][:-4]}).encode(),
        genuine + b"&total_amount=50.00",
        genuine + b"&more=1",
        genuine + b"&",
        genuine.replace(b"50.00", b"50.01"),
        b"&".join(b"a%d=1" % n for n in range(101)),
    ):
        with pytest.raises(payments.Forged):
            client.hear(body)
    shuffled = b"&".join(reversed(genuine.split(b"&")))
    assert client.hear(shuffled) == client.hear(genuine)


async def test_what_is_anothers_is_none_of_ours(client):
    for facts in (
        {"app_id": "2021000000000002"},
        {"seller_id": "2088000000000002"},
        {"out_trade_no": "17"},
        {"out_trade_no": str(uuid4())},
        {"out_trade_no": uuid4().hex.upper() + "A"},
    ):
        with pytest.raises(payments.NoSuchPayment):
            client.hear(notice(**facts))


async def test_what_is_signed_and_says_too_little_is_told_so(client):
    for facts in (
        {"total_amount": "50.001"},
        {"total_amount": "-50.00"},
        {"total_amount": "5e1"},
        {"total_amount": "\u0665.00"},
        {"total_amount": ""},
        {"total_amount": None},
        {"trade_no": None},
        {"seller_id": None},
        {"notify_id": None},
    ):
        with pytest.raises(payments.NotUnderstood):
            client.hear(notice(**facts))


@given(st.integers(0, 10**13 - 1))
def test_an_amount_there_and_back_is_the_same(amount_minor):
    assert minor(yuan(amount_minor)) == amount_minor


def test_amounts_are_exact_or_refused():
    read = {text: minor(text) for text in ("0.01", "0.1", "7", "0", "88.88", "100000000.00")}
    assert list(read.values()) == [1, 10, 700, 0, 8_888, 10_000_000_000]
    for text in ("", ".5", "1.", "01.00", "1.234", "1,00", "+1", " 1", "1\n", "NaN", "1e3"):
        with pytest.raises(ValueError, match="not an amount"):
            minor(text)


async def test_a_page_is_an_address_that_the_vendors_code_verifies(client):
    wanted = payment()
    checkout = await client.checkout(wanted)
    address = urlsplit(checkout.pay_url)
    assert address.geturl().startswith("https://gateway.example/gateway.do?")
    fields = dict(parse_qsl(address.query, strict_parsing=True))
    claimed = fields.pop("sign")
    assert verify_with_rsa(APP.public(), get_sign_content(fields).encode(), claimed)
    assert fields["method"] == "alipay.trade.page.pay"
    assert fields["notify_url"] == "https://shop.example/v1/webhooks/alipay"
    assert fields["return_url"] == f"https://shop.example/?order={wanted.first_order_id}"
    trade = msgspec.json.decode(fields["biz_content"])
    expires_at = wanted.expires_at + timedelta(hours=8)
    assert trade == {
        "out_trade_no": wanted.id.replace("-", ""),
        "total_amount": "50.00",
        "subject": wanted.first_order_id,
        "product_code": "FAST_INSTANT_TRADE_PAY",
        "time_expire": f"{expires_at:%Y-%m-%d %H:%M:%S}",
    }
    assert checkout.provider_ref == trade["out_trade_no"]


@pytest.mark.parametrize("facts", [{"currency": "USD"}, {"amount_minor": 0}])
async def test_alipay_takes_yuan_and_nothing_else(client, facts):
    with pytest.raises(payments.CurrencyNotTaken):
        await client.checkout(payment(**facts))


def test_keys_are_read_as_alipays_tools_write_them():
    bare = {
        form: "".join(APP.private(form).decode().split("\n")[1:-2])
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    }
    theirs = "".join(ALIPAY.public().split("\n")[1:-2])
    for ours in bare.values():
        keys = payments.Keys(private_key=ours, their_public_key=theirs)
        assert verify_with_rsa(APP.public(), b"content", keys.sign(b"content"))
    short = Pair(rsa.generate_private_key(65_537, 1_024))
    edwards = ed25519.Ed25519PrivateKey.generate()
    other = edwards.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    ours = APP.private().decode()
    for private, public in (
        ("", theirs),
        ("?", theirs),
        (ours, ""),
        (ours, ours),
        (theirs, theirs),
        (other, theirs),
        (short.private().decode(), theirs),
        (ours, short.public()),
    ):
        with pytest.raises(payments.UnreadableKey):
            payments.Keys(private_key=private, their_public_key=public)
