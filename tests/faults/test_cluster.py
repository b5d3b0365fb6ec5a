"""A sale of six buckets on three masters: to the last unit, through a move and a kill.

TEST_KILLS is how often each is tried (1; `make faults` asks for more).
"""

import asyncio
import os
import random

import asyncpg
import pytest

from core import embedded
from tests.faults.buyers import Ledger, states_of, storm
from tests.faults.test_flash_sale import Shop, add
from tests.masters import Masters

TRIES = max(1, int(os.environ.get("TEST_KILLS", "1")) // 3)
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
BUCKETS = 6
UNITS = 100
MEMBERS = 300
AT_ONCE = 100
WRITTEN_S = 60


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    masters = Masters(folder)
    shop = Shop(folder / "home", embedded.free_port())
    shop.masters = masters
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
    states = await states_of(shop.url, ledger, shop.tokens, within_s=WRITTEN_S)
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
