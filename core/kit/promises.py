"""What Redis and Postgres must be set to, or an acknowledged claim may be lost."""

from collections.abc import Awaitable, Mapping
from typing import Any, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from .db import Conn
from .refusal import Kind, Refusal

REDIS_VERSION_MIN = (7, 0)
POSTGRES_VERSION_MIN = 15
MEMORY_SHARE_MAX = 0.9


class Finding(msgspec.Struct, frozen=True):
    """One promise that does not hold."""

    what: str
    why: str
    mend: str
    "The exact command."


class PromiseBroken(Refusal):
    """A server is not set up to keep what a 202 promises."""

    kind = Kind.UNAVAILABLE


class Wanted(msgspec.Struct, frozen=True):
    value: str
    why: str


REDIS_SETTINGS = {
    "appendonly": Wanted("yes", "without its log Redis forgets every claim when it ends"),
    "appendfsync": Wanted(
        "always", "a 202 means fsynced; with less a power cut loses acknowledged claims"
    ),
    "no-appendfsync-on-rewrite": Wanted(
        "no", "with yes nothing is fsynced while the log is rewritten, whatever appendfsync says"
    ),
    "aof-load-truncated": Wanted(
        "no", "with yes Redis 7.0 runs half of a batch that a power cut tore, two starts later"
    ),
    "maxmemory-policy": Wanted("noeviction", "any other policy deletes stock when memory is full"),
}

CLUSTER_SETTINGS = {
    "cluster-replica-no-failover": Wanted(
        "yes", "a replica that takes over may lack claims that were acknowledged"
    ),
    "cluster-require-full-coverage": Wanted(
        "no", "with yes one lost node closes the buckets of all the others too"
    ),
}

POSTGRES_SETTINGS = {
    "fsync": Wanted("on", "without it a power cut corrupts the whole database"),
    "synchronous_commit": Wanted(
        "on", "the cursor must not move on in memory only: Redis is trimmed up to it"
    ),
    "full_page_writes": Wanted("on", "a page half-written in a power cut cannot be mended"),
}
# Waits for a replica too: more than what is asked.
STRONGER = {"synchronous_commit": frozenset({"remote_apply"})}

# What this session runs with, and where each value comes from: a role or a database may override.
POSTGRES_LOOK = """
    SELECT s.name, s.setting, s.source, current_user AS role, current_database() AS database
      FROM pg_settings s
     WHERE s.name = ANY($1)
"""
POSTGRES_FACTS = """
    SELECT current_setting('server_version_num')::int / 10000 AS version,
           current_setting('server_encoding') AS encoding,
           pg_is_in_recovery() AS recovering,
           current_database() AS database
"""


async def check_redis(redis: Redis) -> list[Finding]:
    """Every promise that this Redis does not keep. Raises redis' errors when it cannot be asked."""
    info = await redis.info("everything")
    wanted = REDIS_SETTINGS | (CLUSTER_SETTINGS if info.get("cluster_enabled") else {})
    try:
        found = await cast("Awaitable[dict[str, str]]", redis.config_get(*wanted))
    except RedisError as error:
        return [
            Finding(
                f"Redis does not let us read its settings: {error}",
                "a sale opens only on settings that were seen to keep the promises",
                "ACL SETUSER <user> +config|get +info",
            ),
            *_redis_state(info),
        ]
    return [*_redis_settings(found, wanted), *_redis_state(info)]


async def check_postgres(conn: Conn) -> list[Finding]:
    """Every promise that this Postgres does not keep."""
    findings = []
    for row in await conn.fetch(POSTGRES_LOOK, list(POSTGRES_SETTINGS)):
        name, found = row["name"], row["setting"]
        wanted = POSTGRES_SETTINGS[name]
        if found != wanted.value and found not in STRONGER.get(name, ()):
            findings.append(
                Finding(
                    f"Postgres has {name} {found} instead of {wanted.value}",
                    wanted.why,
                    _postgres_mend(name, row["source"], row["role"], row["database"]),
                )
            )
    facts = await conn.fetchrow(POSTGRES_FACTS)
    assert facts is not None, "a SELECT without FROM always has a row"
    return [*findings, *_postgres_facts(dict(facts))]


def insist(findings: list[Finding]) -> None:
    """Refuse to go on upon the first promise that does not hold."""
    if findings:
        first = findings[0]
        raise PromiseBroken(f"{first.what}: {first.why}. Mend it with: {first.mend}")


def _redis_settings(found: Mapping[str, str], wanted: Mapping[str, Wanted]) -> list[Finding]:
    return [
        Finding(
            f"Redis has {name} {found.get(name)} instead of {want.value}",
            want.why,
            f"redis-cli CONFIG SET {name} {want.value} && redis-cli CONFIG REWRITE",
        )
        for name, want in wanted.items()
        if found.get(name) != want.value
    ]


def _redis_state(info: Mapping[str, Any]) -> list[Finding]:
    looks = (_redis_version, _redis_role, _redis_memory, _redis_disk, _redis_snapshot)
    return [finding for look in looks if (finding := look(info)) is not None]


def _redis_version(info: Mapping[str, Any]) -> Finding | None:
    found = str(info.get("redis_version", "0.0"))
    if tuple(int(part) for part in found.split(".")[:2]) >= REDIS_VERSION_MIN:
        return None
    return Finding(
        f"Redis is version {found}, older than 7.0",
        "older ones do not tell which stream entries were deleted, so a lost claim goes unseen",
        "apt-get install redis-server (Debian 12 or later), or install Valkey",
    )


def _redis_role(info: Mapping[str, Any]) -> Finding | None:
    if info.get("role", "master") == "master":
        return None
    return Finding(
        "Redis is a replica",
        "it refuses writes, and what it would acknowledge its primary does not know",
        "set SLUICE_REDIS_URL to the primary's address",
    )


def _redis_memory(info: Mapping[str, Any]) -> Finding | None:
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if not most or used <= MEMORY_SHARE_MAX * most:
        return None
    return Finding(
        f"Redis uses {used} of the {most} bytes that maxmemory allows",
        "when it is full every claim is refused, and so is giving units back",
        f"redis-cli CONFIG SET maxmemory {2 * most} && redis-cli CONFIG REWRITE",
    )


def _redis_disk(info: Mapping[str, Any]) -> Finding | None:
    statuses = ("aof_last_write_status", "aof_last_bgrewrite_status")
    failing = [name for name in statuses if info.get(name, "ok") != "ok"]
    if not failing:
        return None
    return Finding(
        f"Redis cannot write its log ({', '.join(failing)}: err)",
        "nothing can be acknowledged while the disk takes no writes",
        "df -h <Redis's dir>; make room or mend the disk, then redis-cli BGREWRITEAOF",
    )


def _redis_snapshot(info: Mapping[str, Any]) -> Finding | None:
    if info.get("rdb_last_bgsave_status", "ok") == "ok":
        return None
    return Finding(
        "Redis's last snapshot failed",
        "with stop-writes-on-bgsave-error it then refuses every write; the log makes them needless",
        "redis-cli CONFIG SET save '' && redis-cli CONFIG REWRITE",
    )


def _postgres_mend(name: str, source: str, role: str, database: str) -> str:
    if source == "user":
        return f'ALTER ROLE "{role}" RESET {name}'
    if source == "database":
        return f'ALTER DATABASE "{database}" RESET {name}'
    if source == "database user":
        return f'ALTER ROLE "{role}" IN DATABASE "{database}" RESET {name}'
    return f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()"


def _postgres_facts(facts: Mapping[str, Any]) -> list[Finding]:
    findings = []
    if facts["version"] < POSTGRES_VERSION_MIN:
        findings.append(
            Finding(
                f"Postgres is version {facts['version']}, older than {POSTGRES_VERSION_MIN}",
                "our SQL is written for, and tested on, 15 and later",
                "pg_upgradecluster, or point SLUICE_DATABASE_URL at a newer server",
            )
        )
    if facts["encoding"] != "UTF8":
        findings.append(
            Finding(
                f"The database is encoded in {facts['encoding']} instead of UTF8",
                "a name that it cannot store would be a poison order",
                f'createdb --encoding=UTF8 --template=template0 "{facts["database"]}_utf8", then '
                "move the data there",
            )
        )
    if facts["recovering"]:
        findings.append(
            Finding(
                "Postgres is a standby in recovery",
                "orders can be written to the primary only",
                "set SLUICE_DATABASE_URL to the primary's address",
            )
        )
    return findings
