"""What a rehearsal ran on, as far as it can tell from here."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from core.kit import db
from hotpath.nodes import Redis

PACKAGES = ("sluice", "litestar", "uvicorn", "uvloop", "asyncpg", "redis", "msgspec")


async def describe(pool: db.Pool, redis: Redis) -> dict[str, str]:
    """Facts by name: the buyers' machine, the servers' versions, the packages'."""
    return {
        "system": platform.platform(),
        "processor": f"{os.cpu_count()} x {processor()}",
        "memory": memory(),
        "load average": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": sys.version.split()[0],
        **await servers(pool, redis),
        **{name: metadata.version(name) for name in PACKAGES},
    }


async def servers(pool: db.Pool, redis: Redis) -> dict[str, str]:
    info = await redis.info("server")
    async with db.reading(pool) as conn:
        version = conn.get_server_version()
    name = str(info.get("server_name", "redis"))
    return {
        "postgres": f"{version.major}.{version.minor}",
        name: str(info.get(f"{name}_version", info.get("redis_version"))),
    }


def processor() -> str:
    return proc_field("/proc/cpuinfo", "model name") or platform.machine()


def memory() -> str:
    return proc_field("/proc/meminfo", "MemTotal") or "unknown"


def proc_field(path: str, name: str) -> str:
    """The first value of that name; nothing on a system that has no such file."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
