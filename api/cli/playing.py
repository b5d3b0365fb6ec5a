"""How the commands run that play an outside service: `sluice sandbox`, `alipay`, `paypal`."""

from urllib.parse import urlsplit

from litestar import Litestar

from api.cli import context
from core.settings import Settings, UnreadableSettings

GRACE_S = 3


def settings(*needed: str) -> Settings:
    """As `context.settings`, and never in production."""
    found = context.settings(*needed)
    if found.env == "production":
        raise UnreadableSettings("it takes no real money: not for SLUICE_ENV=production")
    return found


def serve(app: Litestar, url: str) -> None:
    import uvicorn

    where = urlsplit(url)
    uvicorn.run(
        app,
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
