"""`sluice paypal`."""

import rich_click as click

from api.cli import playing


@click.command("paypal")
def command() -> None:
    """Run what plays PayPal where SLUICE_PAYPAL_URL points."""
    from api.paypal_sandbox import create_paypal

    settings = playing.settings("paypal_url", "paypal_secret", "paypal_webhook_id")
    playing.serve(create_paypal(settings), settings.paypal_url)
