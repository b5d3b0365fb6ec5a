"""The storefront around the buy: products, sales, events, orders."""

import asyncio
import json
import time
from datetime import UTC, datetime

import httpx
import msgspec
import pytest

from api.shop import events
from core.flows.run_sale import arm_sale, close_sale, pause_sale
from core.flows.stock_products import NewProduct, stock_products
from tests.api.conftest import KNOWN_S, as_member, live, problem, serve, stop
from tests.patience import PATIENCE_S


async def test_products_come_page_by_page_in_the_language_one_likes(http, pool):
    products = [
        NewProduct({"en": f"Cup {n}", "zh": f"杯子 {n}"}, [(f"CUP-{n}", n, "CNY")])
        for n in range(1, 6)
    ]
    await stock_products(pool, products=products, units=1, reference="test")
    titles, cursor = [], None
    for _ in range(3):
        query = f"limit=2&cursor={cursor}" if cursor else "limit=2"
        page = (await http.get(f"/v1/products?{query}", headers={"accept-language": "zh"})).json()
        titles += [product["title"] for product in page["items"]]
        cursor = page["cursor"]
    assert titles == [f"杯子 {n}" for n in range(1, 6)]
    assert cursor is None
    first = (await http.get("/v1/products")).json()["items"][0]
    assert first["title"] == "Cup 1"
    (sku,) = first["skus"]
    assert sku == {
        "sku_id": sku["sku_id"],
        "code": "CUP-1",
        "gtin": None,
        "price": 1,
        "currency": "CNY",
        "prices": {"CNY": 1},
        "attributes": {},
    }


async def test_a_sale_tells_its_window_by_the_servers_clock_and_what_is_left(
    http, sale, buy, sku_ids
):
    await buy(http)
    await asyncio.sleep(KNOWN_S)
    said = (await http.get(f"/v1/sales/{sale.id}")).json()
    now = datetime.now(UTC)
    assert abs((datetime.fromisoformat(said.pop("server_time")) - now).total_seconds()) < 2
    assert said == {
        "sale_id": str(sale.id),
        "name": "Kettles",
        "state": "open",
        "starts_at": sale.starts_at.isoformat().replace("+00:00", "Z"),
        "ends_at": sale.ends_at.isoformat().replace("+00:00", "Z"),
        "items": [
            {
                "sku_id": str(sku_ids[0]),
                "price": 5_000,
                "currency": "CNY",
                "quota": 100,
                "left": 99,
                "limit": 2,
            }
        ],
    }


async def test_sales_are_listed_newest_first(http, pool, redis, plan):
    made = [str((await arm_sale(pool, redis, sale_id=(await plan()).id)).id) for _ in range(3)]
    await plan()  # not armed: not announced
    await asyncio.sleep(KNOWN_S)
    page = (await http.get("/v1/sales?limit=2")).json()
    rest = (await http.get(f"/v1/sales?limit=2&cursor={page['cursor']}")).json()
    listed = [sale["sale_id"] for sale in page["items"] + rest["items"]]
    assert listed == made[::-1]
    assert rest["cursor"] is None


async def test_an_order_is_followed_from_accepted_to_cancelled(http, buy, write_orders, sku_ids):
    where = (await buy(http, 7, quantity=2)).headers["location"]
    said = (await http.get(where, headers=as_member(7))).json()
    assert (said["state"], said["sku_id"], said["quantity"]) == ("accepted", str(sku_ids[0]), 2)
    refused = await http.post(f"{where}/cancel", headers=as_member(7))
    assert (refused.status_code, problem(refused)) == (409, "not-yet-written")

    await write_orders()
    said = (await http.get(where, headers=as_member(7))).json()
    assert (said["state"], said["amount"], said["currency"]) == ("pending_payment", 10_000, "CNY")
    assert datetime.fromisoformat(said["expires_at"]) > datetime.now(UTC)

    said = (await http.post(f"{where}/cancel", headers=as_member(7))).json()
    assert (said["state"], said["reason"]) == ("cancelled", "member")
    refused = await http.post(f"{where}/cancel", headers=as_member(7))
    assert (refused.status_code, problem(refused)) == (409, "illegal-move")


async def test_another_members_order_looks_as_if_it_never_was(http, buy, write_orders):
    where = (await buy(http, 7)).headers["location"]
    never = where[:-1] + ("0" if where[-1] != "0" else "1")

    async def look(path):
        answer = await http.get(path, headers=as_member(8))
        assert (answer.status_code, problem(answer)) == (404, "no-such-order")
        return answer.text.replace(path.rpartition("/")[2], "ID")

    for _ in range(2):
        assert await look(where) == await look(never)
        refused = await http.post(f"{where}/cancel", headers=as_member(8))
        assert problem(refused) == "no-such-order"
        await write_orders()


async def test_a_demo_member_can_buy_and_production_has_none(http, app, buy):
    session = (await http.post("/v1/demo/sessions")).json()
    bearer = {"Authorization": f"Bearer {session['token']}"}
    assert (await buy(http, headers=bearer)).status_code == 202

    app.state.settings = msgspec.structs.replace(app.state.settings, env="production")
    assert problem(await http.post("/v1/demo/sessions")) == "no-such-page"


class Stream:
    """One watcher's connection, read event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        self.lines = answer.aiter_lines()

    async def next(self, *, within_s=PATIENCE_S):
        async with asyncio.timeout(within_s):
            name = ""
            async for line in self.lines:
                name = line[7:] if line.startswith("event: ") else name
                if line.startswith("data: "):
                    assert name == "sale"
                    return json.loads(line[6:])
        return None


async def test_a_watcher_hears_of_every_change_until_the_sale_is_over(
    far, sale, buy, pool, redis, sku_ids
):
    sku_id = str(sku_ids[0])
    async with far.stream("GET", f"/v1/sales/{sale.id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = Stream(answer)
        said = await stream.next()
        assert (said["state"], said["left"]) == ("open", {sku_id: 100})
        assert said["server_time"].endswith("Z")

        began = time.monotonic()
        for member in range(1, 6):
            await buy(far, member)
        while said["left"][sku_id] != 95:
            said = await stream.next()
        assert time.monotonic() - began < 3

        await pause_sale(pool, redis, sale_id=sale.id)
        assert (await stream.next())["state"] == "paused"
        await close_sale(pool, redis, sale_id=sale.id)
        assert (await stream.next())["state"] == "closed"
        assert await stream.next() is None


async def test_watchers_are_bounded_and_leave_their_place(app, http, sale, monkeypatch):
    monkeypatch.setattr(events, "WATCHERS_MAX", 1)
    watch, view = app.state.watch, app.state.directory.sale(sale.id)
    if view is None:
        await app.state.directory.refresh()
        view = app.state.directory.sale(sale.id)
    stream = watch.stream(view)
    await anext(stream)
    refused = await http.get(f"/v1/sales/{sale.id}/events")
    assert (refused.status_code, problem(refused)) == (503, "too-many-watchers")
    await stream.aclose()
    watch.refuse_when_full()


async def test_an_open_stream_does_not_hold_the_server_up(settings, sale):
    server = serve(settings)
    url = f"http://127.0.0.1:{settings.port}"
    await live(url, server)
    async with (
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
        client.stream("GET", f"/v1/sales/{sale.id}/events") as answer,
    ):
        stream = Stream(answer)
        assert await stream.next() is not None
        began = time.monotonic()
        server.terminate()
        assert await stream.next() is None
        await asyncio.to_thread(stop, server)
        assert time.monotonic() - began < 3


async def test_a_heartbeat_keeps_a_quiet_stream_open(app, sale, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    await app.state.directory.refresh()
    stream = app.state.watch.stream(app.state.directory.sale(sale.id))
    assert (await anext(stream)).startswith(b"event: sale\n")
    assert await anext(stream) == events.HEARTBEAT
    await stream.aclose()


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/page/page.js", "text/javascript; charset=utf-8"),
        ("/page/texts.js", "text/javascript; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ],
)
async def test_the_page_comes_with_a_strict_policy_and_is_fetched_once(http, path, media_type):
    answer = await http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    again = await http.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
