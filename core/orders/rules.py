"""An order's log, computed: what an event does, what all come to, and whether none was changed."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from core.kit.states import IllegalMove, check_move

from .model import (
    AlreadyShipped,
    Authorized,
    Cancelled,
    CaseClosed,
    CaseOpened,
    Delivered,
    Event,
    Follows,
    Line,
    Logged,
    Order,
    Paid,
    Placed,
    Purchase,
    Shipped,
    Standing,
)
from .states import FULFILMENT_MOVES, MOVES, PAYMENT_MOVES, Fulfilment, Payment, State

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TO_SHIP = frozenset({Fulfilment.UNSHIPPED, Fulfilment.PART_SHIPPED})
TO_DELIVER = frozenset({Fulfilment.PART_SHIPPED, Fulfilment.SHIPPED})


def as_placed(order: Order) -> Standing:
    """Where its log begins. Nothing ever happens to an order that was placed as rejected."""
    if order.state == State.REJECTED:
        return order.standing
    return Standing(State.OPEN, Payment.UNPAID, Fulfilment.UNSHIPPED, None, None, 0)


def as_bought(purchase: Purchase, placed: Placed) -> Order:
    """An ordinary order as its row says it from then on."""
    return Order(
        id=purchase.id,
        sale_id=None,
        bucket=None,
        member_id=purchase.member_id,
        idempotency_key=purchase.idempotency_key,
        epoch=None,
        key_id=None,
        state=State.OPEN,
        payment=Payment.UNPAID,
        fulfilment=Fulfilment.UNSHIPPED,
        reason=None,
        amount_minor=purchase.amount_minor,
        currency=purchase.currency,
        shipping_minor=purchase.shipping_minor,
        shipping_tax_minor=purchase.shipping_tax_minor,
        shipping_included_tax_minor=purchase.shipping_included_tax_minor,
        asked=purchase.asked,
        follows=None,
        placed_at=placed.placed_at,
        expires_at=placed.expires_at,
        version=0,
        open_cases=0,
        lines=purchase.lines,
    )


def after(standing: Standing, event: Event) -> Standing:
    """Raises IllegalMove for what may not happen to an order that stands like this.

    Raises AlreadyShipped for a cancel that comes too late.
    """
    state, payment, fulfilment, _, follows, open_cases = standing
    is_paid = (state, payment) == (State.OPEN, Payment.PAID)
    is_opened = isinstance(event, CaseOpened)
    match event:
        case Authorized() | Paid() if state is State.OPEN:
            reached = Payment.PAID if isinstance(event, Paid) else Payment.AUTHORIZED
            check_move(PAYMENT_MOVES, payment, reached)
            return standing._replace(payment=reached)
        case Cancelled() if fulfilment is not Fulfilment.UNSHIPPED:
            raise AlreadyShipped(fulfilment=fulfilment.value)
        case Cancelled() if (payment is Payment.PAID) == (event.refund_id is not None):
            return cancelled(standing, event)
        case Follows() if follows is None:
            return standing._replace(follows=event.order_id)
        case Shipped() if is_paid and fulfilment in TO_SHIP:
            target = Fulfilment.SHIPPED if event.is_last else Fulfilment.PART_SHIPPED
            return moved_on(standing, target)
        case Delivered() if is_paid and fulfilment in TO_DELIVER:
            return moved_on(standing, Fulfilment.DELIVERED if event.is_last else fulfilment)
        case CaseOpened() | CaseClosed() if is_paid and (open_cases or is_opened):
            return standing._replace(open_cases=open_cases + (1 if is_opened else -1))
    source = standing.shown
    raise IllegalMove(
        f"An order that is {source.value!r} cannot become {event.__struct_config__.tag!r}.",
        source=source.value,
        target=str(event.__struct_config__.tag),
    )


def cancelled(standing: Standing, event: Cancelled) -> Standing:
    check_move(MOVES, standing.state, State.CANCELLED)
    payment = standing.payment
    target = {Payment.PAID: Payment.REFUNDED, Payment.AUTHORIZED: Payment.UNPAID}.get(payment)
    if target is not None:
        check_move(PAYMENT_MOVES, payment, target)
        payment = target
    return standing._replace(state=State.CANCELLED, payment=payment, reason=event.reason)


def moved_on(standing: Standing, target: Fulfilment) -> Standing:
    """A parcel of some, neither the first nor the last one, moves nothing."""
    if target is not standing.fulfilment:
        check_move(FULFILMENT_MOVES, standing.fulfilment, target)
    return standing._replace(fulfilment=target)


def fold(order: Order, log: Iterable[Logged]) -> Standing:
    """What the events make of the order as it was placed."""
    standing = as_placed(order)
    for logged in log:
        standing = after(standing, logged.event)
    return standing


def first_broken(order: Order, log: Sequence[Logged]) -> int | None:
    """The number of the first event that is not as it was written; None where all are.

    One after the last means that events are missing, or that the order is not what they make it.
    """
    digest = digest_as_placed(order)
    for number, logged in enumerate(log, 1):
        digest = seal(digest, logged)
        if (logged.number, logged.digest) != (number, digest):
            return number
    is_whole = order.version == len(log) and fold(order, log) == order.standing
    return None if is_whole else len(log) + 1


def digest_as_placed(order: Order) -> bytes:
    """The twin of `orders.as_placed` in the database, which leaves NULL out."""
    shipping = (order.shipping_minor, order.shipping_tax_minor, order.shipping_included_tax_minor)
    facts = (
        *(order.id, order.sale_id, order.bucket, order.member_id, order.epoch, order.key_id),
        *(order.amount_minor, order.currency, microseconds(order.placed_at)),
        *added(order, shipping),
        None if order.asked is None else order.asked.hex(),
        *(fact for line in order.lines for fact in facts_of(order, line)),
        order.idempotency_key,
    )
    said = " ".join(str(fact) for fact in facts if fact is not None)
    return hashlib.sha256(said.encode()).digest()


def facts_of(order: Order, line: Line) -> Iterable[int | None]:
    yield from (line.line_no, line.sku_id, line.quantity, line.price_minor)
    yield from (line.seller_id, line.commission_bps)
    yield from added(order, (line.discount_minor, line.tax_minor, line.included_tax_minor))


def added(order: Order, amounts: Sequence[int]) -> Sequence[int | None]:
    """Amounts that stand in ordinary orders only: a 0 of a sale's order is a NULL."""
    return amounts if order.sale_id is None else [amount or None for amount in amounts]


def seal(head: bytes, logged: Logged) -> bytes:
    """The twin of `orders.sealed` in the database."""
    said = f"{logged.number} {microseconds(logged.happened_at)} {logged.text}"
    return hashlib.sha256(head + said.encode()).digest()


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
