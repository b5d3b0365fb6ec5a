"""Postgres: the pool, the two kinds of transaction, rows as Structs, and migrations."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, TypeAlias, TypeVar

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

Conn: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Shape = TypeVar("Shape")

COMMAND_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
# A process that is frozen in the middle keeps its locks for no longer than this.
IDLE_IN_TRANSACTION_S = 5.0
MIGRATION_LOCK = 0x51_0C_E0


class Connection(asyncpg.Connection):
    """Returns to its pool without a question: whatever a session sets, its transaction unsets."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        return ""


def create_pool(url: str, *, size_max: int) -> Pool:
    """A pool whose every command has a deadline. Enter it with `async with`."""
    return asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size_max,
        init=speak_json,
        connection_class=Connection,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings={
            "application_name": "sluice",
            "timezone": "UTC",
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S * 1000:.0f}ms",
        },
    )


async def speak_json(conn: Conn) -> None:
    """Let jsonb columns carry plain Python values."""
    await conn.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Conn]:
    """All or nothing. Flows and edges open one; verbs are handed one."""
    async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as conn, conn.transaction():
        yield conn


@asynccontextmanager
async def autocommit(pool: Pool) -> AsyncIterator[Conn]:
    """One statement that is all of its transaction, without the two round trips around it."""
    async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as conn:
        yield conn


@asynccontextmanager
async def savepoint(conn: Conn) -> AsyncIterator[None]:
    """A part of a transaction that may fail by itself: what it wrote is undone, the rest stays."""
    async with conn.transaction():
        yield


@asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[Conn]:
    """Many reads that all see the same instant."""
    async with (
        pool.acquire(timeout=CONNECT_TIMEOUT_S) as conn,
        conn.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield conn


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Conn]:
    """One read that needs no transaction of its own."""
    async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as conn:
        yield conn


def one(shape: type[Shape], row: Iterable[Any] | None) -> Shape | None:
    """A row as a Struct. Nothing is converted: a test holds each statement against its Struct."""
    return None if row is None else shape(*row)


def many(shape: type[Shape], rows: Iterable[Iterable[Any]]) -> list[Shape]:
    return [shape(*row) for row in rows]


async def migrate(conn: Conn) -> list[str]:
    """Apply what is missing, in order, and return the names. Two callers never run at once."""
    await conn.execute("SET lock_timeout = '10s'")
    await conn.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    try:
        await conn.execute("CREATE SCHEMA IF NOT EXISTS kit")
        await conn.execute(
            "CREATE TABLE IF NOT EXISTS kit.migrations"
            " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row["name"] for row in await conn.fetch("SELECT name FROM kit.migrations")}
        missing = [name for name in migrations() if name not in done]
        for name in missing:
            async with conn.transaction():
                await conn.execute(script(name))
                await conn.execute("INSERT INTO kit.migrations (name) VALUES ($1)", name)
        return missing
    finally:
        await conn.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
        await conn.execute("RESET lock_timeout")


def migrations() -> list[str]:
    folder = resources.files("core.migrations")
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))


def script(name: str) -> str:
    return resources.files("core.migrations").joinpath(name).read_text(encoding="utf-8")
