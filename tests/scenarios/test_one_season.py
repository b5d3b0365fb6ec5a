"""One product's whole life over HTTP, with `sluice serve` and `sluice work` as they are run."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.api.conftest import Served, as_member, problem, stop
from tests.patience import PATIENCE_S

MAIN = "1"
PRICE = 45_900
COLOURS = {"red": "红色", "blue": "蓝色", "ivory": "象牙白"}
LOOK_S = 0.1


class Season:
    """What staff and buyers do, and the numbers they read back."""

    def __init__(self, client, staff) -> None:
        self.client = client
        self.staff = staff
        self.orders = 0

    async def seen(self, path, *, language="en", **asked):
        """What a buyer gets: the document, or the problem's slug."""
        headers = {"accept-language": language}
        answer = await self.client.get(f"/v1{path}", params=asked, headers=headers)
        return answer.json() if answer.status_code == 200 else problem(answer)

    async def found(self, words, language):
        items = (await self.seen("/products", q=words, language=language))["items"]
        return [one["title"] for one in items]

    async def stock(self, place_id):
        """(on hand, reserved, free, in transit) of the red dress; every balance is proven."""
        assert (await self.staff("GET", "/stock/audit"))["drifts"] == []
        for one in (await self.staff("GET", f"/stock/{self.red}"))["items"]:
            assert one["on_hand"] == one["reserved"] + one["allocated"] + one["free"]
            if one["place_id"] == place_id:
                return one["on_hand"], one["reserved"], one["free"], one["in_transit"]
        return None

    async def low(self):
        """Where it runs low, with what is free there and how many should be bought."""
        found = (await self.staff("GET", "/stock/alerts"))["items"]
        return sorted((one["place_id"], one["free"], one["to_buy"]) for one in found)

    async def receive(self, quantity, reference):
        lines = [{"sku_id": self.red, "quantity": quantity}]
        body = {"kind": "receive", "reference": reference, "place_id": MAIN, "lines": lines}
        await self.staff("POST", "/stock/movements", **body)

    async def order(self, quantity, **more):
        """An ordinary order; where its units come from."""
        self.orders += 1
        lines = [{"sku_id": self.red, "quantity": quantity}]
        body = {"kept_for": f"order:{self.orders}", "lines": lines} | more
        told = await self.staff("POST", "/reservations", **body)
        return (
            told if "refused" in more else [(n["place_id"], n["reserved"]) for n in told["lines"]]
        )

    async def until(self, look, expected):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await look() == expected:
                    return
                await asyncio.sleep(LOOK_S)


@pytest.fixture
def work(settings):
    """The background roles, in a process of their own."""
    worker = Served(sys.executable, "-W", "error", "-m", "api.cli", "work", settings=settings)
    yield
    stop(worker)


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_dress_is_described_found_stocked_moved_counted_sold_out_and_withdrawn(
    client, staff, work
):
    season = Season(client, staff)
    dresses = await grow_a_tree(season)
    path = await describe_three_skus(season, dresses)
    await find_it_in_both_languages(season, path, dresses)
    west = await run_low_once_a_crossing(season)
    await carry_some_to_the_west(season, west)
    await count_with_a_second_person(season)
    await sell_in_a_flash_and_return_the_rest(season)
    await sell_out(season, path, west)
    await withdraw(season, path, dresses)


async def grow_a_tree(season):
    """Apparel asks for a material and a colour; what is below inherits both."""
    staff, parent = season.staff, None
    for code, name in (("apparel", "服饰"), ("women", "女装"), ("dresses", "连衣裙")):
        names = {"en": code.title(), "zh": name}
        made = await staff("POST", "/categories", code=code, name=names, parent_id=parent)
        parent = made["category_id"]
        if code == "apparel":
            above = f"/categories/{parent}/attributes"
            material = {"code": "material", "name": {"en": "Material", "zh": "材质"}}
            await staff("POST", above, **material, kind="text", is_required=True)
            choices = [{"code": c, "name": {"en": c.title(), "zh": z}} for c, z in COLOURS.items()]
            colour = {"code": "colour", "name": {"en": "Colour", "zh": "颜色"}, "kind": "choice"}
            await staff("POST", above, **colour, level="sku", is_required=True, choices=choices)
    shown = await season.seen(f"/categories/{parent}", language="zh")
    assert [one["name"] for one in shown["path"]] == ["服饰", "女装", "连衣裙"]
    assert [one["name"] for one in shown["attributes"]] == ["颜色", "材质"]
    return parent


async def describe_three_skus(season, dresses):
    staff = season.staff
    said = {
        "title": {"en": "Linen wrap dress", "zh": "亚麻裹身连衣裙"},
        "description": {"en": "Ties on the left.", "zh": "左侧系带。"},
        "category_id": dresses,
        "attributes": {"material": {"en": "Linen", "zh": "亚麻"}},
    }
    path = f"/products/{(await staff('POST', '/products', code='WRAP', **said))['product_id']}"
    told = await staff("POST", f"{path}/publish", refused=(409, "not-complete"))
    assert told["missing"] == ["/skus"]
    skus = [
        {
            "code": f"WRAP-{colour.upper()}",
            "currency": "CNY",
            "prices": {"CNY": PRICE, "USD": 6_900},
            "attributes": {"colour": colour},
        }
        for colour in COLOURS
    ]
    made = await staff("POST", f"{path}/skus", skus=skus)
    season.red = made["skus"][0]["sku_id"]
    assert await season.seen(path) == "no-such-product"
    assert (await staff("POST", f"{path}/publish"))["state"] == "published"
    return path


async def find_it_in_both_languages(season, path, dresses):
    for words, language, title in (
        ("裹身裙", "zh-CN", None),
        ("连衣裙", "zh-CN", "亚麻裹身连衣裙"),
        ("亚麻", "zh-CN", "亚麻裹身连衣裙"),
        ("wrapped dresses", "en", "Linen wrap dress"),
        ("WRAP-BLUE", "en", "Linen wrap dress"),
    ):
        assert await season.found(words, language) == ([title] if title else []), words
    listed = await season.seen("/products", category=dresses, attribute="colour:ivory")
    assert [len(one["skus"]) for one in listed["items"]] == [3]
    shown = await season.seen(path, language="zh")
    assert shown["attributes"] == {"material": "亚麻"}
    assert [one["prices"] for one in shown["skus"]] == [{"CNY": PRICE, "USD": 6_900}] * 3
    offered = (await season.seen(f"{path}/availability"))["items"]
    assert [one["delivery"]["state"] for one in offered] == ["sold_out"] * 3


async def run_low_once_a_crossing(season):
    name = {"en": "Chengdu", "zh": "成都仓"}
    place = {"code": "WEST", "kind": "warehouse", "name": name, "region": "CN-SC", "rank": 9}
    west = (await season.staff("POST", "/places", **place))["place_id"]
    await season.receive(120, "delivery-1")
    assert await season.stock(MAIN) == (120, 0, 120, 0)
    for quantity, low in ((69, []), (1, [(MAIN, 50, 50)]), (1, [(MAIN, 50, 51)])):
        assert await season.order(quantity) == [(MAIN, quantity)]
        assert await season.low() == low
    await season.receive(200, "delivery-2")
    assert await season.low() == []
    assert await season.stock(MAIN) == (320, 71, 249, 0)
    return west


async def carry_some_to_the_west(season, west):
    staff = season.staff

    def some(quantity):
        return [{"sku_id": season.red, "quantity": quantity}]

    plan = {"source_id": MAIN, "target_id": west, "lines": some(80)}
    path = f"/transfers/{(await staff('POST', '/transfers', **plan))['transfer_id']}"
    assert await season.stock(MAIN) == (320, 71, 249, 0)
    await staff("POST", f"{path}/send")
    assert (await season.stock(MAIN), await season.stock(west)) == (
        (240, 71, 169, 0),
        (0, 0, 0, 80),
    )
    told = await staff("POST", f"{path}/receive", reference="van-1", lines=some(50))
    assert (told["state"], await season.stock(west)) == ("sent", (50, 0, 50, 30))
    # It fell low when nothing was there yet; what is under way counts as if it had come.
    assert await season.low() == [(west, 0, 0)]
    await staff("POST", f"{path}/receive", reference="van-2", lines=some(28))
    told = await staff("POST", f"{path}/write-off", reference="rain", reason="wet", lines=some(2))
    assert (told["state"], await season.stock(west)) == ("arrived", (78, 0, 78, 0))
    assert await season.low() == []


async def count_with_a_second_person(season):
    staff = season.staff
    lines = [{"sku_id": season.red, "counted": 236}]
    (found,) = (
        await staff("POST", "/counts", who="ann", reference="c1", place_id=MAIN, lines=lines)
    )["items"]
    assert (found["expected"], found["counted"], found["value"]) == (240, 236, 4 * PRICE)
    path = f"/counts/{found['count_id']}/approve"
    await staff("POST", path, who="ann", refused=(403, "second-person-needed"))
    assert await season.stock(MAIN) == (240, 71, 169, 0)
    assert (await staff("POST", path, who="bea"))["state"] == "applied"
    assert await season.stock(MAIN) == (236, 71, 165, 0)


async def sell_in_a_flash_and_return_the_rest(season):
    staff, now = season.staff, datetime.now(UTC)
    item = {"sku_id": season.red, "quota": 100, "price": 29_900, "limit": 2}
    planned = await staff(
        "POST",
        "/sales",
        name="One hour of red",
        starts_at=now.isoformat(),
        ends_at=(now + timedelta(hours=1)).isoformat(),
        items=[item],
    )
    sale_id = planned["sale_id"]
    assert await season.stock(MAIN) == (236, 71, 165, 0)
    await staff("POST", f"/sales/{sale_id}/arm")
    assert await season.stock(MAIN) == (236, 171, 65, 0)

    async def listed():
        return [one["sale_id"] for one in (await season.seen("/sales"))["items"]]

    await season.until(listed, [sale_id])
    for member, quantity in ((1, 2), (2, 1)):
        headers = as_member(member) | {"Idempotency-Key": "once"}
        body = {"sku_id": season.red, "quantity": quantity}
        path = f"/v1/sales/{sale_id}/orders"
        placed = await season.client.post(path, json=body, headers=headers)
        assert placed.status_code == 202, placed.text
        where = placed.headers["location"]

    async def bought():
        answer = await season.client.get(where, headers=as_member(2))
        return answer.json()["state"]

    await season.until(bought, "pending_payment")
    await staff("POST", f"/sales/{sale_id}/close")

    async def books():
        (one,) = (await staff("GET", f"/sales/{sale_id}/audit"))["items"]
        return one["sold"], one["left"], one["returned"], one["drift"]

    await season.until(books, (3, 0, 97, 0))
    (kept,) = (await staff("GET", f"/reservations/sale:{sale_id}"))["lines"]
    assert (kept["place_id"], kept["reserved"]) == (MAIN, 3)
    assert await season.stock(MAIN) == (236, 74, 162, 0)


async def sell_out(season, path, west):
    assert await season.order(240) == [(MAIN, 162), (west, 78)]
    told = await season.order(1, refused=(409, "out-of-stock"))
    assert (told["wanted"], told["left"]) == (1, 0)
    assert await season.stock(MAIN) == (236, 236, 0, 0)
    assert await season.stock(west) == (78, 78, 0, 0)
    assert await season.low() == [(MAIN, 0, 100), (west, 0, 100)]
    red, *_ = (await season.seen(f"{path}/availability"))["items"]
    assert (red["delivery"]["state"], red["delivery"]["left"]) == ("sold_out", 0)


async def withdraw(season, path, dresses):
    kept_for = (await season.staff("GET", "/reservations/order:4"))["lines"]
    await season.staff("POST", f"{path}/withdraw")
    assert await season.seen(path) == "no-such-product"
    assert await season.seen(f"{path}/availability") == "no-such-product"
    assert await season.found("连衣裙", "zh") == []
    assert (await season.seen("/products", category=dresses))["items"] == []
    kept = await season.staff("GET", path)
    assert (kept["state"], len(kept["skus"])) == ("withdrawn", 3)
    assert (await season.staff("GET", "/reservations/order:4"))["lines"] == kept_for
    assert await season.stock(MAIN) == (236, 236, 0, 0)
