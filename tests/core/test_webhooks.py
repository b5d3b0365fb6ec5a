"""What happens in the shop arrives at whoever wants to be told: signed, and none is lost."""

import asyncio
import json
import operator
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from jsonschema_rs import ValidationError
from pydantic_asyncapi import AsyncAPI
from standardwebhooks import WebhookVerificationError

from core import disputes, inventory, ledger, orders, payments, webhooks
from core.flows import read_sources, tell_events
from core.flows.measure_herald import behind_s
from core.flows.run_sale import arm_sale, close_sale, pause_sale, resume_sale
from core.flows.settle_payment import settle_payment
from core.jobs.conductor import Conductor
from core.jobs.courier import Courier
from core.jobs.herald import Herald
from core.kit import db, tail
from core.webhooks.rules import pause_s, rest_s
from hotpath.signing import Signer
from tests.core.receivers import DOCUMENT, OK, fit, receiving, status
from tests.core.steps import drain
from tests.patience import PATIENCE_S

REACH = webhooks.Reach(loopback=True)
KEYS = webhooks.Keys({1: Signer(b"k" * 32)})
PAID, CANCELLED = webhooks.EventKind.ORDER_PAID, webhooks.EventKind.ORDER_CANCELLED
PLACED = webhooks.EventKind.ORDER_PLACED
PLACE = """
    INSERT INTO orders.orders (id, sale_id, bucket, member_id, idempotency_key, epoch, key_id,
                               state, amount_minor, currency, expires_at)
    VALUES ($1, $2, 1, 7, $1::uuid::text, 1, 1, 'open', 5000, 'CNY', now() + interval '1 hour')
"""
LINE = """
    INSERT INTO orders.lines (order_id, line_no, sku_id, quantity, price_minor)
    VALUES ($1, 1, 1, 1, 5000)
"""


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def courier(pool):
    async with webhooks.Sender(REACH) as sender:
        courier = Courier(pool, sender, KEYS)
        yield courier
        await courier.end()


@pytest.fixture
async def herald(pool):
    return Herald(pool)


@pytest.fixture
def subscribe(pool):
    """Want some kinds at a URL; give the subscription's id and its secret."""

    async def subscribe(url, *kinds):
        async with db.transaction(pool) as conn:
            await tell_events.begin(conn, kinds)
            made, secret = await webhooks.subscribe(
                conn, REACH, KEYS, url=url, kinds=kinds, salt=uuid4().bytes
            )
        return made.id, webhooks.written(KEYS.secret(secret))

    return subscribe


async def place(conn, *, sale_id=1):
    """An order, as if a sale had written it."""
    order_id = str(uuid4())
    await conn.execute(PLACE, order_id, sale_id)
    await conn.execute(LINE, order_id)
    return order_id


async def pay(conn, order_id):
    await orders.pay(conn, await orders.find(conn, order_id=order_id), payment_id="p-1")


async def paid(pool, *, sale_id=1):
    async with db.transaction(pool) as conn:
        order_id = await place(conn, sale_id=sale_id)
        await pay(conn, order_id)
    return f"order_{order_id}_1"


async def until(courier, is_so):
    """Let the courier work until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await courier.step()
            await asyncio.sleep(0.01)
        await asyncio.gather(*courier._sent)


async def find(pool, subscription_id):
    async with db.reading(pool) as conn:
        return await webhooks.find(conn, subscription_id=subscription_id)


async def sent(pool, subscription_id):
    """The deliveries of a subscription, oldest first."""
    async with db.reading(pool) as conn:
        found = await webhooks.deliveries(
            conn, subscription_id=subscription_id, state=None, before=None, page_max=1_000
        )
    return found[::-1]


async def do(pool, verb, *facts, **named):
    async with db.transaction(pool) as conn:
        return await verb(conn, *facts, **named)


async def test_an_order_that_is_paid_arrives_once_and_signed(
    pool, receiver, herald, courier, subscribe
):
    await paid(pool)
    subscription_id, secret = await subscribe(receiver.url, PAID)
    event_id = await paid(pool)
    for _ in range(2):
        await herald.step()
    await until(courier, lambda: receiver.got)
    for _ in range(3):
        await courier.step()
    assert receiver.ids == [event_id]
    (told,) = receiver.verified(secret)
    order_id = event_id.split("_")[1]
    assert told["type"] == "order.paid"
    assert told["data"] == {"order_id": order_id, "number": 1, "payment_id": "p-1"}
    assert datetime.fromisoformat(told["timestamp"]).tzinfo is not None
    (delivery,) = await sent(pool, subscription_id)
    assert (delivery.state, delivery.attempts) == ("delivered", 1)
    assert receiver.got[0].headers["content-type"] == "application/json"


async def test_a_changed_body_or_another_secret_is_found_by_the_receiver(
    pool, receiver, herald, courier, subscribe
):
    _, secret = await subscribe(receiver.url, PAID)
    _, other = await subscribe("http://127.0.0.1:1/", CANCELLED)
    await paid(pool)
    await herald.step()
    await until(courier, lambda: receiver.got)
    (got,) = receiver.got
    with pytest.raises(WebhookVerificationError):
        receiver.verified(other)
    receiver.got[0] = type(got)(got.path, got.headers, got.body.replace(b"p-1", b"p-2"))
    with pytest.raises(WebhookVerificationError):
        receiver.verified(secret)


async def test_while_a_secret_is_rotated_both_sign_and_then_the_new_one_alone(
    pool, receiver, herald, courier, subscribe
):
    subscription_id, old = await subscribe(receiver.url, PAID)

    async def rotate(overlap_s):
        made = await do(
            pool,
            webhooks.rotate,
            KEYS,
            subscription_id=subscription_id,
            salt=uuid4().bytes,
            overlap_s=overlap_s,
        )
        return webhooks.written(KEYS.secret(made))

    async def receive():
        receiver.got.clear()
        await paid(pool)
        await herald.step()
        await until(courier, lambda: receiver.got)

    new = await rotate(600)
    await receive()
    assert receiver.verified(old) == receiver.verified(new)
    assert receiver.got[0].headers["webhook-signature"].count("v1,") == 2
    newest = await rotate(0)
    await receive()
    assert receiver.verified(newest)
    for ended in (old, new):
        with pytest.raises(WebhookVerificationError):
            receiver.verified(ended)
    kept = await pool.fetchval("SELECT string_agg(salt::text, '') FROM webhooks.secrets")
    assert newest.removeprefix("whsec_") not in kept


async def test_every_attempt_sends_the_same_bytes_under_the_same_id(
    pool, receiver, herald, courier, subscribe
):
    subscription_id, secret = await subscribe(receiver.url, PAID)
    receiver.answer = status(500, body=b"no\0 room \xff")
    await paid(pool)
    await herald.step()
    await until(courier, lambda: receiver.got)
    (delivery,) = await sent(pool, subscription_id)
    pause = (delivery.due_at - datetime.now(UTC)).total_seconds()
    assert 3 < pause < 6
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute("UPDATE webhooks.messages SET body = ''")
    receiver.answer = OK
    await pool.execute("UPDATE webhooks.deliveries SET due_at = now()")
    await until(courier, lambda: len(receiver.got) == 2)
    assert len({(got.id, got.body) for got in receiver.got}) == 1
    assert len(receiver.verified(secret)) == 2
    found, body, attempts = await do(
        pool,
        webhooks.find_delivery,
        subscription_id=subscription_id,
        delivery_id=delivery.id,
    )
    assert (found.state, body) == ("delivered", receiver.got[0].body)
    assert [(a.number, a.status, a.answer) for a in attempts] == [
        (2, 200, "ok"),
        (1, 500, "no\ufffd room \ufffd"),
    ]


async def test_each_kind_of_event_fits_what_the_document_says_of_it(pool):
    """An order goes the whole way, and another is rejected."""
    async with db.transaction(pool) as conn:
        order_id, other_id = await place(conn), await place(conn)
        for verb, facts in (
            (orders.follow, {"follows": other_id}),
            (orders.authorize, {"payment_id": "p-1"}),
            (orders.pay, {"payment_id": "p-1"}),
            (orders.ship, {"consignment_id": "c-1", "is_last": True}),
            (orders.deliver, {"consignment_id": "c-1", "is_last": True}),
            (orders.open_case, {"case_id": "7"}),
            (orders.close_case, {"case_id": "7", "came_to": "refunded", "refund_id": "r-1"}),
        ):
            await verb(conn, await orders.find(conn, order_id=order_id), **facts)
        await orders.cancel(conn, await orders.find(conn, order_id=other_id), reason="member")
        bad = orders.NewOrder(str(uuid4()), 1, 1, 9, "k", 1, 1, 1, 2, 5_000, "CNY", 60)
        await orders.reject(conn, bad, reason="poison: DamagedRecord")
        placed = await orders.find_all(conn, order_ids=[order_id, bad.id])
        now = await tail.horizon(conn)
        stretch = tail.Stretch(tail.FIRST, now.xact + 1, now.at - tail.TRANSACTION_MAX)
        happened = await orders.happened(conn, stretch, page_max=100)
    messages = [*map(read_sources.of_order, placed), *map(read_sources.of_event, happened)]
    hold_against_the_document(messages)
    kinds = {message.kind for message in messages}
    assert kinds == {kind for kind in webhooks.EventKind if kind.startswith(("order.", "case."))}
    odd = json.loads(messages[0].body)
    with pytest.raises(ValidationError):
        fit(odd | {"data": odd["data"] | {"amount": "5000"}}, {})


def hold_against_the_document(messages):
    for message in messages:
        signed = webhooks.headers(message.id, message.body, [b"s" * 32], now_s=1)
        headers = {name.decode(): text.decode() for name, text in signed}
        fit(json.loads(message.body), headers)


def test_the_document_is_what_asyncapi_says_a_document_is():
    """Its models, every reference, and each kind once; then the check is shown what is wrong."""
    AsyncAPI.model_validate(DOCUMENT)
    assert dangling(DOCUMENT) == []
    named = [one["name"] for one in DOCUMENT["components"]["messages"].values()]
    assert sorted(named) == sorted(webhooks.EventKind)
    (channel,) = DOCUMENT["channels"].values()
    told = [one["$ref"].rpartition("/")[2] for one in DOCUMENT["operations"]["tell"]["messages"]]
    assert sorted(told) == sorted(channel["messages"])
    broken = DOCUMENT | {"operations": {"tell": {"action": "shout", "channel": {"$ref": "#/x"}}}}
    assert dangling(broken) == ["#/x"]
    with pytest.raises(ValueError, match="validation error"):
        AsyncAPI.model_validate(broken)


def dangling(document):
    """References that lead nowhere."""
    found, waiting = [], [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
            if isinstance(one.get("$ref"), str):
                found.append(one["$ref"])
        elif isinstance(one, list):
            waiting += one
    return [where for where in found if not leads(document, where)]


def leads(document, where):
    for part in where.removeprefix("#/").split("/"):
        if part not in document:
            return False
        document = document[part]
    return True


async def test_what_commits_late_is_told_and_nothing_is_told_twice(pool, herald, subscribe):
    """One transaction stays open while others, which began later, commit; then it commits."""
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", PAID)
    late = await asyncpg.connect(pool._connect_args[0])
    await db.speak_json(late)
    open_one = late.transaction()
    await open_one.start()
    order_id = await place(late)
    await pay(late, order_id)
    others = [await paid(pool) for _ in range(3)]
    await herald.step()
    assert await sent(pool, subscription_id) == []
    await open_one.commit()
    await late.close()
    for _ in range(2):
        await herald.step()
    told = [delivery.message_id for delivery in await sent(pool, subscription_id)]
    assert sorted(told) == sorted([*others, f"order_{order_id}_1"])


async def test_whatever_the_commits_interleave_each_event_is_told_once(
    pool, herald, subscribe, database_url
):
    """Writers that hold their transactions open for as long as chance will, some of which fail."""
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", PAID)
    draw = random.Random(7)
    written, writing = [], 4

    async def write(conn):
        nonlocal writing
        for _ in range(25):
            transaction = conn.transaction()
            await transaction.start()
            order_id = await place(conn)
            await pay(conn, order_id)
            await asyncio.sleep(draw.random() * 0.02)
            if draw.random() < 0.2:
                await transaction.rollback()
            else:
                await transaction.commit()
                written.append(f"order_{order_id}_1")
        writing -= 1

    async def tell():
        while writing:
            await herald.step()
            await asyncio.sleep(0.003)
        await herald.step()

    async with db.create_pool(database_url, size_max=4) as writers, asyncio.timeout(PATIENCE_S):
        connections = [await writers.acquire() for _ in range(4)]
        await asyncio.gather(tell(), *map(write, connections))
        for conn in connections:
            await writers.release(conn)
    told = [delivery.message_id for delivery in await sent(pool, subscription_id)]
    assert sorted(told) == sorted(written)
    assert len(written) > 50


async def test_a_page_ends_between_transactions(pool, herald, subscribe, monkeypatch):
    monkeypatch.setattr(tell_events, "PAGE_MAX", 3)
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", PAID)
    expected = []
    for size in (1, 5, 2, 7, 1):
        async with db.transaction(pool) as conn:
            for _ in range(size):
                order_id = await place(conn)
                await pay(conn, order_id)
                expected.append(f"order_{order_id}_1")
    while await herald.step():
        pass
    told = [delivery.message_id for delivery in await sent(pool, subscription_id)]
    assert sorted(told) == sorted(expected)


async def test_after_a_restore_from_a_dump_nothing_new_is_missed_and_nothing_old_told(
    pool, herald, subscribe
):
    """A restored database numbers its transactions anew, below those that its rows bear."""
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", PAID)
    before = await paid(pool)
    await herald.step()
    await pool.execute("ALTER TABLE orders.events DISABLE TRIGGER events_are_only_ever_added")
    await pool.execute("UPDATE orders.events SET xact = '1000000'")
    await pool.execute("UPDATE webhooks.cursors SET reached = '1000001'")
    old = await paid(pool)
    await pool.execute(
        "UPDATE orders.events SET happened_at = '2001-01-01' WHERE order_id = $1", UUID(old[6:42])
    )
    since = await paid(pool)
    for _ in range(2):
        await herald.step()
    told = [delivery.message_id for delivery in await sent(pool, subscription_id)]
    assert told == [before, since]
    mark = await pool.fetchval("SELECT reached FROM webhooks.cursors WHERE source = 'order_events'")
    assert tail.FIRST < mark < 1_000_000


async def test_orders_of_a_sale_are_told_as_they_were_placed(
    pool, receiver, herald, courier, subscribe, sale, buy, writer
):
    first = await buy(sale, 6)
    await drain(writer)
    _, secret = await subscribe(receiver.url, PLACED)
    accepted = [await buy(sale, member, quantity=2) for member in (7, 8, 9)]
    for _ in range(2):
        await drain(writer)
        await herald.step()
        accepted.append(await buy(sale, 10 + len(accepted)))
    await drain(writer)
    await herald.step()
    await until(courier, lambda: len(receiver.got) == 5)
    told = [one["data"] for one in receiver.verified(secret)]
    assert {one["order_id"] for one in told} == {one.order_id for one in accepted}
    assert first.order_id not in {one["order_id"] for one in told}
    (one,) = [one for one in told if one["order_id"] == accepted[0].order_id]
    assert (one["member_id"], one["amount"], one["currency"]) == ("7", 10_000, "CNY")
    (line,) = one["lines"]
    assert (line["quantity"], line["price"]) == (2, 5_000)
    assert one["sale_id"] == str(sale.id)


def purchase(key):
    """An ordinary order of two lines."""
    order_id = str(uuid4())
    lines = (
        orders.Line(order_id, 1, 11, 2, 5_000, 1_000, 540, 0, 1, 0),
        orders.Line(order_id, 2, 12, 1, 700, 0, 0, 42, 7, 500),
    )
    agreement = orders.Agreement({"country": "CN"}, [])
    asked = b"a" * 32
    return orders.Purchase(order_id, 7, key, asked, lines, 800, 48, 0, "CNY", 60, agreement)


async def test_ordinary_orders_are_told_too_however_late_they_commit(
    pool, receiver, herald, courier, subscribe, database_url
):
    _, secret = await subscribe(receiver.url, PLACED)
    bought = [purchase(f"k{n}") for n in range(3)]
    late = await asyncpg.connect(database_url)
    await db.speak_json(late)
    open_one = late.transaction()
    await open_one.start()
    await orders.place(late, bought[:1])
    async with db.transaction(pool) as conn:
        await orders.place(conn, bought[1:])
    await herald.step()
    await open_one.commit()
    await late.close()
    for _ in range(2):
        await herald.step()
    await until(courier, lambda: len(receiver.got) == 3)
    told = {one["data"]["order_id"]: one["data"] for one in receiver.verified(secret)}
    assert set(told) == {one.id for one in bought}
    one = told[bought[0].id]
    assert (one["sale_id"], one["shipping"], one["shipping_tax"]) == (None, 800, 48)
    assert one["amount"] == sum(
        line["quantity"] * line["price"] - line["discount"] + line["tax"] for line in one["lines"]
    ) + (800 + 48)
    assert [line["seller_id"] for line in one["lines"]] == ["1", "7"]


async def test_a_sale_that_comes_and_goes_between_two_looks_is_told_whole(
    pool, herald, subscribe, sale, buy, writer, monkeypatch
):
    monkeypatch.setattr(tell_events, "PAGE_MAX", 2)
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", PLACED)
    accepted = [await buy(sale, member) for member in range(7, 14)]
    await drain(writer)
    while await herald.step():
        pass
    told = [delivery.message_id for delivery in await sent(pool, subscription_id)]
    assert sorted(told) == sorted(f"order_{one.order_id}_0" for one in accepted)


async def test_while_nobody_wants_to_know_nothing_is_written(
    pool, herald, courier, subscribe, receiver
):
    before = await pool.fetch("SELECT * FROM webhooks.cursors ORDER BY source")
    await paid(pool)
    await herald.step()
    await courier.step()
    assert await pool.fetch("SELECT * FROM webhooks.cursors ORDER BY source") == before
    assert await pool.fetchval("SELECT count(*) FROM webhooks.messages") == 0
    subscription_id, _ = await subscribe(receiver.url, CANCELLED)
    await paid(pool)
    await herald.step()
    assert await pool.fetchval("SELECT count(*) FROM webhooks.messages") == 0
    await do(pool, webhooks.disable, subscription_id=subscription_id, reason=webhooks.Reason.STAFF)
    await subscribe(receiver.url, PAID)
    event_id = await paid(pool)
    await herald.step()
    await until(courier, lambda: receiver.got)
    assert receiver.ids == [event_id]


async def test_what_is_rehearsed_is_not_told(pool, herald, subscribe, plan):
    await pool.execute("UPDATE sales.sales SET shadow = true WHERE id = $1", (await plan()).id)
    (shadow,) = [row["id"] for row in await pool.fetch("SELECT id FROM sales.sales")]
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", PAID)
    await paid(pool, sale_id=shadow)
    real = await paid(pool, sale_id=shadow + 1)
    await herald.step()
    assert [one.message_id for one in await sent(pool, subscription_id)] == [real]


async def test_a_slow_endpoint_keeps_nobody_waiting_but_itself(
    pool, receiver, herald, courier, subscribe
):
    async def never(writer):
        await asyncio.sleep(60)

    async with receiving() as slow:
        slow.answer = never
        await subscribe(slow.url, PAID)
        await subscribe(receiver.url, PAID)
        for _ in range(12):
            await paid(pool)
        await herald.step()
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(PATIENCE_S):
            while len(receiver.got) < 12:
                await courier.step()
                await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began < 10
        assert slow.at_once_most == webhooks.HANDS_MAX
        assert receiver.at_once_most <= webhooks.HANDS_MAX


async def test_an_endpoint_that_fails_rests_and_one_message_finds_out_when_it_is_well(
    pool, receiver, herald, courier, subscribe
):
    subscription_id, _ = await subscribe(receiver.url, PAID)
    receiver.answer = status(503)
    for _ in range(12):
        await paid(pool)
    await herald.step()
    await until(courier, lambda: len(receiver.got) >= 5)
    asked = len(receiver.got)
    assert asked <= 5 + webhooks.HANDS_MAX
    await courier.step()
    assert len(receiver.got) == asked
    found = await find(pool, subscription_id)
    assert found.failures == asked
    assert 20 < (found.rests_until - datetime.now(UTC)).total_seconds() < 900

    await pool.execute("UPDATE webhooks.subscriptions SET rests_until = now()")
    await until(courier, lambda: len(receiver.got) > asked)
    assert len(receiver.got) == asked + 1
    assert (await find(pool, subscription_id)).failures == asked + 1

    receiver.answer = OK
    await pool.execute("UPDATE webhooks.subscriptions SET rests_until = now()")
    await pool.execute("UPDATE webhooks.deliveries SET due_at = now()")
    await until(courier, lambda: len(set(receiver.ids[asked + 1 :])) == 12)
    found = await find(pool, subscription_id)
    assert (found.failures, found.failing_since, found.rests_until) == (0, None, None)
    assert {one.state for one in await sent(pool, subscription_id)} == {"delivered"}


async def test_a_message_is_given_up_after_ten_tries_and_replayed_by_hand(
    pool, receiver, herald, courier, subscribe
):
    subscription_id, secret = await subscribe(receiver.url, PAID)
    receiver.answer = status(500)
    await paid(pool)
    await herald.step()
    for tries in range(1, webhooks.TRIES_MAX + 1):
        await pool.execute("UPDATE webhooks.deliveries SET due_at = now()")
        await pool.execute("UPDATE webhooks.subscriptions SET rests_until = NULL")
        await until(courier, lambda tries=tries: len(receiver.got) == tries)
    (delivery,) = await sent(pool, subscription_id)
    assert (delivery.state, delivery.attempts) == ("given_up", 10)
    figures = await do(pool, webhooks.figures)
    assert (figures.pending, figures.given_up, figures.failing) == (0, 1, 1)

    receiver.answer = OK
    await pool.execute("UPDATE webhooks.subscriptions SET rests_until = NULL")
    where = {"subscription_id": subscription_id, "delivery_id": delivery.id}
    await do(pool, webhooks.replay, **where)
    await until(courier, lambda: len(receiver.got) == 11)
    (delivery,) = await sent(pool, subscription_id)
    assert (delivery.state, delivery.attempts) == ("delivered", 11)
    assert len({got.body for got in receiver.got}) == 1
    receiver.verified(secret)


@pytest.mark.parametrize("case", ["gone", "failing"])
async def test_who_is_gone_or_fails_for_days_is_disabled(
    pool, receiver, herald, courier, subscribe, case
):
    subscription_id, _ = await subscribe(receiver.url, PAID)
    receiver.answer = status(410 if case == "gone" else 500)
    if case == "failing":
        await pool.execute(
            "UPDATE webhooks.subscriptions SET failures = 1, failing_since = now() - interval '5 d'"
        )
    await paid(pool)
    await herald.step()
    await until(courier, lambda: receiver.got)
    found = await find(pool, subscription_id)
    assert (found.state, found.reason) == ("disabled", case)
    await paid(pool)
    await herald.step()
    assert len(await sent(pool, subscription_id)) == 1
    figures = await do(pool, webhooks.figures)
    assert figures.disabled == 1


async def test_what_happens_in_a_pause_waits_and_what_was_missed_is_replayed(
    pool, receiver, herald, courier, subscribe
):
    async with receiving() as other:
        await subscribe(other.url, PAID, CANCELLED)
        subscription_id, _ = await subscribe(receiver.url, PAID)
        began = await pool.fetchval("SELECT now()")
        where = {"subscription_id": subscription_id}
        await do(pool, webhooks.pause, **where)
        waiting = await paid(pool)
        await herald.step()
        await until(courier, lambda: other.got)
        assert receiver.got == []
        await do(pool, webhooks.resume, **where)
        await until(courier, lambda: receiver.got)
        await do(pool, webhooks.disable, **where, reason=webhooks.Reason.STAFF)
        missed = await paid(pool)
        await herald.step()
        await do(pool, webhooks.resume, **where)
        await until(courier, lambda: len(other.got) == 2)
        assert receiver.ids == [waiting]
        again = {"since": began, "missing_only": True}
        assert await do(pool, webhooks.replay_since, **where, **again) == 1
        await until(courier, lambda: len(receiver.got) == 2)
        assert receiver.ids == [waiting, missed]
        again["missing_only"] = False
        assert await do(pool, webhooks.replay_since, **where, **again) == 2
        await until(courier, lambda: len(receiver.got) == 4)
        assert sorted(receiver.ids[2:]) == sorted([waiting, missed])
        again["since"] = datetime.now(UTC) + timedelta(hours=1)
        assert await do(pool, webhooks.replay_since, **where, **again) == 0


async def test_what_waits_for_hours_goes_at_once_when_it_is_replayed(
    pool, receiver, herald, courier, subscribe
):
    subscription_id, _ = await subscribe(receiver.url, PAID)
    await paid(pool)
    await herald.step()
    await pool.execute("UPDATE webhooks.deliveries SET due_at = now() + interval '5 h'")
    await courier.step()
    assert receiver.got == []
    await do(
        pool,
        webhooks.replay_since,
        subscription_id=subscription_id,
        since=datetime.now(UTC) - timedelta(hours=1),
        missing_only=True,
    )
    await until(courier, lambda: receiver.got)


async def test_old_messages_are_forgotten_with_all_their_attempts(
    pool, receiver, herald, courier, subscribe
):
    await subscribe(receiver.url, PAID)
    await paid(pool)
    await herald.step()
    await until(courier, lambda: receiver.got)
    await pool.execute("ALTER TABLE webhooks.messages DISABLE TRIGGER USER")
    await pool.execute("UPDATE webhooks.messages SET told_at = now() - interval '31 days'")
    event_id = await paid(pool)
    await herald.step()
    courier._tidy_at = 0.0
    await courier.step()
    rows = await pool.fetch("SELECT message_id FROM webhooks.deliveries")
    assert [row["message_id"] for row in rows] == [event_id]


async def test_for_whom_too_much_waits_is_disabled(pool, herald, courier, subscribe, monkeypatch):
    monkeypatch.setattr("core.webhooks.service.PENDING_MAX", 2)
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", PAID)
    await do(pool, webhooks.pause, subscription_id=subscription_id)
    for more in range(3):
        await paid(pool)
        await herald.step()
        courier._tidy_at = 0.0
        await courier.step()
        found = await find(pool, subscription_id)
        assert found.state == ("disabled" if more == 2 else "paused")
    assert found.reason == "overrun"


@pytest.mark.parametrize("state", ["active", "paused", "disabled"])
async def test_what_is_removed_is_told_nothing_more_and_leaves_nothing_behind(
    pool, receiver, herald, courier, subscribe, state
):
    gone, _ = await subscribe(receiver.url, PAID)
    kept, _ = await subscribe(receiver.url + "/kept", PAID)
    await paid(pool)
    await herald.step()
    async with db.transaction(pool) as conn:
        if state == "paused":
            await webhooks.pause(conn, subscription_id=gone)
        if state == "disabled":
            reason = webhooks.Reason.STAFF
            await webhooks.disable(conn, subscription_id=gone, reason=reason)
    async with db.transaction(pool) as conn:
        await webhooks.remove(conn, subscription_id=gone)
    await paid(pool)
    await herald.step()
    courier._tidy_at = float("inf")
    await until(courier, lambda: len(receiver.got) == 2)
    assert {got.path for got in receiver.got} == {"/hook/kept"}
    async with db.transaction(pool) as conn:
        for verb in (webhooks.find, webhooks.pause, webhooks.resume, webhooks.remove):
            with pytest.raises(webhooks.NoSuchSubscription):
                await verb(conn, subscription_id=gone)
        shown = await webhooks.listing(conn, before=None, page_max=10)
        assert [one.id for one in shown] == [kept]
        for left in (1, 0):
            assert await webhooks.purge(conn, batch_max=10) == left
        for table in ("subscriptions WHERE id", "deliveries WHERE subscription_id"):
            query = f"SELECT count(*) FROM webhooks.{table} = $1"
            assert await conn.fetchval(query, gone) == 0
            assert await conn.fetchval(query, kept) > 0


async def test_what_is_on_its_way_when_its_subscription_is_removed_troubles_nobody(
    pool, receiver, herald, courier, subscribe
):
    gone, _ = await subscribe(receiver.url, PAID)
    await paid(pool)
    await herald.step()
    asked = asyncio.Event()

    async def answer(writer):
        asked.set()
        await finished.wait()
        writer.write(status(500))
        await writer.drain()

    finished = asyncio.Event()
    receiver.answer = answer
    courier._tidy_at = float("inf")
    await courier.step()
    async with asyncio.timeout(PATIENCE_S):
        await asked.wait()
    async with db.transaction(pool) as conn:
        await webhooks.remove(conn, subscription_id=gone)
        while await webhooks.purge(conn, batch_max=10):
            pass
    finished.set()
    (task,) = list(courier._sent)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(task)


@pytest.mark.parametrize("kind", ["order.paid", "stock.moved"])
async def test_how_far_the_herald_is_behind_shows_until_all_is_told(
    pool, herald, subscribe, sku_ids, kind
):
    async def behind():
        async with db.reading(pool) as conn:
            return await behind_s(conn)

    async def happen():
        if kind == "order.paid":
            await paid(pool)
            return
        async with db.transaction(pool) as conn:
            await receive(conn, sku_ids[0], 1, str(uuid4()))

    await happen()
    assert await behind() == 0, "nobody wants to know"
    await subscribe("https://shop.example/", kind)
    for _ in range(5):
        await herald.step()
    assert await behind() == 0
    await happen()
    first = await behind()
    assert 0 < first < PATIENCE_S
    await asyncio.sleep(0.05)
    assert await behind() > first + 0.04
    for _ in range(5):
        await herald.step()
    assert await behind() == 0


async def test_there_are_no_more_subscriptions_than_there_may_be(pool, subscribe):
    made = [
        (await subscribe("https://shop.example/", PAID))[0]
        for _ in range(webhooks.SUBSCRIPTIONS_MAX)
    ]
    with pytest.raises(webhooks.TooManySubscriptions):
        await subscribe("https://shop.example/", PAID)
    gone = {"subscription_id": made[0]}
    await do(pool, webhooks.disable, **gone, reason=webhooks.Reason.STAFF)
    await subscribe("https://shop.example/", PAID)
    with pytest.raises(webhooks.TooManySubscriptions):
        await do(pool, webhooks.resume, **gone)


def test_pauses_grow_as_the_standard_says_and_end():
    failed = webhooks.Answer(500)
    whole = [pause_s(failed, tries, 0.5) for tries in range(1, webhooks.TRIES_MAX)]
    assert whole == list(webhooks.PAUSES_S)
    assert pause_s(failed, webhooks.TRIES_MAX, 0.5) is None
    for tries, usual in enumerate(webhooks.PAUSES_S, 1):
        assert pause_s(failed, tries, 0.0) == pytest.approx(usual * 0.8)
        assert pause_s(failed, tries, 1.0) == pytest.approx(usual * 1.2)
    assert sum(webhooks.PAUSES_S) == 75 * 3_600 + 35 * 60 + 5
    assert pause_s(webhooks.Answer(503, retry_after_s=60), 1, 0.5) == 60


def test_an_endpoint_rests_longer_and_longer_and_as_long_as_it_asks():
    rests = [rest_s(webhooks.Answer(500), failures) for failures in range(1, 14)]
    assert rests[:4] == [None] * 4
    assert rests[4:] == sorted(rests[4:])
    assert (rests[4], rests[-1]) == (30, 900)
    assert rest_s(webhooks.Answer(429, retry_after_s=120), 1) == 120
    assert rest_s(webhooks.Answer(404, retry_after_s=120), 1) is None


MONEY = """
    INSERT INTO payments.payments (id, first_order_id, order_id, member_id, channel, amount_minor,
                                   currency, state, reason, captured_minor, captured_currency,
                                   refunded_minor)
    VALUES ($1, $2, $2, 7, 'sandbox', 5000, 'CNY', $3, 'test', 5000, 'CNY', $4)
"""
REFUND = """
    INSERT INTO payments.refunds (id, payment_id, order_id, amount_minor, reason, state, paid_at)
    VALUES ($1, $2, $3, 2000, 'staff', 'paid', now())
"""


async def test_money_that_comes_and_goes_back_is_told(pool, receiver, herald, courier, subscribe):
    kinds = ["payment.captured", "payment.refunded"]
    _, secret = await subscribe(receiver.url, *kinds)
    kept, odd, order_id, refund_id = (str(uuid4()) for _ in range(4))
    where = {"channel": "sandbox", "currency": "CNY"}
    async with db.transaction(pool) as conn:
        await conn.execute(MONEY, kept, order_id, "captured", 2_000)
        await conn.execute(MONEY, odd, order_id, "refunded", 0)
        await conn.execute(REFUND, refund_id, kept, order_id)
        part = ledger.goods(1, seller_id=1, amount_minor=5_000, commission_bps=0)
        paid = {"payment_id": kept, "order_id": order_id}
        await ledger.capture_for_order(conn, [part], **paid, **where)
        await ledger.refund(conn, reference=refund_id, order_id=order_id, lines={1: 2_000})
        back = {"reference": refund_id, "order_id": order_id, "amount_minor": 2_000}
        await ledger.refund_paid(conn, **back)
        wrong = {"payment_id": odd, "amount_minor": 5_000}
        for verb in (ledger.capture, ledger.send_back, ledger.sent_back):
            await verb(conn, **wrong, **where)
    await herald.step()
    await until(courier, lambda: len(receiver.got) == 4)
    told = [one["data"] | {"type": one["type"]} for one in receiver.verified(secret)]
    facts = {"channel": "sandbox", "currency": "CNY"}
    whole, part = facts | {"amount": 5_000}, facts | {"amount": 2_000}
    expected = [
        whole | {"type": kinds[0], "payment_id": kept, "order_id": order_id},
        part | {"type": kinds[1], "payment_id": kept, "order_id": order_id, "refund_id": refund_id},
        whole | {"type": kinds[0], "payment_id": odd, "order_id": None},
        whole | {"type": kinds[1], "payment_id": odd, "order_id": order_id, "refund_id": None},
    ]
    order = operator.itemgetter("type", "payment_id")
    assert sorted(told, key=order) == sorted(expected, key=order)


async def test_what_is_charged_back_and_contested_is_told(
    pool, receiver, herald, courier, subscribe
):
    kinds = ["payment.charged_back", "payment.disputed"]
    _, secret = await subscribe(receiver.url, *kinds)
    kept, order_id = str(uuid4()), str(uuid4())
    where = {"channel": "sandbox", "currency": "CNY"}
    what = ("inquiry", "unauthorised", 5_000, "CNY", True, None)
    async with db.transaction(pool) as conn:
        await conn.execute(MONEY, kept, order_id, "captured", 0)
        part = ledger.goods(1, seller_id=1, amount_minor=5_000, commission_bps=0)
        paid = {"payment_id": kept, "order_id": order_id}
        await ledger.capture_for_order(conn, [part], **paid, **where)
    for state in (disputes.State.OPEN, disputes.State.OPEN, disputes.State.LOST):
        told_at = datetime.now(UTC)
        told = disputes.Told("sandbox", "PP.1", kept, state, *what, told_at)
        async with db.transaction(pool) as conn:
            dispute = await disputes.note(conn, told, order_id=order_id)
    # What was said before that, and comes after it.
    stale = disputes.Told(
        "sandbox", "PP.1", kept, disputes.State.OPEN, *what, told_at - timedelta(seconds=1)
    )
    async with db.transaction(pool) as conn:
        assert (await disputes.note(conn, stale, order_id=order_id)).state == "lost"
    event = payments.Event("sandbox", "B.1:x", "payment.charged_back", kept, "c", 5_030, "CNY")
    await settle_payment(pool, event)
    async with db.transaction(pool) as conn:
        lost = {"reference": "by-hand", "order_id": order_id, "lines": {}, "lost_minor": 7}
        await ledger.charge_back(conn, **lost)
    await herald.step()
    await until(courier, lambda: len(receiver.got) == 4)
    facts = where | {"order_id": order_id}
    claimed = facts | {"payment_id": kept, "dispute_id": str(dispute.id), "reason": "unauthorised"}
    back = facts | {"type": kinds[0]}
    expected = [
        back | {"chargeback_id": "B.1:x", "payment_id": kept, "amount": 5_030, "lost": 30},
        back | {"chargeback_id": "by-hand", "payment_id": None, "amount": 7, "lost": 7},
        claimed | {"type": kinds[1], "state": "open", "amount": 5_000},
        claimed | {"type": kinds[1], "state": "lost", "amount": 5_000},
    ]
    found = [one["data"] | {"type": one["type"]} for one in receiver.verified(secret)]
    assert sorted(map(repr, map(sorted, map(dict.items, found)))) == sorted(
        map(repr, map(sorted, map(dict.items, expected)))
    )
    assert len(set(receiver.ids)) == 4


async def receive(conn, sku_id, units, reference):
    facts = {"reference": reference, "by": "test", "place_id": inventory.MAIN}
    await inventory.receive(conn, units={sku_id: units}, **facts)


async def test_stock_that_moves_and_stock_that_runs_low_are_told(
    pool, receiver, herald, courier, subscribe, sku_ids
):
    _, secret = await subscribe(receiver.url, "stock.moved", "stock.low")
    async with db.transaction(pool) as conn:
        await receive(conn, sku_ids[0], 5, "more")
        facts = {"reference": "wet", "by": "test", "place_id": inventory.MAIN}
        await inventory.damage(conn, units={sku_ids[0]: 960}, **facts)
    for _ in range(4):
        await herald.step()
    await until(courier, lambda: len(receiver.got) == 3)
    told = {one["type"]: [] for one in receiver.verified(secret)}
    for one in receiver.verified(secret):
        told[one["type"]].append(one["data"])
    moved = [(one["kind"], one["quantity"], one["reference"]) for one in told["stock.moved"]]
    assert sorted(moved) == [("damage", 960, "wet"), ("receive", 5, "more")]
    (low,) = told["stock.low"]
    assert (low["sku_id"], low["free"], low["safety_stock"]) == (str(sku_ids[0]), 45, 50)


async def test_a_movement_that_commits_late_is_told(pool, herald, subscribe, sku_ids, database_url):
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", "stock.moved")
    late = await asyncpg.connect(database_url)
    open_one = late.transaction()
    await open_one.start()
    await receive(late, sku_ids[0], 1, "late")
    for n in range(3):
        async with db.transaction(pool) as conn:
            await receive(conn, sku_ids[1], 1, f"early {n}")
        await herald.step()
    assert await sent(pool, subscription_id) == []
    await open_one.commit()
    await late.close()
    for _ in range(3):
        await herald.step()
    told = [delivery.message_id for delivery in await sent(pool, subscription_id)]
    rows = await pool.fetch("SELECT id FROM inventory.movements WHERE reference ~ 'late|early'")
    assert sorted(told) == sorted(f"movement_{row['id']}" for row in rows)
    assert len(told) == 4


async def test_a_movement_with_a_lower_number_and_a_later_transaction_is_told(
    pool, herald, subscribe, sku_ids, database_url
):
    """One begins first and moves last, and commits; the other is still open then."""
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", "stock.moved")
    first, second = [await asyncpg.connect(database_url) for _ in range(2)]
    transactions = [conn.transaction() for conn in (first, second)]
    for transaction in transactions:
        await transaction.start()
    await first.fetchval("SELECT pg_current_xact_id()")
    await receive(second, sku_ids[1], 1, "lower")
    await receive(first, sku_ids[0], 1, "higher")
    await transactions[0].commit()
    for _ in range(3):
        await herald.step()
    await transactions[1].commit()
    for conn in (first, second):
        await conn.close()
    for _ in range(3):
        await herald.step()
    assert len(await sent(pool, subscription_id)) == 2


async def test_whatever_the_movements_interleave_each_is_told_once(
    pool, herald, subscribe, sku_ids, database_url, monkeypatch
):
    monkeypatch.setattr(tell_events, "PAGE_MAX", 4)
    subscription_id, _ = await subscribe("http://127.0.0.1:1/", "stock.moved")
    draw, writing = random.Random(11), 3

    async def write(conn, sku_id):
        nonlocal writing
        for n in range(20):
            transaction = conn.transaction()
            await transaction.start()
            for line in range(draw.randint(1, 3)):
                await receive(conn, sku_id, 1, f"walk {sku_id} {n} {line}")
                await asyncio.sleep(draw.random() * 0.01)
            await (transaction.rollback() if draw.random() < 0.2 else transaction.commit())
        writing -= 1

    async def tell():
        while writing:
            await herald.step()
            await asyncio.sleep(0.003)

    async with db.create_pool(database_url, size_max=3) as writers, asyncio.timeout(PATIENCE_S):
        connections = [await writers.acquire() for _ in range(3)]
        await asyncio.gather(tell(), *map(write, connections, sku_ids))
        for conn in connections:
            await writers.release(conn)
    for _ in range(60):
        await herald.step()
    told = [delivery.message_id for delivery in await sent(pool, subscription_id)]
    rows = await pool.fetch("SELECT id FROM inventory.movements WHERE reference ~ 'walk'")
    assert sorted(told) == sorted(f"movement_{row['id']}" for row in rows)
    assert len(told) > 40


async def test_a_sale_that_opens_sells_out_and_closes_is_told(
    pool, redis, receiver, herald, courier, subscribe, plan, buy, writer
):
    kinds = ["sale.opened", "sale.paused", "sale.closed", "sale.sold_out"]
    _, secret = await subscribe(receiver.url, *kinds)
    conductor = Conductor(pool, redis)
    sale = await arm_sale(pool, redis, sale_id=(await plan(quota=3, limit=2)).id)
    await conductor.step()
    await pause_sale(pool, redis, sale_id=sale.id)
    await resume_sale(pool, redis, sale_id=sale.id)
    await conductor.step()
    for member in (7, 8, 9):
        await conductor.step()
        await herald.step()
        assert "sale.sold_out" not in str([got.body for got in receiver.got])
        await buy(sale, member)
    await drain(writer)
    for _ in range(3):
        await conductor.step()
    await close_sale(pool, redis, sale_id=sale.id)
    await conductor.step()
    await herald.step()
    await until(courier, lambda: len(receiver.got) >= 5)
    told = [one["type"] for one in receiver.verified(secret)]
    expected = ["sale.closed", "sale.opened", "sale.opened", "sale.paused", "sale.sold_out"]
    assert sorted(told) == expected
    assert {one["data"]["sale_id"] for one in receiver.verified(secret)} == {str(sale.id)}
