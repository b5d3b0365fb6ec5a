"""Settings as a command sees them: the environment, completed from SLUICE_HOME."""

from collections.abc import Mapping

import msgspec

from core import embedded
from core.settings import PREFIX, Settings, UnreadableSettings, load

PLAYED_APP_ID = "2021000000000001"
PLAYED_SELLER_ID = "2088000000000001"
HELP = {
    "database_url": "start `sluice dev`, or set it to a postgresql:// address",
    "redis_url": "start `sluice dev`, or set it to a redis:// address",
    "alipay_gateway": "start `sluice dev`, or set it to http://127.0.0.1:PORT/gateway.do",
    "paypal_url": "start `sluice dev`, or set it to where `sluice paypal` answers",
    "sandbox_url": "start `sluice dev`, or set it to where `sluice sandbox` answers",
}


def settings(*needed: str) -> Settings:
    """Read the environment, and fill what it leaves out from SLUICE_HOME.

    There the servers of a running `sluice dev` are announced and the keys are kept. A variable
    that is set always wins, and in production nothing else counts. `needed` names the settings
    that this command cannot do without.
    """
    found = load()
    if found.env == "development":
        found = completed(found)
    for name in needed:
        if not getattr(found, name):
            how = HELP.get(name, "set it")
            raise UnreadableSettings(f"{PREFIX}{name.upper()} is not set: {how}")
    return found


def completed(found: Settings) -> Settings:
    services = embedded.running(found.home_path)
    keys = embedded.keys(found.home_path)
    fallback = {
        "token_secret": keys.token_secret,
        "receipt_keys": f"1:{keys.receipt_key}",
        "sandbox_secret": keys.sandbox_secret,
        "database_url": services.database_url if services else "",
        "redis_url": services.redis_url if services else "",
        "sandbox_url": services.sandbox_url if services else "",
        "alipay_gateway": services.alipay_gateway if services else "",
    }
    if services and not found.paypal_url:
        # PayPal as we play it: all of its settings, or none where they are somebody's own.
        fallback |= {
            "paypal_url": services.paypal_url,
            "paypal_client_id": "sluice-dev",
            "paypal_secret": keys.paypal_secret,
            "paypal_webhook_id": "SLUICEDEVWEBHOOK1",
            "paypal_ca": str(found.home_path / "paypal" / "ca.pem"),
        }
    if found.alipay_app_id:
        del fallback["alipay_gateway"]  # A real app is none of the Alipay that we play.
    found = filled(found, fallback)
    if found.alipay_app_id or not found.alipay_gateway:
        return found
    return filled(found, played_app(embedded.alipay_keys(found.home_path)))


def played_app(keys: embedded.AlipayKeys) -> dict[str, str]:
    """The shop at the Alipay that `sluice alipay` plays."""
    return {
        "alipay_app_id": PLAYED_APP_ID,
        "alipay_seller_id": PLAYED_SELLER_ID,
        "alipay_private_key": keys.app,
        "alipay_public_key": embedded.public_key(keys.gateway),
    }


def filled(found: Settings, fallback: Mapping[str, str]) -> Settings:
    missing = {name: value for name, value in fallback.items() if not getattr(found, name)}
    return msgspec.structs.replace(found, **missing)
