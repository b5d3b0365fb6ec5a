"""`sluice paypal`."""

from urllib.parse import urlsplit

import rich_click as click

from api.cli import context
from core.settings import Settings, UnreadableSettings

GRACE_S = 3


@click.command("paypal")
def command() -> None:
    """Run what plays PayPal where SLUICE_PAYPAL_URL points."""
    settings = context.settings("paypal_url", "paypal_secret", "paypal_webhook_id")
    if settings.env == "production":
        raise UnreadableSettings("it takes no real money: not for SLUICE_ENV=production")
    run(settings)


def run(settings: Settings) -> None:
    import uvicorn

    from api.paypal_sandbox import create_paypal

    where = urlsplit(settings.paypal_url)
    uvicorn.run(
        create_paypal(settings),
        host=where.hostname or "127.0.0.1",
        port=where.port or 80,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
