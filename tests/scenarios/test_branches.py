"""Staff rename categories and move them, and buyers find the goods where they stand now."""

import asyncio
from functools import partial

import pytest

from core.catalogue import moves
from core.flows import relist
from core.jobs.outbox_relay import OutboxRelay
from core.kit import db, outbox
from tests.api.conftest import as_admin, problem

STEPS_MAX = 20


@pytest.fixture
def grow(staff):
    """Add a category; give its id."""

    async def grow(code, parent_id=None, **attributes):
        said = {"code": code, "name": {"en": code.title(), "zh": code}, "parent_id": parent_id}
        category_id = (await staff("POST", "/categories", **said))["category_id"]
        for attribute, kind in attributes.items():
            body = {"code": attribute, "name": {"en": attribute}, "kind": "number", "level": "sku"}
            await staff("POST", f"/categories/{category_id}/attributes", **(body | kind))
        return category_id

    return grow


@pytest.fixture
def move(staff):
    async def move(category_id, parent_id, **more):
        return await staff("POST", f"/categories/{category_id}/move", parent_id=parent_id, **more)

    return move


@pytest.fixture
def listed(pool, misplaced):
    """Let the background roles list what has moved, and see that nothing is left."""
    relay = OutboxRelay(pool, {relist.TOPIC: partial(relist.relist, pool)})

    async def listed():
        for _ in range(STEPS_MAX):
            await relay.step()
            async with db.reading(pool) as conn:
                if await outbox.count(conn) == (0, 0):
                    break
        assert await misplaced() == []

    return listed


async def test_a_renamed_category_is_called_so_at_once(staff, client, grow):
    category_id = await grow("dresses")
    name = {"en": "Gowns", "zh": "礼服"}
    told = await staff("POST", f"/categories/{category_id}", name=name, rank=3)
    assert (told["name"], told["rank"]) == (name, 3)
    answer = await client.get(f"/v1/categories/{category_id}", headers={"accept-language": "zh"})
    assert answer.json()["name"] == "礼服"
    refused = (404, "no-such-category")
    for absent in ("999", "x"):
        await staff("POST", f"/categories/{absent}", name=name, refused=refused)
        await staff("POST", f"/categories/{absent}/move", parent_id=None, refused=refused)


async def test_a_branch_moves_with_all_its_goods(
    client, grow, move, offer, found, listed, monkeypatch
):
    monkeypatch.setattr(moves, "RELISTED_AT_ONCE_MAX", 2)
    apparel, outlet = await grow("apparel"), await grow("outlet")
    dresses = await grow("dresses", apparel)
    summer = await grow("summer", dresses)
    above = [await offer("Dress", "连衣裙", category_id=dresses, EUR=5) for _ in range(3)]
    below = [await offer("Summer dress", "夏裙", category_id=summer) for _ in range(4)]
    coat = await offer("Coat", "大衣", category_id=apparel)
    assert await found(category=apparel) == [*above, *below, coat]

    for _ in range(2):
        assert (await move(dresses, outlet))["parent_id"] == outlet
        await listed()
    assert await found(category=apparel) == [coat]
    for category_id, goods in ((outlet, [*above, *below]), (summer, below)):
        assert await found(category=category_id) == goods
        by_price = {"currency": "CNY", "sort": "price"}
        assert await found(category=category_id, **by_price) == goods
        assert sorted(await found(category=category_id, q="summer"), key=int) == below
    path = (await client.get(f"/v1/categories/{summer}")).json()["path"]
    assert [one["category_id"] for one in path] == [outlet, dresses, summer]

    await move(dresses, None)
    await listed()
    assert await found(category=outlet) == []
    assert await found(category=dresses, currency="EUR") == above


async def test_a_tree_stays_a_tree_of_eight_levels(grow, move):
    chain = [await grow("level-0")]
    for depth in range(1, 7):
        chain.append(await grow(f"level-{depth}", chain[-1]))
    for below in chain:
        await move(chain[0], below, refused=(409, "category-loop"))
    await move(chain[0], "999", refused=(404, "no-such-category"))
    tall = await grow("tall")
    await grow("short", tall)
    told = await move(tall, chain[-1], refused=(409, "too-many-categories"))
    assert told["depth_max"] == 8
    await move(tall, chain[-2])


async def test_goods_that_would_not_fit_are_named(staff, grow, move, offer, found, listed):
    apparel = await grow("apparel", size={"highest": 100})
    outlet = await grow("outlet")
    strict = await grow("strict", size={"is_required": True})
    dresses = await grow("dresses", apparel)
    sized = await offer("Dress", "连衣裙", sizes=(90,), category_id=dresses)
    plain = await offer("Gown", "礼服", category_id=dresses)
    draft = {"title": {"en": "Draft"}, "category_id": dresses}
    await staff("POST", "/products", **draft)
    codes = {one: (await staff("GET", f"/products/{one}"))["code"] for one in (sized, plain)}
    told = await move(dresses, outlet, refused=(409, "unfit-products"))
    assert told["products"] == [codes[sized]]
    told = await move(dresses, strict, refused=(409, "unfit-products"))
    assert told["products"] == [codes[plain]]
    assert await found(category=apparel) == [sized, plain]

    size = {"code": "size", "name": {"en": "Size"}, "kind": "number", "level": "sku"}
    await staff("POST", f"/categories/{dresses}/attributes", **size, highest=95)
    other = await grow("other", size={"highest": 90})
    told = await move(dresses, other, refused=(409, "not-narrower"))
    assert told["field"] == "highest"
    await move(dresses, outlet)
    await listed()
    assert await found(category=outlet, range="size:90..") == [sized]


async def test_only_so_many_goods_are_looked_at(grow, move, offer, monkeypatch):
    monkeypatch.setattr(moves, "CHECKED_MAX", 1)
    apparel, outlet = await grow("apparel", size={}), await grow("outlet")
    dresses = await grow("dresses", apparel)
    for _ in range(2):
        await offer("Dress", "连衣裙", category_id=dresses)
    told = await move(dresses, outlet, refused=(409, "too-many-products"))
    assert told["products_max"] == 1
    await move(dresses, await grow("alike", size={}))


async def test_of_a_move_and_a_value_that_contradict_each_other_one_is_refused(
    client, staff, grow, move, offer, listed
):
    apparel, outlet = await grow("apparel", size={}), await grow("outlet")
    dresses = await grow("dresses", apparel)
    product = await offer("Dress", "连衣裙", category_id=dresses)
    sku = (await staff("GET", f"/products/{product}"))["skus"][0]["sku_id"]

    async def told(path, **body):
        headers = as_admin()
        answer = await client.post(f"/v1/admin{path}", headers=headers, json=body)
        return 200 if answer.status_code == 200 else problem(answer)

    for _ in range(10):
        there, valued = await asyncio.gather(
            told(f"/categories/{dresses}/move", parent_id=outlet),
            told(f"/skus/{sku}/attributes", attributes={"size": 1}),
        )
        assert (there, valued) in {(200, "unfit-attribute"), ("unfit-products", 200)}
        await move(dresses, apparel)
        await staff("POST", f"/skus/{sku}/attributes", attributes={})
    await listed()
