"""Buyers contest what they paid by PayPal: staff see what to do, and each cent is booked."""

import json
import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from api import auth
from core import ledger, payments
from core.flows.audit_ledger import LedgerAudit, audit_ledger
from core.flows.check_statement import fetch_statement
from core.flows.follow_disputes import follow_disputes
from core.kit import db
from tests.api.test_payments import TOKEN_SECRET, until
from tests.api.test_paypal import PRICE, town, visit  # noqa: F401  fixtures

BUYER, PART = 7, 500


class Staff:
    def __init__(self, visit):  # noqa: F811
        self.visit = visit
        token = auth.issue(
            TOKEN_SECRET, subject="bea", role="admin", now_s=int(time.time()), ttl_s=600
        )
        self.headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path):
        answer = await self.visit.http.get(f"/v1/admin{path}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def money(self):
        """Debits less credits, in dollars."""
        rows = (await self.get("/ledger/trial-balance"))["items"]
        signed = [(r, r["amount"] * (-1) ** (r["normal"] == "credit")) for r in rows]
        for currency in {r["currency"] for r in rows}:
            assert sum(amount for r, amount in signed if r["currency"] == currency) == 0
        return {(r["account"], r["owner"]): a for r, a in signed if r["currency"] == "USD"}

    async def dispute_of(self, payment):
        items = (await self.get("/disputes"))["items"]
        found = [one for one in items if one["payment_id"] == payment["payment_id"]]
        assert len(found) <= 1
        return await self.get(f"/disputes/{found[0]['dispute_id']}") if found else None

    async def dispute_becomes(self, payment, **facts):
        async def look():
            return await self.dispute_of(payment)

        def fits(found):
            return found and facts.items() <= found.items()

        return await until(look, fits)

    async def contested(self, payment):
        return await self.visit.pool.fetchval(
            "SELECT contested FROM ledger.holds WHERE order_id = $1", payment["order_id"]
        )


@pytest.fixture
def staff(visit):  # noqa: F811
    return Staff(visit)


async def captured(visit, payment):  # noqa: F811
    return (await visit.payment(payment["payment_id"])).capture_ref


async def test_a_dispute_holds_the_money_of_its_order_until_it_is_won(visit, staff):  # noqa: F811
    payment = await visit.paid()
    async with db.transaction(visit.pool) as conn:
        await ledger.delivered(conn, order_id=payment["order_id"])
    await visit.behave(duplicate=1)
    await visit.play(await captured(visit, payment), "dispute")
    told = await staff.dispute_becomes(payment, state="open", next="answer", holds=True)
    assert (told["amount"], told["currency"], told["charged_back"]) == (PRICE, "USD", 0)
    assert (told["channel"], told["order_id"]) == ("paypal", payment["order_id"])
    assert told["reason"] == "merchandise_or_service_not_received"
    assert told["provider_ref"].startswith("PP-D-")
    days = datetime.fromisoformat(told["respond_by"]) - datetime.now(UTC)
    assert 9 <= days.days <= 10
    assert await staff.contested(payment) == 1
    async with db.transaction(visit.pool) as conn:
        await ledger.release_due(conn, days=0, batch_max=1_000)
    assert (await staff.get(f"/ledger/orders/{payment['order_id']}"))["state"] == "held"
    metrics = (await visit.http.get("/metrics")).text
    for name in ("sluice_disputes_open", "sluice_disputes_to_answer", "sluice_disputes_due"):
        assert f"\n{name}" in metrics
    await visit.play(await captured(visit, payment), "review")
    await staff.dispute_becomes(payment, state="open", next="wait", stage="chargeback")
    await visit.play(await captured(visit, payment), "win")
    ended = await staff.dispute_becomes(payment, state="won", next="nothing", holds=False)
    assert ended["ended_at"] is not None
    # Every message twice more, and the first ones last: none of them changes anything.
    for one in (await visit.sent(payment, "CUSTOMER.DISPUTE"))[::-1] * 2:
        assert (await visit.webhook(one["body"], one["headers"])).status_code == 200
    assert await staff.dispute_of(payment) == ended
    assert await staff.contested(payment) == 0
    async with db.transaction(visit.pool) as conn:
        await ledger.release_due(conn, days=0, batch_max=1_000)
    assert (await staff.get(f"/ledger/orders/{payment['order_id']}"))["state"] == "released"
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


@pytest.mark.parametrize("is_released", [False, True])
async def test_a_dispute_that_is_lost_is_charged_back_in_full_with_its_fee(
    visit,  # noqa: F811
    staff,
    is_released,
):
    payment = await visit.paid()
    refund_id = await visit.refund(payment, PART)
    await visit.refund_becomes(refund_id, "paid")
    if is_released:
        async with db.transaction(visit.pool) as conn:
            await ledger.release(conn, order_id=payment["order_id"])
    before = await staff.money()
    await visit.play(await captured(visit, payment), "dispute")
    await staff.dispute_becomes(payment, state="open", holds=True)
    await visit.play(await captured(visit, payment), "lose")
    left = PRICE - PART
    told = await staff.dispute_becomes(payment, state="lost", charged_back=left)
    assert (told["next"], told["holds"]) == ("nothing", False)
    assert await staff.contested(payment) == 0
    after = await staff.money()
    payer = ("seller_payable", "1") if is_released else ("escrow", "")
    assert after[payer] == before[payer] + left
    assert after["chargebacks", "paypal"] == before.get(("chargebacks", "paypal"), 0) - left
    await visit.behave(written_s=200_000)
    today = datetime.now(UTC).date()
    async with visit.client() as client:
        told = await client.statement(today)
        assert ("fee", 1_500) in [(one.kind, one.amount_minor) for one in told]
        taken = await fetch_statement(visit.pool, client, channel="paypal", day=today)
        assert taken.open_count == 0
    after = await staff.money()
    assert after["chargebacks", "paypal"] == 0
    assert after["provider_fees", "paypal"] == sum(m.amount_minor for m in told if m.kind == "fee")
    assert await audit_ledger(visit.pool) == LedgerAudit([], [])


async def test_what_no_message_tells_of_a_dispute_is_asked_for(visit, staff):  # noqa: F811
    payment = await visit.paid()
    await visit.play(await captured(visit, payment), "dispute")
    await staff.dispute_becomes(payment, state="open")
    await visit.behave(is_mute=True)
    await visit.play(await captured(visit, payment), "lose")
    assert (await staff.dispute_of(payment))["state"] == "open"
    async with visit.client() as client:
        channels = payments.Channels({"paypal": client})
        await follow_disputes(visit.pool, channels)
        assert (await staff.dispute_of(payment))["state"] == "open", "nobody asks before its time"
        await visit.pool.execute("UPDATE disputes.disputes SET look_at = now()")
        await visit.behave(down=True)
        await follow_disputes(visit.pool, channels)
        await visit.behave(is_mute=True)
        await visit.pool.execute("UPDATE disputes.disputes SET look_at = now()")
        await follow_disputes(visit.pool, channels)
    told = await staff.dispute_of(payment)
    assert (told["state"], told["charged_back"], told["next"]) == ("lost", PRICE, "nothing")


async def test_of_a_dispute_only_what_paypal_says_when_it_is_asked_counts(visit, staff):  # noqa: F811
    payment = await visit.paid()

    def said(dispute_id, kind="CREATED"):
        resource = {"dispute_id": dispute_id, "status": "OPEN"}
        told = {"id": f"WH-{uuid4()}", "event_type": f"CUSTOMER.DISPUTE.{kind}"}
        return json.dumps({**told, "resource": resource}).encode()

    for made_up in ("PP-D-0", "../captures/x", ""):
        body = said(made_up)
        status = (await visit.webhook(body, await visit.signed(body))).status_code
        assert status == (422 if not made_up else 503)
    assert (await visit.webhook(said("PP-D-0"), {})).status_code == 401
    assert await staff.dispute_of(payment) is None
    await visit.play(await captured(visit, payment), "dispute")
    opened = await staff.dispute_becomes(payment, state="open")
    # It says that all is over; PayPal says that it is not.
    body = said(opened["provider_ref"], "RESOLVED")
    assert (await visit.webhook(body, await visit.signed(body))).status_code == 200
    assert (await staff.dispute_of(payment))["state"] == "open"
    missing = await visit.http.get("/v1/admin/disputes/999999999", headers=staff.headers)
    assert (missing.status_code, missing.json()["type"].rpartition("/")[2]) == (
        404,
        "no-such-dispute",
    )
