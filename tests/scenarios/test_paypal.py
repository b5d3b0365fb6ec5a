"""An order is paid by PayPal in dollars, and all of the money goes back: each number is read."""

import time
from datetime import UTC, datetime

from api import auth
from core.flows.check_statement import fetch_statement
from tests.api.test_payments import TOKEN_SECRET, until
from tests.api.test_paypal import PRICE, town, visit  # noqa: F401  fixtures

BUYER = 7
PART = 500


async def test_an_order_is_paid_by_paypal_refunded_in_part_and_cancelled(visit):  # noqa: F811
    token = auth.issue(TOKEN_SECRET, subject="bea", role="admin", now_s=int(time.time()), ttl_s=600)
    headers = {"Authorization": f"Bearer {token}"}

    async def staff(method, path, **more):
        answer = await visit.http.request(method, f"/v1/admin{path}", headers=headers, **more)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def money(currency="USD"):
        rows = (await staff("GET", "/ledger/trial-balance"))["items"]
        assert sum(r["amount"] * (-1) ** (r["normal"] == "credit") for r in rows) == 0
        return {(r["account"], r["owner"]): r["amount"] for r in rows if r["currency"] == currency}

    sale = await visit.sale()
    order_id = await visit.buy(sale, BUYER)
    await visit.becomes(order_id, BUYER, "pending_payment")
    payment = (await visit.start(order_id, BUYER)).json()
    page = await visit.http.get(payment["pay_url"], headers={"Accept-Language": "zh-CN"})
    assert "19.99" in page.text
    assert "同意并付款" in page.text
    before = await money()
    await visit.agree(payment)
    paid = await visit.becomes(order_id, BUYER, "paid")
    assert (paid["amount"], paid["currency"]) == (PRICE, "USD")
    held = await staff("GET", f"/ledger/orders/{order_id}")
    assert [share["amount"] for share in held["shares"]] == [PRICE]
    clearing, escrow = ("provider_clearing", "paypal"), ("escrow", "")
    after = await money()
    assert after[clearing] == before.get(clearing, 0) + PRICE
    assert after[escrow] == before.get(escrow, 0) + PRICE

    async def refunds():
        return (await staff("GET", f"/orders/{order_id}/refunds"))["items"]

    async def all_paid(count):
        await until(refunds, lambda found: [one["state"] for one in found] == ["paid"] * count)

    await visit.refund(payment, PART)
    await all_paid(1)
    assert (await visit.order(order_id, BUYER))["state"] == "paid"
    told = await staff("POST", f"/orders/{order_id}/cancel")
    assert (told["state"], told["payment"]) == ("cancelled", "refunded")
    await all_paid(2)
    assert [(one["amount"], one["currency"]) for one in await refunds()] == [
        (PART, "USD"),
        (PRICE - PART, "USD"),
    ]
    assert await visit.moved(payment) == [
        ("T0006", "19.99"),
        ("T1107", "-5.00"),
        ("T1107", "-14.99"),
    ]
    after = await money()
    assert (after[clearing], after[escrow]) == (before.get(clearing, 0), before.get(escrow, 0))
    log = await staff("GET", f"/orders/{order_id}/log")
    assert log["first_broken"] is None

    await visit.behave(written_s=200_000)
    async with visit.client() as client:
        today = datetime.now(UTC).date()
        await fetch_statement(visit.pool, client, channel="paypal", day=today)
    told = (await staff("GET", "/statements"))["items"]
    (statement,) = (s for s in told if (s["channel"], s["day"]) == ("paypal", f"{today}"))
    assert (statement["lines"], statement["open"]) == (4, 0)
    assert (await money())[clearing] == before.get(clearing, 0) - PRICE * 3 // 100
