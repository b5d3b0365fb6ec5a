"""Orders are paid by Alipay, and the money goes back in parts and whole: each number is read."""

import pytest

from tests.api.test_alipay import town, until, visit  # noqa: F401  found by name
from tests.api.test_checkout import CHINA
from tests.scenarios.test_fulfilment import BUYER, MAIN, Journey

HELD = ("provider_clearing", "alipay")


class AlipayJourney(Journey):
    async def money(self):
        """(account, owner) -> what stands there in CNY; all currencies come out even."""
        rows = (await self.staff("GET", "/ledger/trial-balance"))["items"]
        assert sum(r["amount"] * (-1) ** (r["normal"] == "credit") for r in rows) == 0
        return {(r["account"], r["owner"]): r["amount"] for r in rows if r["currency"] == "CNY"}

    async def with_alipay(self):
        return (await self.money()).get(HELD, 0)

    async def claim(self, order_id, amount):
        """The buyer asks for so much of line 1, and staff let it go."""
        case = await self.buyer(
            BUYER,
            "POST",
            f"/orders/{order_id}/cases",
            key=f"claim-{amount}",
            line_no=1,
            kind="claim",
            quantity=1,
            amount=amount,
            reason="scratched",
        )
        await self.staff("POST", f"/cases/{case['case_id']}/refund", amount=amount)

    async def refunds(self, order_id):
        return (await self.staff("GET", f"/orders/{order_id}/refunds"))["items"]

    async def sent_back(self, order_id):
        """Once Alipay has sent all of it: the amounts."""
        found = await until(
            lambda: self.refunds(order_id), lambda all_: all(r["state"] == "paid" for r in all_)
        )
        return sorted(refund["amount"] for refund in found)


@pytest.fixture
async def journey(visit):  # noqa: F811
    return AlipayJourney(visit)


async def test_an_order_is_paid_by_alipay_shipped_and_refunded_by_the_fen(journey):
    before = await journey.with_alipay()
    lamp = await journey.furnish("ALIPAY-LAMP", **{f"p{MAIN}": 10})
    address_id = (await journey.buyer(BUYER, "POST", "/addresses", **CHINA))["address_id"]
    order_id = await journey.check_out(BUYER, address_id, "alipay", **{f"s{lamp}": 1})
    await journey.pay(BUYER, order_id)
    amount = (await journey.buyer(BUYER, "GET", f"/orders/{order_id}"))["amount"]
    assert await journey.with_alipay() == before + amount
    (parcel,) = await journey.planned(MAIN)
    await journey.ship(parcel, "SF-1")
    for part in (1, 1_999, 7_990):
        await journey.claim(order_id, part)
    assert await journey.sent_back(order_id) == [1, 1_999, 7_990]
    assert await journey.with_alipay() == before + amount - 9_990
    held = await journey.staff("GET", f"/ledger/orders/{order_id}")
    (goods,) = (share for share in held["shares"] if share["line_no"] == 1)
    assert (goods["amount"], goods["returned"]) == (9_990, 9_990)


async def test_an_order_that_staff_cancel_is_refunded_whole(journey):
    before = await journey.money()
    sale = await journey.visit.sale()
    payment = await journey.visit.started(sale, BUYER)
    await journey.visit.click(payment)
    order_id = payment["order_id"]
    await journey.visit.becomes(order_id, BUYER, "paid")
    told = await journey.staff("POST", f"/orders/{order_id}/cancel")
    assert (told["state"], told["payment"]) == ("cancelled", "refunded")
    assert await journey.sent_back(order_id) == [payment["amount"]]
    after = await journey.money()
    assert after.get(HELD, 0) == before.get(HELD, 0)
    assert after.get(("escrow", ""), 0) == before.get(("escrow", ""), 0)
