"""Clients made from settings, the same way for every process."""

import base64
import binascii
import re
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from core import aftersale, ledger, payments, pricing, risk, webhooks
from core.settings import Settings, UnreadableSettings, split
from hotpath import nodes
from hotpath._risk_py import siphash
from hotpath.nodes import Redis
from hotpath.receipts import Keyring
from hotpath.risk import Program, Risk, open_table, seed_of, sizes_for

REDIS_TIMEOUT_S = 5.0
SECRET_BYTES_MIN = 32
RECEIPT_KEY_BYTES_MIN = 16


def redis_client(settings: Settings) -> Redis:
    """A client that never repeats a command by itself. Use it with `async with`."""
    return nodes.connect(settings.redis_url, timeout_s=REDIS_TIMEOUT_S)


@asynccontextmanager
async def payment_channels(settings: Settings) -> AsyncIterator[payments.Channels]:
    """Each way to pay that has its settings. Proxies of the environment are not asked."""
    async with httpx.AsyncClient(trust_env=False) as http:
        found: dict[str, payments.Provider] = {}
        if settings.sandbox_url:
            found["sandbox"] = payments.SandboxClient(
                http,
                url=settings.sandbox_url,
                secret=settings.sandbox_secret.encode(),
                shop_url=settings.shop_url,
                clock=time.time,
                taking=payments.Taking(settings.sandbox_capture),
            )
        if settings.paypal_url:
            found["paypal"] = payments.PayPalClient(
                http,
                url=settings.paypal_url,
                client_id=settings.paypal_client_id,
                secret=settings.paypal_secret,
                shop_url=settings.shop_url,
                clock=time.monotonic,
                taking=payments.Taking(settings.paypal_capture),
            )
        if settings.alipay_app_id:
            found["alipay"] = alipay(settings, http)
        yield payments.Channels(found)


@asynccontextmanager
async def paypal_webhooks(settings: Settings) -> AsyncIterator[payments.PayPalWebhooks | None]:
    """Who checks PayPal's webhooks; None where nothing tells which are ours."""
    if not settings.paypal_url or not settings.paypal_webhook_id:
        yield None
        return
    async with httpx.AsyncClient(trust_env=False) as http:
        yield payments.PayPalWebhooks(
            http,
            url=settings.paypal_url,
            webhook_id=settings.paypal_webhook_id,
            roots=authorities(settings.paypal_ca),
            clock=time.time,
        )


def authorities(path: str) -> list[x509.Certificate]:
    """Those in a PEM file, or without one those that everybody trusts."""
    try:
        if path:
            return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise UnreadableSettings(f"SLUICE_PAYPAL_CA: {error}") from None
    usual = httpx.create_ssl_context(trust_env=False).get_ca_certs(binary_form=True)
    return [found for one in usual if (found := authority(one)) is not None]


def authority(certificate: bytes) -> x509.Certificate | None:
    """None where the certificate is out of form: such a one vouches for nobody."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        try:
            return x509.load_der_x509_certificate(certificate)
        except (CryptographyDeprecationWarning, ValueError):
            return None


def alipay(settings: Settings, http: httpx.AsyncClient) -> payments.AlipayClient:
    """Read SLUICE_ALIPAY_*."""
    if not re.fullmatch("[0-9]{1,32}", settings.alipay_app_id):
        raise UnreadableSettings("SLUICE_ALIPAY_APP_ID is not a number")
    if not re.fullmatch("2088[0-9]{12}", settings.alipay_seller_id):
        raise UnreadableSettings("SLUICE_ALIPAY_SELLER_ID is not 2088 and twelve digits more")
    gateway = settings.alipay_gateway or payments.ALIPAY_GATEWAY
    if settings.env == "production" and not gateway.startswith("https://"):
        raise UnreadableSettings("SLUICE_ALIPAY_GATEWAY has to be https:// in production")
    try:
        keys = payments.Keys(
            private_key=settings.alipay_private_key, their_public_key=settings.alipay_public_key
        )
    except payments.UnreadableKey:
        raise UnreadableSettings(
            "SLUICE_ALIPAY_PRIVATE_KEY and SLUICE_ALIPAY_PUBLIC_KEY need to be Base64 of RSA keys"
            " of 2,048 bits or more"
        ) from None
    return payments.AlipayClient(
        http,
        keys=keys,
        app_id=settings.alipay_app_id,
        seller_id=settings.alipay_seller_id,
        gateway=gateway,
        product=settings.alipay_product,
        shop_url=settings.shop_url,
        clock=time.time,
    )


def webhook_reach(settings: Settings) -> webhooks.Reach:
    """Read SLUICE_WEBHOOK_PORTS and SLUICE_WEBHOOK_LOOPBACK."""
    if settings.webhook_loopback and settings.env == "production":
        raise UnreadableSettings("SLUICE_WEBHOOK_LOOPBACK is for development only")
    listed = split(settings.webhook_ports)
    if not all(re.fullmatch("[1-9][0-9]{0,4}", port) for port in listed):
        raise UnreadableSettings("SLUICE_WEBHOOK_PORTS is not 443,8443")
    return webhooks.Reach(frozenset(map(int, listed)), loopback=settings.webhook_loopback)


def webhook_sender(settings: Settings) -> webhooks.Sender:
    """The way to those who want to be told. Use it with `async with`."""
    return webhooks.Sender(webhook_reach(settings))


def bank(settings: Settings) -> ledger.Bank:
    """The bank that payouts go through. Raises NoBank in production: the sandbox pays nobody."""
    if settings.env == "production":
        raise ledger.NoBank
    return ledger.SandboxBank()


def keyring(settings: Settings) -> Keyring:
    """Read SLUICE_RECEIPT_KEYS."""
    keys: dict[int, bytes] = {}
    for part in split(settings.receipt_keys):
        number, _, text = part.partition(":")
        try:
            keys[int(number)] = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            raise UnreadableSettings("SLUICE_RECEIPT_KEYS is not 1:BASE64,2:BASE64") from None
    if not keys or min(keys) < 1 or min(map(len, keys.values())) < RECEIPT_KEY_BYTES_MIN:
        raise UnreadableSettings(
            f"SLUICE_RECEIPT_KEYS needs keys of {RECEIPT_KEY_BYTES_MIN} bytes or more, from 1 up"
        )
    return Keyring(keys)


def risk_program(settings: Settings) -> Program:
    """Read SLUICE_RISK_RULES, SLUICE_RISK_DENY and SLUICE_RISK_ALLOW."""
    try:
        return risk.compile_program(
            split(settings.risk_rules),
            deny=split(settings.risk_deny),
            allow=split(settings.risk_allow),
            hash_key=partial(siphash, *seed_of(settings.token_secret.encode())),
        )
    except risk.UnreadableRule as error:
        raise UnreadableSettings(f"SLUICE_RISK_ variables: {error}") from None


def risk_table(settings: Settings) -> Risk:
    """The table that all workers with this SLUICE_HOME share."""
    program = risk_program(settings)
    path = settings.home_path / "run" / "risk"
    try:
        return open_table(
            path,
            sizes_for(program, subjects=settings.risk_subjects),
            key=settings.token_secret.encode(),
            program=program,
            now_s=time.time(),
        )
    except OSError as error:
        raise UnreadableSettings(f"no room to count claims in {path}: {error.strerror}") from None


def count_value_max(settings: Settings) -> dict[str, int]:
    """Read SLUICE_COUNT_VALUE_MAX: currency -> minor units."""
    found = {}
    for part in split(settings.count_value_max):
        currency, _, units = part.partition(":")
        if not re.fullmatch("[A-Z]{3}", currency) or not re.fullmatch("[0-9]{1,15}", units):
            raise UnreadableSettings("SLUICE_COUNT_VALUE_MAX is not CNY:100000,USD:15000")
        found[currency] = int(units)
    return found


def shipping_rates(settings: Settings) -> dict[str, pricing.Shipping]:
    """Read SLUICE_SHIPPING: what sending a cart costs, by currency."""
    found = {}
    for part in split(settings.shipping):
        read = re.fullmatch("([A-Z]{3}):([0-9]{1,12})(?::([0-9]{1,12}))?", part)
        if read is None:
            raise UnreadableSettings("SLUICE_SHIPPING is not CNY:1000:9900,USD:599:4900")
        free_from = None if read[3] is None else int(read[3])
        found[read[1]] = pricing.Shipping(int(read[2]), free_from_minor=free_from)
    return found


def after_sale_days(settings: Settings) -> dict[str, int]:
    """Read SLUICE_AFTER_SALE_DAYS: kind of case -> days after delivery."""
    found = {}
    for part in split(settings.after_sale_days):
        kind, _, days = part.partition(":")
        if kind not in set(aftersale.Kind) or not re.fullmatch("[0-9]{1,4}", days):
            raise UnreadableSettings("SLUICE_AFTER_SALE_DAYS is not return:7,exchange:15,claim:30")
        found[kind] = int(days)
    if found.keys() != set(aftersale.Kind):
        raise UnreadableSettings("SLUICE_AFTER_SALE_DAYS has to name return, exchange and claim")
    return found


def token_secret(settings: Settings) -> str:
    if len(settings.token_secret.encode()) < SECRET_BYTES_MIN:
        raise UnreadableSettings(f"SLUICE_TOKEN_SECRET needs {SECRET_BYTES_MIN} bytes or more")
    return settings.token_secret
