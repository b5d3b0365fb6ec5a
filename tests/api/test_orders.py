"""Orders as their buyer and the back office list them, and the log that staff can read of each."""

import asyncio
from datetime import UTC, datetime

import pytest

from core.flows.run_sale import arm_sale
from tests.api.conftest import as_admin, as_member, known, problem


async def admin(http, path, status=200):
    answer = await http.get(f"/v1/admin/orders{path}", headers=as_admin())
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else problem(answer)


@pytest.fixture
async def placed(http, buy, write_orders):
    """Five orders of five members, the first of which is cancelled; their ids, oldest first."""
    found = []
    for member in range(1, 6):
        found.append((await buy(http, member)).json()["order_id"])
        await asyncio.sleep(0.002)
    await write_orders()
    cancelled = await http.post(f"/v1/orders/{found[0]}/cancel", headers=as_member(1))
    assert cancelled.json()["state"] == "cancelled"
    return found


async def test_staff_list_orders_page_by_page_by_what_they_show(http, placed):
    pages, cursor = [], ""
    for _ in range(3):
        page = await admin(http, f"?limit=2{cursor}")
        pages += [order["order_id"] for order in page["items"]]
        cursor = f"&cursor={page['cursor']}"
    assert pages == placed[::-1]
    assert page["cursor"] is None
    for state, expected in (
        ("pending_payment", placed[:0:-1]),
        ("cancelled", placed[:1]),
        ("paid", []),
        ("rejected", []),
    ):
        found = (await admin(http, f"?state={state}"))["items"]
        assert [order["order_id"] for order in found] == expected
        assert {order["state"] for order in found} <= {state}
    (mine,) = (await admin(http, "?member_id=3"))["items"]
    assert mine == await admin(http, f"/{placed[2]}")
    assert (mine["order_id"], mine["amount"], mine["version"]) == (placed[2], 5_000, 0)


async def test_a_member_lists_orders_of_every_sale_and_nobody_elses(
    http, buy, pool, redis, plan, sku_ids, placed, write_orders
):
    other = await arm_sale(pool, redis, sale_id=(await plan(skus=2)).id)
    await known(http, other.id)
    second = (await buy(http, 3, where=other.id, sku=str(sku_ids[1]))).json()["order_id"]
    await write_orders()
    headers = as_member(3)
    said = (await http.get("/v1/orders", headers=headers)).json()
    assert [order["order_id"] for order in said["items"]] == [second, placed[2]]
    assert said["items"][1] == (await http.get(f"/v1/orders/{placed[2]}", headers=headers)).json()
    first = (await http.get("/v1/orders?limit=1", headers=headers)).json()
    assert [order["order_id"] for order in first["items"]] == [second]
    where = f"/v1/orders?limit=1&cursor={first['cursor']}"
    rest = (await http.get(where, headers=headers)).json()
    assert [order["order_id"] for order in rest["items"]] == [placed[2]]
    assert (await http.get("/v1/orders", headers=as_member(9))).json()["items"] == []
    assert (await http.get("/v1/orders")).status_code == 401


async def test_an_orders_log_says_what_happened_and_whether_anybody_changed_it(http, pool, placed):
    assert await admin(http, f"/{placed[1]}/log") == {"items": [], "first_broken": None}
    log = await admin(http, f"/{placed[0]}/log")
    (event,) = log["items"]
    assert event["event"] == {"type": "cancelled", "reason": "member"}
    assert log["first_broken"] is None
    await pool.execute("ALTER TABLE orders.events DISABLE TRIGGER USER")
    await pool.execute("UPDATE orders.events SET happened_at = happened_at + interval '1 hour'")
    assert (await admin(http, f"/{placed[0]}/log"))["first_broken"] == 1


async def test_an_order_is_told_as_of_a_moment(http, placed):
    (event,) = (await admin(http, f"/{placed[0]}/log"))["items"]
    order = await admin(http, f"/{placed[0]}")
    before = await admin(http, f"/{placed[0]}/as-of?moment={order['placed_at']}")
    assert (before["state"], before["reason"]) == ("pending_payment", None)
    then = await admin(http, f"/{placed[0]}/as-of?moment={event['happened_at']}")
    assert (then["state"], then["standing"], then["payment"], then["reason"]) == (
        *("cancelled", "cancelled", "unpaid", "member"),
    )
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    assert (await admin(http, f"/{placed[0]}/as-of?moment={now}"))["state"] == "cancelled"
    early = "2020-01-01T00:00:00Z"
    assert await admin(http, f"/{placed[0]}/as-of?moment={early}", 404) == "no-such-order"


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("?state=lost", 422, "invalid-value"),
        ("?member_id=x", 422, "invalid-value"),
        ("?member_id=3&state=paid", 422, "invalid-value"),
        ("?cursor=x", 422, "invalid-value"),
        ("?limit=101", 422, "invalid-value"),
        ("/x", 404, "no-such-order"),
        ("/00000000-0000-8000-8000-000000000000/log", 404, "no-such-order"),
        ("/00000000-0000-8000-8000-000000000000/as-of?moment=2026-01-01T00:00:00", 422, None),
        ("/00000000-0000-8000-8000-000000000000/as-of?moment=soon", 422, None),
        ("/00000000-0000-8000-8000-000000000000/as-of", 422, None),
    ],
)
async def test_what_is_not_there_or_not_asked_well_is_refused(http, path, status, slug):
    assert await admin(http, path, status) == (slug or "invalid-value")
