"""Postgres and Redis for one command, and who gives it."""

import os
import pwd
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import rich_click as click
import uvloop

from api import wiring
from api.cli import context
from core import sales, staff
from core.kit import db, ids
from core.settings import Settings
from hotpath.nodes import Redis

POOL_SIZE_MAX = 4

Found = TypeVar("Found")
Work = Callable[[db.Pool], Coroutine[Any, Any, Found]]


@asynccontextmanager
async def clients(settings: Settings) -> AsyncIterator[tuple[db.Pool, Redis]]:
    async with (
        db.create_pool(settings.database_url, size_max=POOL_SIZE_MAX) as pool,
        wiring.redis_client(settings) as redis,
    ):
        yield pool, redis


def with_clients(
    work: Callable[[db.Pool, Redis], Coroutine[Any, Any, Found]],
    settings: Settings | None = None,
) -> Found:
    """Run one piece of work with both servers at hand."""
    found = settings or context.settings("database_url", "redis_url")

    async def run() -> Found:
        async with clients(found) as (pool, redis):
            return await work(pool, redis)

    return uvloop.run(run())


def with_pool(work: Work[Found]) -> Found:
    """Run one piece of work that needs Postgres alone."""
    url = context.settings("database_url").database_url

    async def run() -> Found:
        async with db.create_pool(url, size_max=POOL_SIZE_MAX) as pool:
            return await work(pool)

    return uvloop.run(run())


def author(permission: str) -> staff.Author:
    """Whoever types the command that runs now. Who can do that has every permission."""
    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        account = str(os.getuid())
    verb = click.get_current_context()
    assert verb is not None
    return staff.Author(
        sealer=staff.Sealer(wiring.keyring(context.settings("receipt_keys")).signers),
        by=f"shell:{account}",
        permission=staff.Permission(permission),
        action=verb.command_path,
        request_id=str(uuid.uuid4()),
    )


def sale_id(text: str) -> sales.SaleId:
    """Raises NoSuchSale for what cannot be an id."""
    number = ids.parse(text)
    if number is None:
        raise sales.NoSuchSale
    return sales.SaleId(number)
