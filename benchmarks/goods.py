"""A large catalogue, made set by set by goods.sql: a million SKUs in about two minutes."""

import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from core.catalogue import store

SCRIPT = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
BATCH = 10_000
LOAD_S_MAX = 900.0
# Rows come in without asking each one's foreign keys, and without a wait for the disk.
SETTINGS = {
    "session_replication_role": "replica",
    "synchronous_commit": "off",
    "maintenance_work_mem": "512MB",
    "work_mem": "64MB",
}
# Those on which no constraint stands.
INDEXES = """
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS made_by,
           indrelid = 'catalogue.listings'::regclass AS is_late
      FROM pg_index
     WHERE split_part(indrelid::regclass::text, '.', 1) = ANY($1)
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
     ORDER BY indrelid, indexrelid
"""


async def load(url: str, products: int) -> float:
    """Fill a migrated, empty catalogue as a superuser, and tell how. Return the seconds it took."""
    conn = await asyncpg.connect(url, command_timeout=LOAD_S_MAX)
    began = time.perf_counter()
    try:
        await conn.execute("SELECT set_config('goods.products', $1, false)", str(products))
        indexes = await unindexed(conn, ("catalogue", "inventory"))
        await follow(conn, SCRIPT, began)
        await index_all(conn, [index for index in indexes if not index["is_late"]])
        await list_all(conn, products, began)
        await index_all(conn, [index for index in indexes if index["is_late"]])
        await conn.execute("VACUUM ANALYZE")
        await conn.execute("CHECKPOINT")
        tell(began, "indexes, vacuum, analyze, checkpoint")
    finally:
        await conn.close()
    return time.perf_counter() - began


async def unindexed(conn: asyncpg.Connection, schemas: Sequence[str]) -> list[asyncpg.Record]:
    """Let rows come in fast, without the indexes that are returned."""
    for name, value in SETTINGS.items():
        await conn.execute(f"SET {name} = '{value}'")
    indexes = await conn.fetch(INDEXES, schemas)
    for index in indexes:
        await conn.execute(f"DROP INDEX {index['name']}")
    return indexes


async def follow(conn: asyncpg.Connection, script: str, began: float) -> None:
    for step in script.split("-- step: ")[1:]:
        title, _, statements = step.partition("\n")
        await conn.execute(statements)
        tell(began, title)


async def index_all(conn: asyncpg.Connection, indexes: list[asyncpg.Record]) -> None:
    for index in indexes:
        await conn.execute(index["made_by"])
    await conn.execute("ANALYZE")


async def list_all(conn: asyncpg.Connection, products: int, began: float) -> None:
    """As a verb does it, many at once."""
    for first in range(1, products + 1, BATCH):
        ids = list(range(first, min(first + BATCH, products + 1)))
        await store.list_published(conn, ids)
        await store.shelve(conn, ids)
        tell(began, f"{ids[-1]:,} of {products:,} products listed")


def tell(began: float, what: str) -> None:
    print(f"{time.perf_counter() - began:6.0f} s  {what}", flush=True)
