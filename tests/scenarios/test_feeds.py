"""A warehouse's own system tells what happens there, in the way such systems do: it repeats itself,
forgets what it told, and crosses itself on the way. An ERP follows every unit.
"""

import asyncio
import io
import itertools
import random
import re
from collections import Counter

import pytest

from core import sheets
from core import staff as people
from core.kit import db
from hotpath.signing import Signer
from tests.api.conftest import RECEIPT_KEY, token

CODES = [f"KETTLE-{n}" for n in range(3)]
# A kettle is worth 99 yuan, and one person may settle 1,000.
MANY = 11
SEED = 20261122
MESSAGES_MAX = 100
NUMBERS = itertools.count(1)
SIGNS = {
    "receive": 1, "ship": -1, "damage": -1, "mend": 1, "send": -1, "arrive": 1,
    "surplus": 1, "shortage": -1,
}  # fmt: skip


class Warehouse:
    """A small WMS: what stands on its shelves, and all it ever had to tell, in order."""

    def __init__(self, ask, place_id):
        self.ask = ask
        self.place_id = place_id
        self.shelves = Counter()
        self.damaged = Counter()
        self.book = []
        self.applied = set()

    def note(self, kind, code=None, quantity=0, **more):
        lines = [{"sku_code": code, "quantity": quantity}] if code else []
        told = {"reference": f"M-{len(self.book)}", "kind": kind, "lines": lines} | more
        self.book.append(told)
        return told

    def receive(self, code, quantity):
        self.shelves[code] += quantity
        return self.note("received", code, quantity)

    def ship(self, code, quantity, order):
        self.shelves[code] -= quantity
        return self.note("shipped", code, quantity, kept_for=order)

    def drop(self, code, quantity):
        self.shelves[code] -= quantity
        self.damaged[code] += quantity
        return self.note("damaged", code, quantity)

    def snapshot(self):
        lines = [{"sku_code": code, "quantity": n} for code, n in sorted(self.shelves.items())]
        return {
            "reference": f"S-{next(NUMBERS)}",
            "kind": "snapshot",
            "lines": lines,
            "told_before": len(self.applied),
        }

    async def tell(self, *messages, **more):
        """Tell these, or whatever was not answered yet."""
        told = list(messages) or [m for m in self.book if m["reference"] not in self.applied]
        body = {"place_id": self.place_id, "messages": told}
        answer = await self.ask("POST", "/feeds/messages", **body, **more)
        if "items" in answer:
            done = [one for one in answer["items"] if one["outcome"] != "refused"]
            self.applied |= {one["reference"] for one in done}
            assert answer["told"] == len(self.applied)
        return answer.get("items", answer)

    async def twice(self):
        """Tell the last ones again that were answered."""
        await self.tell()
        assert set(outcomes(await self.tell(*self.book[-2:]))) == {"already_applied"}

    async def cross(self):
        """What happened last is told first, and all of it at the same time."""
        waiting = [m for m in self.book if m["reference"] not in self.applied]
        halves = [waiting[len(waiting) // 2 :], waiting[: len(waiting) // 2], waiting]
        await self._hear_all([half for half in halves if half])

    async def reboot(self):
        """It knows what happened, and no longer what of it was heard."""
        await self._hear_all([self.book[-MESSAGES_MAX:]])

    async def _hear_all(self, batches):
        bodies = [{"place_id": self.place_id, "messages": batch} for batch in batches]
        asked = (self.ask("POST", "/feeds/messages", **body) for body in bodies)
        for answer in await asyncio.gather(*asked):
            assert refusals(answer["items"]) == []
            self.applied |= {one["reference"] for one in answer["items"]}


@pytest.fixture
async def accounts(pool):
    author = people.Author(
        people.Sealer({1: Signer(RECEIPT_KEY)}), "chief", people.Permission.STAFF_WRITE, "test", "r"
    )
    async with db.transaction(pool) as conn:
        for name in ("wms.can", "wms.sha", "erp"):
            await people.add(conn, author, name=name, roles=["system"])


@pytest.fixture
def system(client, accounts):
    """Ask as an account of a program."""

    async def system(who, method, path, *, refused=None, params=None, **body):
        headers = {"Authorization": f"Bearer {token(who, 'staff')}"}
        answer = await client.request(
            method, f"/v1/admin{path}", headers=headers, json=body or None, params=params
        )
        if refused:
            slug = answer.json()["type"].rpartition("/")[2]
            assert (answer.status_code, slug) == refused, answer.text
        else:
            assert answer.status_code == 200, answer.text
        return answer.json()

    return system


@pytest.fixture
async def canton(staff, system, sku_ids):
    """A warehouse with a system that promises a word an hour."""
    name = {"en": "Canton", "zh": "广州仓"}
    place = await staff("POST", "/places", code="CAN", kind="warehouse", name=name)
    place_id = place["place_id"]
    for who, promise in (("wms.can", 3_600), ("erp", None)):
        path = f"/feeds/{who}/places/{place_id}"
        assert (await staff("POST", path, silent_max_s=promise))["silent_max_s"] == promise

    async def ask(*words, **more):
        return await system("wms.can", *words, **more)

    return Warehouse(ask, place_id)


@pytest.fixture
def order(staff, sku_ids, canton):
    """Somebody buys: units are kept in Canton, and picked unless told otherwise."""

    async def order(name, code, quantity, *, is_picked=True):
        lines = [{"sku_id": str(sku_ids[CODES.index(code)]), "quantity": quantity}]
        body = {"kept_for": name, "lines": lines, "place_id": canton.place_id}
        await staff("POST", "/reservations", **body)
        if is_picked:
            await pick(name, code, quantity)

    async def pick(name, code, quantity):
        lines = [{"sku_id": str(sku_ids[CODES.index(code)]), "quantity": quantity}]
        step = {"kind": "allocate", "reference": f"pick:{name}", "lines": lines}
        await staff("POST", f"/reservations/{name}/steps", **step)

    order.pick = pick
    return order


@pytest.fixture
def stands(staff, canton):
    """What the books say stands in Canton, every figure proven."""

    async def stands(figure="on_hand"):
        assert (await staff("GET", "/stock/audit"))["drifts"] == []
        found = await staff("GET", f"/places/{canton.place_id}/stock")
        return {one["sku_code"]: one[figure] for one in found["items"] if one[figure]}

    return stands


@pytest.fixture
def follow(system):
    """Every movement that the ERP has not heard of, and where it is then."""

    async def follow(after=None, limit=7, who="erp"):
        found = []
        while True:
            params = {"limit": limit} | ({"after": after} if after else {})
            page = await system(who, "GET", "/feeds/movements", params=params)
            found += page["items"]
            after = page["cursor"]
            if not page["more"]:
                return found, after

    return follow


def outcomes(answers):
    return [one["outcome"] for one in answers]


def refusals(answers):
    return [one["problem"]["type"].rpartition("/")[2] for one in answers if one["problem"]]


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_warehouse_sells_through_reboots_repeats_and_crosses(
    canton, order, stands, follow, system
):
    random.seed(SEED)
    print(f"seed {SEED}")
    for code in CODES:
        canton.receive(code, 60)
    await canton.tell()
    orders = [(f"desk:{n}", random.choice(CODES), random.randint(1, 3)) for n in range(40)]
    for name, code, quantity in orders:
        await order(name, code, quantity)
        canton.ship(code, quantity, name)
        if random.random() < 0.2:
            canton.drop(random.choice(CODES), 1)
        habits = [canton.tell, canton.twice, canton.cross, canton.reboot]
        if canton.applied != {one["reference"] for one in canton.book} and random.random() < 0.7:
            await random.choice(habits)()
    await canton.reboot()
    assert await stands() == dict(+canton.shelves)
    assert await stands("damaged") == dict(+canton.damaged)
    assert await stands("reserved") == await stands("allocated") == {}
    (same,) = await canton.tell(canton.snapshot())
    assert (same["outcome"], same["undecided"]) == ("applied", 0)

    moved, _ = await follow()
    ids = [int(one["movement_id"]) for one in moved]
    assert ids == sorted(set(ids))
    figures = Counter()
    for one in moved:
        figures[one["sku_code"]] += SIGNS.get(one["kind"], 0) * one["quantity"]
        assert figures[one["sku_code"]] >= 0
    assert figures == +canton.shelves
    listed = await system("erp", "GET", "/feeds/levels", params={"limit": 2})
    more = await system("erp", "GET", "/feeds/levels", params={"after": listed["cursor"]})
    levels = {one["sku_code"]: one["on_hand"] for one in listed["items"] + more["items"]}
    assert (listed["more"], more["more"], levels) == (True, False, dict(canton.shelves))


async def test_what_comes_too_early_is_refused_and_told_again(canton, order, stands, staff):
    canton.receive(CODES[0], 10)
    await canton.tell()
    await order("desk:1", CODES[0], 4, is_picked=False)
    shipped = canton.ship(CODES[0], 4, "desk:1")
    for _ in range(2):
        assert refusals(await canton.tell()) == ["not-kept"]
        assert await stands() == {CODES[0]: 10}
    (refused,) = (await staff("GET", "/feeds/messages?refused=true"))["items"]
    assert (refused["reference"], refused["refused"]) == (
        shipped["reference"],
        "/problems/not-kept",
    )
    await order.pick("desk:1", CODES[0], 4)
    assert outcomes(await canton.tell()) == ["applied"]
    assert await stands() == {CODES[0]: 6}
    assert (await staff("GET", "/feeds/messages?refused=true"))["items"] == []
    changed = shipped | {"lines": [{"sku_code": CODES[0], "quantity": 1}]}
    assert refusals(await canton.tell(changed)) == ["reference-reused"]
    assert await stands() == {CODES[0]: 6}
    assert [one["refused"] for one in (await staff("GET", "/feeds/messages"))["items"]] == [
        None
    ] * 2


async def test_one_bad_message_keeps_no_other_away(canton, stands):
    good = canton.receive(CODES[0], 5)
    unknown = canton.note("received", "NOBODY-KNOWS", 5)
    too_many = canton.note("scrapped", CODES[0], 1)
    canton.receive(CODES[1], 5)
    answers = await canton.tell()
    assert outcomes(answers) == ["applied", "refused", "refused", "applied"]
    assert refusals(answers) == ["no-such-sku", "out-of-stock"]
    assert await stands() == {CODES[0]: 5, CODES[1]: 5}
    assert [one["reference"] for one in answers[1:3]] == [
        unknown["reference"],
        too_many["reference"],
    ]
    assert outcomes(await canton.tell(good)) == ["already_applied"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "received", "lines": []},
        {"kind": "received", "lines": [{"sku_code": CODES[0], "quantity": 0}]},
        {"kind": "received", "lines": [{"sku_code": CODES[0], "quantity": -5}]},
        {"kind": "received", "lines": [{"sku_code": CODES[0], "quantity": 1}] * 2},
        {"kind": "received", "lines": [{"sku_code": CODES[0], "quantity": 1}], "kept_for": "o"},
        {"kind": "shipped", "lines": [{"sku_code": CODES[0], "quantity": 1}]},
        {"kind": "shipped", "lines": [{"sku_code": CODES[0], "quantity": 1}], "kept_for": "sale:1"},
        {"kind": "shipped", "lines": [], "kept_for": "desk:1"},
        {"kind": "shipped", "lines": [], "consignment_id": "1", "carrier": "SF"},
        {"kind": "alive", "lines": [], "consignment_id": "1", "carrier": "SF", "tracking": "1"},
        {
            "kind": "shipped",
            "lines": [{"sku_code": CODES[0], "quantity": 1}],
            "consignment_id": "1",
            "carrier": "SF",
            "tracking": "1",
        },
        {"kind": "adjusted", "lines": [{"sku_code": CODES[0], "quantity": 0}]},
        {"kind": "snapshot", "lines": [{"sku_code": CODES[0], "quantity": 1}]},
        {"kind": "snapshot", "lines": [], "told_before": 0},
        {"kind": "alive", "lines": [{"sku_code": CODES[0], "quantity": 1}]},
    ],
)
async def test_a_message_has_to_fit_its_kind(canton, stands, wrong):
    assert refusals(await canton.tell({"reference": "r"} | wrong)) == ["unfit-message"]
    assert await stands() == {}


async def test_an_adjustment_is_a_count(canton, staff, stands):
    canton.receive(CODES[0], 50)
    canton.note("adjusted", CODES[0], -2)
    canton.note("adjusted", CODES[0], MANY)
    canton.note("adjusted", CODES[0], 1)
    canton.note("adjusted", CODES[1], -1)
    answers = await canton.tell()
    assert [one["undecided"] for one in answers] == [0, 0, 1, 0, 0]
    assert refusals(answers) == ["count-pending", "out-of-stock"]
    assert await stands() == {CODES[0]: 48}
    found = (await staff("GET", "/counts"))["items"]
    (waiting,) = [one for one in found if one["state"] == "proposed"]
    assert (waiting["counted_by"], waiting["expected"], waiting["counted"]) == ("wms.can", 48, 59)
    await staff("POST", f"/counts/{waiting['count_id']}/approve")
    await canton.tell()
    assert await stands() == {CODES[0]: 60}


async def test_a_snapshot_is_held_against_the_books(canton, staff, stands):
    for code in CODES:
        canton.receive(code, 50)
    await canton.tell()
    canton.shelves.update({CODES[0]: -3, CODES[1]: MANY, "OLD-1": 7})
    (told,) = await canton.tell(canton.snapshot())
    assert (told["outcome"], told["undecided"]) == ("applied", 1)
    report = await staff("GET", f"/feeds/snapshots/{told['snapshot_id']}")
    assert (report["skus"], report["differing"]) == (3, 3)
    counts = {one["count_id"]: one for one in (await staff("GET", "/counts"))["items"]}
    lines = [
        (d["sku_code"], d["expected"], d["counted"], counts.get(d["count_id"], {}).get("state"))
        for d in report["differences"]
    ]
    assert lines == [
        (CODES[0], 50, 47, "applied"),
        (CODES[1], 50, 50 + MANY, "proposed"),
        ("OLD-1", None, 7, None),
    ]
    assert await stands() == {CODES[0]: 47, CODES[1]: 50, CODES[2]: 50}
    # What waits for a decision is told again, and counted once.
    (again,) = await canton.tell(canton.snapshot())
    report = await staff("GET", f"/feeds/snapshots/{again['snapshot_id']}")
    assert [(d["sku_code"], d["count_id"]) for d in report["differences"]] == [
        (CODES[1], None),
        ("OLD-1", None),
    ]
    listed = (await staff("GET", "/feeds/snapshots"))["items"]
    assert [one["differing"] for one in listed] == [2, 3]
    await staff("GET", "/feeds/snapshots/77", refused=(404, "no-such-snapshot"))
    await staff("GET", "/feeds/snapshots/x", refused=(404, "no-such-snapshot"))


async def test_a_snapshot_out_of_its_turn_counts_nothing(canton, stands):
    canton.receive(CODES[0], 50)
    await canton.tell()
    early = canton.snapshot() | {"told_before": 0}
    canton.drop(CODES[0], 1)
    late = canton.snapshot() | {"told_before": 2}
    assert refusals(await canton.tell(late)) == ["messages-missing"]
    assert refusals(await canton.tell(early)) == ["snapshot-overtaken"]
    assert await stands() == {CODES[0]: 50}
    await canton.tell()
    assert outcomes(await canton.tell(late)) == ["applied"]
    assert await stands() == {CODES[0]: 49}


async def test_a_snapshot_that_nobody_would_believe_counts_nothing(canton, stands):
    for code in CODES:
        canton.receive(code, 100)
    await canton.tell()
    empty = canton.snapshot() | {"lines": [{"sku_code": CODES[0], "quantity": 100}]}
    assert refusals(await canton.tell(empty)) == ["differs-too-much"]
    assert await stands() == dict.fromkeys(CODES, 100)


async def test_a_system_hears_and_tells_of_its_own_places_only(
    canton, staff, system, follow, sku_ids
):
    message = {"reference": "r", "kind": "alive", "lines": []}
    for place_id in ("1", canton.place_id, "77", "x", ""):
        body = {"place_id": place_id, "messages": [message]}
        await system("wms.sha", "POST", "/feeds/messages", refused=(404, "no-such-feed"), **body)
    for path in ("movements", "levels", "wanted"):
        await system("wms.sha", "GET", f"/feeds/{path}", refused=(404, "no-such-feed"))
    for path in ("", "/messages", "/snapshots"):
        await system("wms.can", "GET", f"/feeds{path}", refused=(403, "forbidden"))
    await system("wms.can", "GET", "/stock/audit", refused=(403, "forbidden"))
    await system("wms.can", "GET", f"/stock/{sku_ids[0]}", refused=(403, "forbidden"))
    canton.receive(CODES[0], 5)
    await canton.tell()
    heard, _ = await follow()
    assert {one["place_id"] for one in heard} == {canton.place_id}
    closed = await staff("POST", f"/feeds/wms.can/places/{canton.place_id}/close")
    assert closed["told"] == 1
    await canton.tell(message, refused=(404, "no-such-feed"))
    again = await staff("POST", f"/feeds/wms.can/places/{canton.place_id}/close")
    assert again | {"age_s": 0} == closed | {"age_s": 0}
    for path in ("wms.sha/places/1", "wms.can/places/77", "%00/places/1"):
        await staff("POST", f"/feeds/{path}/close", refused=(404, "no-such-feed"))
    again = await staff("POST", f"/feeds/wms.can/places/{canton.place_id}", silent_max_s=5)
    assert (again["told"], again["is_silent"]) == (1, False)
    assert outcomes(await canton.tell(message)) == ["applied"]
    await staff("POST", "/feeds/%00/places/1", silent_max_s=5, refused=(422, "invalid-value"))
    for path in ("wms.can/places/77", "wms.can/places/x"):
        body = {"silent_max_s": 5, "refused": (404, "no-such-place")}
        await staff("POST", f"/feeds/{path}", **body)


@pytest.mark.parametrize("cursor", ["x", "-1", "1.2", "1.2.3.4", "1" * 30, "", "1.", "٣"])
async def test_a_cursor_that_is_none_is_refused(canton, system, cursor):
    for path in ("movements", "levels"):
        asked = {"params": {"after": cursor}, "refused": (422, "invalid-value")}
        await system("erp", "GET", f"/feeds/{path}", **asked)


async def test_an_erp_hears_what_is_wanted(canton, staff, system, sku_ids):
    canton.receive(CODES[0], 70)
    await canton.tell()
    assert (await system("erp", "GET", "/feeds/wanted"))["items"] == []
    canton.drop(CODES[0], 30)
    await canton.tell()
    (low,) = (await system("erp", "GET", "/feeds/wanted"))["items"]
    assert (low["sku_code"], low["place_id"], low["free"]) == (CODES[0], canton.place_id, 40)
    assert sum(gift["quantity"] for gift in low["transfers"]) + low["to_buy"] == 60


async def test_levels_are_listed_once_and_then_followed(canton, staff, system):
    for code in CODES:
        canton.receive(code, 5)
    await canton.tell()
    first = await system("erp", "GET", "/feeds/levels", params={"limit": 2})
    assert [one["free"] for one in first["items"]] == [5, 5]
    canton.receive(CODES[0], 1)
    await canton.tell()
    second = await system("erp", "GET", "/feeds/levels", params={"after": first["cursor"]})
    assert [one["sku_code"] for one in second["items"]] == CODES[2:]
    third = await system("erp", "GET", "/feeds/levels", params={"after": second["cursor"]})
    assert [(one["sku_code"], one["free"]) for one in third["items"]] == [(CODES[0], 6)]
    last = await system("erp", "GET", "/feeds/levels", params={"after": third["cursor"]})
    assert (last["items"], last["more"], last["cursor"]) == ([], False, third["cursor"])


async def test_a_place_that_has_gone_silent_is_told_of(canton, staff, client, pool):
    async def looks():
        healthy = (await client.get("/health/ready")).json()
        figures = (await client.get("/metrics")).text
        labels = re.escape(f'{{place="{canton.place_id}",system="wms.can"}}')
        feed = (await staff("GET", "/feeds"))["items"][-1]
        (silent,) = re.findall(rf"(?m)^sluice_feed_silent{labels} (.*)$", figures)
        (age,) = re.findall(rf"(?m)^sluice_feed_age_seconds{labels} (.*)$", figures)
        assert healthy["checks"]["feeds"]["ok"] is (silent == "0.0") is not feed["is_silent"]
        assert abs(float(age) - feed["age_s"]) < 60
        return feed["is_silent"], healthy["ready"]

    assert await looks() == (False, True)
    async with db.transaction(pool) as conn:
        await conn.execute("UPDATE feeds.feeds SET opened_at = now() - interval '2 hours'")
    assert await looks() == (True, True)
    canton.note("alive")
    assert outcomes(await canton.tell()) == ["applied"]
    assert await looks() == (False, True)
    async with db.transaction(pool) as conn:
        await conn.execute("UPDATE feeds.feeds SET heard_at = now() - interval '61 minutes'")
    assert await looks() == (True, True)
    # What is refused, or known already, is a word all the same.
    assert refusals(await canton.tell({"reference": "x", "kind": "received", "lines": []}))
    assert await looks() == (False, True)


@pytest.mark.parametrize("form", ["csv", "gb18030", "xlsx"])
async def test_a_snapshot_comes_as_a_file_too(canton, staff, stands, client, form):
    for code in CODES:
        canton.receive(code, 50)
    await canton.tell()
    rows = [("名称", "sku_code", "quantity"), *(("水壶", code, "49") for code in CODES)]
    content = "".join(f"{','.join(row)}\r\n" for row in rows).encode(
        "gb18030" if form == "gb18030" else "utf-8-sig"
    )
    media_type = "text/csv"
    if form == "xlsx":
        file = io.BytesIO()
        with sheets.workbook.Writer(file, rows[0]) as writer:
            writer.add(rows[1:])
        content = file.getvalue()
        media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

    async def hand_in(content=content, media_type=media_type, who="wms.can", **more):
        headers = {"Authorization": f"Bearer {token(who, 'staff')}", "Content-Type": media_type}
        asked = {"place_id": canton.place_id, "reference": "F-1", "told_before": 3} | more
        path = "/v1/admin/feeds/snapshots"
        answer = await client.post(path, params=asked, headers=headers, content=content)
        told = answer.json()
        return answer.status_code, told.get("outcome") or told["type"].rpartition("/")[2]

    assert await hand_in(told_before=2) == (409, "snapshot-overtaken")
    assert await hand_in(who="wms.sha") == (404, "no-such-feed")
    assert await hand_in(place_id="1") == (404, "no-such-feed")
    assert await hand_in(media_type="application/json") == (422, "no-sheet")
    assert await hand_in(reference="a b") == (422, "invalid-value")
    odd = ("", "a,b\n", "sku_code,quantity\nK,-1\n", "sku_code,quantity\nK\n,x\n", "sku_code\nK\n")
    for wrong in odd:
        refused = await hand_in(wrong.encode(), "text/csv")
        assert refused in {(422, "unfit-message"), (422, "cut-off")}, wrong
    assert await stands() == dict.fromkeys(CODES, 50)
    assert await hand_in() == (200, "applied")
    assert await hand_in() == (200, "already_applied")
    assert await stands() == dict.fromkeys(CODES, 49)
