"""Sold out is answered without Redis, to nobody who holds a unit, and no longer than a second.

`sluice dev` with two API workers. What Redis is asked is what Redis itself says it heard.
"""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter

import httpx
import pytest
from redis.asyncio import Redis

from core import embedded
from core.embedded import process
from hotpath.scripts import CLAIM
from tests.faults.buyers import Buyer, Ledger, storm
from tests.faults.test_flash_sale import Shop, find
from tests.patience import PATIENCE_S

MEMBERS = 900
UNITS = 20
KNOWN_S = 2.0
STALE_S_MAX = 1.0
METRIC = "sluice_claims_sold_out_here_total"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("sold-out") / "home", embedded.free_port())
    shop.environment["SLUICE_WORKERS"] = "2"
    shop.start()
    try:
        shop.sign_in(members=MEMBERS)
        yield shop
    finally:
        shop.stop()


class Members:
    """Members who come one after the other, each with a key of its own."""

    def __init__(self, shop: Shop, prefix: str):
        self.shop, self.prefix, self.next = shop, prefix, 0

    def take(self, count: int) -> list[Buyer]:
        self.next += count
        members = range(self.next - count + 1, self.next + 1)
        assert self.next <= MEMBERS
        return [Buyer(m, self.shop.tokens[m], f"{self.prefix}-{m}") for m in members]


@contextlib.asynccontextmanager
async def heard_by_redis(shop: Shop):
    """Yield a count of what was sent to Redis by verb; claims are those that name the script."""
    heard: Counter[str] = Counter()
    url = embedded.running(shop.home).redis_url
    async with Redis.from_url(url) as client, client.monitor() as monitor:

        async def listen():
            async for told in monitor.listen():
                words = told["command"].split()
                is_claim = len(words) > 1 and words[1] == CLAIM.sha1
                heard["claims" if is_claim else words[0].upper()] += 1

        task = asyncio.create_task(listen())
        try:
            yield heard
        finally:
            await asyncio.sleep(0.2)
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=0.5)


async def sell_out(shop: Shop, members: Members) -> tuple[str, Ledger]:
    sale_id = shop.open_sale(quota=UNITS)
    ledger = await storm(shop.url, sale_id, shop.sku_id, members.take(3 * UNITS), at_once=40)
    assert (len(ledger.accepted), ledger.server_errors) == (UNITS, [])
    await asyncio.sleep(KNOWN_S)
    return sale_id, ledger


async def ask(client: httpx.AsyncClient, shop: Shop, sale_id: str, buyer: Buyer) -> httpx.Response:
    return await client.post(
        f"{shop.url}/v1/sales/{sale_id}/orders",
        headers=buyer.headers,
        json={"sku_id": shop.sku_id, "quantity": 1},
    )


def fresh_client() -> httpx.AsyncClient:
    """Each request on a connection of its own, so that every worker has its turn."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S, limits=limits)


async def the_flood_is_refused_without_redis(shop, sale_id, members, *, count=150):
    async with heard_by_redis(shop) as heard, fresh_client() as client:
        await asyncio.sleep(0.5)
        asked = members.take(count)
        answers = [await ask(client, shop, sale_id, buyer) for buyer in asked]
        assert {answer.status_code for answer in answers} == {409}
        assert heard["EVALSHA"], "not even the looks were heard"
        # A filter of so few members in so many bits takes hardly anybody for a holder.
        assert heard["claims"] <= 1


async def the_metrics_tell_of_it(shop, *, claims_min):
    """Each worker hands its figures over once a second."""
    async with asyncio.timeout(PATIENCE_S), fresh_client() as client:
        while True:
            text = (await client.get(f"{shop.url}/metrics")).text
            line = next(one for one in text.splitlines() if one.startswith(METRIC))
            if float(line.split()[-1]) >= claims_min:
                return
            await asyncio.sleep(0.2)


async def every_holder_gets_the_same_again(shop, sale_id, ledger):
    async with fresh_client() as client:
        for (member, key), bodies in ledger.accepted.items():
            buyer = Buyer(member, shop.tokens[member], key)
            again = [await ask(client, shop, sale_id, buyer) for _ in range(6)]
            assert {answer.status_code for answer in again} == {202}
            assert {answer.content for answer in again} == bodies


async def cancel_one(shop: Shop, ledger: Ledger) -> None:
    (member, _), bodies = ledger.accepted.popitem()
    order_id = json.loads(next(iter(bodies)))["order_id"]
    headers = {"Authorization": f"Bearer {shop.tokens[member]}"}
    async with asyncio.timeout(PATIENCE_S), fresh_client() as client:
        path = f"{shop.url}/v1/orders/{order_id}/cancel"
        while (answer := await client.post(path, headers=headers)).status_code != 200:
            assert answer.status_code in {409, 503}, answer.text
            await asyncio.sleep(0.1)


async def came_back(shop: Shop, sale_id: str) -> float:
    """Wait until Redis has the unit, and tell when that was seen."""
    async with Redis.from_url(embedded.running(shop.home).redis_url) as client:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for key in await client.keys("sluice:*:left"):
                    if await client.hget(key, shop.sku_id) == b"1":
                        return time.monotonic()
                await asyncio.sleep(0.005)


async def it_is_sold_within_a_second(shop, sale_id, members, ledger, since):
    """Who asks later than a second after the unit came back is never refused while it is there."""
    async with fresh_client() as client:
        while True:
            (buyer,) = members.take(1)
            asked_at = time.monotonic()
            answer = await ask(client, shop, sale_id, buyer)
            if answer.status_code == 202:
                ledger.accepted[buyer.member, buyer.key] = {answer.content}
                return
            assert answer.status_code == 409
            assert asked_at - since < STALE_S_MAX, "refused a second after the unit came back"
            await asyncio.sleep(0.02)


async def test_the_flood_asks_redis_nothing_and_what_comes_back_is_sold(shop):
    members = Members(shop, "flood")
    sale_id, ledger = await sell_out(shop, members)
    await the_flood_is_refused_without_redis(shop, sale_id, members, count=150)
    await the_metrics_tell_of_it(shop, claims_min=149)
    await every_holder_gets_the_same_again(shop, sale_id, ledger)
    for _ in range(3):
        back = asyncio.create_task(came_back(shop, sale_id))
        await cancel_one(shop, ledger)
        await it_is_sold_within_a_second(shop, sale_id, members, ledger, await back)
        await asyncio.sleep(KNOWN_S)
    await the_flood_is_refused_without_redis(shop, sale_id, members)
    await every_holder_gets_the_same_again(shop, sale_id, ledger)


async def put_one_to_sleep(shop: Shop, connections) -> tuple[int, list]:
    """Stop a worker that holds some of these connections, and tell which those are."""
    workers = api_workers(shop)
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
        for _, writer in connections:
            writer.write(b"GET /health/live HTTP/1.1\r\nhost: shop\r\n\r\n")
        await asyncio.sleep(1.0)
        if its_own := [c for c in connections if not c[0]._buffer]:
            return worker, its_own
        os.kill(worker, signal.SIGCONT)
        for reader, _ in connections:
            await one_status(reader)
    raise AssertionError("nobody holds a connection")


def api_workers(shop: Shop) -> list[int]:
    """The processes that answer: whichever of `serve`'s descendants hold connections."""
    serve = shop.family()["serve"]
    return [pid for pid in process.children(serve) if "spawn_main" in command(pid)]


def command(pid: int) -> str:
    return (process.PROC / str(pid) / "cmdline").read_text()


async def test_a_worker_that_slept_through_a_return_refuses_nobody_when_it_wakes(shop):
    members = Members(shop, "sleep")
    sale_id, ledger = await sell_out(shop, members)
    connections = [await asyncio.open_connection("127.0.0.1", port_of(shop)) for _ in range(12)]
    asleep, its_own = await put_one_to_sleep(shop, connections)
    try:
        back = asyncio.create_task(came_back(shop, sale_id))
        await cancel_one(shop, ledger)
        await back
        for (_, writer), buyer in zip(its_own, members.take(len(its_own)), strict=True):
            writer.write(claim(shop, sale_id, buyer))
        await asyncio.sleep(STALE_S_MAX)
    finally:
        os.kill(asleep, signal.SIGCONT)
    for reader, _ in its_own:
        assert await one_status(reader) == 200
    statuses = Counter([await one_status(reader) for reader, _ in its_own])
    for _, writer in connections:
        writer.close()
    assert statuses == {202: 1, 409: len(its_own) - 1}


def port_of(shop: Shop) -> int:
    return int(shop.url.rpartition(":")[2])


def claim(shop: Shop, sale_id: str, buyer: Buyer) -> bytes:
    body = json.dumps({"sku_id": shop.sku_id, "quantity": 1})
    head = {**buyer.headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {text}\r\n" for name, text in head.items())
    return f"POST /v1/sales/{sale_id}/orders HTTP/1.1\r\nhost: shop\r\n{lines}\r\n{body}".encode()


async def one_status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(size))
    return int(head.split()[1])


async def test_a_redis_that_restarts_and_one_that_is_rebuilt_change_no_answer(shop):
    members = Members(shop, "again")
    sale_id, ledger = await sell_out(shop, members)
    os.kill(await find(shop, "redis"), signal.SIGKILL)
    await asyncio.sleep(0.5)
    await shop.wait_until_ready()
    await asyncio.sleep(KNOWN_S)
    await the_flood_is_refused_without_redis(shop, sale_id, members)
    await every_holder_gets_the_same_again(shop, sale_id, ledger)

    assert shop.run("rebuild", sale_id).returncode == 0
    await shop.wait_until_ready()
    await asyncio.sleep(KNOWN_S)
    await the_flood_is_refused_without_redis(shop, sale_id, members)
    await every_holder_gets_the_same_again(shop, sale_id, ledger)
    back = asyncio.create_task(came_back(shop, sale_id))
    await cancel_one(shop, ledger)
    await it_is_sold_within_a_second(shop, sale_id, members, ledger, await back)
