"""The ledger as the back office reads it."""

from uuid import uuid4

import msgspec
import pytest

from core import ledger
from core.kit import db

CNY = {"channel": "sandbox", "currency": "CNY"}


@pytest.fixture
async def payments(pool) -> list[str]:
    """Three payments of 50, 51 and 52 yuan that wait for an order."""
    found = [str(uuid4()) for _ in range(3)]
    async with db.transaction(pool) as conn:
        for number, payment_id in enumerate(found):
            facts = {**CNY, "amount_minor": 5_000 + 100 * number}
            await ledger.capture(conn, payment_id=payment_id, **facts)
    return found


async def test_staff_read_balances_accounts_and_entries(staff, payments):
    told = (await staff("GET", "/ledger/trial-balance"))["items"]
    assert {(b["account"], b["owner"], b["normal"], b["amount"]) for b in told} == {
        ("customer_funds", "", "credit", 15_300),
        ("provider_clearing", "sandbox", "debit", 15_300),
    }
    assert all(b["name"].keys() == {"en", "zh"} for b in told)
    where = "/ledger/postings?account=provider_clearing&owner=sandbox&currency=CNY&limit=2"
    page = await staff("GET", where)
    rest = await staff("GET", f"{where}&cursor={page['cursor']}")
    assert rest["cursor"] is None
    lines = page["items"] + rest["items"]
    assert [line["reference"] for line in lines] == payments[::-1]
    entry = await staff("GET", f"/ledger/entries/{lines[0]['entry_id']}")
    assert [(p["account"], p["amount"]) for p in entry["postings"]] == [
        ("provider_clearing", 5_200),
        ("customer_funds", -5_200),
    ]
    assert (await staff("GET", f"/ledger/entries?reference={payments[2]}"))["items"] == [entry]
    assert (await staff("GET", "/ledger/entries?reference=nobody"))["items"] == []


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/ledger/entries/7", (404, "no-such-entry")),
        ("/ledger/entries/x", (404, "no-such-entry")),
        ("/ledger/postings?account=x&currency=CNY", (404, "no-such-account")),
        ("/ledger/postings?account=escrow&currency=cny", (422, "invalid-value")),
        ("/ledger/postings?account=escrow", (422, "invalid-value")),
        ("/ledger/postings?account=escrow&currency=CNY&cursor=x", (422, "invalid-value")),
        ("/ledger/postings?account=escrow&currency=CNY&owner=%00", (422, "invalid-value")),
        ("/ledger/entries?reference=%00", (422, "invalid-value")),
    ],
)
async def test_what_is_not_there_is_refused(staff, path, refused):
    await staff("GET", path, refused=refused)


async def test_staff_agree_on_terms_release_an_order_and_charge_a_part_of_it_back(staff, pool):
    assert (await staff("GET", "/ledger/sellers/7/terms"))["commission_bps"] == 500
    await staff("POST", "/ledger/sellers/7/terms", commission_bps=1_000)
    assert (await staff("GET", "/ledger/sellers/7/terms"))["commission_bps"] == 1_000
    rate = {"seller_id": ledger.SellerId(7), "commission_bps": 1_000}
    async with db.transaction(pool) as conn:
        await ledger.capture_for_order(
            conn,
            [ledger.goods(1, amount_minor=5_000, **rate), ledger.shipping(2, amount_minor=600)],
            payment_id=str(uuid4()),
            order_id="o",
            **CNY,
        )
    held = await staff("GET", "/ledger/orders/o")
    assert [(s["account"], s["amount"], s["commission"]) for s in held["shares"]] == [
        ("seller_payable", 5_000, 500),
        ("shipping_revenue", 600, 0),
    ]
    for _ in range(2):
        assert (await staff("POST", "/ledger/orders/o/release"))["state"] == "released"
    claimed = {"reference": "bank-1", "lines": [{"line_no": 1, "amount": 2_500}]}
    for _ in range(2):
        told = await staff("POST", "/ledger/orders/o/chargebacks", **claimed)
        assert [share["returned"] for share in told["shares"]] == [2_500, 0]
    amounts = {
        (b["account"], b["owner"]): b["amount"]
        for b in (await staff("GET", "/ledger/trial-balance"))["items"]
    }
    assert amounts == {
        ("chargebacks", "sandbox"): 2_500,
        ("commission_revenue", ""): 250,
        ("escrow", ""): 0,
        ("provider_clearing", "sandbox"): 5_600,
        ("seller_payable", "7"): 2_250,
        ("shipping_revenue", ""): 600,
    }
    more = {"reference": "bank-2", "lines": [{"line_no": 1, "amount": 2_501}]}
    path = "/ledger/orders/o/chargebacks"
    await staff("POST", path, refused=(409, "more-than-is-left"), **more)
    other = {"reference": "bank-1", "lines": [{"line_no": 1, "amount": 1}]}
    await staff("POST", path, refused=(422, "reference-reused"), **other)
    nothing = await staff("POST", path, reference="bank-3", lines=[])
    assert [share["returned"] for share in nothing["shares"]] == [2_500, 0]
    twice = {"reference": "bank-3", "lines": [{"line_no": 1, "amount": 1}] * 2}
    await staff("POST", path, refused=(422, "invalid-value"), **twice)
    rest = [{"line_no": 1, "amount": 2_500}, {"line_no": 2, "amount": 600}]
    for _ in range(2):
        told = await staff("POST", path, reference="bank-4", lines=rest, lost=90)
        assert [share["returned"] for share in told["shares"]] == [5_000, 600]
    balances = (await staff("GET", "/ledger/trial-balance"))["items"]
    (loss,) = [one for one in balances if one["account"] == "chargeback_losses"]
    assert (loss["amount"], loss["owner"]) == (90, "sandbox")
    await staff("GET", "/ledger/orders/x", refused=(404, "no-such-hold"))
    await staff("POST", "/ledger/orders/x/release", refused=(404, "no-such-hold"))
    await staff("GET", "/ledger/sellers/x/terms", refused=(422, "invalid-value"))


async def test_a_seller_is_settled_with_paid_and_shown_what_it_was_for(staff, pool):
    async with db.transaction(pool) as conn:
        goods = ledger.goods(
            1, seller_id=ledger.SellerId(7), amount_minor=5_000, commission_bps=500
        )
        for order_id in ("a", "b"):
            facts = {"payment_id": str(uuid4()), "order_id": order_id, **CNY}
            await ledger.capture_for_order(conn, [goods], **facts)
            await ledger.release(conn, order_id=order_id)
    for _ in range(2):
        run = await staff("POST", "/ledger/runs", reference="week-1")
        assert (run["reference"], run["state"]) == ("week-1", "closed")
    assert (await staff("GET", "/ledger/runs"))["items"] == [run]
    (planned,) = (await staff("GET", "/ledger/payouts?state=planned"))["items"]
    assert (planned["state"], planned["seller_id"], planned["amount"]) == ("planned", "7", 9_500)
    path = f"/ledger/payouts/{planned['payout_id']}"
    for _ in range(2):
        paid = await staff("POST", f"{path}/send")
        assert (paid["state"], paid["bank_ref"]) == ("paid", f"sandbox-{paid['payout_id']}")
    assert await staff("GET", path) == paid
    assert (await staff("GET", "/ledger/payouts?limit=1"))["items"] == [paid]
    assert (await staff("GET", "/ledger/payouts?state=planned"))["items"] == []
    (statement,) = (await staff("GET", "/ledger/sellers/7/statements"))["items"]
    assert [statement[name] for name in ("opening", "moved", "closing")] == [0, 9_500, 9_500]
    path = f"/ledger/statements/{statement['statement_id']}"
    assert await staff("GET", path) == statement
    where = f"{path}/postings?limit=1"
    page = await staff("GET", where)
    rest = await staff("GET", f"{where}&cursor={page['cursor']}")
    told = page["items"] + rest["items"]
    assert [(line["reference"], line["amount"]) for line in told] == [("b", -4_750), ("a", -4_750)]
    assert sum(line["amount"] for line in told) == -statement["moved"]
    assert (await staff("GET", "/ledger/sellers/8/statements"))["items"] == []
    await staff("GET", "/ledger/statements/77/postings", refused=(404, "no-such-statement"))
    await staff("GET", "/ledger/statements/x/postings", refused=(404, "no-such-statement"))
    await staff("GET", "/ledger/payouts/x", refused=(404, "no-such-payout"))
    await staff("POST", "/ledger/payouts/77/send", refused=(404, "no-such-payout"))
    await staff("GET", "/ledger/payouts?state=gone", refused=(422, "invalid-value"))
    await staff("POST", "/ledger/runs", refused=(422, "invalid-value"), reference="a\nb")
    noted = (await staff("GET", "/log?limit=4"))["items"]
    assert [(one["by"], one["action"]) for one in noted] == [
        *[("admin", "POST /v1/admin/ledger/payouts/{payout_id}/send")] * 2,
        *[("admin", "POST /v1/admin/ledger/runs")] * 2,
    ]


async def test_without_a_bank_nobody_is_paid(app, staff, settings):
    app.state.settings = msgspec.structs.replace(settings, env="production")
    told = await staff("POST", "/ledger/payouts/1/send", refused=(409, "no-bank"))
    assert told["title"] == "No bank is connected that payouts could go through."
