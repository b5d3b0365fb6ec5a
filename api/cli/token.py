"""`sluice token`: bearer tokens for demo members, administrators and staff."""

import asyncio
import sys
import time

import rich_click as click

from api import auth, wiring
from api.cli import context
from api.cli.clients import with_pool
from core import members, staff
from core.kit import db, ids

TOKEN_TTL_S = 24 * 60 * 60
STAFF_TOKEN_TTL_S = 12 * 60 * 60
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
@click.option("--staff", "name", metavar="NAME", help="One token, for somebody of staff.")
def command(count: int | None, first: int, admin: bool, name: str | None) -> None:
    """Print bearer tokens that last a day, or 12 hours for staff; in production for staff only.

    A token of staff tells who it is, and no more: what NAME may do is looked up at each request.
    """
    if (bool(count), admin, name is not None).count(True) != 1:
        raise click.UsageError("say either --members N, --admin or --staff NAME")
    settings = context.settings()
    if name is not None:
        print(staff_token(wiring.token_secret(settings), name))
        return
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


def staff_token(secret: str, name: str) -> str:
    """Raises NoSuchPerson for who does not work here, or no longer."""

    async def look(pool: db.Pool) -> bool:
        async with db.reading(pool) as conn:
            return await staff.may(conn, name=name) is not None

    if not with_pool(look):
        raise staff.NoSuchPerson
    now_s = int(time.time())
    return auth.issue(secret, subject=name, role="staff", now_s=now_s, ttl_s=STAFF_TOKEN_TTL_S)


async def enrol(database_url: str, first: int, count: int) -> None:
    async with db.create_pool(database_url, size_max=POOL_SIZE_MAX) as pool:
        for start in range(first, first + count, BATCH_MAX):
            batch = min(BATCH_MAX, first + count - start)
            async with db.transaction(pool) as conn:
                await members.enrol_demo(conn, first=start, count=batch)
