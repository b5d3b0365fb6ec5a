"""`sluice dev`, whole: from an empty folder to ready, through kills, and down to nothing."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from core import embedded
from core.embedded import process
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
QUOTA = 10_000_000
STOPPED_S_MAX = 30  # whom the supervisor asks in vain it kills after 12


class Dev:
    def __init__(self, home: Path, port: int) -> None:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("SLUICE_")}
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {**kept, "SLUICE_HOME": str(home), "SLUICE_PORT": str(port)}

    def start(self, *options: str) -> list[str]:
        """Start it and read what it says up to the console's sign-in."""
        self.process = self._open("dev", *options)
        said = []
        for line in self.process.stdout:
            said.append(line.strip())
            if "console sign-in" in line:
                return said
        raise AssertionError(f"dev ended: {said}")

    def stop(self, number=signal.SIGTERM) -> float:
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_S)
        return time.monotonic() - began

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        verb = self._open(*words)
        out, _ = verb.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(words, verb.returncode, out)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def family(self) -> dict[str, int]:
        """The children by the verb or the server they are."""
        found = {}
        for pid in process.children(self.process.pid):
            with contextlib.suppress(FileNotFoundError):  # it ended while we looked
                found[self._name(pid)] = pid
        return found

    def _name(self, pid: int) -> str:
        words = (process.PROC / str(pid) / "cmdline").read_text().strip("\0").split("\0")
        return words[-1] if "api.cli" in words else Path(words[0].partition(" ")[0]).name

    def _open(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "api.cli", *words],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture
def dev(tmp_path):
    dev = Dev(tmp_path / "home", embedded.free_port())
    yield dev
    if dev.process.poll() is None:
        dev.stop()
    dev.process.stdout.close()


async def test_dev_comes_up_from_nothing_survives_kills_and_keeps_its_data(dev):
    began = time.monotonic()
    said = dev.start()
    from_nothing_s = time.monotonic() - began
    assert f"sluice: ready on {dev.url}" in said
    assert re.search(r"console sign-in: .*/console with token \S+$", said[-1])
    assert dev.run("doctor").returncode == 0
    assert dev.run("dev").returncode == 1
    services = embedded.running(dev.home)
    await _remember(services.database_url)
    _has_ten_million_of_every_sku(dev)

    for name in ("serve", "work", "sandbox", "postgres", "valkey-server"):
        _kill(dev, name)
    everybody = dev.family()
    assert dev.stop() < STOPPED_S_MAX
    assert dev.process.returncode == 0
    assert not any(map(process.alive, everybody.values()))

    began = time.monotonic()
    dev.start()
    assert time.monotonic() - began < from_nothing_s
    assert embedded.running(dev.home).database_url == services.database_url
    conn = await asyncpg.connect(services.database_url)
    assert await conn.fetchval("SELECT number FROM remembered") == 7
    await conn.close()
    assert dev.stop(signal.SIGINT) < STOPPED_S_MAX
    assert dev.run("doctor").stdout.startswith("sluice: SLUICE_DATABASE_URL is not set")


def _has_ten_million_of_every_sku(dev: Dev) -> None:
    """In the demo sale, and besides in a sale of one's own."""
    admin = {"Authorization": f"Bearer {dev.run('token', '--admin').stdout.strip()}"}
    with httpx.Client(base_url=dev.url, trust_env=False, timeout=PATIENCE_S, headers=admin) as http:
        (demo,) = http.get("/v1/sales").json()["items"]
        assert (demo["state"], len(demo["items"])) == ("open", 20)
        assert {item["left"] for item in demo["items"]} == {QUOTA}
        first = http.get("/v1/products?limit=100").json()
        rest = http.get(f"/v1/products?limit=100&cursor={first['cursor']}").json()["items"]
        sku_ids = [sku["sku_id"] for one in first["items"] + rest for sku in one["skus"]]
        assert len(sku_ids) == 1_000
        now = datetime.now(UTC)
        plan = {
            "name": "Everything",
            "starts_at": now.isoformat(),
            "ends_at": (now + timedelta(hours=1)).isoformat(),
            "items": [{"sku_id": one, "quota": QUOTA, "price": 1, "limit": 1} for one in sku_ids],
        }
        planned = http.post("/v1/admin/sales", json=plan).json()
        armed = http.post(f"/v1/admin/sales/{planned['sale_id']}/arm").json()
        assert [item["left"] for item in armed["items"]] == [QUOTA] * 1_000


async def _remember(url: str) -> None:
    conn = await asyncpg.connect(url)
    await conn.execute("CREATE TABLE remembered AS SELECT 7 AS number")
    await conn.close()


def _kill(dev: Dev, name: str) -> None:
    """Kill one and wait until another of its kind runs and the whole is ready again."""
    victim = dev.family()[name]
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if dev.family().get(name, victim) != victim and dev.is_ready():
            return
    raise AssertionError(f"{name} did not come back: {dev.family()}")


def test_a_failed_step_is_one_line_with_the_last_lines_of_its_log(tmp_path):
    dev = Dev(tmp_path / "home", embedded.free_port())
    dev.environment["SLUICE_TRUSTED_PROXIES"] = "nonsense"
    failed = dev.run("dev")
    assert failed.returncode == 1
    assert failed.stdout.count("\n") == 1
    dev.environment["SLUICE_TRUSTED_PROXIES"] = ""
    dev.environment["SLUICE_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    failed = dev.run("dev")
    assert failed.returncode == 1
    assert failed.stdout.splitlines()[-1].startswith("sluice: migrate failed; its log is ")
    assert "Connect call failed" in failed.stdout
