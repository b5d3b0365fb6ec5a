"""Money came for an order that was cancelled before: claim anew, or send the money back.

Each delivery does what is possible by now and says "later" until the rest is. Whatever instant it
is killed at, the next delivery finds by the claim's key where things stand.
"""

import msgspec

from core import orders, payments, sales
from core.flows import book_payment, give_back
from core.flows.place_ordinary import place_many
from core.kit import db, outbox
from core.kit.outbox import TryLater
from hotpath import scripts
from hotpath.claims import BucketFacts, Claim, Kind, Verdict
from hotpath.nodes import Redis
from hotpath.receipts import Keyring

TOPIC = "payments.late"

REASONS = {
    Kind.SOLD_OUT: "sold-out",
    Kind.MEMBER_LIMIT: "member-limit",
    Kind.NOT_OPEN: "sale-not-open",
    Kind.NO_SUCH_SKU: "no-such-sku",
}


class Case(msgspec.Struct, frozen=True):
    """What is known, all of one instant. `second` is the order placed anew, once it is written.

    `unsold` are the units that all buckets of a sale of several have not written down as sold.
    """

    payment: payments.Payment
    first: orders.Order
    claimed: orders.Claimed
    second: orders.Order | None
    bucket: sales.Bucket
    is_settled: bool
    is_still_holding: bool
    unsold: int

    @property
    def sku_id(self) -> int:
        return self.first.lines[0].sku_id

    @property
    def quantity(self) -> int:
        return self.first.lines[0].quantity


async def settle_late(
    pool: db.Pool, redis: Redis, keyring: Keyring, payload: object, *, backlog_max: int
) -> None:
    """Handle one message. Raises TryLater until it is done; safe to repeat after any failure."""
    due = msgspec.convert(payload, payments.Due)
    async with db.snapshot(pool) as conn:
        payment = await payments.find(conn, payment_id=due.payment_id)
        first = await orders.find(conn, order_id=orders.OrderId(payment.first_order_id))
    if first.claimed is None:
        await _place_anew(pool, keyring, payment, first)
        return
    case = await _look(pool, due.payment_id)
    if case is None:
        return
    if case.second is not None:
        await _keep(pool, case.payment, case.second.id)
        return
    if case.is_settled:
        await _send_back(pool, case.payment, reason=REASONS[Kind.NOT_OPEN])
        return
    if case.is_still_holding:
        raise TryLater("the first order's units are still on their way back")
    verdict = await _claim(redis, keyring, case, backlog_max=backlog_max)
    if verdict.kind is Kind.SOLD_OUT and case.unsold >= case.quantity:
        await _ask_for_units(pool, case)
        raise TryLater("units of another bucket are asked for")
    if verdict.kind in REASONS:
        await _send_back(pool, case.payment, reason=REASONS[verdict.kind])
        return
    raise TryLater(f"the claim is {verdict.kind.name.lower()}; its order is not written yet")


async def _look(pool: db.Pool, payment_id: payments.PaymentId) -> Case | None:
    """Look at one instant: a settled sale is drained, so what is not written then never will be."""
    async with db.snapshot(pool) as conn:
        payment = await payments.find(conn, payment_id=payment_id)
        if not _is_open(payment):
            return None
        first = await orders.find(conn, order_id=orders.OrderId(payment.first_order_id))
        claimed = first.claimed
        assert claimed is not None
        second = await orders.find_by_key(
            conn, sale_id=claimed.sale_id, member_id=first.member_id, key=_key(payment.id)
        )
        bucket = await sales.bucket(conn, number=sales.BucketNumber(claimed.bucket))
        sale = await sales.find(conn, sale_id=bucket.sale_id)
        # Its units are what a late payer most likely gets, and they count against the limit.
        holding = await outbox.is_waiting(conn, give_back.TOPIC, {"order_id": first.id})
        sku_id = first.lines[0].sku_id
        unsold = await _count_unsold(conn, sale, sku_id) if sale.bucket_count > 1 else 0
        is_settled = sale.settled_at is not None
        return Case(payment, first, claimed, second, bucket, is_settled, holding, unsold)


async def _count_unsold(conn: db.Conn, sale: sales.Sale, sku_id: int) -> int:
    return sum(
        a.quota - a.sold - a.dead
        for books in await sales.books(conn, sale_id=sale.id)
        for a in books.allotments
        if a.sku_id == sku_id
    )


async def _ask_for_units(pool: db.Pool, case: Case) -> None:
    async with db.transaction(pool) as conn:
        await sales.want(conn, {(case.bucket.number, case.sku_id): case.quantity})


async def _claim(redis: Redis, keyring: Keyring, case: Case, *, backlog_max: int) -> Verdict:
    bucket = case.bucket
    if bucket.run_id is None:
        raise TryLater("no Redis process is admitted to the bucket")
    facts = BucketFacts(bucket.number, bucket.epoch, bucket.stamp, bucket.run_id)
    claim = Claim(
        case.claimed.sale_id,
        case.first.member_id,
        _key(case.payment.id),
        case.sku_id,
        case.quantity,
    )
    (verdict,) = await scripts.claim_now(
        await redis.of(bucket.number),
        facts,
        [claim],
        key_id=keyring.newest,
        backlog_max=backlog_max,
    )
    return verdict


async def _place_anew(
    pool: db.Pool, keyring: Keyring, payment: payments.Payment, first: orders.Order
) -> None:
    """An ordinary order has no claim to wait for: all of it is one transaction."""
    async with db.transaction(pool) as conn:
        payment, others = await payments.hold_siblings(conn, payment)
        if not _is_open(payment):
            return
        if payments.is_kept(others):
            await book_payment.refund(conn, payment, reason="already-paid")
            return
        agreed = await orders.agreement(conn, order_id=first.id)
        (second,) = await place_many(conn, [_again(keyring, payment, first, agreed)])
        if isinstance(second, orders.Order):
            await _replace(conn, payment, second)
        else:
            await book_payment.refund(conn, payment, reason=REASONS[Kind.SOLD_OUT])


def _again(
    keyring: Keyring,
    payment: payments.Payment,
    first: orders.Order,
    agreed: orders.Agreement,
) -> orders.Purchase:
    """The same at the same price. Its money is here, so its hold does not count."""
    assert payment.captured_at is not None
    assert first.asked is not None
    ms = int(payment.captured_at.timestamp() * 1000)
    key = _key(payment.id)
    order_id = orders.OrderId(keyring.order_ids.of_key(ms, first.member_id, key))
    return orders.Purchase(
        id=order_id,
        member_id=first.member_id,
        idempotency_key=key,
        asked=first.asked,
        lines=tuple(msgspec.structs.replace(line, order_id=order_id) for line in first.lines),
        shipping_minor=first.shipping_minor,
        shipping_tax_minor=first.shipping_tax_minor,
        shipping_included_tax_minor=first.shipping_included_tax_minor,
        currency=first.currency,
        hold_s=0,
        agreement=agreed,
    )


async def _keep(pool: db.Pool, payment: payments.Payment, second_id: orders.OrderId) -> None:
    """The new order is written: it takes the first one's place and the money, all at once."""
    async with db.transaction(pool) as conn:
        payment, others = await payments.hold_siblings(conn, payment)
        if not _is_open(payment):
            return
        second = await orders.find(conn, order_id=second_id)
        if second.shown != orders.Shown.PENDING_PAYMENT or payments.is_kept(others):
            # It went its own way while nobody came by here.
            await book_payment.refund(conn, payment, reason=_why_not(second))
            return
        await _replace(conn, payment, second)


async def _replace(conn: db.Conn, payment: payments.Payment, second: orders.Order) -> None:
    assert second.amount_minor == payment.captured_minor
    assert second.currency == payment.captured_currency
    first_id = orders.OrderId(payment.first_order_id)
    try:
        await orders.follow(conn, second, follows=first_id)
        second = await orders.find(conn, order_id=second.id)
        await orders.pay(conn, second, payment_id=payment.id)
    except orders.IllegalMove as error:
        raise TryLater(str(error)) from error
    await book_payment.move_to_order(conn, payment, second)


def _why_not(second: orders.Order) -> str:
    if second.state == orders.State.CANCELLED:
        return second.reason or "cancelled"
    return "rejected" if second.state == orders.State.REJECTED else "already-paid"


async def _send_back(pool: db.Pool, payment: payments.Payment, *, reason: str) -> None:
    async with db.transaction(pool) as conn:
        payment, _ = await payments.hold_siblings(conn, payment)
        if _is_open(payment):
            await book_payment.refund(conn, payment, reason=reason)


def _is_open(payment: payments.Payment) -> bool:
    """Tell whether its money still counts for nothing: the first order is cancelled."""
    return payment.state == payments.State.CAPTURED and payment.order_id == payment.first_order_id


def _key(payment_id: payments.PaymentId) -> str:
    # The space keeps it apart from every key that a client can send.
    return f"late {payment_id}"
