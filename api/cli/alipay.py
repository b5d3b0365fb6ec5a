"""`sluice alipay`."""

from urllib.parse import urlsplit

import rich_click as click

from api.cli import context
from core import embedded
from core.settings import Settings, UnreadableSettings

GRACE_S = 3


@click.command("alipay")
def command() -> None:
    """Play Alipay where SLUICE_ALIPAY_GATEWAY points.

    Its key, and that of the shop's app, are kept in SLUICE_HOME.
    """
    settings = context.settings("alipay_gateway")
    if settings.env == "production":
        raise UnreadableSettings("played Alipay takes no real money: not for SLUICE_ENV=production")
    run(settings)


def run(settings: Settings) -> None:
    import uvicorn

    from api.alipay_sandbox import Merchant, create_alipay

    keys = embedded.alipay_keys(settings.home_path)
    merchant = Merchant(
        app_id=settings.alipay_app_id,
        seller_id=settings.alipay_seller_id,
        app_public_key=embedded.public_key(keys.app),
        gateway_private_key=keys.gateway,
    )
    where = urlsplit(settings.alipay_gateway)
    uvicorn.run(
        create_alipay(merchant, home=settings.home_path),
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
