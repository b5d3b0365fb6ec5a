"""`sluice serve`: the API workers."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import rich_click as click
import uvicorn

from api import logs, wiring
from api.cli import context
from core.settings import PREFIX, Settings
from hotpath import parse, risk, routing

# prometheus-client reads it when it is imported, so only the workers may import that.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
GRACE_S = 5
KEEP_ALIVE_S = 75
BACKLOG = 4096
STARTUP_FAILURE = 3


@click.command("serve")
def command() -> None:
    """Serve the API with SLUICE_WORKERS processes on SLUICE_HOST and SLUICE_PORT."""
    settings = context.settings("database_url", "redis_url", "token_secret", "receipt_keys")
    wiring.token_secret(settings)
    wiring.keyring(settings)
    wiring.risk_program(settings)
    refuse_slow_twins(settings)
    export(settings)
    with metrics_folder(settings.workers):
        raise SystemExit(run(settings))


def refuse_slow_twins(settings: Settings) -> None:
    kernels = {parse.IMPLEMENTATION, risk.IMPLEMENTATION, routing.IMPLEMENTATION}
    if settings.env == "production" and kernels != {"cython"}:
        raise click.ClickException(
            "the kernels are not compiled: install a C compiler, then `pip install .` again"
        )
    if settings.workers > 1 and risk.IMPLEMENTATION != "cython":
        click.echo("sluice: no compiled kernels: each worker counts risk for itself", err=True)


def run(settings: Settings) -> int:
    logs.configure()
    config = uvicorn.Config(
        "api.app:create_served",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http="hotpath.lane:Lane",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=logs.standard_library(),
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    if settings.workers == 1:
        server.run()
        return 0 if server.started else STARTUP_FAILURE
    with config.bind_socket() as socket:
        uvicorn.supervisors.Multiprocess(config, sockets=[socket]).run()
    return 0


def export(settings: Settings) -> None:
    """Workers are new processes: what SLUICE_HOME told us reaches them by the environment."""
    for name in settings.__struct_fields__:
        os.environ[PREFIX + name.upper()] = str(getattr(settings, name))


@contextmanager
def metrics_folder(workers: int) -> Iterator[None]:
    """A folder in which several workers add their figures up. One worker needs none."""
    if workers == 1:
        yield
        return
    folder = tempfile.mkdtemp(prefix="sluice-metrics-")
    os.environ[METRICS_FOLDER] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
