"""A Redis that lost something, or never was ours, takes no claim until the sale is rebuilt.

Fifteen orders are written down and five more are only accepted, their writer asleep, when Redis is
killed and something else comes up on its port.
"""

import asyncio
import json
import os
import shutil
import signal
import time

import httpx
import pytest
from redis import Redis

from core import embedded
from tests.faults.buyers import Buyer, Ledger, states_of, storm
from tests.faults.test_flash_sale import Shop
from tests.patience import PATIENCE_S

QUOTA = 40
WRITTEN = 15
LOST = 5


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("wrong-redis")
    server = embedded.Redis(tmp_path / "redis", port=embedded.free_port())
    server.start()
    shop = Shop(tmp_path / "home", embedded.free_port())
    shop.environment["SLUICE_REDIS_URL"] = server.url
    shop.redis = server
    shop.start()
    try:
        shop.sign_in(members=200)
        yield shop
    finally:
        shop.stop()
        server.stop()


def old_copy(shop: Shop, copies) -> None:
    """From before the last orders were written down."""
    put_in_place(shop, copies["early"])


def forgot_what_nobody_had_written(shop: Shop, copies) -> None:
    """As far as Postgres knows it lacks nothing: only the API saw more of it acknowledged."""
    put_in_place(shop, copies["late"])


def empty_folder(shop: Shop, copies) -> None:
    shutil.rmtree(shop.redis.folder / "appendonlydir")


def another_shop(shop: Shop, copies) -> None:
    """It has a bucket of the same number and epoch, open, with units to sell."""
    empty_folder(shop, copies)
    shop.redis.start()
    with Redis.from_url(shop.redis.url) as client:
        for number in range(1, 10):
            client.hset(
                f"sluice:{{{number}}}:sale",
                mapping={
                    "stamp": "1.0123456789abcdef",
                    "state": "open",
                    "opens_at_ms": 0,
                    "closes_at_ms": 2**42,
                },
            )
            client.hset(f"sluice:{{{number}}}:left", shop.sku_id, 1_000)
            client.hset(f"sluice:{{{number}}}:limits", shop.sku_id, 1_000)


def put_in_place(shop: Shop, copy) -> None:
    shutil.rmtree(shop.redis.folder / "appendonlydir")
    shutil.copytree(copy, shop.redis.folder / "appendonlydir")


def copy_log(shop: Shop, name: str):
    copy = shop.redis.folder.parent / name
    shutil.rmtree(copy, ignore_errors=True)
    return shutil.copytree(shop.redis.folder / "appendonlydir", copy)


async def buy(shop: Shop, sale_id: str, first: int, count: int) -> Ledger:
    buyers = [Buyer(m, shop.tokens[m], f"key-{m}") for m in range(first, first + count)]
    ledger = await storm(shop.url, sale_id, shop.sku_id, buyers, at_once=20)
    assert ledger.server_errors == []
    return ledger


async def until_written(shop: Shop, ledger: Ledger) -> None:
    states = await states_of(shop.url, ledger, shop.tokens)
    assert set(states.values()) == {"pending_payment"}


def look(shop: Shop, order_id: str, member: int) -> dict:
    headers = {"Authorization": f"Bearer {shop.tokens[member]}"}
    return httpx.get(f"{shop.url}/v1/orders/{order_id}", headers=headers, timeout=PATIENCE_S).json()


def one_claim(shop: Shop, sale_id: str, member: int) -> int:
    buyer = Buyer(member, shop.tokens[member], f"key-{member}")
    return httpx.post(
        f"{shop.url}/v1/sales/{sale_id}/orders",
        headers=buyer.headers,
        json={"sku_id": shop.sku_id, "quantity": 1},
        timeout=PATIENCE_S,
    ).status_code


def wait_for_state(shop: Shop, sale_id: str, wanted: str, *, member: int | None = None) -> None:
    """Wait for a sale's state; meanwhile a member keeps asking, and must never be accepted."""
    until = time.monotonic() + PATIENCE_S
    while (state := shop.get(f"/v1/sales/{sale_id}")["state"]) != wanted:
        assert time.monotonic() < until, f"the sale is still {state}"
        if member is not None:
            assert one_claim(shop, sale_id, member) == 503
        time.sleep(0.1)


@pytest.mark.parametrize(
    "wrong", [old_copy, forgot_what_nobody_had_written, empty_folder, another_shop]
)
async def test_a_wrong_redis_is_never_admitted_and_a_rebuild_states_what_was_lost(shop, wrong):
    sale_id = shop.open_sale(quota=QUOTA)
    written = await buy(shop, sale_id, 1, 10)
    await until_written(shop, written)
    copies = {"early": copy_log(shop, "early")}
    await until_written(shop, more := await buy(shop, sale_id, 11, WRITTEN - 10))
    written.accepted |= more.accepted
    worker = shop.family()["work"]
    os.kill(worker, signal.SIGSTOP)
    copies["late"] = copy_log(shop, "late")
    lost = await buy(shop, sale_id, 101, LOST)
    assert len(lost.accepted) == LOST

    shop.redis.process.kill()
    shop.redis.process.wait()
    wrong(shop, copies)
    if not shop.redis.running():
        shop.redis.start()
    os.kill(worker, signal.SIGCONT)
    wait_for_state(shop, sale_id, "fenced", member=150)
    assert one_claim(shop, sale_id, 150) == 503
    assert shop.audit(sale_id, check=False)[0] != 0

    rebuilt = shop.run("rebuild", sale_id)
    assert rebuilt.returncode == 0, rebuilt.stdout
    wait_for_state(shop, sale_id, "open")
    await check_books_and_statements(shop, sale_id, written, lost)
    await sell_out(shop, sale_id, written)


async def check_books_and_statements(
    shop: Shop, sale_id: str, written: Ledger, lost: Ledger
) -> None:
    code, audit = shop.audit(sale_id)
    assert (code, audit["drift"], audit["items"][0]["sold"]) == (0, 0, WRITTEN)
    for body in (body for bodies in lost.accepted.values() for body in bodies):
        order = json.loads(body)
        member = lost.orders()[order["order_id"]]
        seen = look(shop, order["order_id"], member)
        assert (seen["state"], seen["reason"]) == ("rejected", "epoch-lost")
        said = shop.run("receipt", "verify", order["receipt"]).stdout
        assert "rejected" in said
        assert "epoch-lost" in said
    again = await buy(shop, sale_id, 1, WRITTEN)
    assert again.accepted == written.accepted


async def sell_out(shop: Shop, sale_id: str, written: Ledger) -> None:
    rest = await buy(shop, sale_id, 30, 100)
    assert len(rest.accepted) == QUOTA - WRITTEN
    await until_written(shop, rest)
    code, audit = shop.audit(sale_id)
    assert (code, audit["items"][0]["sold"], audit["items"][0]["left"]) == (0, QUOTA, 0)


async def test_a_redis_that_kept_everything_admits_itself(shop):
    sale_id = shop.open_sale(quota=QUOTA)
    written = await buy(shop, sale_id, 1, 10)
    shop.redis.process.kill()
    shop.redis.process.wait()
    await asyncio.sleep(0.5)
    shop.redis.start()
    began = time.monotonic()
    while one_claim(shop, sale_id, 11) != 202:
        assert time.monotonic() - began < PATIENCE_S
        await asyncio.sleep(0.05)
    print(f"open again {time.monotonic() - began:.1f} s after Redis was")
    await until_written(shop, written)
    code, audit = shop.audit(sale_id)
    assert (code, audit["items"][0]["sold"]) == (0, 11)
