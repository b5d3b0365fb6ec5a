"""Every knob there is. Set one with an environment variable: SLUICE_<NAME>."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

PREFIX = "SLUICE_"

Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    env: Literal["development", "production"] = "development"
    home: str = ".sluice"
    port: Port = 8000
    host: str = "127.0.0.1"
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    database_url: str = ""
    redis_url: str = ""
    "One server, or some nodes of a cluster, separated by commas."
    trusted_proxies: str = ""
    "Networks, separated by commas, whose X-Forwarded-For counts."
    token_secret: str = ""
    receipt_keys: str = ""
    "`1:BASE64,2:BASE64`. The newest signs; the first also marks order ids and is never removed."
    sandbox_url: str = ""
    "Where the sandbox payment provider answers. Empty: payments by `sandbox` are refused."
    sandbox_secret: str = ""
    "Signs what the sandbox provider and the shop tell each other."
    sandbox_capture: Literal["at_once", "at_dispatch"] = "at_once"
    "When money is taken that a buyer agreed to: at once, or held first until the goods leave."
    paypal_url: str = ""
    "Where PayPal answers: https://api-m.paypal.com. Empty: payments by `paypal` are not offered."
    paypal_client_id: str = ""
    paypal_secret: str = ""
    "The name and secret of this shop's app, from PayPal's developer pages."
    paypal_webhook_id: str = ""
    "What PayPal calls our webhook; without it no webhook of theirs is believed."
    paypal_ca: str = ""
    "A PEM file of who may vouch for webhooks; empty means the usual authorities."
    paypal_capture: Literal["at_once", "at_dispatch"] = "at_once"
    "The same, for PayPal."
    alipay_app_id: str = ""
    "This shop's app at Alipay. Empty: payments by `alipay` are refused."
    alipay_seller_id: str = ""
    "Whose money it is there: 2088 and twelve digits more."
    alipay_private_key: str = ""
    "The app's own key, as Base64 of PKCS#8 or PKCS#1; it signs what we ask."
    alipay_public_key: str = ""
    "Alipay's key for this app, not the app's own, as Base64."
    alipay_gateway: str = ""
    "Where Alipay answers; empty means its own https://openapi.alipay.com/gateway.do."
    alipay_product: Literal["page", "wap"] = "page"
    "Which page buyers see: that for computers, or that for telephones."
    public_url: str = ""
    "How the outside reaches this shop; empty means http://HOST:PORT."
    pure_python: bool = False
    "Run the readable twins of the compiled kernels; `hotpath` looks at the environment itself."
    risk_rules: str = "ip:600:100:block:152"
    "`subject:window_s:limit:verdict:id`, separated by commas; the default is F-152 and no more."
    risk_deny: str = ""
    "Networks, `member:ID` and `device:NAME` whose claims are refused, separated by commas."
    risk_allow: str = ""
    "The same, for those that no rule counts."
    risk_subjects: Annotated[int, msgspec.Meta(ge=1_024, le=1_048_576)] = 65_536
    "How many addresses, members and devices are counted at once, with about a KiB each."
    count_value_max: str = "CNY:100000,USD:15000"
    "What a counted difference may be worth, in minor units, without a second person; else nothing."
    after_sale_days: str = "return:7,exchange:15,claim:30"
    "So many days after delivery each may be asked for."
    escrow_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 15
    "So long after its delivery an order's money is held where nobody says that it is done."
    shipping: str = "CNY:1000:9900,USD:599:4900,EUR:499:4900,GBP:399:3900,JPY:600:5000"
    "`currency:minor:free_from`: what sending a cart costs; the shop sells in no other currency."
    order_hold_s: Annotated[int, msgspec.Meta(ge=60, le=604_800)] = 1_800
    "So long an order that was checked out keeps its units without being paid."
    webhook_ports: str = "443"
    "Ports, separated by commas, that messages are sent to."
    webhook_loopback: bool = False
    "Development only: messages may go to this machine too, by http and to any port."
    pool_size_max: Annotated[int, msgspec.Meta(ge=2, le=200)] = 10
    claim_queue_max: Annotated[int, msgspec.Meta(ge=16, le=1_000_000)] = 20_000
    claim_wait_max_ms: Annotated[int, msgspec.Meta(ge=10, le=1_500)] = 150
    "So many claims wait in a worker as are decided within this; more are told to come again."
    claim_backlog_max: Annotated[int, msgspec.Meta(ge=100, le=50_000_000)] = 1_000_000

    @property
    def home_path(self) -> Path:
        return Path(self.home).absolute()

    @property
    def shop_url(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"

    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        return tuple(ipaddress.ip_network(n) for n in split(self.trusted_proxies))


class UnreadableSettings(Exception):
    """A SLUICE_ variable is unknown or malformed; the message says which and what fits."""


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read settings. An unknown or malformed SLUICE_ variable stops the start."""
    found = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in env.items()
        if name.startswith(PREFIX)
    }
    unknown = sorted(found.keys() - set(Settings.__struct_fields__))
    if unknown:
        known = ", ".join(PREFIX + field.upper() for field in Settings.__struct_fields__)
        raise UnreadableSettings(f"unknown {PREFIX}{unknown[0].upper()}; known are {known}")
    try:
        settings = msgspec.convert(found, Settings, strict=False)
        settings.proxies()
    except (msgspec.ValidationError, ValueError) as error:
        raise UnreadableSettings(str(error)) from error
    return settings


def split(listed: str) -> list[str]:
    return [part.strip() for part in listed.split(",") if part.strip()]
