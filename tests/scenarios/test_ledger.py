"""The ledger as the back office reads it, and as a cron job checks it."""

from uuid import uuid4

import pytest

from core import ledger
from core.kit import db

CNY = {"channel": "sandbox", "currency": "CNY"}


@pytest.fixture
async def payments(pool) -> list[str]:
    """Three payments of 50, 51 and 52 yuan, each for an order of its own."""
    found = [str(uuid4()) for _ in range(3)]
    async with db.transaction(pool) as conn:
        for number, payment_id in enumerate(found):
            facts = {**CNY, "amount_minor": 5_000 + 100 * number}
            await ledger.capture(conn, payment_id=payment_id, order_id=f"o{number}", **facts)
    return found


async def test_staff_read_balances_accounts_and_entries(staff, payments):
    told = (await staff("GET", "/ledger/trial-balance"))["items"]
    assert {(b["account"], b["owner"], b["normal"], b["amount"]) for b in told} == {
        ("escrow", "", "credit", 15_300),
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
        ("escrow", -5_200),
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
