"""Settings as a command sees them: the environment, completed from SLUICE_HOME."""

import msgspec

from core import embedded
from core.settings import PREFIX, Settings, UnreadableSettings, load

HELP = {
    "database_url": "start `sluice dev`, or set it to a postgresql:// address",
    "redis_url": "start `sluice dev`, or set it to a redis:// address",
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
    filled = {name: value for name, value in fallback.items() if not getattr(found, name)}
    return msgspec.structs.replace(found, **filled)
