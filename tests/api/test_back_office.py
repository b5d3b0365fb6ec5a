"""Operators run sales over HTTP."""

import asyncio

import pytest

from core import inventory
from core.kit import db
from hotpath.scripts import BucketKeys
from tests.api.conftest import KNOWN_S, as_admin, problem


@pytest.fixture
def run(http):
    async def run(sale_id, verb):
        return await http.post(f"/v1/admin/sales/{sale_id}/{verb}", headers=as_admin())

    return run


@pytest.fixture
async def planned(http, sku_ids):
    plan = {
        "name": "Kettles",
        "starts_at": "2026-01-01T08:00:00+08:00",
        "ends_at": "2199-01-01T00:00:00Z",
        "items": [{"sku_id": str(sku_ids[0]), "quota": 400, "price": 100, "limit": 1_000_000}],
        "hold_s": 60,
    }
    answer = await http.post("/v1/admin/sales", headers=as_admin(), json=plan)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_sale_is_run_from_plan_to_close(http, run, planned, pool, sku_ids):
    sale_id = planned["sale_id"]
    assert (planned["state"], planned["starts_at"]) == ("planned", "2026-01-01T00:00:00Z")
    assert planned["items"][0]["quota"] == planned["items"][0]["left"] == 400

    states = [
        (await run(sale_id, verb)).json()["state"] for verb in ("arm", "pause", "resume", "close")
    ]
    assert states == ["open", "paused", "open", "closed"]
    refused = await run(sale_id, "arm")
    assert (refused.status_code, problem(refused)) == (409, "illegal-move")
    assert refused.json()["source"] == "closed"
    seen = (await http.get(f"/v1/admin/sales/{sale_id}", headers=as_admin())).json()
    assert (seen["state"], seen["settled"]) == ("closed", False)
    async with db.reading(pool) as conn:
        assert await inventory.free(conn, sku_ids=sku_ids[:1]) == {sku_ids[0]: 600}


async def test_an_armed_sale_takes_claims_at_once(http, run, planned, buy):
    await run(planned["sale_id"], "arm")
    assert (await buy(http, where=planned["sale_id"])).status_code == 202


async def test_more_than_is_in_stock_cannot_be_armed(http, run, planned, plan):
    sale_id = (await plan(quota=1_001)).id
    refused = await run(sale_id, "arm")
    assert (refused.status_code, problem(refused)) == (409, "out-of-stock")
    assert refused.json()["wanted"] == 1_001
    seen = (await http.get(f"/v1/admin/sales/{sale_id}", headers=as_admin())).json()
    assert seen["state"] == "planned"


async def test_an_audit_adds_up_while_the_sale_runs(http, sale, buy, write_orders, sku_ids):
    async def audit():
        path = f"/v1/admin/sales/{sale.id}/audit"
        return (await http.get(path, headers=as_admin())).json()

    await buy(http, 1)
    await write_orders()
    await buy(http, 2, quantity=2)
    assert await audit() == {
        "sale_id": str(sale.id),
        "state": "open",
        "items": [
            {
                "sku_id": str(sku_ids[0]),
                "quota": 100,
                "sold": 1,
                "in_flight": 2,
                "left": 97,
                "returned": 0,
                "drift": 0,
            }
        ],
        "in_flight": 2,
        "drift": 0,
    }


async def test_a_stolen_unit_is_drift(http, sale, redis, sku_ids):
    (bucket,) = [key async for key in redis.scan_iter("*:left")]
    number = int(bucket.decode().split("{")[1].split("}")[0])
    await redis.hincrby(BucketKeys(number).left, str(sku_ids[0]), -1)
    await asyncio.sleep(KNOWN_S)
    found = await http.get(f"/v1/admin/sales/{sale.id}/audit", headers=as_admin())
    assert found.json()["drift"] == 1
