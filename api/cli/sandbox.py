"""`sluice sandbox`."""

from urllib.parse import urlsplit

import rich_click as click

from api.cli import context
from core.settings import Settings, UnreadableSettings

GRACE_S = 3


@click.command("sandbox")
def command() -> None:
    """Run the sandbox payment provider where SLUICE_SANDBOX_URL points."""
    settings = context.settings("sandbox_url", "sandbox_secret")
    if settings.env == "production":
        raise UnreadableSettings("the sandbox takes no real money: not for SLUICE_ENV=production")
    run(settings)


def run(settings: Settings) -> None:
    import uvicorn

    from api.sandbox import create_sandbox

    where = urlsplit(settings.sandbox_url)
    uvicorn.run(
        create_sandbox(settings),
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
