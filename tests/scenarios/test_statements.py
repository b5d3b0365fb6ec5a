"""A provider's statement as staff upload it, and what they make of a difference."""

from datetime import UTC, datetime

import pytest

from core import payments
from tests.api.conftest import as_admin

HEAD = "id,kind,reference,amount,currency,at\n"
FEE = "f-1,fee,p-1,30,CNY,2026-11-20T05:00:00Z\n"
PAYOUT = "o-1,payout,,970,CNY,2026-11-20T20:00:00+08:00\n"
UNKNOWN = "c-1,capture,p-1,1000,CNY,2026-11-20T05:00:00Z\n"
WHERE = "/v1/admin/statements?channel=sandbox&day=2026-11-20"


@pytest.fixture
def upload(client):
    async def upload(text, *, where=WHERE, kind="text/csv"):
        headers = as_admin() | {"Content-Type": kind}
        answer = await client.post(where, content=text.encode(), headers=headers)
        told = answer.json()
        if answer.status_code == 200:
            return told
        return answer.status_code, told["type"].rpartition("/")[2]

    return upload


async def test_a_statement_is_uploaded_checked_and_its_difference_explained(upload, staff):
    for _ in range(2):
        told = await upload(HEAD + FEE + PAYOUT + UNKNOWN)
        assert (told["channel"], told["day"], told["source"]) == (
            "sandbox",
            "2026-11-20",
            "uploaded",
        )
        assert (told["lines"], told["open"]) == (3, 1)
    balances = (await staff("GET", "/ledger/trial-balance"))["items"]
    assert {one["account"]: one["amount"] for one in balances} == {
        "bank": 970,
        "provider_clearing": -1_000,
        "provider_fees": 30,
    }
    (one,) = (await staff("GET", "/statements/differences?state=open"))["items"]
    assert (one["what"], one["kind"], one["reference"]) == ("missing_here", "capture", "p-1")
    assert (one["there"], one["here"], one["line_id"]) == (1_000, 0, "c-1")
    path = f"/statements/differences/{one['difference_id']}/resolve"
    ended = await staff("POST", path, note="p-1 是测试款")
    assert (ended["state"], ended["note"], ended["ended_by"]) == (
        "resolved",
        "p-1 是测试款",
        "admin",
    )
    await staff("POST", path, refused=(409, "illegal-move"), note="again")
    again = await staff("POST", f"/statements/{told['statement_id']}/check")
    assert again["open"] == 0
    assert (await staff("GET", "/statements/differences?state=open"))["items"] == []
    (listed,) = (await staff("GET", "/statements"))["items"]
    assert listed["open"] == 0
    assert listed == await staff("GET", f"/statements/{told['statement_id']}")


async def test_a_fee_that_is_another_by_now_changes_nothing(upload, staff):
    await upload(HEAD + FEE)
    assert await upload(HEAD + FEE.replace("30", "31")) == (422, "reference-reused")
    balances = (await staff("GET", "/ledger/trial-balance"))["items"]
    assert {one["account"]: one["amount"] for one in balances}["provider_fees"] == 30


@pytest.mark.parametrize(
    ("text", "facts", "refused"),
    [
        (HEAD + "x\n", {}, (422, "unreadable-statement")),
        (HEAD, {"kind": "application/json"}, (422, "invalid-value")),
        (HEAD, {"where": "/v1/admin/statements?channel=sandbox"}, (422, "invalid-value")),
        (HEAD, {"where": WHERE.replace("-20", "-31")}, (422, "invalid-value")),
        (HEAD, {"where": WHERE.replace("sandbox", "Sand")}, (422, "invalid-value")),
    ],
)
async def test_what_is_no_statement_is_refused(upload, text, facts, refused):
    assert await upload(text, **facts) == refused


class Teller:
    """A provider that moved one fee on each day."""

    says = None

    async def statement(self, day):
        if self.says:
            raise self.says
        moment = datetime(day.year, day.month, day.day, 5, tzinfo=UTC)
        return [payments.Movement(f"fee-{day}", "fee", "p", 30, "CNY", moment)]


async def test_staff_fetch_a_statement_and_hear_when_it_cannot_be_had(app, staff):
    teller, asked = Teller(), {"channel": "sandbox", "day": "2026-11-20"}
    away = (503, "channel-unavailable")
    await staff("POST", "/statements/fetch", refused=away, **asked)
    app.state.channels = payments.Channels({"sandbox": teller})
    for _ in range(2):
        told = await staff("POST", "/statements/fetch", **asked)
        assert (told["source"], told["lines"], told["open"]) == ("fetched", 1, 0)
    assert (await staff("GET", "/statements"))["items"] == [told]
    balances = (await staff("GET", "/ledger/trial-balance"))["items"]
    assert {one["account"]: one["amount"] for one in balances}["provider_fees"] == 30
    teller.says = payments.ProviderRefused("no such permission")
    await staff("POST", "/statements/fetch", refused=away, **asked)
    unknown, never = asked | {"channel": "alipay"}, asked | {"day": "2026-02-30"}
    await staff("POST", "/statements/fetch", refused=(422, "channel-not-offered"), **unknown)
    await staff("POST", "/statements/fetch", refused=(422, "invalid-value"), **never)
    noted = (await staff("GET", "/log"))["items"]
    assert [one["action"] for one in noted] == ["POST /v1/admin/statements/fetch"] * 2


async def test_what_is_not_there_is_refused(staff):
    await staff("GET", "/statements/7", refused=(404, "no-such-day-statement"))
    await staff("GET", "/statements/x", refused=(404, "no-such-day-statement"))
    path = "/statements/differences/7/resolve"
    await staff("POST", path, refused=(404, "no-such-difference"), note="x")


@pytest.mark.parametrize(
    "at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "1969-12-31T00:00:00Z"]
)
async def test_a_moment_that_no_clock_showed_is_named(upload, at):
    line = f"f-1,fee,p-1,30,CNY,{at}\n"
    assert await upload(HEAD + line) == (422, "unreadable-statement")


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "1969-12-31"])
async def test_a_day_that_no_provider_told_of_is_named(upload, day):
    where = f"/v1/admin/statements?channel=alipay&day={day}"
    assert await upload(HEAD + FEE, where=where) == (422, "unreadable-statement")
