"""Goods of another seller: sold beside our own, sent apart, paid out less our commission."""

from core import ledger
from core.flows.pay_out import pay_out
from core.flows.settle_sellers import settle_sellers
from tests.api.test_checkout import CHINA
from tests.api.test_payments import town, until, visit  # noqa: F401  found by name
from tests.scenarios.test_fulfilment import MAIN, journey  # noqa: F401  found by name

BUYER, SELLER = 9, "7"
PRICE = 9_990


async def sent_and_done(journey, order_id):  # noqa: F811
    """Everything of the order leaves and arrives, and its money is released."""
    for number, one in enumerate(await journey.planned(MAIN)):
        await journey.ship(one, f"SF-{number}")
        await journey.deliver(one)
    assert (await journey.buyer(BUYER, "GET", f"/orders/{order_id}"))["state"] == "completed"
    return await journey.staff("POST", f"/ledger/orders/{order_id}/release")


async def settled(journey, reference):  # noqa: F811
    """What the seller was owed by then, and was paid."""
    await settle_sellers(journey.visit.pool, reference=reference, escrow_days=15)
    await pay_out(journey.visit.pool, ledger.SandboxBank())
    statement = (await journey.staff("GET", f"/ledger/sellers/{SELLER}/statements"))["items"][0]
    payout = (await journey.staff("GET", "/ledger/payouts"))["items"][0]
    assert (payout["seller_id"], payout["state"]) == (SELLER, "paid")
    return statement["closing"], payout["amount"]


async def test_a_cart_of_two_sellers_is_sent_apart_and_each_is_paid_what_is_due(journey):  # noqa: F811
    lamp = await journey.furnish("OURS", **{f"p{MAIN}": 5})
    vase = await journey.furnish("THEIRS", seller_id=SELLER, **{f"p{MAIN}": 5})
    address_id = (await journey.buyer(BUYER, "POST", "/addresses", **CHINA))["address_id"]
    order_id = await journey.check_out(BUYER, address_id, "a", **{f"s{lamp}": 1, f"s{vase}": 2})
    # What is agreed on from now on is of no matter to what is sold already.
    await journey.staff("POST", f"/ledger/sellers/{SELLER}/terms", commission_bps=5_000)
    await journey.pay(BUYER, order_id)

    by_seller = {one["seller_id"]: one for one in await journey.planned(MAIN)}
    assert {
        seller_id: [line["goods"] for line in one["lines"]] for seller_id, one in by_seller.items()
    } == {"1": [PRICE], SELLER: [2 * PRICE]}
    shares = (await sent_and_done(journey, order_id))["shares"]
    (theirs,) = [one for one in shares if one["owner"] == SELLER]
    assert (theirs["amount"], theirs["commission"]) == (2 * PRICE, 999)
    assert sum(one["commission"] for one in shares) == 999
    amount = (await journey.buyer(BUYER, "GET", f"/orders/{order_id}"))["amount"]
    assert sum(one["amount"] for one in shares) == amount
    assert await settled(journey, "week 1") == (2 * PRICE - 999, 2 * PRICE - 999)


async def test_a_flash_sale_sells_for_a_seller_on_the_terms_of_its_plan(journey):  # noqa: F811
    vase = await journey.furnish("RUSH", seller_id=SELLER, **{f"p{MAIN}": 1})
    await journey.staff("POST", f"/ledger/sellers/{SELLER}/terms", commission_bps=1_000)
    sale = await journey.staff(
        "POST",
        "/sales",
        name="Vases",
        starts_at="2026-01-01T00:00:00Z",
        ends_at="2099-01-01T00:00:00Z",
        items=[{"sku_id": vase, "quota": 1, "price": 5_000, "limit": 1}],
    )
    await journey.staff("POST", f"/ledger/sellers/{SELLER}/terms", commission_bps=500)
    await journey.staff("POST", f"/sales/{sale['sale_id']}/arm")
    headers = journey.visit.as_member(BUYER) | {"Idempotency-Key": "k"}
    answer = await until(
        lambda: journey.http.post(
            f"/v1/sales/{sale['sale_id']}/orders",
            json={"sku_id": vase, "quantity": 1},
            headers=headers,
        ),
        lambda answer: answer.status_code == 202,
    )
    order_id = answer.json()["order_id"]
    await journey.visit.becomes(order_id, BUYER, "pending_payment")
    await journey.pay(BUYER, order_id)
    (share,) = (await sent_and_done(journey, order_id))["shares"]
    assert (share["owner"], share["amount"], share["commission"]) == (SELLER, 5_000, 500)
    assert await settled(journey, "week 2") == (4_500, 4_500)
