"""`sluice doctor`: do Redis and Postgres keep what a 202 promises?"""

import asyncio

import asyncpg
import msgspec
import rich_click as click

from api.cli.context import settings
from core.kit import promises
from core.kit.promises import Finding
from hotpath import nodes

DEADLINE_S = 5


@click.command()
def command() -> None:
    """Check Redis and Postgres against the promises, and name each mend."""
    found = settings("database_url", "redis_url")
    findings = asyncio.run(examine(found.redis_url, found.database_url))
    for finding in findings:
        print(f"✗ {finding.what}\n  why:  {finding.why}\n  mend: {finding.mend}")
    if findings:
        raise click.ClickException(f"{len(findings)} promises do not hold")
    print("✓ Redis and Postgres keep every promise")


async def examine(redis_url: str, database_url: str) -> list[Finding]:
    return [*await examine_redis(redis_url), *await examine_postgres(database_url)]


async def examine_redis(url: str) -> list[Finding]:
    """Every node that has buckets. Where there are several, a finding says whose it is."""
    async with nodes.connect(url, timeout_s=DEADLINE_S) as redis:
        found: list[Finding] = []
        every = await redis.every()
        for node in every:
            at = nodes.address_of(node)
            whose = f"{at.host}:{at.port}: " if len(every) > 1 else ""
            found += [
                msgspec.structs.replace(finding, what=whose + finding.what)
                for finding in await promises.check_redis(node)
            ]
        return found


async def examine_postgres(url: str) -> list[Finding]:
    conn = await asyncpg.connect(url, timeout=DEADLINE_S, command_timeout=DEADLINE_S)
    try:
        return await promises.check_postgres(conn)
    finally:
        await conn.close(timeout=DEADLINE_S)
