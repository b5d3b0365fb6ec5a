"""A sale of six buckets on three masters: to the last unit, through a move, a kill, a lost disk.

TEST_KILLS is how often the first two are tried (1; `make faults` asks for more).
"""

import asyncio
import os
import random
import re
import shutil
import signal

import asyncpg
import httpx
import pytest

from core import embedded
from hotpath.ids import parts
from tests.faults.buyers import Ledger, states_of, storm
from tests.faults.test_flash_sale import Shop, add, find
from tests.masters import Masters
from tests.patience import PATIENCE_S

TRIES = max(1, int(os.environ.get("TEST_KILLS", "1")) // 3)
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
BUCKETS = 6
UNITS = 100
MEMBERS = 300
AT_ONCE = 100
WRITTEN, UNWRITTEN = 20, 30
FENCED = """
    SELECT coalesce(array_agg(number), '{}') FROM sales.buckets
     WHERE sale_id = $1 AND fence_reason IS NOT NULL
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    masters = Masters(folder)
    shop = Shop(folder / "home", embedded.free_port())
    shop.masters, shop.folder = masters, folder
    try:
        masters.start()
        shop.environment["SLUICE_REDIS_URL"] = masters.urls
        shop.start()
        shop.sign_in(members=MEMBERS)
        yield shop
        shop.stop()
    finally:
        masters.stop()


async def buckets_of(shop, sale_id) -> list[int]:
    conn = await asyncpg.connect(embedded.running(shop.home).database_url)
    try:
        rows = await conn.fetch(
            "SELECT number FROM sales.buckets WHERE sale_id = $1 ORDER BY position", int(sale_id)
        )
    finally:
        await conn.close()
    return [row["number"] for row in rows]


async def click(shop, sale_id) -> Ledger:
    return await storm(shop.url, sale_id, shop.sku_id, shop.buyers(), at_once=AT_ONCE)


async def click_while(shop, sale_id, deed) -> Ledger:
    """Everybody clicks, while something happens and until it is over."""
    happening = asyncio.create_task(deed)
    ledger = await click(shop, sale_id)
    while not happening.done():
        add(ledger, await click(shop, sale_id))
    await happening
    add(ledger, await click(shop, sale_id))
    return ledger


async def check(shop, sale_id, ledger, *, units=UNITS) -> None:
    assert ledger.server_errors == []
    assert all(len(bodies) == 1 for bodies in ledger.accepted.values()), "two answers for one key"
    assert len(ledger.orders()) == len(ledger.accepted) == units
    states = await states_of(shop.url, ledger, shop.tokens)
    assert set(states.values()) == {"pending_payment"}, states
    code, audit = await asyncio.to_thread(shop.audit, sale_id)
    assert (code, audit["drift"], audit["in_flight"]) == (0, 0, 0), audit
    assert (audit["items"][0]["sold"], audit["items"][0]["left"]) == (units, 0)


async def test_a_sale_over_six_buckets_is_sold_to_the_last_unit(shop):
    assert (await asyncio.to_thread(shop.run, "doctor")).returncode == 0
    sale_id = shop.open_sale(buckets=BUCKETS)
    ledger = await click(shop, sale_id)
    assert ledger.refused == {"sold-out": 2 * (MEMBERS - UNITS)}
    await check(shop, sale_id, ledger)


@pytest.mark.parametrize("number", range(TRIES))
async def test_a_slot_goes_to_another_node_while_it_is_sold_from(shop, number):
    dice = random.Random(SEED + number)
    sale_id = shop.open_sale(buckets=BUCKETS)
    bucket = dice.choice(await buckets_of(shop, sale_id))
    masters = shop.masters

    async def move() -> None:
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        source = await asyncio.to_thread(masters.owner, bucket)
        target = dice.choice([server for server in masters.servers if server is not source])
        await asyncio.to_thread(masters.begin_move, bucket, target)
        await asyncio.sleep(dice.uniform(0.0, 0.3))
        await asyncio.to_thread(masters.move_keys, bucket, source, target)
        await asyncio.sleep(dice.uniform(0.0, 0.3))
        await asyncio.to_thread(masters.end_move, bucket, source, target)

    await check(shop, sale_id, await click_while(shop, sale_id, move()))


@pytest.mark.parametrize("number", range(TRIES))
async def test_a_master_is_killed_and_comes_back_on_its_own_log(shop, number):
    dice = random.Random(SEED + number)
    sale_id = shop.open_sale(buckets=BUCKETS)
    server = shop.masters.owner(dice.choice(await buckets_of(shop, sale_id)))

    async def kill() -> None:
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        server.process.kill()
        server.process.wait()
        await asyncio.sleep(dice.uniform(0.2, 2.0))
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(shop.masters.wait_until_agreed)

    await check(shop, sale_id, await click_while(shop, sale_id, kill()))


async def test_a_lost_disk_costs_its_own_buckets_only_what_it_alone_knew(shop):
    sale_id = shop.open_sale(buckets=BUCKETS)
    numbers = await buckets_of(shop, sale_id)
    server = shop.masters.owner(numbers[0])
    gone = {number for number in numbers if shop.masters.owner(number) is server}
    assert gone < set(numbers)
    ledger = await storm(shop.url, sale_id, shop.sku_id, shop.buyers()[:WRITTEN], at_once=AT_ONCE)
    states = await states_of(shop.url, ledger, shop.tokens)
    assert list(states.values()) == ["pending_payment"] * WRITTEN
    unwritten = await sell_unwritten_and_lose(shop, sale_id, server)
    await asyncio.to_thread(shop.masters.replace, server, shop.folder / "newcomer")
    await rebuild(shop, sale_id, gone)

    lost = {order: m for order, m in unwritten.orders().items() if parts(order).bucket in gone}
    assert lost
    add(ledger, unwritten)
    states = await states_of(shop.url, ledger, shop.tokens)
    assert {order for order in states if states[order] != "pending_payment"} == lost.keys()
    for member in lost.values():
        # Its buyer's key is free again, for one order of the new epoch.
        del ledger.accepted[member, f"key-{member}"]
    add(ledger, await click(shop, sale_id))
    await check(shop, sale_id, ledger)
    for order_id, member in lost.items():
        assert said_of(shop, order_id, member) == ("rejected", "epoch-lost")


async def sell_unwritten_and_lose(shop, sale_id, server) -> Ledger:
    """Sell a few units while nobody writes them down, then kill a node and take its disk."""
    worker = await find(shop, "work")
    os.kill(worker, signal.SIGSTOP)
    try:
        buyers = shop.buyers()[WRITTEN : WRITTEN + UNWRITTEN]
        ledger = await storm(shop.url, sale_id, shop.sku_id, buyers, at_once=AT_ONCE)
        server.process.kill()
        server.process.wait()
        shutil.rmtree(server.folder)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert len(ledger.orders()) == UNWRITTEN
    return ledger


async def rebuild(shop, sale_id, buckets) -> None:
    """These are fenced, rebuilt, and no others."""
    await wait_until_fenced(shop, sale_id, buckets)
    done = await asyncio.to_thread(shop.run, "rebuild", sale_id)
    assert done.returncode == 0, done.stdout
    assert set(map(int, re.findall(r"bucket (\d+):", done.stdout))) == buckets


async def wait_until_fenced(shop, sale_id, buckets) -> None:
    conn = await asyncpg.connect(embedded.running(shop.home).database_url)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while set(await conn.fetchval(FENCED, int(sale_id))) != buckets:  # noqa: ASYNC110 - another process fences
                await asyncio.sleep(0.1)
    finally:
        await conn.close()


def said_of(shop, order_id, member) -> tuple[str, str | None]:
    headers = {"Authorization": f"Bearer {shop.tokens[member]}"}
    order = httpx.get(
        f"{shop.url}/v1/orders/{order_id}", headers=headers, timeout=PATIENCE_S
    ).json()
    return order["state"], order.get("reason")
