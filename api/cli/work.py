"""`sluice work`: the background roles."""

import asyncio
import os
import signal
import socket
import time

import rich_click as click
import uvloop

from api import logs, wiring
from api.cli import context
from core.jobs import cast
from core.jobs.role import perform
from core.kit import db
from core.settings import Settings

NAMES = (
    "order_writer",
    "expirer",
    "outbox_relay",
    "auditor",
    "fence",
    "conductor",
    "dispatcher",
    "notary",
    "rebalancer",
    "reconciler",
    "importer",
    "exporter",
    "statement_taker",
    "herald",
    "courier",
)


@click.command("work")
@click.option(
    "--role",
    "names",
    type=click.Choice(NAMES),
    multiple=True,
    help="Only this role; may be given several times. Default: all of them.",
)
def command(names: tuple[str, ...]) -> None:
    """Play the background roles, from writing orders to telling others of them.

    Run it once or many times, on one machine or several: each role has one player at a time, and
    another takes over within seconds when that one is gone.
    """
    settings = context.settings("database_url", "redis_url")
    logs.configure()
    uvloop.run(work(settings, names or NAMES))


async def work(settings: Settings, names: tuple[str, ...]) -> None:
    task = asyncio.current_task()
    assert task is not None
    for stop in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop, task.cancel)
    try:
        async with (
            db.create_pool(settings.database_url, size_max=settings.pool_size_max) as pool,
            wiring.redis_client(settings) as redis,
            wiring.payment_channels(settings) as channels,
            wiring.webhook_sender(settings) as sender,
        ):
            everyone = cast.roles(
                pool,
                redis,
                wiring.keyring(settings),
                channels,
                sender,
                backlog_max=settings.claim_backlog_max,
            )
            holder = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
            await perform(pool, [r for r in everyone if r.name in names], holder=holder)
    except asyncio.CancelledError:
        return
