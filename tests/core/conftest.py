"""A sale that buyers can claim from, with its gate, and roles that are played by hand."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from core import catalogue, inventory, sales
from core.flows.directory import Directory
from core.flows.give_back import TOPIC, give_back
from core.flows.place_order import Accepted, place_order
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.run_sale import arm_sale
from core.jobs.fence import Fence
from core.jobs.order_writer import OrderWriter
from core.jobs.outbox_relay import OutboxRelay
from core.kit import db
from hotpath.claims import Claim
from hotpath.gate import Gate
from hotpath.lookout import Lookout
from hotpath.receipts import Keyring
from hotpath.wire import Wire
from tests.patience import PATIENCE_S


@pytest.fixture
def keyring() -> Keyring:
    return Keyring({1: b"k" * 32})


@pytest.fixture
async def sku_ids(pool: db.Pool) -> list[int]:
    """Three SKUs with 1,000 units each."""
    skus = [(f"SKU-{n}", 9_900, "CNY") for n in range(3)]
    async with db.transaction(pool) as conn:
        _, made = await catalogue.add_product(conn, title={"en": "Kettle", "zh": "水壶"}, skus=skus)
        units = dict.fromkeys(made, 1_000)
        await inventory.receive(
            conn, place_id=inventory.MAIN, units=units, reference="test", by="test"
        )
    return list(made)


@pytest.fixture
def plan(pool, sku_ids):
    """Plan a sale of the first SKU that is open right now, unless told otherwise."""

    async def plan(
        *, quota=100, limit=2, starts_in_s=-1, lasts_s=600, hold_s=900, skus=1, buckets=1
    ):
        now = datetime.now(UTC)
        return await plan_sale(
            pool,
            name="test",
            starts_at=now + timedelta(seconds=starts_in_s),
            ends_at=now + timedelta(seconds=starts_in_s + lasts_s),
            items=[PlannedItem(sku, quota, 5_000, limit) for sku in sku_ids[:skus]],
            hold_s=hold_s,
            bucket_count=buckets,
        )

    return plan


@pytest.fixture
async def sale(pool, redis, plan) -> sales.Sale:
    """An open sale: 100 units of the first SKU, two a member."""
    return await arm_sale(pool, redis, sale_id=(await plan()).id)


@pytest.fixture
async def gate(redis_url):
    wire = Wire(redis_url)
    wire.start()
    async with asyncio.timeout(PATIENCE_S):
        await wire.connected()
    yield Gate(wire, key_id=1, backlog_max=100_000)
    await wire.aclose()


@pytest.fixture
async def directory(pool, gate) -> Directory:
    return Directory(pool, gate, Lookout(gate))


@pytest.fixture
async def writer(pool, redis, keyring) -> OrderWriter:
    return OrderWriter(pool, redis, keyring)


@pytest.fixture
async def fence(pool, redis) -> Fence:
    return Fence(pool, redis)


@pytest.fixture
def buy(pool, gate, directory, keyring, sku_ids):
    """Claim units as a member, knowing what Postgres says right now."""

    async def buy(sale, member, *, key="k", quantity=1, sku=0) -> Accepted:
        await directory.refresh()
        claim = Claim(sale.id, member, key, sku_ids[sku], quantity)
        return await place_order(pool, gate, directory, keyring, claim=claim)

    return buy


@pytest.fixture
def relay(pool, redis) -> OutboxRelay:
    """A relay that gives units back."""
    return OutboxRelay(pool, {TOPIC: partial(give_back, pool, redis)})
