"""`sluice migrate`."""

import asyncio

import asyncpg
import rich_click as click

from api.cli import context
from core.kit import db


@click.command("migrate")
def command() -> None:
    """Bring the schema up to date. Safe to repeat, and to run from several machines at once."""
    applied = asyncio.run(migrate(context.settings("database_url").database_url))
    print("\n".join(applied) or "nothing to do")


async def migrate(database_url: str) -> list[str]:
    conn = await asyncpg.connect(database_url, timeout=db.CONNECT_TIMEOUT_S)
    try:
        return await db.migrate(conn)
    finally:
        await conn.close()
