"""A tree of categories asks its products for attributes; those below inherit and may narrow."""

import asyncio

import pytest

from tests.api.conftest import as_admin, problem

ZH = {"accept-language": "zh"}
COLOURS = [
    {"code": "red", "name": {"en": "Red", "zh": "红色"}},
    {"code": "blue", "name": {"en": "Blue", "zh": "蓝色"}},
]


def called(code):
    return {"code": code, "name": {"en": code.title(), "zh": f"{code} 中"}}


@pytest.fixture
def define(staff):
    """Ask the products of a category for an attribute."""

    async def define(category, code, kind, *, refused=None, **more):
        body = called(code) | {"kind": kind} | more
        path = f"/categories/{category['category_id']}/attributes"
        return await staff("POST", path, refused=refused, **body)

    return define


@pytest.fixture
async def tree(staff, define):
    """Apparel > Women > Dresses, with attributes on the first and the last."""
    found, above = {}, {}
    for code in ("apparel", "women", "dresses"):
        found[code] = await staff("POST", "/categories", **called(code), **above)
        above = {"parent_id": found[code]["category_id"]}
    await define(found["apparel"], "material", "text", is_required=True)
    await define(found["apparel"], "weight", "number", unit="g", lowest=0, highest=5_000)
    await define(
        found["apparel"], "colour", "choice", level="sku", is_required=True, choices=COLOURS
    )
    await define(found["dresses"], "lined", "boolean")
    await define(found["dresses"], "season", "date")
    return found


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_category_shows_its_path_and_what_it_inherits(client, staff, tree):
    listed = (await client.get("/v1/categories", headers=ZH)).json()["items"]
    assert [one["name"] for one in listed] == ["apparel 中", "women 中", "dresses 中"]
    shown = {"layout": "list", "filters": ["colour", "lined", "unheard_of"]}
    await staff("POST", f"/categories/{tree['apparel']['category_id']}/presentation", **shown)
    where = f"/v1/categories/{tree['dresses']['category_id']}"
    leaf = (await client.get(where)).json()
    assert [one["code"] for one in leaf["path"]] == ["apparel", "women", "dresses"]
    presentation = {"layout": "list", "image": None, "filters": ["colour", "lined"]}
    assert leaf["presentation"] == presentation
    found = {one["code"]: one for one in leaf["attributes"]}
    assert found.keys() == {"material", "weight", "colour", "lined", "season"}
    assert found["weight"]["unit"] == "g"
    zh = (await client.get(where, headers=ZH)).json()
    assert [c["name"] for a in zh["attributes"] for c in a["choices"]] == ["红色", "蓝色"]
    own = {"layout": "grid", "image": "/dresses.jpg"}
    await staff("POST", f"/categories/{tree['dresses']['category_id']}/presentation", **own)
    leaf = (await client.get(where)).json()
    assert leaf["presentation"] == own | {"filters": []}


async def test_a_child_narrows_what_it_inherits_and_never_widens_it(define, tree):
    women, dresses = tree["women"], tree["dresses"]
    refused = (409, "not-narrower")
    for broken in (
        {"kind": "text"},
        {"kind": "number"},
        {"kind": "number", "unit": "g"},
        {"kind": "number", "unit": "g", "lowest": 0, "highest": 5_001},
        {"kind": "number", "unit": "kg", "lowest": 0, "highest": 5},
    ):
        await define(women, "weight", refused=refused, **broken)
    within = {"unit": "g", "lowest": 10, "highest": 900}
    await define(women, "weight", "number", **within)
    over = within | {"highest": 901}
    told = await define(dresses, "weight", "number", refused=refused, **over)
    assert (told["field"], told["above"]) == ("highest", women["category_id"])
    optional = {"level": "sku", "choices": COLOURS}
    await define(dresses, "colour", "choice", refused=refused, **optional)
    asked = {"level": "sku", "is_required": True}
    more = [*COLOURS, {"code": "green", "name": {"en": "Green"}}]
    await define(dresses, "colour", "choice", refused=refused, choices=more, **asked)
    known = await define(dresses, "colour", "choice", choices=COLOURS[:1], **asked)
    (colour,) = [one for one in known["attributes"] if one["code"] == "colour"]
    assert colour["category_id"] == dresses["category_id"]
    # And from above: what is further down already has to stay narrower.
    small = {"unit": "g", "lowest": 0, "highest": 800}
    told = await define(tree["apparel"], "weight", "number", refused=refused, **small)
    assert told["below"] == women["category_id"]
    await define(tree["apparel"], "colour", "choice", choices=more, **asked)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "choice"},
        {"kind": "choice", "choices": [COLOURS[0], COLOURS[0]]},
        {"kind": "text", "choices": COLOURS},
        {"kind": "text", "unit": "g"},
        {"kind": "date", "lowest": 1},
        {"kind": "number", "lowest": 2, "highest": 1},
        {"kind": "number", "lowest": 1e16},
        {"kind": "colour"},
    ],
    ids=str,
)
async def test_an_attribute_that_fits_no_kind_is_refused(define, tree, wrong):
    await define(tree["women"], "odd", refused=(422, "invalid-value"), **wrong)


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_product_answers_what_its_category_asks(client, staff, tree):
    dresses = tree["dresses"]["category_id"]
    title = {"en": "Summer dress", "zh": "夏季连衣裙"}
    said = {"title": title, "category_id": dresses}
    product = await staff("POST", "/products", **said)
    path = f"/products/{product['product_id']}"
    blue = {"code": "D-BLUE", "currency": "CNY", "prices": {"CNY": 1}}
    (sku,) = (await staff("POST", f"{path}/skus", skus=[blue]))["skus"]
    told = await staff("POST", f"{path}/publish", refused=(409, "not-complete"))
    assert told["missing"] == ["/attributes/material", "/skus/0/attributes/colour"]
    values = {"material": {"en": "Silk", "zh": "真丝"}, "weight": 310.5, "lined": True}
    values["season"] = "2026-06-01"
    await staff("POST", path, **said, attributes=values)
    sku_path = f"/skus/{sku['sku_id']}/attributes"
    kept = await staff("POST", sku_path, attributes={"colour": "blue"})
    assert kept["attributes"] == {"colour": "blue"}
    assert (await staff("POST", f"{path}/publish"))["attributes"] == values
    seen = (await client.get(f"/v1{path}", headers=ZH)).json()
    assert seen["category_id"] == dresses
    assert seen["attributes"] == values | {"material": "真丝"}
    assert seen["skus"][0]["attributes"] == {"colour": "blue"}
    await staff("POST", sku_path, attributes={}, refused=(409, "not-complete"))
    bare = {"code": "D-BARE", "currency": "CNY", "prices": {"CNY": 1}}
    await staff("POST", f"{path}/skus", skus=[bare], refused=(409, "not-complete"))
    assert len((await staff("GET", path))["skus"]) == 1


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("material", "Silk"),
        ("weight", 5_001),
        ("weight", -0.5),
        ("weight", True),
        ("weight", "310"),
        ("lined", "yes"),
        ("lined", 1),
        ("season", "summer"),
        ("season", "20260601"),
        ("season", "2026-02-30"),
        ("colour", "red"),
        ("unheard_of", 1),
    ],
)
async def test_a_value_of_another_type_is_refused(staff, tree, code, value):
    said = {"title": {"en": "Dress"}, "category_id": tree["dresses"]["category_id"]}
    refused = (422, "unfit-attribute")
    told = await staff("POST", "/products", **said, attributes={code: value}, refused=refused)
    assert [one["attribute"] for one in told["errors"]] == [code]
    path = f"/products/{(await staff('POST', '/products', **said))['product_id']}"
    await staff("POST", path, **said, attributes={code: value}, refused=refused)
    if code != "colour":
        sku = {"code": "D-1", "currency": "CNY", "prices": {"CNY": 1}, "attributes": {code: value}}
        await staff("POST", f"{path}/skus", skus=[sku], refused=refused)


async def test_a_product_moves_only_where_its_values_fit(staff, tree):
    said = {"title": {"en": "Dress"}, "category_id": tree["dresses"]["category_id"]}
    product = await staff("POST", "/products", **said, attributes={"lined": True})
    path = f"/products/{product['product_id']}"
    elsewhere = said | {"category_id": tree["women"]["category_id"]}
    values = {"attributes": {"lined": True}}
    await staff("POST", path, **elsewhere, **values, refused=(422, "unfit-attribute"))
    await staff("POST", path, **elsewhere)
    nowhere = {"title": {"en": "Dress"}, "category_id": "999"}
    await staff("POST", path, **nowhere, refused=(404, "no-such-category"))


async def test_a_tree_has_bounds_and_its_codes_are_unique(staff, client, tree):
    await staff("POST", "/categories", **called("women"), refused=(409, "code-taken"))
    parent = tree["dresses"]["category_id"]
    for depth in range(3, 8):
        made = await staff("POST", "/categories", **called(f"deep-{depth}"), parent_id=parent)
        parent = made["category_id"]
    told = await staff(
        "POST",
        "/categories",
        **called("too-deep"),
        parent_id=parent,
        refused=(409, "too-many-categories"),
    )
    assert told["depth_max"] == 8
    for category_id in ("999", "x", "%00"):
        refused = (404, "no-such-category")
        path = f"/categories/{category_id}"
        await staff("GET", path, refused=refused)
        body = called("odd") | {"kind": "text"}
        await staff("POST", f"{path}/attributes", **body, refused=refused)
        await staff("POST", f"{path}/presentation", layout="grid", refused=refused)
        await staff(
            "POST", "/categories", **called("orphan"), parent_id=category_id, refused=refused
        )
        assert problem(await client.get(f"/v1{path}")) == "no-such-category"


async def test_of_two_who_contradict_each_other_at_once_one_is_refused(client, tree):
    async def define(category, code, highest):
        path = f"/v1/admin/categories/{tree[category]['category_id']}/attributes"
        body = called(code) | {"kind": "number", "highest": highest}
        return (await client.post(path, headers=as_admin(), json=body)).status_code

    for number in range(10):
        code = f"size_{number}"
        told = await asyncio.gather(define("dresses", code, 5_000), define("apparel", code, 100))
        assert sorted(told) == [200, 409], code
