"""Somebody outside is told what happens in the shop, whatever befalls either of them."""

import asyncio
import contextlib
import inspect
import subprocess
import sys
from datetime import datetime

import msgspec
import pytest

from core import webhooks
from core.kit import db
from tests.api.conftest import ROOT, as_member, environment
from tests.core.receivers import OK, receiving, status
from tests.patience import PATIENCE_S

ORDERS = ["order.placed", "order.paid", "order.cancelled"]


@pytest.fixture
def settings(settings):
    return msgspec.structs.replace(settings, webhook_loopback=True)


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def work(settings):
    """Start `sluice work`; give what kills it."""
    running = []

    def start(*roles):
        named = [word for role in roles for word in ("--role", role)]
        words = (sys.executable, "-m", "api.cli", "work", *named)
        running.append(
            subprocess.Popen(words, cwd=ROOT, env=environment(settings), stderr=subprocess.DEVNULL)
        )
        return running[-1]

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(10)


async def until(ask):
    """Wait until something is so; give what was found."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = ask()
            if found := await found if inspect.isawaitable(found) else found:
                return found
            await asyncio.sleep(0.02)


async def cancel(client, order_id, member):
    answer = await client.post(f"/v1/orders/{order_id}/cancel", headers=as_member(member))
    assert answer.status_code == 200, answer.text


async def place(client, buy, members):
    placed = [await buy(client, member) for member in members]
    assert {answer.status_code for answer in placed} == {202}
    return [answer.json()["order_id"] for answer in placed]


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_an_order_is_followed_from_outside(client, staff, receiver, work, buy):
    made = await staff("POST", "/webhooks", url=receiver.url, kinds=ORDERS)
    subscription = made["subscription"]
    work()
    (order_id,) = await place(client, buy, [7])
    await until(lambda: len(receiver.got) == 1)
    await cancel(client, order_id, 7)
    await until(lambda: len(receiver.got) == 2)
    placed, cancelled = receiver.verified(made["secret"])
    assert (placed["type"], cancelled["type"]) == ("order.placed", "order.cancelled")
    assert placed["data"]["order_id"] == cancelled["data"]["order_id"] == order_id
    assert cancelled["data"]["reason"] == "member"
    assert receiver.ids == [f"order_{order_id}_0", f"order_{order_id}_1"]

    path = f"/webhooks/{subscription['subscription_id']}"
    assert "secret" not in str(await staff("GET", path))
    listed = await staff("GET", f"{path}/deliveries?state=delivered")
    assert [one["message_id"] for one in listed["items"]] == receiver.ids[::-1]
    one = await staff("GET", f"{path}/deliveries/{listed['items'][0]['delivery_id']}")
    assert one["body"].encode() == receiver.got[1].body
    assert [attempt["status"] for attempt in one["attempts"]] == [200]
    (note,) = (await staff("GET", f"/log?object=webhook:{subscription['subscription_id']}"))[
        "items"
    ]
    assert note["action"] == "POST /v1/admin/webhooks"
    assert "whsec" not in str(note)

    await staff("POST", f"{path}/deliveries/{one['delivery']['delivery_id']}/replay")
    since = {"since": subscription["made_at"], "missing_only": False}
    assert (await staff("POST", f"{path}/replay", **since))["messages"] >= 1
    await until(lambda: len(receiver.got) >= 4)
    assert len({got.body for got in receiver.got}) == 2
    rotated = await staff("POST", f"{path}/secret", overlap_s=60)
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != made["secret"]


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_worker_that_is_killed_in_the_middle_loses_nothing(
    client,
    staff,
    receiver,
    work,
    buy,
    pool,
):
    """Half of the messages are on their way, and not answered, when it is killed."""
    made = await staff("POST", "/webhooks", url=receiver.url, kinds=ORDERS[:1])
    answered = asyncio.Event()

    async def hesitate(writer):
        if len(receiver.got) > 20:
            await answered.wait()
        writer.write(OK)
        await writer.drain()

    receiver.answer = hesitate
    worker = work()
    order_ids = await place(client, buy, range(7, 47))
    await until(lambda: receiver.at_once == webhooks.HANDS_MAX)
    worker.kill()
    worker.wait(10)
    asked = list(receiver.ids)
    answered.set()
    async with db.transaction(pool) as conn:
        # What the dead worker had in hand stays so for as long as its lease.
        assert await conn.fetchval(LEASED) == webhooks.HANDS_MAX
        await conn.execute("UPDATE webhooks.deliveries SET due_at = now() WHERE state = 'pending'")
    work()
    expected = {f"order_{order_id}_0" for order_id in order_ids}
    await until(lambda: set(receiver.ids) == expected)
    await until(lambda: len(receiver.got) >= len(expected) + webhooks.HANDS_MAX)
    assert len(receiver.verified(made["secret"])) == len(receiver.got)
    twice = {event_id for event_id in receiver.ids if receiver.ids.count(event_id) > 1}
    assert twice <= set(asked[-webhooks.HANDS_MAX :])
    assert len({(got.id, got.body) for got in receiver.got}) == len(expected)


LEASED = """
    SELECT count(*) FROM webhooks.deliveries
     WHERE state = 'pending' AND due_at > now() AND attempts = 1
"""


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_whoever_is_down_for_a_while_hears_of_all_of_it(
    client,
    staff,
    receiver,
    work,
    buy,
    pool,
):
    made = await staff("POST", "/webhooks", url=receiver.url, kinds=ORDERS[:1])
    path = f"/webhooks/{made['subscription']['subscription_id']}"
    receiver.answer = status(500, body=b"<h1>out of order</h1>")
    work()
    order_ids = await place(client, buy, range(7, 27))
    await until(lambda: len(receiver.got) >= 5)

    async def look():
        return await staff("GET", path)

    async def rests():
        return (await look())["rests_until"]

    async def is_well():
        return not (await look())["failures"]

    async def is_through():
        return not (await staff("GET", f"{path}/deliveries?state=pending"))["items"]

    await until(rests)
    assert (await look())["failures"] >= 5
    text = (await client.get("/metrics")).text
    assert "sluice_webhooks_failing 1.0" in text
    assert "sluice_webhooks_oldest_seconds" in text
    (failed, *_) = (await staff("GET", f"{path}/deliveries?limit=100"))["items"][-1:]
    told = await staff("GET", f"{path}/deliveries/{failed['delivery_id']}")
    assert told["attempts"][-1]["answer"] == "<h1>out of order</h1>"

    receiver.answer = OK
    await pool.execute("UPDATE webhooks.subscriptions SET rests_until = now()")
    since = made["subscription"]["made_at"]
    await until(is_well)
    for far in ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"):
        await staff("POST", f"{path}/replay", refused=(422, "invalid-value"), since=far)
    await staff("POST", f"{path}/replay", since=since, missing_only=True)
    ok = {f"order_{order_id}_0" for order_id in order_ids}
    await until(lambda: set(receiver.ids) == ok)
    await until(is_through)
    receiver.verified(made["secret"])
    assert "\nsluice_webhooks_behind_seconds " in (await client.get("/metrics")).text
    await staff("POST", f"{path}/remove")
    for gone in (path, f"{path}/deliveries"):
        await staff("GET", gone, refused=(404, "no-such-subscription"))
    await staff("POST", f"{path}/remove", refused=(404, "no-such-subscription"))
    log = (await staff("GET", "/log?limit=1"))["items"][0]
    assert log["action"] == "POST /v1/admin/webhooks/{subscription_id}/remove"


async def test_a_redirect_to_a_metadata_address_leads_nowhere(
    client,
    staff,
    receiver,
    work,
    buy,
    pool,
):
    made = await staff("POST", "/webhooks", url=receiver.url, kinds=ORDERS[:1])
    path = f"/webhooks/{made['subscription']['subscription_id']}"
    where = "Location: http://169.254.169.254/latest/meta-data/iam/"
    receiver.answer = status(307, where)
    work()
    await place(client, buy, [7])
    await until(lambda: receiver.got)

    async def failures():
        return (await staff("GET", path))["failures"]

    assert await until(failures) == 1
    (delivery,) = (await staff("GET", f"{path}/deliveries"))["items"]
    told = await staff("GET", f"{path}/deliveries/{delivery['delivery_id']}")
    assert [attempt["status"] for attempt in told["attempts"]] == [307]
    assert datetime.fromisoformat(delivery["due_at"])


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:10.0.0.1]/",
        "https://shop.example:25/",
        "https://user:secret@shop.example/",
        "not a url",
    ],
)
async def test_nobody_is_subscribed_at_an_unfit_address(staff, url):
    body = {"url": url, "kinds": ORDERS}
    await staff("POST", "/webhooks", **body, refused=(422, "unfit-url"))
    made = await staff("POST", "/webhooks", url="https://shop.example/", kinds=ORDERS)
    path = f"/webhooks/{made['subscription']['subscription_id']}"
    await staff("POST", path, **body, refused=(422, "unfit-url"))


@pytest.mark.parametrize("kinds", [[], ["order.eaten"], "order.paid", [7]])
async def test_only_what_there_is_can_be_wanted(staff, kinds):
    body = {"url": "https://shop.example/", "kinds": kinds}
    await staff("POST", "/webhooks", **body, refused=(422, "invalid-value"))


async def test_a_life_of_a_subscription(staff):
    made = await staff("POST", "/webhooks", url="https://shop.example/a", kinds=ORDERS)
    path = f"/webhooks/{made['subscription']['subscription_id']}"
    for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "active")):
        assert (await staff("POST", f"{path}/{verb}"))["state"] == state
    changed = await staff("POST", path, url="https://shop.example/b", kinds=ORDERS[:1])
    assert (changed["url"], changed["kinds"]) == ("https://shop.example/b", ORDERS[:1])
    disabled = await staff("POST", f"{path}/disable")
    assert (disabled["state"], disabled["reason"]) == ("disabled", "staff")
    await staff("POST", f"{path}/pause", refused=(409, "illegal-move"))
    assert (await staff("POST", f"{path}/resume"))["reason"] is None
    assert len((await staff("GET", "/webhooks"))["items"]) == 1
    await staff("GET", "/webhooks/99", refused=(404, "no-such-subscription"))
    await staff("GET", f"{path}/deliveries/99", refused=(404, "no-such-delivery"))
