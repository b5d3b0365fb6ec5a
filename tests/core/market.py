"""A keeper's shop that also has flash sales, and providers that are not always there."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from core import orders, payments, staff
from core.flows.cancel_order import cancel_for_staff
from core.flows.directory import Directory
from core.flows.place_order import place_order
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.reconcile_payments import reconcile_payments
from core.flows.run_sale import arm_sale, close_sale
from core.flows.settle_payment import settle_payment
from core.flows.start_payment import start_payment
from core.jobs.conductor import Conductor
from core.jobs.expirer import Expirer
from core.jobs.order_writer import OrderWriter
from core.kit import db, outbox
from hotpath.claims import Claim
from hotpath.gate import Gate
from hotpath.lookout import Lookout
from hotpath.receipts import Keyring
from hotpath.signing import Signer
from hotpath.wire import Wire
from tests.core.bank import Bank, Vault
from tests.core.keeper import Keeper
from tests.core.steps import drain

SALE_PRICE, QUOTA, LIMIT = 5_000, 8, 3
AUTHOR = staff.Author(
    staff.Sealer({1: Signer(b"n" * 32)}), "bea", staff.Permission.ORDERS_WRITE, "test", "r-1"
)
# Time passes only for what nobody holds: time itself waits for no lock.
LOOK_NOW = """
    UPDATE payments.payments SET look_at = now()
     WHERE id IN (SELECT id FROM payments.payments WHERE look_at > now() FOR UPDATE SKIP LOCKED)
"""
TOO_LATE = """
    UPDATE payments.payments SET expires_at = now()
     WHERE id IN (SELECT id FROM payments.payments
                   WHERE first_order_id = $1 AND state IN ('started', 'failed')
                     FOR UPDATE SKIP LOCKED)
"""
# Whatever anybody waits for is due now.
TIME_PASSES = """
    UPDATE orders.orders SET expires_at = now() WHERE state = 'open' AND payment = 'unpaid';
    UPDATE payments.payments SET look_at = now() WHERE look_at > now();
    UPDATE payments.payments SET expires_at = now()
     WHERE look_at IS NOT NULL AND state IN ('started', 'failed');
    UPDATE kit.outbox SET due_at = now()
"""
WAITING = """
    SELECT 'message' AS what, topic || ' ' || payload::text || ' ' || coalesce(error, '') AS which
      FROM kit.outbox
     UNION ALL
    SELECT 'payment', id || ' ' || state FROM payments.payments WHERE look_at IS NOT NULL
     UNION ALL
    SELECT 'sale', id || ' ' || state FROM sales.sales WHERE settled_at IS NULL
     UNION ALL
    SELECT 'order', id || ' ' || payment FROM orders.orders
     WHERE state = 'open' AND payment = 'unpaid'
"""


class Market(Keeper):
    """Its providers take the money at once, when they are asked for it, or when goods leave."""

    def __init__(self, pool, redis, redis_url, dice):
        self.dice = dice
        self.banks = {
            "sandbox": Bank("sandbox", dice, takes_when_asked=False),
            "paypal": Bank("paypal", dice, takes_when_asked=True),
            "vault": Vault("vault", dice, takes_when_asked=True),
        }
        super().__init__(pool, Keyring({1: b"k" * 32}), redis=redis, providers=self.banks)
        self.wire = Wire(redis_url)
        self.gate = Gate(self.wire, key_id=1, backlog_max=100_000)
        self.directory = Directory(pool, self.gate, Lookout(self.gate))
        self.writer = OrderWriter(pool, redis, self.keyring)
        self.expirer, self.conductor = Expirer(pool), Conductor(pool, redis)

    async def open(self, units):
        self.wire.start()
        await self.wire.connected()
        return await super().open(units)

    async def close(self):
        await self.wire.aclose()
        await self.redis.aclose()
        await self.pool.close()

    # A flash sale.

    async def open_sale(self):
        now = datetime.now(UTC)
        planned = await plan_sale(
            self.pool,
            name="test",
            starts_at=now - timedelta(seconds=1),
            ends_at=now + timedelta(hours=1),
            items=[PlannedItem(sku, QUOTA, SALE_PRICE, LIMIT) for sku in self.sku_ids],
        )
        self.sale = await arm_sale(self.pool, self.redis, sale_id=planned.id)
        await self.directory.refresh()

    async def claim(self, member, sku, quantity):
        claim = Claim(self.sale.id, member, uuid4().hex, self.sku_ids[sku], quantity)
        accepted = await place_order(
            self.pool, self.gate, self.directory, self.keyring, claim=claim
        )
        await drain(self.writer)
        return accepted.order_id

    async def close_sale(self):
        """Its units go back to stock from now on."""
        await close_sale(self.pool, self.redis, sale_id=self.sale.id)
        await drain(self.writer)
        await self.conductor.step()

    # Paying.

    async def start(self, order_id, member, channel):
        return await start_payment(
            self.pool,
            self.redis,
            self.channels,
            self.keyring,
            payment_id=payments.PaymentId(str(uuid4())),
            order_id=order_id,
            member_id=member,
            channel=channel,
        )

    async def click(self, order_id):
        """The buyer pays, on whichever page was opened for the order."""
        found = await self.pool.fetch(
            "SELECT id::text, channel FROM payments.payments WHERE first_order_id = $1", order_id
        )
        if found:
            payment_id, channel = self.dice.choice(found)
            off = self.dice.choice([0] * 18 + [-1, 1])
            self.banks[channel].click(payment_id, off=off)

    async def lapse(self, order_id):
        """What is held for an order is held too long."""
        for payment_id, bank in await self.payments(order_id):
            if isinstance(bank, Vault):
                bank.lapse(payment_id)

    async def charge_back(self, order_id, amount):
        """A buyer's bank takes so much back, or all of what came for an order."""
        for payment_id, bank in await self.payments(order_id):
            bank.charge_back(payment_id, amount)

    async def claimed(self, order_id):
        """How much banks took back of what came for an order."""
        found = [b.accounts.get(payment_id) for payment_id, b in await self.payments(order_id)]
        return sum(account.claimed for account in found if account)

    async def payments(self, order_id):
        """Each payment that counts for an order, with its provider."""
        rows = await self.pool.fetch(
            "SELECT id::text, channel FROM payments.payments WHERE order_id = $1", order_id
        )
        return [(payment_id, self.banks[channel]) for payment_id, channel in rows]

    async def post(self, *, at_most=1):
        """Some of what the providers have told arrives: in any order, and some of it twice."""
        for bank in self.banks.values():
            for _ in range(at_most):
                if not bank.mail:
                    break
                at = self.dice.randrange(len(bank.mail))
                event = bank.mail[at] if self.dice.random() < 0.2 else bank.mail.pop(at)
                await settle_payment(self.pool, event)

    async def look(self):
        """The reconciler's time has come."""
        await self.pool.execute(LOOK_NOW)
        await reconcile_payments(self.pool, self.channels, batch_max=100)

    async def expire(self, order_id):
        await self.pool.execute(TOO_LATE, order_id)
        await self.pool.execute(
            "UPDATE orders.orders SET expires_at = now() WHERE id = $1", order_id
        )
        await self.expirer.step()

    async def cancel_for_staff(self, order_id):
        refund_id = payments.RefundId(str(uuid4()))
        facts = {"refund_id": refund_id, "author": AUTHOR}
        return await cancel_for_staff(self.pool, order_id=order_id, **facts)

    # All roles.

    async def work(self):
        """All limits have passed; everybody takes a step. Gives what is still to be done."""
        await self.pool.execute(TIME_PASSES)
        await self.expirer.step()
        await reconcile_payments(self.pool, self.channels, batch_max=1_000)
        await self.settle_money()
        await drain(self.writer)
        await self.dispatch()
        await self.conductor.step()
        return [tuple(row) for row in await self.pool.fetch(WAITING)]

    async def money(self, order_ids):
        """What each order keeps, by the providers' books; these agree with ours to the cent."""
        kept = dict.fromkeys(order_ids, 0)
        rows = await self.pool.fetch(
            "SELECT id::text, order_id::text, channel, state, captured_minor"
            "  FROM payments.payments WHERE first_order_id = ANY($1::uuid[])",
            order_ids,
        )
        refunds = await self.pool.fetch(
            "SELECT payment_id::text, id::text, amount_minor, state FROM payments.refunds"
            " WHERE payment_id = ANY($1::uuid[])",
            [row["id"] for row in rows],
        )
        assert all(refund_state == "paid" for *_, refund_state in refunds)
        for payment_id, order_id, channel, state, captured in rows:
            account = self.banks[channel].accounts.get(payment_id)
            went = {rid: amount for pid, rid, amount, _ in refunds if pid == payment_id}
            if state == payments.State.REFUNDED:
                went[payment_id] = captured
            assert (account.came if account else 0) == (captured or 0)
            assert (account.went if account else {}) == went
            assert state in {"failed", "voided", "captured", "refunded"}
            kept[order_id] += (captured or 0) - sum(went.values())
        return kept

    async def placed_since(self, instant) -> dict[orders.OrderId, int]:
        """Order -> member."""
        rows = await self.pool.fetch(
            "SELECT id::text, member_id FROM orders.orders WHERE placed_at >= $1", instant
        )
        return {orders.OrderId(order_id): member for order_id, member in rows}

    async def parked(self):
        async with db.reading(self.pool) as conn:
            return (await outbox.count(conn))[1]
