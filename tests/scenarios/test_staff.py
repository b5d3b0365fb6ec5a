"""Staff do what their roles let them, and all of it is written down."""

import pytest

from core import staff as people
from core.kit import db
from hotpath.signing import Signer
from tests.api.conftest import RECEIPT_KEY, token

MAIN = "1"
SEALER = people.Sealer({1: Signer(RECEIPT_KEY)})
CHIEF = people.Author(SEALER, "chief", people.Permission.STAFF_WRITE, "test", "r")


@pytest.fixture
def hire(pool, client):
    """Add somebody with these roles, and give what asks in that name."""

    async def hire(name, *roles):
        async with db.transaction(pool) as conn:
            await people.add(conn, CHIEF, name=name, roles=roles)

        async def ask(method, path, **body):
            headers = {"Authorization": f"Bearer {token(name, 'staff')}"}
            url = f"/v1/admin{path}"
            return await client.request(method, url, headers=headers, json=body or None)

        return ask

    return hire


async def change(pool, verb, **facts):
    async with db.transaction(pool) as conn:
        await verb(conn, CHIEF, **facts)


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_product_on_its_way_to_the_shop_leaves_a_trace(staff, hire):
    bea = await hire("bea", "merchandiser")
    title = {"title": {"en": "Kettle", "zh": "水壶"}}
    made = (await bea("POST", "/products", **title, code="KETTLE")).json()
    path = f"/products/{made['product_id']}"
    skus = [{"code": "K1", "currency": "CNY", "prices": {"CNY": 9_900}}]
    sku = (await bea("POST", f"{path}/skus", skus=skus)).json()["skus"][0]
    await bea("POST", f"/skus/{sku['sku_id']}/prices", prices={"CNY": 8_800})
    assert (await bea("POST", f"{path}/publish")).status_code == 200
    assert (await bea("POST", "/places", code="X", kind="store")).status_code == 403
    assert (await bea("GET", "/log")).status_code == 403

    log = await staff("GET", f"/log?object=product:{made['product_id']}")
    did = [(note["by"], note["action"].removeprefix("POST /v1/admin")) for note in log["items"]]
    assert did == [
        ("bea", "/products/{product_id}/publish"),
        ("bea", "/products/{product_id}/skus"),
        ("bea", "/products"),
    ]
    assert log["items"][0]["change"] == {
        "before": {"state": "draft"},
        "after": {"state": "published"},
    }
    assert log["items"][2]["change"]["before"] is None
    (priced,) = (await staff("GET", f"/log?object=sku:{sku['sku_id']}"))["items"]
    assert priced["change"]["after"] == {"price": 8_800, "prices": {"CNY": 8_800}}
    assert priced["permission"] == "catalogue:price"

    first = await staff("GET", "/log?by=bea&limit=3")
    rest = await staff("GET", f"/log?by=bea&limit=3&cursor={first['cursor']}")
    assert [int(n["note_id"]) for n in first["items"] + rest["items"]] == [5, 4, 3, 2]
    verdict = await staff("GET", "/log/verify")
    assert (verdict["checked"], verdict["broken"]) == (5, None)
    assert verdict["checkpoint"] == f"5:{first['items'][0]['seal']}"
    assert [p["name"] for p in (await staff("GET", "/people"))["items"]] == ["bea"]


async def test_what_a_role_gives_lasts_no_longer_than_the_role(hire, pool):
    bea = await hire("bea", "storekeeper")
    assert (await bea("GET", "/places")).status_code == 200
    assert (await bea("GET", "/products")).status_code == 200
    await change(pool, people.revoke, name="bea", role="storekeeper")
    assert (await bea("GET", "/places")).status_code == 403
    await change(pool, people.disable, name="bea")
    gone, unheard_of = await bea("GET", "/places"), await (await hire("ann"))("GET", "/places")
    assert (gone.status_code, unheard_of.status_code) == (401, 403)


async def test_two_of_staff_decide_about_what_is_worth_much(hire, sku_ids):
    bea, ann = await hire("bea", "storekeeper"), await hire("ann", "storekeeper")
    lines = [{"sku_id": str(sku_ids[0]), "counted": 500}]
    found = await bea("POST", "/counts", reference="c1", place_id=MAIN, lines=lines)
    path = f"/counts/{found.json()['items'][0]['count_id']}/approve"
    assert (await bea("POST", path)).json()["type"].endswith("second-person-needed")
    assert (await ann("POST", path)).json()["decided_by"] == "ann"


async def test_a_change_that_is_refused_leaves_no_note(staff, hire):
    bea = await hire("bea", "merchandiser")
    refused = await bea("POST", "/products/77/publish")
    assert refused.status_code == 404
    assert (await staff("GET", "/log?by=bea"))["items"] == []


async def test_a_note_bears_the_callers_request_id(staff, client):
    headers = {"Authorization": f"Bearer {token('admin', 'admin')}", "X-Request-Id": "abc-1"}
    body = {"title": {"en": "Kettle"}}
    await client.post("/v1/admin/products", headers=headers, json=body)
    headers["X-Request-Id"] = "x" * 65
    await client.post("/v1/admin/products", headers=headers, json=body)
    ours, theirs = (note["request_id"] for note in (await staff("GET", "/log"))["items"])
    assert theirs == "abc-1"
    assert len(ours) == 36


@pytest.mark.parametrize("query", ["object=7", "object=:7", "by=%00", "cursor=x", "object=sku:%00"])
async def test_odd_questions_to_the_log_are_refused(staff, query):
    await staff("GET", f"/log?{query}", refused=(422, "invalid-value"))


async def test_staff_are_added_and_given_roles_over_http(staff, client):
    async def may(path, name="bea"):
        headers = {"Authorization": f"Bearer {token(name, 'staff')}"}
        return (await client.get(f"/v1/admin{path}", headers=headers)).status_code

    made = await staff("POST", "/people", name="bea", roles=["storekeeper"])
    assert (made["name"], made["roles"], made["active"]) == ("bea", ["storekeeper"], True)
    assert (await may("/places"), await may("/log")) == (200, 403)
    assert (await staff("POST", "/people/bea/grant", role="auditor"))["roles"] == [
        "auditor",
        "storekeeper",
    ]
    assert (await may("/places"), await may("/log")) == (200, 200)
    assert (await staff("POST", "/people/bea/revoke", role="auditor"))["roles"] == ["storekeeper"]
    assert await may("/log") == 403
    assert not (await staff("POST", "/people/bea/disable"))["active"]
    assert await may("/places") == 401
    assert await staff("POST", "/people/bea/enable") == made
    assert await may("/places") == 200
    noted = (await staff("GET", "/log?object=person:bea"))["items"]
    assert [note["action"].rpartition("/")[2] for note in noted] == [
        "enable",
        "disable",
        "revoke",
        "grant",
        "people",
    ]
    assert noted[3]["change"]["after"] == {"roles": ["auditor", "storekeeper"]}

    twice = {"name": "bea", "roles": []}
    await staff("POST", "/people", refused=(409, "person-exists"), **twice)
    for name in ("admin", "Bea", "7", "b a", "b" * 63 + "\n"):
        odd = {"name": name, "roles": []}
        _, slug = refused = (422, "impossible-name" if len(name) < 64 else "invalid-value")
        assert slug
        await staff("POST", "/people", refused=refused, **odd)
    await staff("POST", "/people", refused=(422, "invalid-value"), name="ann", roles=["king"])
    await staff("POST", "/people/bea/grant", refused=(422, "invalid-value"), role="king")
    for verb, more in {
        "grant": {"role": "support"},
        "revoke": {"role": "x"},
        "disable": {},
    }.items():
        for who in ("nobody", "Bea", "%00"):
            path = f"/people/{who}/{verb}"
            await staff("POST", path, refused=(404, "no-such-person"), **more)


async def test_who_may_not_write_staff_gives_nobody_a_role(hire):
    for role in ("auditor", "storekeeper", "finance", "system"):
        ask = await hire(f"a.{role}", role)
        answer = await ask("POST", f"/people/a.{role}/grant", role="administrator")
        assert answer.status_code == 403


async def test_a_note_says_what_was_before_where_something_was(staff, sku_ids):
    for units in (10, 20):
        path = f"/stock/{sku_ids[0]}/safety-stock"
        await staff("POST", path, place_id=MAIN, units=units)
        await staff("POST", f"/feeds/wms.main/places/{MAIN}", silent_max_s=units)
    first, second = {"safety_stock": 50}, {"safety_stock": 10}
    noted = (await staff("GET", f"/log?object=balance:{sku_ids[0]}:{MAIN}"))["items"]
    assert [note["change"]["before"] for note in noted] == [second, first]
    noted = (await staff("GET", f"/log?object=feed:wms.main:{MAIN}"))["items"]
    assert [note["change"]["before"] for note in noted] == [{"silent_max_s": 10}, None]
