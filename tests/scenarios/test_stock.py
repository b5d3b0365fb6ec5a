"""Staff keep stock over HTTP, and every number can be read back and proven."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.api.conftest import as_member

MAIN = "1"


@pytest.fixture
async def shanghai(staff):
    """A warehouse in Shanghai's region, with nothing in it."""
    name = {"en": "Shanghai", "zh": "上海仓"}
    place = await staff(
        "POST", "/places", code="SH-1", kind="warehouse", name=name, region="CN-SH", rank=5
    )
    return place["place_id"]


@pytest.fixture
async def store(staff):
    name = {"en": "Shop on Nanjing Road", "zh": "南京路店"}
    return (await staff("POST", "/places", code="S-1", kind="store", name=name))["place_id"]


@pytest.fixture
def figures(staff):
    """(on hand, reserved, allocated, free, in transit, damaged) of a SKU in a place."""

    async def figures(sku_id, place_id):
        for one in (await staff("GET", f"/stock/{sku_id}"))["items"]:
            if one["place_id"] == place_id:
                assert one["on_hand"] == one["reserved"] + one["allocated"] + one["free"]
                names = ("on_hand", "reserved", "allocated", "free", "in_transit", "damaged")
                return tuple(one[name] for name in names)
        return None

    return figures


@pytest.fixture
def receive(staff):
    async def receive(sku_id, place_id, quantity, *, reference="r1", **more):
        body = {"kind": "receive", "reference": reference, "place_id": place_id} | more
        return await staff("POST", "/stock/movements", **body, lines=lines(sku_id, quantity))

    return receive


def lines(sku_id, quantity):
    return [{"sku_id": str(sku_id), "quantity": quantity}]


async def proven(staff):
    return (await staff("GET", "/stock/audit"))["drifts"] == []


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_units_go_from_the_supplier_to_the_buyer(staff, figures, receive, shanghai, sku_ids):
    sku = sku_ids[0]
    await receive(sku, shanghai, 100)
    assert await figures(sku, shanghai) == (100, 0, 0, 100, 0, 0)

    async def step(kind, quantity):
        body = {"kind": kind, "reference": f"{kind}-1", "lines": lines(sku, quantity)}
        return (await staff("POST", "/reservations/order:1/steps", **body))["lines"][0]

    near = {"kept_for": "order:1", "region": "CN-SH", "lines": lines(sku, 10)}
    kept = (await staff("POST", "/reservations", **near))["lines"]
    assert [(line["place_id"], line["reserved"]) for line in kept] == [(shanghai, 10)]
    assert await figures(sku, shanghai) == (100, 10, 0, 90, 0, 0)
    await step("allocate", 8)
    assert await figures(sku, shanghai) == (100, 2, 8, 90, 0, 0)
    await step("recall", 1)
    assert await figures(sku, shanghai) == (100, 3, 7, 90, 0, 0)
    shipped = await step("ship", 7)
    assert (shipped["reserved"], shipped["allocated"], shipped["shipped"]) == (3, 0, 7)
    assert await figures(sku, shanghai) == (93, 3, 0, 90, 0, 0)
    await step("release", 3)
    assert await figures(sku, shanghai) == (93, 0, 0, 93, 0, 0)
    too_many = {"kind": "release", "reference": "again", "lines": lines(sku, 1)}
    await staff("POST", "/reservations/order:1/steps", refused=(409, "not-kept"), **too_many)

    found = (await staff("GET", f"/stock/{sku}/movements?limit=100"))["items"]
    here = [(m["kind"], m["quantity"], m["by"]) for m in found if m["place_id"] == shanghai]
    steps = [("allocate", 8), ("recall", 1), ("ship", 7), ("release", 3)]
    every = [("receive", 100), ("reserve", 10), *steps]
    assert here == [(*one, "admin") for one in every]
    assert await proven(staff)


async def test_damaged_units_are_set_aside(staff, figures, receive, sku_ids):
    sku = sku_ids[0]
    for kind, quantity, after in (
        ("damage", 30, (970, 0, 0, 970, 0, 30)),
        ("mend", 10, (980, 0, 0, 980, 0, 20)),
        ("scrap", 20, (980, 0, 0, 980, 0, 0)),
    ):
        await receive(sku, MAIN, quantity, kind=kind)
        assert await figures(sku, MAIN) == after
    for kind in ("damage", "mend", "scrap"):
        told = await receive(
            sku, MAIN, 981, kind=kind, reference="more", refused=(409, "out-of-stock")
        )
        assert told["left"] == (980 if kind == "damage" else 0)
    assert await proven(staff)


async def test_a_repeat_changes_nothing_and_a_reference_means_one_thing(
    staff, figures, receive, sku_ids
):
    sku = sku_ids[0]
    for _ in range(3):
        await receive(sku, MAIN, 5)
    await receive(sku, MAIN, 6, refused=(422, "reference-reused"))
    keep = {"kept_for": "order:1", "lines": lines(sku, 4)}
    for _ in range(3):
        await staff("POST", "/reservations", **keep)
    other = keep | {"lines": lines(sku, 3)}
    await staff("POST", "/reservations", refused=(422, "reference-reused"), **other)
    let_go = {"kind": "release", "reference": "cancel", "lines": lines(sku, 1)}
    for _ in range(3):
        await staff("POST", "/reservations/order:1/steps", **let_go)
    await staff("POST", "/reservations", **keep)
    assert await figures(sku, MAIN) == (1_005, 3, 0, 1_002, 0, 0)
    assert await proven(staff)


async def test_a_place_that_runs_low_says_so_once_a_crossing(staff, receive, shanghai, sku_ids):
    sku = sku_ids[0]

    async def alerts():
        found = (await staff("GET", "/stock/alerts"))["items"]
        return [(a["place_id"], a["free"], a["safety_stock"]) for a in found]

    async def keep(number, quantity):
        body = {"kept_for": f"order:{number}", "lines": lines(sku, quantity)}
        await staff("POST", "/reservations", place_id=shanghai, **body)

    await receive(sku, shanghai, 60)
    await keep(1, 9)
    assert await alerts() == []
    await keep(2, 1)
    assert await alerts() == [(shanghai, 50, 50)]
    await keep(3, 1)
    assert await alerts() == [(shanghai, 50, 50)]
    await receive(sku, shanghai, 2, reference="r2")
    assert await alerts() == []
    await keep(4, 20)
    assert await alerts() == [(shanghai, 31, 50)]
    shown = await staff("POST", f"/stock/{sku}/safety-stock", place_id=shanghai, units=30)
    assert (shown["free"], shown["safety_stock"], shown["is_low"]) == (31, 30, False)
    assert await alerts() == []
    await staff("POST", f"/stock/{sku}/safety-stock", place_id=shanghai, units=31)
    assert await alerts() == [(shanghai, 31, 31)]


async def test_a_low_place_is_filled_from_places_with_plenty_and_the_rest_is_bought(
    staff, receive, shanghai, store, sku_ids
):
    sku = sku_ids[0]

    async def proposed():
        (alert,) = (await staff("GET", "/stock/alerts"))["items"]
        gifts = [(gift["source_id"], gift["quantity"]) for gift in alert["transfers"]]
        return alert["place_id"], alert["free"], gifts, alert["to_buy"]

    await receive(sku, store, 1_000)
    await receive(sku, shanghai, 30, reference="r2")
    assert await proposed() == (shanghai, 30, [(MAIN, 70)], 0)
    # A warehouse keeps twice its own safety stock, and a store gives nothing.
    await receive(sku, MAIN, 860, kind="damage", reference="flood")
    assert await proposed() == (shanghai, 30, [(MAIN, 40)], 30)
    plan = {"source_id": MAIN, "target_id": shanghai, "lines": lines(sku, 40)}
    planned = await staff("POST", "/transfers", **plan)
    assert await proposed() == (shanghai, 30, [], 30)
    await staff("POST", f"/transfers/{planned['transfer_id']}/send")
    assert await proposed() == (shanghai, 30, [], 30)
    await staff(
        "POST", f"/transfers/{planned['transfer_id']}/receive", reference="r", lines=lines(sku, 40)
    )
    assert (await staff("GET", "/stock/alerts"))["items"] == []


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_transfer_arrives_in_parts_and_what_is_lost_says_why(
    staff, figures, shanghai, sku_ids
):
    sku, other, _ = sku_ids
    plan = {"source_id": MAIN, "target_id": shanghai}
    planned = await staff("POST", "/transfers", **plan, lines=lines(sku, 10) + lines(other, 7))
    path = f"/transfers/{planned['transfer_id']}"
    early = {"reference": "n0", "lines": lines(sku, 1)}
    await staff("POST", f"{path}/receive", refused=(409, "illegal-move"), **early)
    assert (planned["state"], await figures(sku, shanghai)) == ("planned", None)
    for _ in range(2):
        assert (await staff("POST", f"{path}/send"))["state"] == "sent"
    assert await figures(sku, MAIN) == (990, 0, 0, 990, 0, 0)
    assert await figures(sku, shanghai) == (0, 0, 0, 0, 10, 0)
    await staff("POST", f"{path}/cancel", refused=(409, "illegal-move"))

    async def end(how, reference, sku_id, quantity, **more):
        body = {"reference": reference, "lines": lines(sku_id, quantity)} | more
        told = await staff("POST", f"{path}/{how}", **body)
        if "refused" in more:
            return told
        assert await proven(staff)
        assert told == await staff("GET", path)
        (line,) = [one for one in told["lines"] if one["sku_id"] == str(sku_id)]
        assert line["quantity"] == line["arrived"] + line["lost"] + line["in_transit"]
        return told["state"], line["arrived"], line["lost"], line["in_transit"]

    for _ in range(2):
        assert await end("receive", "n1", sku, 7) == ("sent", 7, 0, 3)
        assert await figures(sku, shanghai) == (7, 0, 0, 7, 3, 0)
    assert (await end("receive", "n2", sku, 4, refused=(422, "impossible-transfer")))["left"] == 3
    await end("receive", "n1", sku, 1, refused=(422, "reference-reused"))
    await end("write-off", "n2", sku, 1, refused=(422, "invalid-value"))
    await end("write-off", "n2", sku, 1, reason="", refused=(422, "invalid-value"))
    assert await end("receive", "n2", sku, 2) == ("sent", 9, 0, 1)
    assert await figures(sku, shanghai) == (9, 0, 0, 9, 1, 0)
    for _ in range(2):
        assert await end("write-off", "n2", sku, 1, reason="水损, claim 47") == ("sent", 9, 1, 0)
        assert await figures(sku, shanghai) == (9, 0, 0, 9, 0, 0)
    assert await end("receive", "n2", other, 7, refused=(422, "reference-reused"))
    assert await end("receive", "n3", other, 7) == ("arrived", 7, 0, 0)
    assert await end("receive", "n1", sku, 7) == ("arrived", 9, 1, 0)
    await end("receive", "n4", sku, 1, refused=(409, "illegal-move"))
    await end("write-off", "n4", sku, 1, reason="r", refused=(409, "illegal-move"))

    found = (await staff("GET", f"/stock/{sku}/movements"))["items"]
    there = [(m["kind"], m["quantity"], m["reason"]) for m in found if m["place_id"] == shanghai]
    expected = [("expect", 10), ("arrive", 7), ("arrive", 2), ("lose", 1)]
    assert there == [(*one, "水损, claim 47" if one[0] == "lose" else None) for one in expected]
    (listed,) = (await staff("GET", "/transfers"))["items"]
    figures = [listed[name] for name in ("skus", "quantity", "arrived", "lost", "in_transit")]
    assert (listed["state"], figures) == ("arrived", [2, 17, 16, 1, 0])


async def test_what_is_not_there_cannot_be_sent(staff, figures, shanghai, sku_ids):
    plan = {"source_id": MAIN, "target_id": shanghai, "lines": lines(sku_ids[0], 1_001)}
    path = f"/transfers/{(await staff('POST', '/transfers', **plan))['transfer_id']}"
    await staff("POST", f"{path}/send", refused=(409, "out-of-stock"))
    assert (await staff("GET", path))["state"] == "planned"
    for _ in range(2):
        assert (await staff("POST", f"{path}/cancel"))["state"] == "cancelled"
    await staff("POST", f"{path}/send", refused=(409, "illegal-move"))
    nowhere = plan | {"target_id": MAIN}
    await staff("POST", "/transfers", refused=(422, "impossible-transfer"), **nowhere)
    assert await figures(sku_ids[0], MAIN) == (1_000, 0, 0, 1_000, 0, 0)


async def test_online_orders_sell_the_warehouses_out_and_never_a_store(
    staff, figures, receive, shanghai, store, sku_ids
):
    sku = sku_ids[0]
    await receive(sku, shanghai, 20, reference="r1")
    await receive(sku, store, 5, reference="r2")

    async def keep(number):
        body = {"kept_for": f"order:{number}", "lines": lines(sku, 17), "region": "CN-SH"}
        return await staff("POST", "/reservations", **body)

    kept = await asyncio.gather(*(keep(number) for number in range(60)))
    held = [(n["place_id"], n["reserved"]) for one in kept for n in one["lines"]]
    assert sum(units for _, units in held) == 1_020
    assert {place for place, _ in held} == {MAIN, shanghai}
    body = {"kept_for": "order:late", "lines": lines(sku, 1)}
    told = await staff("POST", "/reservations", refused=(409, "out-of-stock"), **body)
    assert (told["wanted"], told["left"]) == (1, 0)
    assert await figures(sku, MAIN) == (1_000, 1_000, 0, 0, 0, 0)
    await staff("POST", "/reservations", place_id=store, **body)
    assert await figures(sku, store) == (5, 1, 0, 4, 0, 0)
    assert await proven(staff)


async def test_a_flash_sale_draws_its_quota_from_here(staff, figures, sku_ids):
    now = datetime.now(UTC)
    item = {"sku_id": str(sku_ids[0]), "quota": 300, "price": 1, "limit": 1}
    ends_at = (now + timedelta(hours=1)).isoformat()
    plan = {"name": "Kettles", "starts_at": now.isoformat(), "ends_at": ends_at, "items": [item]}
    sale_id = (await staff("POST", "/sales", **plan))["sale_id"]
    await staff("POST", f"/sales/{sale_id}/arm")
    assert await figures(sku_ids[0], MAIN) == (1_000, 300, 0, 700, 0, 0)
    (kept,) = (await staff("GET", f"/reservations/sale:{sale_id}"))["lines"]
    assert (kept["sku_id"], kept["reserved"]) == (str(sku_ids[0]), 300)
    lines = [{"sku_id": str(sku_ids[0]), "quantity": 1}]
    let_go = {"kind": "release", "reference": "r", "lines": lines}
    own = f"/reservations/sale:{sale_id}/steps"
    await staff("POST", own, refused=(409, "not-by-hand"), **let_go)
    more = {"kept_for": f"sale:{sale_id}", "lines": lines}
    await staff("POST", "/reservations", refused=(409, "not-by-hand"), **more)
    assert await proven(staff)


async def test_people_read_the_code_of_each_sku(staff, receive, shanghai, pool, sku_ids):
    sku = sku_ids[1]
    named = {"sku_id": str(sku), "sku_code": "KETTLE-1"}

    def says(answer):
        return named.items() <= answer.items()

    (told,) = (await receive(sku, shanghai, 40))["items"]
    assert says(told)
    assert says(await staff("POST", f"/stock/{sku}/safety-stock", place_id=shanghai, units=45))
    keep = {"kept_for": "order:1", "lines": lines(sku, 4)}
    assert says((await staff("POST", "/reservations", **keep))["lines"][0])
    plan = {"source_id": MAIN, "target_id": shanghai, "lines": lines(sku, 3)}
    path = f"/transfers/{(await staff('POST', '/transfers', **plan))['transfer_id']}"
    for how in ("", "/send"):
        assert says((await staff("POST" if how else "GET", f"{path}{how}"))["lines"][0])
    counted = [{"sku_id": str(sku), "counted": 99}]
    body = {"reference": "c", "place_id": shanghai, "lines": counted}
    (count,) = (await staff("POST", "/counts", **body))["items"]
    decided = await staff("POST", f"/counts/{count['count_id']}/approve", who="bea")
    assert says(count)
    assert says(decided)
    await staff("POST", f"/stock/{sku}/safety-stock", place_id=shanghai, units=99)
    async with pool.acquire() as conn:
        await conn.execute("UPDATE inventory.balances SET damaged = 1 WHERE sku_id = $1", sku)
    for path in ("/stock/{}", "/stock/{}/movements", "/stock/alerts", "/counts"):
        found = (await staff("GET", path.format(sku)))["items"]
        assert found, path
        assert all(says(one) for one in found), path
    assert all(says(one) for one in (await staff("GET", "/stock/audit"))["drifts"])
    (here,) = (await staff("GET", f"/places/{shanghai}/stock"))["items"]
    assert says(here)


async def test_what_is_unknown_is_refused(staff, client, receive, sku_ids):
    sku = sku_ids[0]
    await receive(sku, "77", 1, refused=(404, "no-such-place"))
    await receive(10**18, MAIN, 1, refused=(404, "no-such-sku"))
    for kind in ("damage", "mend", "scrap"):
        await receive(sku, "77", 1, kind=kind, refused=(404, "no-such-place"))
    for place_id in ("77", "x", ""):
        refused = (404, "no-such-place")
        safety = {"place_id": place_id, "units": 3}
        await staff("POST", f"/stock/{sku}/safety-stock", refused=refused, **safety)
        await staff("GET", f"/places/{place_id or '-'}/stock", refused=refused)
        for ends in ((place_id, MAIN), (MAIN, place_id)):
            plan = dict(zip(("source_id", "target_id"), ends, strict=True))
            await staff("POST", "/transfers", refused=refused, **plan, lines=lines(sku, 1))
    for sku_id in (10**18, 10**19, "x", "%00"):
        await staff("GET", f"/stock/{sku_id}", refused=(404, "no-such-sku"))
        await staff("GET", f"/stock/{sku_id}/movements", refused=(404, "no-such-sku"))
    for sku_id in (10**18, 10**19, "x", ""):
        refused = (404, "no-such-sku")
        plan = {"source_id": MAIN, "target_id": "2", "lines": lines(sku_id, 1)}
        await staff("POST", "/transfers", refused=refused, **plan)
        keep = {"kept_for": "order:1", "lines": lines(sku_id, 1)}
        await staff("POST", "/reservations", refused=refused, **keep)
        safety = {"place_id": MAIN, "units": 3}
        await staff("POST", f"/stock/{sku_id or '-'}/safety-stock", refused=refused, **safety)
    await staff("GET", "/reservations/order:0", refused=(404, "no-such-reservation"))
    await staff("GET", "/reservations/a%00b", refused=(404, "no-such-reservation"))
    await staff("POST", "/transfers/5/send", refused=(404, "no-such-transfer"))
    here = {"kept_for": "order:1", "place_id": "77", "lines": lines(sku, 1)}
    await staff("POST", "/reservations", refused=(404, "no-such-place"), **here)
    twice = {"kept_for": "order:1", "lines": lines(sku, 1) * 2}
    await staff("POST", "/reservations", refused=(422, "invalid-value"), **twice)
    again = {"code": "MAIN", "kind": "warehouse", "name": {"en": "Main", "zh": "主仓"}}
    await staff("POST", "/places", refused=(409, "place-exists"), **again)
    answer = await client.get("/v1/admin/places", headers=as_member(7))
    assert answer.status_code == 403
