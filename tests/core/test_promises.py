"""Each setting that breaks a promise is found, once, with the command that mends it."""

import os

import asyncpg
import pytest

from core import embedded
from core.kit import promises
from hotpath.nodes import Redis

REDIS_BROKEN = {
    "appendonly": "no",
    "appendfsync": "everysec",
    "no-appendfsync-on-rewrite": "yes",
    "aof-load-truncated": "yes",
    "maxmemory-policy": "allkeys-lru",
}


async def test_servers_as_we_start_them_keep_every_promise(redis, conn):
    assert await promises.check_redis(redis) == []
    assert await promises.check_postgres(conn) == []


@pytest.fixture
async def spoilt(request, redis):
    """The Redis of all tests with one setting spoilt, and mended again."""
    name, value = request.param
    before = await redis.config_get(name)
    await redis.config_set(name, value)
    yield redis
    await redis.config_set(name, before[name])


@pytest.mark.parametrize("spoilt", REDIS_BROKEN.items(), ids=REDIS_BROKEN, indirect=True)
async def test_each_broken_redis_setting_is_found_and_its_mend_mends(spoilt, request):
    name = next(name for name in REDIS_BROKEN if f"[{name}]" in request.node.name)
    (finding,) = await promises.check_redis(spoilt)
    assert name in finding.what
    _, _, _, setting, value = finding.mend.split(" && ")[0].split()
    assert setting == name
    await spoilt.config_set(setting, value)
    assert await promises.check_redis(spoilt) == []


async def test_a_replica_is_no_place_to_sell_from(tmp_path):
    server = embedded.Redis(tmp_path, port=embedded.free_port())
    server.start()
    try:
        async with Redis.from_url(server.url) as redis:
            await redis.replicaof("127.0.0.1", "1")
            assert [f.what for f in await promises.check_redis(redis)] == ["Redis is a replica"]
    finally:
        server.stop()


async def test_a_redis_that_hides_its_settings_is_not_trusted(redis, redis_url):
    await redis.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "+@all", "-config", "~*")
    host = redis_url.partition("@")[2]
    try:
        async with Redis.from_url(f"redis://blind:pw@{host}") as blind:
            (finding,) = await promises.check_redis(blind)
            assert "does not let us read its settings" in finding.what
    finally:
        await redis.execute_command("ACL", "DELUSER", "blind")


@pytest.mark.parametrize(
    ("info", "what"),
    [
        ({"redis_version": "6.2.14"}, "older than 7.0"),
        ({"aof_last_write_status": "err"}, "cannot write its log"),
        ({"aof_last_bgrewrite_status": "err"}, "cannot write its log"),
        ({"rdb_last_bgsave_status": "err"}, "snapshot failed"),
        ({"maxmemory": 100, "used_memory": 95}, "95 of the 100 bytes"),
    ],
)
def test_what_info_tells_of_a_redis_in_trouble_is_found(info, what):
    (finding,) = promises._redis_state({"redis_version": "7.0.15", **info})
    assert what in finding.what


def test_a_cluster_that_fails_over_by_itself_is_found():
    found = {"cluster-replica-no-failover": "no", "cluster-require-full-coverage": "no"}
    (finding,) = promises._redis_settings(found, promises.CLUSTER_SETTINGS)
    assert "no-failover" in finding.what


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
async def test_each_broken_postgres_setting_is_found_and_its_mend_mends(tmp_path, name):
    server = embedded.Postgres(
        tmp_path / "postgres",
        port=embedded.free_port(),
        binaries=os.environ.get("TEST_POSTGRES"),
        settings={name: "off"},
    )
    server.start()
    try:
        conn = await asyncpg.connect(server.url)
        (finding,) = await promises.check_postgres(conn)
        assert f"{name} off" in finding.what
        for statement in finding.mend.split(";"):
            await conn.execute(statement)
        await conn.close()
        server.stop()
        server.start()
        conn = await asyncpg.connect(server.url)
        assert await promises.check_postgres(conn) == []
        await conn.close()
    finally:
        server.stop()


@pytest.mark.parametrize(
    "spoil",
    [
        'ALTER DATABASE "{database}" SET synchronous_commit = off',
        "ALTER ROLE sluice SET synchronous_commit = off",
        'ALTER ROLE sluice IN DATABASE "{database}" SET synchronous_commit = local',
    ],
)
async def test_an_override_is_found_where_it_was_made(database_url, spoil):
    database = database_url.rpartition("/")[2]
    conn = await asyncpg.connect(database_url)
    await conn.execute(spoil.format(database=database))
    spoilt = await asyncpg.connect(database_url)
    (finding,) = await promises.check_postgres(spoilt)
    assert "synchronous_commit" in finding.what
    await conn.execute(finding.mend)
    mended = await asyncpg.connect(database_url)
    assert await promises.check_postgres(mended) == []
    for each in (conn, spoilt, mended):
        await each.close()


async def test_a_database_that_cannot_store_every_name_is_found(postgres):
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    await admin.execute(
        "CREATE DATABASE narrow ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'"
        " TEMPLATE template0"
    )
    conn = await asyncpg.connect(postgres.url_of("narrow"))
    (finding,) = await promises.check_postgres(conn)
    assert "LATIN1" in finding.what
    await conn.close()
    await admin.execute("DROP DATABASE narrow")
    await admin.close()


@pytest.mark.parametrize(
    ("facts", "what"), [({"version": 14}, "version 14"), ({"recovering": True}, "standby")]
)
def test_an_old_postgres_and_a_standby_are_found(facts, what):
    sound = {"version": 15, "encoding": "UTF8", "recovering": False, "database": "shop"}
    (finding,) = promises._postgres_facts({**sound, **facts})
    assert what in finding.what


def test_the_first_broken_promise_is_refused_with_its_mend():
    promises.insist([])
    with pytest.raises(promises.PromiseBroken, match=r"this: that\. Mend it with: do"):
        promises.insist([promises.Finding("this", "that", "do")])
