"""`sluice token`: bearer tokens for demo members and administrators."""

import asyncio
import sys
import time

import rich_click as click

from api import auth, wiring
from api.cli import context
from core import members
from core.kit import db, ids

TOKEN_TTL_S = 24 * 60 * 60
MEMBERS_MAX = 1_000_000
BATCH_MAX = 50_000
POOL_SIZE_MAX = 2


@click.command("token")
@click.option(
    "--members",
    "count",
    metavar="N",
    type=click.IntRange(1, MEMBERS_MAX),
    help="One token a line, for N demo members. Missing members are made.",
)
@click.option(
    "--first",
    metavar="K",
    type=click.IntRange(1, ids.ID_MAX - MEMBERS_MAX),
    default=1,
    show_default=True,
    help="The first member's id.",
)
@click.option("--admin", is_flag=True, help="One token, for an administrator.")
def command(count: int | None, first: int, admin: bool) -> None:
    """Print bearer tokens that last a day. Refuses in production."""
    if admin == bool(count):
        raise click.UsageError("say either --members N or --admin")
    settings = context.settings()
    if settings.env == "production":
        raise click.ClickException("demo tokens are not for production")
    secret, now_s = wiring.token_secret(settings), int(time.time())
    if count is None:
        print(auth.issue(secret, subject="admin", role="admin", now_s=now_s, ttl_s=TOKEN_TTL_S))
        return
    asyncio.run(enrol(context.settings("database_url").database_url, first, count))
    sys.stdout.writelines(
        auth.issue(secret, subject=str(member), role="member", now_s=now_s, ttl_s=TOKEN_TTL_S)
        + "\n"
        for member in range(first, first + count)
    )


async def enrol(database_url: str, first: int, count: int) -> None:
    async with db.create_pool(database_url, size_max=POOL_SIZE_MAX) as pool:
        for start in range(first, first + count, BATCH_MAX):
            batch = min(BATCH_MAX, first + count - start)
            async with db.transaction(pool) as conn:
                await members.enrol_demo(conn, first=start, count=batch)
