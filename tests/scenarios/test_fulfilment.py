"""From a paid order to the buyer's door: shop, worker and provider are processes of their own."""

import time

import pytest

from api import auth
from tests.api.test_checkout import CHINA
from tests.api.test_payments import TOKEN_SECRET, town, until, visit  # noqa: F401  found by name

MAIN = "1"
BUYER, OTHER = 7, 8


class Journey:
    """What staff and buyers do in the town, and the numbers that they read back."""

    def __init__(self, town_visit) -> None:
        self.visit = town_visit
        self.http = town_visit.http

    async def staff(self, method, path, *, refused=None, **body):
        token = auth.issue(
            TOKEN_SECRET, subject="bea", role="admin", now_s=int(time.time()), ttl_s=600
        )
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self.http.request(
            method, f"/v1/admin{path}", headers=headers, json=body or None
        )
        assert (answer.status_code == refused) if refused else answer.is_success, answer.text
        return answer.json()

    async def buyer(self, member, method, path, *, key=None, **body):
        headers = self.visit.as_member(member) | ({"Idempotency-Key": key} if key else {})
        answer = await self.http.request(method, f"/v1{path}", headers=headers, json=body or None)
        assert answer.is_success, answer.text
        return answer.json()

    async def furnish(self, code, *, seller_id="1", **units):
        """A published SKU of a seller's, with so many units in places; its id."""
        facts = {"title": {"en": code, "zh": code}, "seller_id": seller_id}
        product = (await self.staff("POST", "/products", **facts))["product_id"]
        sku = {"code": code, "currency": "CNY", "prices": {"CNY": 9_990}}
        made = await self.staff("POST", f"/products/{product}/skus", skus=[sku])
        await self.staff("POST", f"/products/{product}/publish")
        sku_id = made["skus"][0]["sku_id"]
        for place_id, quantity in units.items():
            lines = [{"sku_id": sku_id, "quantity": quantity}]
            facts = {"kind": "receive", "reference": f"{code}:{place_id}", "lines": lines}
            await self.staff("POST", "/stock/movements", place_id=place_id[1:], **facts)
        return sku_id

    async def check_out(self, member, address_id, key, **units):
        for sku_id, quantity in units.items():
            await self.buyer(member, "POST", "/cart", sku_id=sku_id[1:], quantity=quantity)
        asked = {"address_id": address_id, "currency": "CNY"}
        quote = (await self.buyer(member, "POST", "/quotes", **asked))["quote"]
        placed = await self.buyer(member, "POST", "/checkouts", key=key, **asked, quote=quote)
        return placed["order_id"]

    async def pay(self, member, order_id):
        """Pay at the provider, and wait until the order stands in its places with no hand."""
        answer = await self.visit.start(order_id, member)
        assert answer.status_code == 201, answer.text
        await self.visit.click(answer.json())
        await until(lambda: self.flow(order_id), lambda flow: flow["waiting_for"] == "dispatch")

    async def flow(self, order_id):
        return await self.staff("GET", f"/orders/{order_id}/flow")

    async def parcels(self, member, order_id):
        """The state that the buyer is shown, and (state, tracking, units) of each parcel."""
        order = await self.buyer(member, "GET", f"/orders/{order_id}")
        told = [
            (one["state"], one["tracking"], sum(line["quantity"] for line in one["lines"]))
            for one in order["parcels"]
        ]
        return order["state"], sorted(told, key=str)

    async def stock(self, sku_id, place_id):
        """(on hand, reserved, allocated), and every balance is proven."""
        assert (await self.staff("GET", "/stock/audit"))["drifts"] == []
        (one,) = (
            b
            for b in (await self.staff("GET", f"/stock/{sku_id}"))["items"]
            if b["place_id"] == place_id
        )
        return one["on_hand"], one["reserved"], one["allocated"]

    async def planned(self, place_id):
        where = f"/consignments?state=allocated&place_id={place_id}"
        return (await self.staff("GET", where))["items"]

    async def ship(self, consignment, tracking):
        path = f"/consignments/{consignment['consignment_id']}/ship"
        return await self.staff("POST", path, carrier="SF Express", tracking=tracking)

    async def deliver(self, consignment):
        return await self.staff("POST", f"/consignments/{consignment['consignment_id']}/deliver")


@pytest.fixture
async def journey(visit):  # noqa: F811
    return Journey(visit)


@pytest.fixture
async def west(journey):
    name = {"en": "West", "zh": "西仓"}
    code = f"W{time.time_ns() % 10**9}"
    place = {"code": code, "kind": "warehouse", "name": name, "rank": 9}
    return (await journey.staff("POST", "/places", **place))["place_id"]


def worth(consignments):
    """What consignments come to: goods, less discount, with tax and shipping."""
    return sum(
        line["goods"] - line["discount"] + line["tax"] + line["shipping"]
        for one in consignments
        for line in one["lines"]
    )


async def test_two_orders_of_a_cart_are_split_merged_shipped_in_parts_and_delivered(journey, west):
    lamp = await journey.furnish("LAMP", **{f"p{MAIN}": 10})
    shade = await journey.furnish("SHADE", **{f"p{west}": 10})
    address_id = (await journey.buyer(BUYER, "POST", "/addresses", **CHINA))["address_id"]
    first = await journey.check_out(BUYER, address_id, "a", **{f"s{lamp}": 3, f"s{shade}": 2})
    await journey.pay(BUYER, first)
    second = await journey.check_out(BUYER, address_id, "b", **{f"s{lamp}": 1})
    await journey.pay(BUYER, second)
    amounts = [
        (await journey.buyer(BUYER, "GET", f"/orders/{one}"))["amount"] for one in (first, second)
    ]

    ours, theirs = await journey.planned(MAIN), await journey.planned(west)
    assert [[n["quantity"] for n in one["lines"]] for one in (*ours, *theirs)] == [[1], [3], [2]]
    assert worth(ours + theirs) == sum(amounts)
    assert worth(ours[:1]) == amounts[1]
    ids = [one["consignment_id"] for one in reversed(ours)]
    merged = await journey.staff("POST", "/consignments/merge", consignment_ids=ids)
    assert [line["quantity"] for line in merged["lines"]] == [3, 1]
    assert worth([merged]) == worth(ours)
    assert await journey.stock(lamp, MAIN) == (10, 0, 4)
    assert await journey.stock(shade, west) == (10, 0, 2)

    await journey.ship(merged, "SF-1")
    assert await journey.stock(lamp, MAIN) == (6, 0, 0)
    assert await journey.parcels(BUYER, first) == (
        "shipped",
        [("allocated", None, 2), ("shipped", "SF-1", 3)],
    )
    assert await journey.parcels(BUYER, second) == ("shipped", [("shipped", "SF-1", 1)])
    told = await journey.staff("POST", f"/orders/{first}/cancel", refused=409)
    assert (told["type"], told["fulfilment"]) == ("/problems/already-shipped", "part_shipped")
    await journey.deliver(merged)
    assert (await journey.flow(second))["state"] == "completed"
    assert (await journey.flow(first))["waiting_for"] == "dispatch"

    await ship_the_rest_in_two(journey, theirs[0], first)
    assert await journey.stock(shade, west) == (8, 0, 0)
    await read_it_all_back(journey, first, theirs[0])


async def ship_the_rest_in_two(journey, rest, order_id):
    line = rest["lines"][0]
    leaving = {"order_id": order_id, "line_no": line["line_no"], "quantity": 1}
    path = f"/consignments/{rest['consignment_id']}/split"
    halves = await journey.staff("POST", path, lines=[leaving])
    halves = [halves["stays"], halves["leaves"]]
    assert worth(halves) == worth([rest])
    for number, half in enumerate(halves, 2):
        await journey.ship(half, f"SF-{number}")
    assert (await journey.flow(order_id))["waiting_for"] == "delivery"
    for half in halves:
        await journey.deliver(half)
    tracked = [("delivered", "SF-1", 3), ("delivered", "SF-2", 1), ("delivered", "SF-3", 1)]
    assert await journey.parcels(BUYER, order_id) == ("completed", tracked)


async def read_it_all_back(journey, order_id, rest):
    """The flow names who did each step; the log is whole, and tells how it stood at each."""
    flow = await journey.flow(order_id)
    told = [(one["part"], one["what"], one["by"]) for one in flow["steps"]]
    assert told[:2] == [
        ("order", "placed", f"member:{BUYER}"),
        ("payment", "paid", "provider:sandbox"),
    ]
    assert {one for one in told if one[0] == "stock"} == {
        ("stock", "planned", "dispatcher"),
        ("stock", "allocated", "dispatcher"),
    }
    assert {one for one in told if one[0] == "dispatch"} == {
        ("dispatch", "shipped", "staff:bea"),
        ("dispatch", "delivered", "staff:bea"),
    }
    moments = [one["happened_at"] for one in flow["steps"]]
    assert moments == sorted(moments)
    lead = flow["lead"]
    assert 0 < lead["to_shipped"] < lead["to_delivered"]
    log = await journey.staff("GET", f"/orders/{order_id}/log")
    assert log["first_broken"] is None
    stood = []
    for event in log["items"]:
        moment = event["happened_at"].replace("+", "%2B")
        past = await journey.staff("GET", f"/orders/{order_id}/as-of?moment={moment}")
        stood.append((past["state"], past["fulfilment"]))
    assert stood == [
        ("paid", "unshipped"),
        *[("shipped", "part_shipped")] * 3,
        *[("shipped", "shipped")] * 2,
        ("completed", "delivered"),
    ]
    times = await journey.staff("GET", "/consignments/lead-times?days=1")
    assert (times["to_shipped"]["orders"], times["to_delivered"]["orders"]) == (2, 2)
    assert times["to_shipped"]["p99"] >= lead["to_shipped"]
    assert (
        'sluice_lead_seconds{quantile="0.5",to="delivered"}'
        in (await journey.http.get("/metrics")).text
    )
    one = await journey.staff("GET", f"/consignments/{rest['consignment_id']}")
    assert (one["shipped_by"], one["delivered_by"], one["tracking"]) == ("bea", "bea", "SF-2")


async def test_a_flash_sales_order_walks_the_same_path(journey, west):
    cup = await journey.furnish("CUP", **{f"p{MAIN}": 1, f"p{west}": 2})
    item = {"sku_id": cup, "quota": 3, "price": 5_000, "limit": 3}
    sale = await journey.staff(
        "POST",
        "/sales",
        name="Cups",
        starts_at="2026-01-01T00:00:00Z",
        ends_at="2099-01-01T00:00:00Z",
        items=[item],
    )
    await journey.staff("POST", f"/sales/{sale['sale_id']}/arm")
    path, body = f"/v1/sales/{sale['sale_id']}/orders", {"sku_id": cup, "quantity": 3}
    headers = journey.visit.as_member(OTHER) | {"Idempotency-Key": "k"}
    answer = await until(
        lambda: journey.http.post(path, json=body, headers=headers),
        lambda answer: answer.status_code == 202,
    )
    order_id = answer.json()["order_id"]
    await journey.visit.becomes(order_id, OTHER, "pending_payment")
    assert (await journey.flow(order_id))["waiting_for"] == "payment"
    await journey.pay(OTHER, order_id)
    (main,), (other,) = await journey.planned(MAIN), await journey.planned(west)
    assert [[n["goods"] for n in one["lines"]] for one in (main, other)] == [[5_000], [10_000]]
    assert await journey.stock(cup, MAIN) == (1, 0, 1)
    assert await journey.stock(cup, west) == (2, 0, 2)
    for number, one in enumerate((main, other)):
        await journey.ship(one, f"SF-{number}")
        await journey.deliver(one)
    assert await journey.parcels(OTHER, order_id) == (
        "completed",
        [("delivered", "SF-0", 1), ("delivered", "SF-1", 2)],
    )
    assert await journey.stock(cup, MAIN) == await journey.stock(cup, west) == (0, 0, 0)
    (book,) = (await journey.staff("GET", f"/sales/{sale['sale_id']}/audit"))["items"]
    assert (book["sold"], book["left"], book["drift"]) == (3, 0, 0)


async def test_a_warehouses_system_ships_what_is_its_own_and_the_order_moves(journey, west):
    lamp = await journey.furnish("FEEDLAMP", **{f"p{west}": 10})
    address_id = (await journey.buyer(BUYER, "POST", "/addresses", **CHINA))["address_id"]
    order_id = await journey.check_out(BUYER, address_id, "feed", **{f"s{lamp}": 2})
    await journey.pay(BUYER, order_id)
    for place_id in (MAIN, west):
        await journey.staff("POST", f"/feeds/bea/places/{place_id}", silent_max_s=3_600)
    (one,) = (await journey.staff("GET", f"/feeds/consignments?place_id={west}"))["items"]
    assert one["lines"] == [{"sku_code": "FEEDLAMP", "quantity": 2}]
    parcel = {"consignment_id": one["consignment_id"], "carrier": "SF", "tracking": "SF-7"}
    shipped = {"reference": "out-1", "kind": "shipped", "lines": []} | parcel

    async def tell(message, place_id):
        told = {"place_id": place_id, "messages": [message]}
        (answer,) = (await journey.staff("POST", "/feeds/messages", **told))["items"]
        problem = answer["problem"] or {"type": ""}
        return answer["outcome"], problem["type"].rpartition("/")[2]

    lines = [{"sku_code": "FEEDLAMP", "quantity": 2}]
    around = {"reference": "x", "kind": "shipped", "kept_for": f"order:{order_id}", "lines": lines}
    assert await tell(around, west) == ("refused", "unfit-message")
    assert await tell(shipped, MAIN) == ("refused", "no-such-consignment")
    nobody = shipped | {"consignment_id": "x"}
    assert await tell(nobody, west) == ("refused", "no-such-consignment")
    assert await journey.stock(lamp, west) == (10, 0, 2)
    assert await tell(shipped, west) == ("applied", "")
    assert await tell(shipped, west) == ("already_applied", "")
    assert await journey.stock(lamp, west) == (8, 0, 0)
    assert await journey.parcels(BUYER, order_id) == ("shipped", [("shipped", "SF-7", 2)])
    again = shipped | {"reference": "out-2"}
    assert await tell(again, west) == ("applied", "")
    other = again | {"reference": "out-3", "tracking": "SF-8"}
    assert await tell(other, west) == ("refused", "illegal-move")
    assert await journey.stock(lamp, west) == (8, 0, 0)
    assert (await journey.staff("GET", f"/feeds/consignments?place_id={west}"))["items"] == []
    await journey.staff("GET", "/feeds/consignments?place_id=77", refused=404)
