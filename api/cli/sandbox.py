"""`sluice sandbox`."""

import rich_click as click

from api.cli import playing


@click.command("sandbox")
def command() -> None:
    """Run the sandbox payment provider where SLUICE_SANDBOX_URL points."""
    from api.sandbox import create_sandbox

    settings = playing.settings("sandbox_url", "sandbox_secret")
    playing.serve(create_sandbox(settings), settings.sandbox_url)
