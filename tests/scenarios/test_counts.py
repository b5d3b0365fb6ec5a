"""Staff count what stands there, and a difference that is worth much needs two of them."""

import pytest

MAIN = "1"
# A kettle is worth 99 yuan, and one person may settle 1,000.
FEW, MANY = 10, 11


@pytest.fixture
def count(staff, sku_ids):
    async def count(counted, *, reference="c1", **more):
        lines = [{"sku_id": str(sku_ids[0]), "counted": counted}]
        body = {"reference": reference, "place_id": MAIN, "lines": lines} | more
        told = await staff("POST", "/counts", **body)
        return told if "refused" in more else told["items"][0]

    return count


@pytest.fixture
def stock(staff, sku_ids):
    async def stock():
        assert (await staff("GET", "/stock/audit"))["drifts"] == []
        (found,) = (await staff("GET", f"/stock/{sku_ids[0]}"))["items"]
        return found["on_hand"], found["free"]

    return stock


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_small_difference_applies_at_once(staff, count, stock, sku_ids):
    for _ in range(2):
        found = await count(1_000 - FEW)
        assert (found["state"], found["decided_by"]) == ("applied", "admin")
        assert (found["expected"], found["counted"], found["value"]) == (1_000, 990, 99_000)
        assert await stock() == (990, 990)
    await count(1_000, refused=(422, "reference-reused"))
    assert (await count(1_000, reference="c2"))["state"] == "applied"
    assert (await count(1_000, reference="c3"))["value"] == 0
    assert await stock() == (1_000, 1_000)
    found = (await staff("GET", f"/stock/{sku_ids[0]}/movements"))["items"]
    assert [(m["kind"], m["quantity"]) for m in found] == [
        ("receive", 1_000),
        ("shortage", FEW),
        ("surplus", FEW),
    ]


async def test_a_difference_that_is_worth_much_needs_somebody_else(staff, count, stock):
    found = await count(1_000 - MANY)
    path = f"/counts/{found['count_id']}"
    assert (found["state"], found["needs_second"]) == ("proposed", True)
    assert await stock() == (1_000, 1_000)
    await count(999, reference="c2", refused=(409, "count-pending"))
    await staff("POST", f"{path}/approve", refused=(403, "second-person-needed"))
    for _ in range(2):
        applied = await staff("POST", f"{path}/approve", who="bea")
        assert (applied["state"], applied["decided_by"]) == ("applied", "bea")
    await staff("POST", f"{path}/reject", refused=(409, "illegal-move"))
    assert await stock() == (989, 989)
    assert [c["state"] for c in (await staff("GET", "/counts"))["items"]] == ["applied"]


async def test_a_rejected_count_changes_nothing(staff, count, stock):
    found = await count(5_000)
    path = f"/counts/{found['count_id']}"
    for _ in range(2):
        assert (await staff("POST", f"{path}/reject"))["state"] == "rejected"
    await staff("POST", f"{path}/approve", who="bea", refused=(409, "illegal-move"))
    assert await stock() == (1_000, 1_000)
    assert (await count(1_001, reference="c2"))["state"] == "applied"


async def test_units_that_are_kept_are_not_counted_away(staff, count, stock, sku_ids):
    lines = [{"sku_id": str(sku_ids[0]), "quantity": 995}]
    await staff("POST", "/reservations", kept_for="order:1", lines=lines)
    found = await count(990)
    path = f"/counts/{found['count_id']}/approve"
    assert (found["state"], found["needs_second"]) == ("proposed", False)
    await staff("POST", path, refused=(409, "out-of-stock"))
    lines[0]["quantity"] = 5
    await staff("POST", "/reservations/order:1/steps", kind="release", reference="r", lines=lines)
    assert (await staff("POST", path))["state"] == "applied"
    assert await stock() == (990, 0)


async def test_what_moves_after_the_count_stays_moved(staff, count, stock, sku_ids):
    found = await count(1_000 - MANY)
    lines = [{"sku_id": str(sku_ids[0]), "quantity": 100}]
    came = {"kind": "receive", "reference": "r", "place_id": MAIN, "lines": lines}
    await staff("POST", "/stock/movements", **came)
    await staff("POST", f"/counts/{found['count_id']}/approve", who="bea")
    assert await stock() == (1_100 - MANY, 1_100 - MANY)


async def test_what_was_never_there_can_be_found(staff, sku_ids):
    name = {"en": "Canton", "zh": "广州仓"}
    place = await staff("POST", "/places", code="CAN", kind="warehouse", name=name)
    lines = [{"sku_id": str(sku_ids[0]), "counted": 3}]
    body = {"reference": "c", "place_id": place["place_id"], "lines": lines}
    (found,) = (await staff("POST", "/counts", **body))["items"]
    assert (found["expected"], found["counted"], found["state"]) == (0, 3, "applied")
    twice = body | {"reference": "d", "lines": lines * 2}
    await staff("POST", "/counts", refused=(422, "invalid-value"), **twice)
    for sku_id in (10**18, 10**19, "x", ""):
        unknown = body | {"reference": "e", "lines": [{"sku_id": str(sku_id), "counted": 3}]}
        await staff("POST", "/counts", refused=(404, "no-such-sku"), **unknown)
    for place_id in ("77", "x", ""):
        nowhere = body | {"reference": "e", "place_id": place_id}
        await staff("POST", "/counts", refused=(404, "no-such-place"), **nowhere)
    await staff("POST", "/counts/77/approve", refused=(404, "no-such-count"))
    assert (await staff("GET", "/stock/audit"))["drifts"] == []
