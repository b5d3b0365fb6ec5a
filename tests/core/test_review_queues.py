"""One that is broken, or slow, keeps nobody else waiting: each queue goes on past it."""

import asyncio
from uuid import uuid4

import pytest

from core import orders, payments, webhooks
from core.flows import relist, tell_events
from core.flows.expire_holds import expire_holds
from core.flows.reconcile_payments import reconcile_payments
from core.jobs import cast
from core.jobs.courier import Courier
from core.jobs.herald import Herald
from core.jobs.reconciler import Reconciler
from core.jobs.role import perform
from core.kit import db, outbox
from hotpath.signing import Signer
from tests.core.keeper import Keeper
from tests.core.receivers import receiving

LINES = [(0, 1, 1_000, 0, 0, 1, 0)]
STATE = "SELECT state FROM payments.payments WHERE id = $1"
MARKED = "SELECT attempts, error FROM kit.outbox WHERE topic = $1"


class Odd:
    """A provider that trips over one payment, never answers a refund, and knows all others."""

    def __init__(self):
        self.broken = None
        self.asked = asyncio.Event()

    async def look(self, payment):
        if payment.id == self.broken:
            raise RuntimeError("nobody thought of this")
        return payments.Event(
            *("sandbox", f"look:{payment.id}", payments.EventKind.CAPTURED, payment.id, "ref"),
            *(payment.amount_minor, payment.currency),
        )

    async def is_refunded(self, payment, *, refund_id):
        self.asked.set()
        await asyncio.sleep(60)


@pytest.fixture
async def keeper(pool, keyring):
    return await Keeper(pool, keyring).open(100)


async def test_a_paid_order_that_nobody_can_plan_keeps_no_other_from_going_out(keeper, pool):
    async with db.transaction(pool) as conn:
        await outbox.add(conn, orders.PAID_TOPIC, [{"order_id": "nonsense"}])
    order_id = await keeper.place(7, LINES)
    await keeper.pay(order_id)
    await keeper.dispatch()
    assert [one.consignment.state for one in await keeper.parcels(order_id)] == ["allocated"]
    ((attempts, error),) = await pool.fetch(MARKED, orders.PAID_TOPIC)
    assert attempts == 1
    assert "nonsense" in error


async def test_an_order_that_cannot_end_is_named_and_keeps_no_other_from_expiring(
    keeper, pool, capsys
):
    first, *others = [await keeper.place(member, LINES) for member in (7, 8, 9)]
    # As it may be after a repair by hand: stock keeps nothing for it any more.
    await pool.execute(
        "UPDATE inventory.reservations SET reserved = 0 WHERE kept_for = $1", f"order:{first}"
    )
    await pool.execute("UPDATE orders.orders SET expires_at = now() - interval '1 hour'")
    await expire_holds(pool, batch_max=10)
    assert [(await keeper.order(one)).shown for one in (first, *others)] == [
        "pending_payment",
        "cancelled",
        "cancelled",
    ]
    assert first in "".join(capsys.readouterr())


async def test_a_payment_that_breaks_its_check_is_named_and_all_others_are_found(
    keeper, pool, capsys
):
    odd = Odd()
    started = [await started_by(keeper, "sandbox") for _ in range(3)]
    odd.broken = started[0]
    channels = payments.Channels({"sandbox": odd})
    assert await reconcile_payments(pool, channels, batch_max=9) == 3
    async with db.snapshot(pool) as conn:
        found = [(await payments.find(conn, payment_id=one)).state for one in started]
    assert found == ["started", "captured", "captured"]
    assert started[0] in "".join(capsys.readouterr())


class Hung:
    """A provider that never answers."""

    async def look(self, payment):
        await asyncio.sleep(60)


async def test_a_provider_that_hangs_delays_the_checks_of_no_other(keeper, pool):
    started = [await started_by(keeper, "alipay") for _ in range(20)]
    started.append(await started_by(keeper, "sandbox"))
    reconciler = Reconciler(pool, payments.Channels({"alipay": Hung(), "sandbox": Odd()}))
    try:
        async with asyncio.timeout(20):
            for payment_id in (started[-1], await started_by(keeper, "sandbox")):
                while (await pool.fetchval(STATE, payment_id)) != "captured":
                    await reconciler.step()
    finally:
        await reconciler.end()
    assert {await pool.fetchval(STATE, one) for one in started[:20]} == {"started"}


async def started_by(keeper, channel):
    """A payment that is started and to be looked at now."""
    order_id = await keeper.place(7, LINES)
    async with db.transaction(keeper.pool) as conn:
        order = await orders.find(conn, order_id=order_id)
        payment = await payments.start(
            conn,
            payment_id=payments.PaymentId(str(uuid4())),
            order_id=order_id,
            member_id=7,
            channel=channel,
            amount_minor=order.amount_minor,
            currency=order.currency,
            expires_at=order.expires_at,
        )
        await payments.wake(conn, payment)
    return payment.id


async def test_a_provider_that_never_answers_a_refund_delays_nothing_but_refunds(
    keeper, pool, redis, keyring
):
    odd = Odd()
    order_id = await keeper.place(7, LINES)
    await keeper.pay(order_id)
    await keeper.cancel(order_id, 7)
    async with webhooks.Sender(webhooks.Reach()) as sender:
        channels = payments.Channels({"sandbox": odd})
        every = cast.roles(pool, redis, keyring, channels, sender, backlog_max=1)
        wanted = [role for role in every if role.name == "outbox_relay"]
        task = asyncio.create_task(perform(pool, wanted, holder="one"))
        try:
            async with asyncio.timeout(20):
                await odd.asked.wait()
            async with db.transaction(pool) as conn:
                await outbox.add(conn, relist.TOPIC, [{"nobody": "reads this"}])
            # It is taken, and fails, long before the provider would have answered.
            for _ in range(300):
                if (await pool.fetchrow(MARKED, relist.TOPIC))["error"]:
                    break
                await asyncio.sleep(0.02)
            else:
                raise AssertionError("it waits for the provider")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_secret_whose_key_is_gone_stops_no_other_subscription(keeper, pool):
    reach, old = webhooks.Reach(loopback=True), webhooks.Keys({1: Signer(b"o" * 32)})
    new = webhooks.Keys({2: Signer(b"n" * 32)})
    async with receiving() as receiver, webhooks.Sender(reach) as sender:
        ids = []
        async with db.transaction(pool) as conn:
            await tell_events.begin(conn, [webhooks.EventKind.ORDER_PAID])
            for keys in (old, new):
                facts = {"kinds": [webhooks.EventKind.ORDER_PAID], "salt": b"s" * 16}
                made, _ = await webhooks.subscribe(conn, reach, keys, url=receiver.url, **facts)
                ids.append(made.id)
        await keeper.pay(await keeper.place(7, LINES))
        await Herald(pool).step()
        courier = Courier(pool, sender, new)
        async with asyncio.timeout(20):
            while not receiver.got:
                await courier.step()
                await asyncio.sleep(0.01)
        await asyncio.gather(*courier._sent)
        assert len(receiver.got) == 1
    async with db.reading(pool) as conn:
        of = {"state": None, "before": None, "page_max": 9}
        (failed,) = await webhooks.deliveries(conn, subscription_id=ids[0], **of)
        _, _, (attempt,) = await webhooks.find_delivery(
            conn, subscription_id=ids[0], delivery_id=failed.id
        )
    assert (failed.state, attempt.status) == ("pending", None)
    assert "rotate the secret" in attempt.error
