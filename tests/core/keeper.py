"""A shop of ordinary orders, with everybody who works in it played by hand."""

import time
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from core import aftersale, catalogue, fulfilment, inventory, ledger, orders, payments
from core.flows import after_sale, give_back, refund, settle_late, void_payment
from core.flows.cancel_order import cancel_order
from core.flows.dispatch_orders import dispatch_orders
from core.flows.expire_holds import expire_holds
from core.flows.place_ordinary import place_many
from core.flows.send_consignments import deliver_consignment, ship_consignment
from core.flows.settle_payment import settle_payment
from core.jobs.outbox_relay import OutboxRelay
from core.kit import db
from hotpath.receipts import Keyring

DAYS = {"return": 7, "exchange": 15, "claim": 30}
PARCEL = fulfilment.Parcel("SF Express", "SF-1")


class Till:
    """A provider that sends back whatever it is asked to, once for each refund."""

    def __init__(self):
        self.went = {}

    async def refund(self, payment, *, refund_id, amount_minor, reason):
        assert reason
        assert self.went.setdefault(refund_id, amount_minor) == amount_minor
        return True

    async def is_refunded(self, payment, *, refund_id):
        return refund_id in self.went


class Keeper:
    """Two SKUs with so many units in the main warehouse; sellers 1 and 7."""

    def __init__(self, pool, keyring=None, *, redis=None, providers=None):
        self.pool, self.redis, self.till = pool, redis, Till()
        self.keyring = keyring or Keyring({1: b"k" * 32})
        self.channels = payments.Channels(providers or {"sandbox": self.till})
        late = partial(settle_late.settle_late, pool, redis, self.keyring, backlog_max=1_000)
        handlers = {
            give_back.TOPIC: partial(give_back.give_back, pool, redis),
            refund.TOPIC: partial(refund.refund, pool, self.channels),
            refund.KEPT_TOPIC: partial(refund.refund_kept, pool, self.channels),
            settle_late.TOPIC: late,
            void_payment.TOPIC: partial(void_payment.void_payment, pool, self.channels),
        }
        self.relay = OutboxRelay(pool, handlers)
        self.numbers = 0

    async def open(self, units):
        skus = [(f"SKU-{n}", 9_900, "CNY") for n in range(2)]
        async with db.transaction(self.pool) as conn:
            title = {"en": "Kettle", "zh": "水壶"}
            _, made = await catalogue.add_product(conn, title=title, skus=skus)
            stocked = dict.fromkeys(made, units)
            await inventory.receive(
                conn, place_id=inventory.MAIN, units=stocked, reference="van", by="test"
            )
        self.sku_ids = list(made)
        return self

    def purchase(self, member, lines, *, shipping=0, shipping_tax=0):
        """`lines` are (sku, quantity, price, discount, tax, seller, commission)."""
        self.numbers += 1
        key = f"k{self.numbers}-{uuid4()}"
        order_id = orders.OrderId(
            self.keyring.order_ids.of_key(time.time_ns() // 1_000_000, member, key)
        )
        return orders.Purchase(
            id=order_id,
            member_id=member,
            idempotency_key=key,
            asked=b"a" * 32,
            lines=tuple(
                orders.Line(
                    order_id, n, self.sku_ids[sku], quantity, price, discount, tax, 0, seller, bps
                )
                for n, (sku, quantity, price, discount, tax, seller, bps) in enumerate(lines, 1)
            ),
            shipping_minor=shipping,
            shipping_tax_minor=shipping_tax,
            shipping_included_tax_minor=0,
            currency="CNY",
            hold_s=900,
            agreement=orders.Agreement({}, []),
        )

    async def place(self, member, lines, **facts):
        async with db.transaction(self.pool) as conn:
            (placed,) = await place_many(conn, [self.purchase(member, lines, **facts)])
        if isinstance(placed, Exception):
            raise placed
        return placed.id

    async def pay(self, order_id):
        """All of it comes, by way of the sandbox."""
        async with db.transaction(self.pool) as conn:
            order = await orders.find(conn, order_id=order_id)
            payment = await payments.start(
                conn,
                payment_id=payments.PaymentId(str(uuid4())),
                order_id=order_id,
                member_id=order.member_id,
                channel="sandbox",
                amount_minor=order.amount_minor,
                currency=order.currency,
                expires_at=order.expires_at,
            )
        event = payments.Event(
            "sandbox",
            str(uuid4()),
            payments.EventKind.CAPTURED,
            payment.id,
            "ref",
            order.amount_minor,
            "CNY",
        )
        await settle_payment(self.pool, event)

    async def dispatch(self):
        while await dispatch_orders(self.pool, batch_max=10) == 10:
            pass

    async def parcels(self, order_id):
        async with db.snapshot(self.pool) as conn:
            return await fulfilment.of_orders(conn, order_ids=[order_id])

    async def ship(self, order_id):
        for one in await self.parcels(order_id):
            await ship_consignment(
                self.pool,
                self.channels,
                consignment_id=one.consignment.id,
                parcel=PARCEL,
                by="test",
            )

    async def deliver(self, order_id):
        for one in await self.parcels(order_id):
            await deliver_consignment(self.pool, consignment_id=one.consignment.id, by="test")

    async def sent(self, member, lines, **facts):
        """An order that is there."""
        order_id = await self.place(member, lines, **facts)
        await self.pay(order_id)
        await self.dispatch()
        await self.ship(order_id)
        await self.deliver(order_id)
        return order_id

    async def order(self, order_id):
        """An order, whose log is proven."""
        async with db.snapshot(self.pool) as conn:
            order = await orders.find(conn, order_id=order_id)
            log = await orders.log(conn, order_id=order_id)
        assert orders.first_broken(order, log) is None
        return order

    async def cancel(self, order_id, member):
        return await cancel_order(
            self.pool, self.redis, self.keyring, order_id=order_id, member_id=member
        )

    async def expire(self, order_id):
        await self.pool.execute(
            "UPDATE orders.orders SET expires_at = now() WHERE id = $1", order_id
        )
        return await expire_holds(self.pool, batch_max=10)

    async def ask(self, order_id, member, kind, *, line_no=1, quantity=1, amount=0, **more):
        kind = aftersale.Kind(kind)
        facts = {"key": str(uuid4()), "days": DAYS, "now": datetime.now(UTC)} | more
        wish = aftersale.Wish(line_no, kind, quantity, amount, "it rattles")
        return await after_sale.ask(
            self.pool, order_id=order_id, member_id=member, wish=wish, **facts
        )

    async def step(self, case, verb, *words, **facts):
        """One of staff's verbs about a case as it stands now; gives the case as it stands then."""
        async with db.transaction(self.pool) as conn:
            found = await aftersale.find(conn, case_id=case.id)
            head = (self.keyring,) if verb is after_sale.replace else ()
            await verb(conn, *head, found, *words, **facts)
            return await aftersale.find(conn, case_id=case.id)

    async def agree(self, case):
        return await self.step(case, aftersale.agree, answer="send it back")

    async def refuse(self, case):
        return await self.step(case, after_sale.refuse, answer="no")

    async def receive(self, case, condition="good"):
        facts = {"place_id": inventory.MAIN, "by": "test"}
        found = aftersale.Condition(condition)
        return await self.step(case, after_sale.receive, condition=found, **facts)

    async def refund(self, case, amount=None):
        refund_id = payments.RefundId(str(uuid4()))
        return await self.step(case, after_sale.refund, refund_id=refund_id, amount_minor=amount)

    async def replace(self, case):
        at_ms = time.time_ns() // 1_000_000
        return await self.step(case, after_sale.replace, key=str(uuid4()), at_ms=at_ms)

    async def withdraw(self, case, member):
        return await after_sale.withdraw(
            self.pool, order_id=case.order_id, member_id=member, case_id=case.id
        )

    async def send_back(self, case, member):
        return await after_sale.send_back(
            self.pool, order_id=case.order_id, member_id=member, case_id=case.id, parcel=PARCEL
        )

    async def returned(self, order_id, member, *, condition="good", **facts):
        case = await self.agree(await self.ask(order_id, member, "return", **facts))
        await self.send_back(case, member)
        return await self.receive(case, condition)

    async def settle_money(self):
        """Let the provider send what is owed."""
        while await self.relay.step():
            pass

    async def stock(self):
        """SKU -> (on hand, reserved, allocated, damaged), every figure proven."""
        async with db.snapshot(self.pool) as conn:
            assert await inventory.audit(conn) == []
            found = await inventory.balances(conn, sku_ids=self.sku_ids)
        return {b.sku_id: (b.on_hand, b.reserved, b.allocated, b.damaged) for b in found}

    async def shares(self, order_id):
        """Share -> what went back of it."""
        async with db.snapshot(self.pool) as conn:
            _, found = await ledger.find_hold(conn, order_id=order_id)
        return {share.line_no: share.returned_minor for share in found}

    async def balances(self):
        async with db.snapshot(self.pool) as conn:
            found = await ledger.trial_balance(conn)
        return {(one.account, one.owner): one.amount_minor for one in found}
