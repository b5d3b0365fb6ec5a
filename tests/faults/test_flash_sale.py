"""The promise, whole: `sluice dev`, 100 units, 2,000 double-clicking members, and kill -9.

TEST_KILLS is how many sales are sold under fire (3; `make faults` asks for 20). A failure prints
its seed; TEST_SEED replays the choices that it made.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from core import embedded
from tests.api.test_dev import Dev
from tests.faults.buyers import Buyer, Ledger, states_of, storm
from tests.patience import PATIENCE_S

KILLS = int(os.environ.get("TEST_KILLS", "3"))
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
UNITS = 100
MEMBERS = 2_000
AT_ONCE = 400
LEASE_S = 3.5


class Shop(Dev):
    """A running `sluice dev` with its members' tokens."""

    def __init__(self, home, port):
        super().__init__(home, port)
        self.environment["SLUICE_TRUSTED_PROXIES"] = "127.0.0.0/8"

    def sign_in(self, members: int = MEMBERS) -> None:
        lines = self.run("token", "--members", str(members)).stdout.split()
        self.tokens = dict(enumerate(lines, 1))
        self.admin = {"Authorization": f"Bearer {self.run('token', '--admin').stdout.strip()}"}
        self.sku_id = self.get("/v1/products")["items"][0]["skus"][0]["sku_id"]

    def get(self, path: str) -> dict:
        return httpx.get(self.url + path, timeout=PATIENCE_S).raise_for_status().json()

    def post(self, path: str, body: dict | None = None) -> dict:
        answer = httpx.post(self.url + path, headers=self.admin, json=body, timeout=PATIENCE_S)
        assert answer.is_success, answer.text
        return answer.json()

    def open_sale(self, quota: int = UNITS, limit: int = 1, buckets: int = 1) -> str:
        now = datetime.now(UTC)
        item = {"sku_id": self.sku_id, "quota": quota, "price": 9_900, "limit": limit}
        planned = self.post(
            "/v1/admin/sales",
            {
                "name": "One hundred units",
                "starts_at": now.isoformat(),
                "ends_at": (now + timedelta(hours=1)).isoformat(),
                "items": [item],
                "buckets": buckets,
            },
        )
        self.post(f"/v1/admin/sales/{planned['sale_id']}/arm")
        return planned["sale_id"]

    def audit(self, sale_id: str, *, check: bool = True) -> tuple[int, dict]:
        done = self.run("audit", sale_id, "--json")
        return done.returncode, json.loads(done.stdout) if check else {}

    def buyers(self) -> list[Buyer]:
        return [Buyer(member, token, f"key-{member}") for member, token in self.tokens.items()]

    async def wait_until_ready(self) -> float:
        began = time.monotonic()
        while not await asyncio.to_thread(self.is_ready):
            assert time.monotonic() - began < PATIENCE_S, "the shop did not come back by itself"
            await asyncio.sleep(0.1)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("shop") / "home", embedded.free_port())
    shop.start()
    try:
        shop.sign_in()
        yield shop
    finally:
        shop.stop()


async def test_one_hundred_units_go_to_exactly_one_hundred_of_two_thousand_double_clickers(shop):
    sale_id = shop.open_sale()
    ledger = await storm(shop.url, sale_id, shop.sku_id, shop.buyers(), at_once=AT_ONCE)
    assert ledger.refused == {"sold-out": 2 * (MEMBERS - UNITS)}
    await check_the_promise(shop, sale_id, ledger)


@pytest.mark.parametrize("number", range(KILLS))
async def test_every_202_is_one_order_though_everything_is_killed_meanwhile(shop, number):
    seed = SEED + number
    print(f"TEST_SEED={seed}")
    sale_id = shop.open_sale()
    fire = asyncio.create_task(kill_at_random(shop, random.Random(seed)))
    ledger = await storm(shop.url, sale_id, shop.sku_id, shop.buyers(), at_once=AT_ONCE)
    for _ in range(3):
        # The sale may well be sold out before the last kill: keep clicking, the answers must stay.
        again = await storm(
            shop.url, sale_id, shop.sku_id, shop.buyers()[:AT_ONCE], at_once=AT_ONCE
        )
        add(ledger, again)
    await fire
    await shop.wait_until_ready()
    await check_the_promise(shop, sale_id, ledger)


def add(ledger: Ledger, more: Ledger) -> None:
    for key, bodies in more.accepted.items():
        ledger.accepted.setdefault(key, set()).update(bodies)
    ledger.server_errors += more.server_errors


async def check_the_promise(shop: Shop, sale_id: str, ledger: Ledger) -> None:
    assert ledger.server_errors == []
    assert all(len(bodies) == 1 for bodies in ledger.accepted.values()), "two answers for one key"
    orders = ledger.orders()
    assert len(orders) == len(ledger.accepted) == UNITS
    states = await states_of(shop.url, ledger, shop.tokens)
    assert set(states.values()) == {"pending_payment"}, states
    code, audit = await asyncio.to_thread(shop.audit, sale_id)
    assert (code, audit["drift"], audit["in_flight"]) == (0, 0, 0), audit
    (item,) = audit["items"]
    assert (item["sold"], item["left"]) == (UNITS, 0)


async def kill_at_random(shop: Shop, dice: random.Random) -> None:
    """API, worker, Redis and Postgres once each, in any order, and one long sleep of the worker."""
    deeds = ["serve", "work", "redis", "postgres", "sleep"]
    dice.shuffle(deeds)
    for deed in deeds:
        await asyncio.sleep(dice.uniform(0.1, 1.2))
        await strike(shop, deed)


async def strike(shop: Shop, deed: str) -> None:
    pid = await find(shop, "work" if deed == "sleep" else deed)
    with contextlib.suppress(ProcessLookupError):
        if deed != "sleep":
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(LEASE_S)
        os.kill(pid, signal.SIGCONT)


async def find(shop: Shop, name: str) -> int:
    """A process that was struck just before may be on its way back."""
    for _ in range(100):
        for found, pid in shop.family().items():
            if found.startswith({"redis": ("redis-server", "valkey-server")}.get(name, name)):
                return pid
        await asyncio.sleep(0.1)
    raise AssertionError(f"{name} did not come back")
