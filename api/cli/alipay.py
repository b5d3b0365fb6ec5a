"""`sluice alipay`."""

import rich_click as click

from api.cli import playing
from core import embedded


@click.command("alipay")
def command() -> None:
    """Play Alipay where SLUICE_ALIPAY_GATEWAY points.

    Its key, and that of the shop's app, are kept in SLUICE_HOME.
    """
    from api.alipay_sandbox import Merchant, create_alipay

    settings = playing.settings("alipay_gateway")
    keys = embedded.alipay_keys(settings.home_path)
    merchant = Merchant(
        app_id=settings.alipay_app_id,
        seller_id=settings.alipay_seller_id,
        app_public_key=embedded.public_key(keys.app),
        gateway_private_key=keys.gateway,
    )
    app = create_alipay(merchant, home=settings.home_path)
    playing.serve(app, settings.alipay_gateway)
