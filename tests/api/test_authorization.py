"""Nobody does, or learns, what is not theirs: the whole matrix, asked of a real served shop."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from litestar import Litestar, get, post
from litestar.params import FromPath

from api import auth, openapi, problems
from api.app import create_app
from api.problems import AnyRequest
from api.requests import StrictRequest
from core import aftersale, disputes, ledger, orders, payments, staff, webhooks
from core.flows.dispatch_orders import dispatch_orders
from core.flows.settle_sellers import settle_sellers
from core.kit import db
from core.settings import Settings
from hotpath.signing import Signer
from tests.api import matrix
from tests.api.conftest import RECEIPT_KEY, SECRET, as_admin, as_member, known
from tests.core.keeper import Keeper

CHIEF = staff.Author(
    staff.Sealer({1: Signer(RECEIPT_KEY)}), "chief", staff.Permission.STAFF_WRITE, "test", "r"
)
# One of each role, one of none, and one of two.
ROLES = {
    **{role.value: [role.value] for role in staff.Role},
    "new.hire": [],
    "jack": ["support", "planner"],
}
MAIN = "1"
# Routes that no document names: they show pages and figures, to anybody.
UNDOCUMENTED = {
    "/",
    "/metrics",
    "/page/icon.svg",
    "/page/page.css",
    "/page/page.js",
    "/page/pictures/{name}",
    "/page/texts.js",
    "/schema",
    "/schema/asyncapi.json",
    "/schema/openapi.json",
    "/schema/{path}",
}
NEVER = "999999999"
DAY_STATEMENT = (
    "id,kind,reference,amount,currency,at\n1,capture,unheard-of,5,CNY,2026-11-20T05:00:00Z\n"
)
# What others have done to the one object there is keeps these from ending well: see the test below.
CONTRARY = {
    "POST /v1/admin/cases/{case_id}/refund",
    "POST /v1/admin/cases/{case_id}/refuse",
    "POST /v1/admin/cases/{case_id}/replace",
    "POST /v1/admin/consignments/merge",
    "POST /v1/admin/consignments/{consignment_id}/split",
    "POST /v1/admin/counts",
    "POST /v1/admin/counts/{count_id}/approve",
    "POST /v1/admin/feeds/snapshots",
    "POST /v1/admin/orders/{order_id}/cancel",
    "POST /v1/admin/sales/{sale_id}/arm",
    "POST /v1/admin/statements/fetch",
    "POST /v1/admin/transfers/{transfer_id}/cancel",
    "POST /v1/admin/transfers/{transfer_id}/write-off",
}


@pytest.fixture
async def people(pool):
    async with db.transaction(pool) as conn:
        for name, roles in ROLES.items():
            await staff.add(conn, CHIEF, name=name, roles=roles)
        await staff.add(conn, CHIEF, name="spare", roles=["support"])
        await staff.add(conn, CHIEF, name="left", roles=["administrator"])
        await staff.disable(conn, CHIEF, name="left")


@pytest.fixture
async def there(far, pool, sale, sku_ids, buy, write_orders):
    """One of everything that an id can name."""

    async def make(path, **body):
        answer = await far.post(f"/v1/admin{path}", headers=as_admin(), json=body)
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()

    sku_id = str(sku_ids[0])
    line = {"sku_id": sku_id, "quantity": 1}
    name = {"en": "Tea", "zh": "茶"}
    place = await make("/places", code="CAN", kind="warehouse", name=name)
    route = {"source_id": MAIN, "target_id": place["place_id"]}
    transfer = await make("/transfers", **route, lines=[line])
    counted = {"lines": [{"sku_id": sku_id, "counted": 1}], "place_id": MAIN, "reference": "c"}
    count = (await make("/counts", **counted))["items"][0]
    await make("/reservations", kept_for="order:1", lines=[line])
    export = await make("/exports", format="csv")
    sheet = {"content": b"spu_code,sku_code\nA,A\n", "headers": as_admin()}
    sheet["headers"]["Content-Type"] = "text/csv"
    handed_in = (await far.post("/v1/admin/imports?name=a.csv", **sheet)).json()
    for system in ("admin", "system"):
        await make(f"/feeds/{system}/places/{MAIN}", silent_max_s=60)
    stands = [{"sku_code": f"KETTLE-{n}", "quantity": 1_000} for n in range(3)]
    snapshot = {"reference": "s", "kind": "snapshot", "told_before": 0, "lines": stands}
    told = await make("/feeds/messages", place_id=MAIN, messages=[snapshot])
    category = await make("/categories", code="tea", name=name)
    product = (await far.get("/v1/products")).json()["items"][0]
    lines = {"content": DAY_STATEMENT, "headers": as_admin() | {"Content-Type": "text/csv"}}
    taken = await far.post("/v1/admin/statements?channel=sandbox&day=2026-11-20", **lines)
    differences = await far.get("/v1/admin/statements/differences", headers=as_admin())
    (difference,) = differences.json()["items"]
    order_id = (await buy(far, matrix.OWNER)).json()["order_id"]
    await write_orders()
    wanted = {"headers": as_member(matrix.OWNER), "json": {"channel": "sandbox"}}
    assert (await far.post(f"/v1/orders/{order_id}/payments", **wanted)).status_code == 503
    payment_id = await pool.fetchval("SELECT id::text FROM payments.payments")
    address_id = await live_somewhere(far, pool)
    consignment_id = await dispatch(pool, buy, far, write_orders)
    case_id = await complain(pool, order_id, sku_id)
    entry_id = await hold_money(pool, order_id)
    subscription_id, delivery_id = await tell(pool, make)
    settled = await find_settled(far)
    # A seller's and a provider's, of the same number.
    assert settled["statement_id"] == taken.json()["statement_id"]
    return {
        "case_id": case_id,
        "sale_id": str(sale.id),
        "sku_id": sku_id,
        "place_id": MAIN,
        **route,
        "transfer_id": transfer["transfer_id"],
        "count_id": count["count_id"],
        "system": "system",
        "person": "spare",
        "snapshot_id": told["items"][0]["snapshot_id"],
        "import_id": handed_in["import_id"],
        "export_id": export["export_id"],
        "kept_for": "order:1",
        "category_id": category["category_id"],
        "product_id": product["product_id"],
        "order_id": order_id,
        "payment_id": payment_id,
        "address_id": address_id,
        "consignment_id": consignment_id,
        "consignment_ids": consignment_id,
        "seller_id": "7",
        "entry_id": entry_id,
        **settled,
        "difference_id": difference["difference_id"],
        "dispute_id": await contest(pool, order_id),
        "channel": "sandbox",
        "subscription_id": subscription_id,
        "delivery_id": delivery_id,
        "url": "https://shop.example/",
        "name": "sold-out",
        "account": "escrow",
        "currency": "CNY",
    }


async def find_settled(far):
    """What the seller was owed, and its payout."""
    (statement,), (payout,) = [
        (await far.get(f"/v1/admin/ledger/{path}", headers=as_admin())).json()["items"]
        for path in ("sellers/7/statements", "payouts")
    ]
    return {"statement_id": statement["statement_id"], "payout_id": payout["payout_id"]}


async def live_somewhere(far, pool):
    """The owner's address, under an id that nothing else has."""
    await pool.execute("ALTER SEQUENCE members.addresses_id_seq RESTART WITH 771234567")
    home = {"country": "AE", "recipient": "Ann", "line1": "1 Pine St", "city": "Dubai"}
    answer = await far.post("/v1/addresses", headers=as_member(matrix.OWNER), json=home)
    return answer.json()["address_id"]


async def dispatch(pool, buy, far, write_orders):
    """Another order of the owner's, paid and planned; give its consignment."""
    order_id = (await buy(far, matrix.OWNER, key="sent")).json()["order_id"]
    await write_orders()
    async with db.transaction(pool) as conn:
        order = await orders.find(conn, order_id=order_id)
        await orders.pay(conn, order, payment_id="sent")
    await dispatch_orders(pool, batch_max=1)
    return str(await pool.fetchval("SELECT id FROM fulfilment.consignments"))


async def tell(pool, make):
    """A subscription that an event is on its way to."""
    made = await make("/webhooks", url="https://shop.example/", kinds=["order.paid"])
    subscription_id = made["subscription"]["subscription_id"]
    told = webhooks.OrderPaid("o", 1, "p")
    async with db.transaction(pool) as conn:
        now = await conn.fetchval("SELECT now()")
        await webhooks.tell(conn, [webhooks.message("order_o_1", told, happened_at=now)])
    delivery_id = await pool.fetchval("SELECT id FROM webhooks.deliveries")
    return subscription_id, str(delivery_id)


async def contest(pool, order_id):
    """A dispute about an order, as its provider tells it."""
    now = datetime.now(UTC)
    what = (disputes.State.OPEN, "inquiry", "unauthorised", 1, "CNY")
    told = disputes.Told("paypal", "PP-D-1", str(uuid4()), *what, True, now, now)
    async with db.transaction(pool) as conn:
        return str((await disputes.note(conn, told, order_id=order_id)).id)


async def complain(pool, order_id, sku_id):
    """A case about an order, as if it had been there."""
    sold = aftersale.Sold(order_id, 1, matrix.OWNER, 7, int(sku_id), 1, 1, None, 1, "CNY")
    wish = aftersale.Wish(1, aftersale.Kind.RETURN, 1, 0, "it rattles")
    facts = {"key": "k", "days": {"return": 7}, "now": datetime.now(UTC)}
    async with db.transaction(pool) as conn:
        return str((await aftersale.ask(conn, sold, wish, **facts)).id)


async def settle_cases(do, keeper):
    """One case of each kind, each with another end."""
    line = (0, 3, 100, 0, 0, 7, 500)
    order_id = await keeper.sent(matrix.STRANGER, [line])
    kinds = {"return": 0, "exchange": 0, "claim": 5}
    refused, swapped, claimed = [
        await keeper.ask(order_id, matrix.STRANGER, kind, amount=amount)
        for kind, amount in kinds.items()
    ]
    await keeper.receive(await keeper.agree(swapped))
    case = "POST /v1/admin/cases/{case_id}"
    await do(f"{case}/refuse", {"answer": "no"}, case_id=refused.id)
    await do(f"{case}/replace", case_id=swapped.id)
    await do(f"{case}/refund", {"amount": 3}, case_id=claimed.id)


async def hold_money(pool, order_id):
    """An order's money in escrow, and another's that is settled; give the first one's entry."""
    part = ledger.goods(1, seller_id=ledger.SellerId(7), amount_minor=5_000, commission_bps=500)
    facts = {"channel": "sandbox", "currency": "CNY"}
    async with db.transaction(pool) as conn:
        for paid, held_for in (("paid", order_id), ("done", "done")):
            ids = {"payment_id": paid, "order_id": held_for}
            await ledger.capture_for_order(conn, [part], **ids, **facts)
        await ledger.release(conn, order_id="done")
        (entry,) = await ledger.entries(conn, reference="paid")
    await settle_sellers(pool, reference="week 1", escrow_days=15)
    return str(entry.id)


@pytest.fixture
async def world(far, pool, people, there, sale):
    await known(far, sale.id)
    order_id = there["order_id"]
    other = "0" if order_id[-1] != "0" else "1"
    absent = {**dict.fromkeys(there, NEVER), "order_id": order_id[:-1] + other}

    async def count_notes():
        return await pool.fetchval("SELECT note_id FROM staff.head")

    document = (await far.get("/schema/openapi.json")).json()
    return matrix.World(far, document, there, absent, count_notes)


async def test_nobody_does_or_learns_what_is_not_theirs(world, pool):
    began = time.monotonic()
    found = await matrix.walk(world, ROLES)
    routes = list(matrix.routes(world.document))
    print(
        f"{len(routes)} routes x {len(world.callers)} callers: {len(found.answers)} cells in"
        f" {time.monotonic() - began:.0f} s; {dict(sorted(found.counts.items()))}"
    )
    assert found.wrong == []
    changing = {r.name for r in routes if r.needs and r.method != "GET"}
    done = {name for (name, *_), answer in found.answers.items() if answer.status < 300}
    assert changing - done == CONTRARY, "what changed nothing is not proven to be noted"
    needed = {route.needs for route in routes}
    assert needed >= {None, "", "catalogue:price", "stock:approve", "staff:read"}
    async with db.snapshot(pool) as conn:
        proven = await staff.verify(conn, CHIEF.sealer)
    assert proven.note_id is None
    assert proven.checked > len(changing)


async def test_what_the_matrix_cannot_do_is_noted_too(
    app, http, pool, buy, write_orders, sku_ids, keyring
):
    done = []

    async def do(route, body=None, **ids):
        path = route.removeprefix("POST ").format(**ids)
        answer = await http.post(path, headers=as_admin(), json=body)
        assert answer.status_code in (200, 201), answer.text
        done.append(route)
        return answer.json()

    hour = timedelta(hours=1)
    item = {"sku_id": str(sku_ids[0]), "quota": 1, "price": 1, "limit": 1}
    times = {
        "starts_at": f"{datetime.now(UTC) + hour}",
        "ends_at": f"{datetime.now(UTC) + 2 * hour}",
    }
    planned = await do("POST /v1/admin/sales", {"name": "Tea", **times, "items": [item]})
    await do("POST /v1/admin/sales/{sale_id}/arm", sale_id=planned["sale_id"])
    order_id = (await buy(http)).json()["order_id"]
    await write_orders()
    await do("POST /v1/admin/orders/{order_id}/cancel", order_id=order_id)
    await split_and_merge(do, pool, buy, http, write_orders)
    for verb in ("withdraw", "offer"):
        await do(f"POST /v1/admin/skus/{{sku_id}}/{verb}", sku_id=sku_ids[2])
    line = {"sku_id": str(sku_ids[1]), "quantity": 1}
    names = {"en": "Tea", "zh": "茶"}
    place = {"code": "CAN", "kind": "warehouse", "name": names}
    target_id = (await do("POST /v1/admin/places", place))["place_id"]
    route = {"source_id": MAIN, "target_id": target_id, "lines": [line]}
    for last in ("cancel", "write-off"):
        moved = {"transfer_id": (await do("POST /v1/admin/transfers", route))["transfer_id"]}
        lost = {"reference": "r", "reason": "gone", "lines": [line]}
        if last == "write-off":
            await do("POST /v1/admin/transfers/{transfer_id}/send", **moved)
        body = lost if last == "write-off" else None
        await do(f"POST /v1/admin/transfers/{{transfer_id}}/{last}", body, **moved)
    counted = [{"sku_id": str(sku_ids[1]), "counted": 5_000}]
    sheet = {"reference": "c", "place_id": MAIN, "lines": counted}
    (count,) = (await do("POST /v1/admin/counts", sheet))["items"]
    async with db.transaction(pool) as conn:
        await conn.execute("UPDATE inventory.counts SET counted_by = 'bea'")
    await do("POST /v1/admin/counts/{count_id}/approve", count_id=count["count_id"])
    await settle_cases(do, await Keeper(pool, keyring).open(10))
    app.state.channels = payments.Channels({"sandbox": Idle()})
    day = {"channel": "sandbox", "day": "2026-11-19"}
    await do("POST /v1/admin/statements/fetch", day)
    await do(
        "POST /v1/admin/feeds/{system}/places/{place_id}", {}, system="admin", place_id=target_id
    )
    csv = as_admin() | {"Content-Type": "text/csv"}
    asked = {"place_id": target_id, "reference": "s", "told_before": 0}
    path, sheet = "/v1/admin/feeds/snapshots", b"sku_code,quantity\nKETTLE-0,0\n"
    answer = await http.post(path, params=asked, headers=csv, content=sheet)
    assert answer.status_code == 200, answer.text
    done.append(f"POST {path}")
    noted = await http.get("/v1/admin/log?limit=100", headers=as_admin())
    assert [note["action"] for note in noted.json()["items"]] == done[::-1]
    assert set(done) > CONTRARY


class Idle:
    """A provider that has moved nothing."""

    async def statement(self, day):
        return []


async def split_and_merge(do, pool, buy, http, write_orders):
    """One consignment of two units becomes two, and one again."""
    order_id = (await buy(http, matrix.STRANGER, quantity=2)).json()["order_id"]
    await write_orders()
    async with db.transaction(pool) as conn:
        await orders.pay(conn, await orders.find(conn, order_id=order_id), payment_id="two")
    await dispatch_orders(pool, batch_max=1)
    whole = str(await pool.fetchval("SELECT id FROM fulfilment.consignments"))
    lines = [{"order_id": order_id, "line_no": 1, "quantity": 1}]
    route = "POST /v1/admin/consignments/{consignment_id}/split"
    halves = await do(route, {"lines": lines}, consignment_id=whole)
    ids = [halves[half]["consignment_id"] for half in ("stays", "leaves")]
    merged = await do("POST /v1/admin/consignments/merge", {"consignment_ids": ids})
    assert [line["quantity"] for line in merged["lines"]] == [2]


async def test_a_route_that_no_document_names_is_one_of_the_pages(settings):
    app = create_app(settings)
    document = app.openapi_schema.to_schema()
    assert {route.path_format for route in app.routes} - document["paths"].keys() == UNDOCUMENTED


@get(
    "/v1/orders/{order_id:str}",
    guards=[auth.needs_member],
    security=auth.SECURITY,
    responses=problems.refuses(*auth.SIGNED_IN, orders.NoSuchOrder),
)
async def blab(order_id: FromPath[str], request: AnyRequest) -> str:
    if order_id == NEVER:
        raise orders.NoSuchOrder
    if request.user != matrix.OWNER:
        raise orders.NoSuchOrder("That is somebody else's.")
    return order_id


@get("/v1/orders", guards=[auth.needs_member], security=auth.SECURITY)
async def list_all() -> list[str]:
    return ["7"]


@get("/v1/admin/open", permission="staff:read", responses=problems.refuses(*auth.SIGNED_IN))
async def let_all_in() -> str:
    return "come in"


@post("/v1/admin/silent", permission="staff:write", guards=[auth.needs_permission])
async def note_nothing() -> str:
    return "done"


async def let_none_in(*_: object) -> None:
    raise auth.Forbidden


@get("/v1/admin/shut", permission="staff:read", guards=[let_none_in])
async def shut() -> str:
    return "nobody hears this"


async def test_the_matrix_finds_what_leaks_and_what_is_shut(pool, people):
    """Five routes, each wrong in its own way."""
    leaky = Litestar(
        [blab, list_all, let_all_in, note_nothing, shut],
        openapi_config=openapi.CONFIG,
        exception_handlers=problems.HANDLERS,
        request_class=StrictRequest,
    )
    openapi.complete(leaky)
    leaky.state.update({"settings": Settings(token_secret=SECRET), "pool": pool})

    async def count_notes():
        return 0

    transport = httpx.ASGITransport(leaky)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        document = leaky.openapi_schema.to_schema()
        there, absent = {"order_id": "7"}, {"order_id": NEVER}
        found = await matrix.walk(matrix.World(client, document, there, absent, count_notes), ROLES)
    wrong = Counter(one.partition(":")[0].partition(" by ")[0] for one in found.wrong)
    callers = len(matrix.callers(ROLES))
    readers = ["administrator", "auditor", "admin"]
    unknown = [*matrix.UNSIGNED, *matrix.GONE]
    assert wrong == {
        "GET /v1/orders/{order_id}": len(["tells a stranger"]),
        "GET /v1/orders": len(["tells a stranger"]),
        "GET /v1/admin/open": callers - len(readers),
        "POST /v1/admin/silent": len(["administrator", "admin"]),
        "GET /v1/admin/shut": len(readers) + len(unknown),
    }
