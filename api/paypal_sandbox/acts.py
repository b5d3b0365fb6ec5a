"""What happens to orders and money here, each with the webhook that tells of it.

All of it in the caller's transaction; `Desk` is what every act needs.
"""

import secrets
import sqlite3
import string

import msgspec

from . import shapes, store
from .delivery import Courier, later_text, now_text
from .model import (
    DIGITS,
    Authorization,
    Capture,
    Dispute,
    Money,
    Order,
    Refund,
    Unit,
    WantCapture,
    WantOrder,
    WantRefund,
)

ID_LENGTH = 17
DISPUTE_FEE = 1_500
# What comes of a dispute: its status, its outcome, and the event that tells of it.
DISPUTED = {
    "dispute": ("OPEN", "", "CREATED"),
    "review": ("UNDER_REVIEW", "", "UPDATED"),
    "win": ("RESOLVED", "RESOLVED_SELLER_FAVOUR", "RESOLVED"),
    "lose": ("RESOLVED", "RESOLVED_BUYER_FAVOUR", "RESOLVED"),
}


class Refused(Exception):
    """A no in PayPal's own words."""

    def __init__(self, status: int, name: str, issue: str) -> None:
        super().__init__(issue)
        self.status, self.name, self.issue = status, name, issue


class Desk(msgspec.Struct, frozen=True):
    """The books, who tells of them, and where all of it is found from outside."""

    conn: sqlite3.Connection
    courier: Courier
    url: str

    def order(self, order_id: str) -> Order:
        """As it stands now: what was held for it may have ended."""
        held = store.authorization(self.conn, order_id)
        if held is not None:
            self.authorization(held.id)
        return _known(store.order(self.conn, order_id))

    def authorization(self, authorization_id: str) -> Authorization:
        held = _known(store.authorization(self.conn, authorization_id))
        if held.status != "CREATED" or held.ends_at > now_text():
            return held
        void(self, held)
        return _known(store.authorization(self.conn, authorization_id))

    def capture(self, capture_id: str) -> Capture:
        return _known(store.capture(self.conn, capture_id))

    def refund(self, refund_id: str) -> Refund:
        return _known(store.refund(self.conn, refund_id))

    def dispute(self, dispute_id: str) -> Dispute:
        return _known(store.dispute(self.conn, dispute_id))

    def shown(self, order: Order) -> shapes.Document:
        return shapes.order_of(self.conn, order, url=self.url)


def open_order(desk: Desk, wanted: WantOrder, unit: Unit, *, order_id: str) -> None:
    context = wanted.payment_source.paypal.experience_context
    if context.return_url is None:
        context = wanted.application_context
    order = Order(
        id=order_id,
        intent=wanted.intent,
        status="PAYER_ACTION_REQUIRED",
        reference_id=unit.reference_id,
        custom_id=unit.custom_id,
        invoice_id=unit.invoice_id,
        description=unit.description,
        currency=unit.amount.currency_code,
        amount=amount_of(unit.amount),
        return_url=context.return_url,
        cancel_url=context.cancel_url,
        made_at=now_text(),
    )
    store.add_order(desk.conn, order)


def approve(desk: Desk, order: Order) -> None:
    """The buyer agrees. No money moves: that is the merchant's step."""
    if order.status == "PAYER_ACTION_REQUIRED" and store.move_order(desk.conn, order, "APPROVED"):
        told = desk.shown(desk.order(order.id))
        desk.courier.announce("CHECKOUT.ORDER.APPROVED", "checkout-order", told)


def capture(desk: Desk, order: Order) -> None:
    _insist_on_approval(order, "CAPTURE")
    _take(desk, order, order.amount, "INSTRUMENT_DECLINED", capture_id=new_id())
    store.move_order(desk.conn, order, "COMPLETED")


def authorize(desk: Desk, order: Order) -> None:
    """The buyer's money is held. None moves."""
    _insist_on_approval(order, "AUTHORIZE")
    behaviour = store.behaviour(desk.conn)
    if behaviour.declines:
        raise unprocessable("INSTRUMENT_DECLINED")
    held = Authorization(
        id=new_id(),
        order_id=order.id,
        status="CREATED",
        currency=behaviour.currency or order.currency,
        amount=max(0, order.amount + behaviour.amount_off),
        custom_id=order.custom_id,
        invoice_id=order.invoice_id,
        made_at=now_text(),
        ends_at=later_text(behaviour.held_s),
    )
    store.add_authorization(desk.conn, held)
    store.move_order(desk.conn, order, "COMPLETED")
    told = shapes.authorization_of(held, url=desk.url)
    desk.courier.announce("PAYMENT.AUTHORIZATION.CREATED", "authorization", told)


def capture_held(desk: Desk, held: Authorization, wanted: WantCapture, *, capture_id: str) -> None:
    """All of it at once: what was captured in part and not finally, we do not play."""
    amount = held.amount if wanted.amount is None else amount_of(wanted.amount)
    if held.status == "VOIDED":
        raise unprocessable("AUTHORIZATION_VOIDED")
    if held.status == "CAPTURED":
        raise unprocessable("AUTHORIZATION_ALREADY_CAPTURED")
    if wanted.amount is not None and wanted.amount.currency_code != held.currency:
        raise unprocessable("CURRENCY_MISMATCH")
    if amount > held.amount:
        raise unprocessable("MAX_CAPTURE_AMOUNT_EXCEEDED")
    _take(desk, desk.order(held.order_id), amount, "PAYER_CANNOT_PAY", capture_id=capture_id)
    store.move_authorization(desk.conn, held.id, "CAPTURED")


def void(desk: Desk, held: Authorization) -> None:
    """Nothing is held any more."""
    if held.status == "VOIDED":
        raise unprocessable("PREVIOUSLY_VOIDED")
    if held.status == "CAPTURED":
        raise unprocessable("PREVIOUSLY_CAPTURED")
    store.move_authorization(desk.conn, held.id, "VOIDED")
    voided = msgspec.structs.replace(held, status="VOIDED")
    told = shapes.authorization_of(voided, url=desk.url)
    desk.courier.announce("PAYMENT.AUTHORIZATION.VOIDED", "authorization", told)


def _insist_on_approval(order: Order, intent: str) -> None:
    if order.intent != intent:
        raise unprocessable("ACTION_DOES_NOT_MATCH_INTENT")
    if order.status == "COMPLETED":
        raise unprocessable(f"ORDER_ALREADY_{intent.removesuffix('E')}ED")
    if order.status != "APPROVED":
        raise unprocessable("ORDER_NOT_APPROVED")


def _take(desk: Desk, order: Order, amount: int, issue: str, *, capture_id: str) -> None:
    """`issue` is what the buyer's bank says where it does not pay."""
    if store.is_invoiced(desk.conn, order.invoice_id):
        raise unprocessable("DUPLICATE_INVOICE_ID")
    behaviour = store.behaviour(desk.conn)
    if behaviour.declines:
        raise unprocessable(issue)
    taken = Capture(
        id=capture_id,
        order_id=order.id,
        status="PENDING" if behaviour.pends else "COMPLETED",
        currency=behaviour.currency or order.currency,
        amount=max(0, amount + behaviour.amount_off),
        custom_id=order.custom_id,
        invoice_id=order.invoice_id,
        made_at=now_text(),
    )
    store.add_capture(desk.conn, taken)
    _tell_capture(desk, taken)


def refund(desk: Desk, taken: Capture, wanted: WantRefund, *, refund_id: str) -> None:
    if taken.status == "REFUNDED":
        raise unprocessable("CAPTURE_FULLY_REFUNDED")
    if taken.status not in {"COMPLETED", "PARTIALLY_REFUNDED"}:
        raise unprocessable("PENDING_CAPTURE")
    left = _left(desk, taken)
    amount = left if wanted.amount is None else amount_of(wanted.amount)
    if wanted.amount is not None and wanted.amount.currency_code != taken.currency:
        raise unprocessable("CURRENCY_MISMATCH")
    if amount > left:
        raise unprocessable("REFUND_AMOUNT_EXCEEDED")
    found = Refund(
        id=refund_id,
        capture_id=taken.id,
        status="PENDING" if store.behaviour(desk.conn).pends else "COMPLETED",
        currency=taken.currency,
        amount=amount,
        custom_id=wanted.custom_id,
        invoice_id=wanted.invoice_id,
        note=wanted.note_to_payer,
        is_reversal=False,
        made_at=now_text(),
    )
    store.add_refund(desk.conn, found)
    status = "REFUNDED" if amount == left else "PARTIALLY_REFUNDED"
    store.move_capture(desk.conn, taken.id, status)
    if found.status == "COMPLETED":
        _tell_refund(desk, found)


def play(desk: Desk, subject_id: str, act: str) -> None:
    """What happens to money without the merchant."""
    pending = store.refund(desk.conn, subject_id)
    if pending is not None:
        status = "COMPLETED" if act == "complete" else "FAILED"
        store.move_refund(desk.conn, pending.id, status)
        _tell_refund(desk, desk.refund(pending.id))
        return
    if act == "expire":
        void(desk, desk.authorization(subject_id))
        return
    taken = desk.capture(subject_id)
    if act in DISPUTED:
        _dispute(desk, taken, act)
    elif act == "reverse":
        _reverse(desk, taken)
    elif taken.status == "PENDING":
        store.move_capture(desk.conn, taken.id, "COMPLETED" if act == "complete" else "DECLINED")
        held = store.authorization(desk.conn, taken.order_id)
        if held is not None and act == "deny":
            store.move_authorization(desk.conn, held.id, "CREATED")
        _tell_capture(desk, desk.capture(taken.id))


def _dispute(desk: Desk, taken: Capture, act: str) -> None:
    """The buyer contests it; or PayPal looks at that, and decides."""
    now = now_text()
    before = store.dispute(desk.conn, taken.id)
    if before is None:
        number = f"PP-D-{secrets.randbelow(10**9)}"
        before = Dispute(number, taken.id, "OPEN", "", now, now)
    status, outcome, event = DISPUTED[act]
    now = max(now, before.updated_at)
    found = msgspec.structs.replace(before, status=status, outcome=outcome, updated_at=now)
    store.keep_dispute(desk.conn, found)
    told = shapes.dispute_of(taken, found)
    desk.courier.announce(f"CUSTOMER.DISPUTE.{event}", "dispute", told)
    if act == "lose":
        store.add_fee(desk.conn, new_id(), taken.id, taken.currency, DISPUTE_FEE, now)
        if _left(desk, taken):
            _reverse(desk, taken)


def _reverse(desk: Desk, taken: Capture) -> None:
    """All that is left goes back to the buyer, by the provider's own judgement."""
    gone = Refund(
        id=new_id(),
        capture_id=taken.id,
        status="COMPLETED",
        currency=taken.currency,
        amount=_left(desk, taken),
        custom_id=taken.custom_id,
        invoice_id=None,
        note=None,
        is_reversal=True,
        made_at=now_text(),
    )
    store.add_refund(desk.conn, gone)
    store.move_capture(desk.conn, taken.id, "REFUNDED")
    # As PayPal tells it: of the capture, and not of the merchant's own names.
    told = shapes.refund_of(msgspec.structs.replace(gone, custom_id=None), url=desk.url)
    desk.courier.announce("PAYMENT.CAPTURE.REVERSED", "refund", told)


def amount_of(money: Money) -> int:
    if money.currency_code not in DIGITS:
        raise unprocessable("CURRENCY_NOT_SUPPORTED")
    amount = shapes.minor(money)
    if amount is None:
        raise unprocessable("DECIMAL_PRECISION")
    if amount == 0:
        raise unprocessable("CANNOT_BE_ZERO_OR_NEGATIVE")
    return amount


def unprocessable(issue: str) -> Refused:
    return Refused(422, "UNPROCESSABLE_ENTITY", issue)


def not_found() -> Refused:
    return Refused(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")


def new_id() -> str:
    return "".join(secrets.choice(string.digits + string.ascii_uppercase) for _ in range(ID_LENGTH))


def _left(desk: Desk, taken: Capture) -> int:
    return taken.amount - sum(one.amount for one in store.refunds(desk.conn, taken.id))


def _known(found: store.Kept | None) -> store.Kept:
    if found is None:
        raise not_found()
    return found


def _tell_capture(desk: Desk, taken: Capture) -> None:
    kind = "DENIED" if taken.status == "DECLINED" else taken.status
    told = shapes.capture_of(taken, url=desk.url)
    desk.courier.announce(f"PAYMENT.CAPTURE.{kind}", "capture", told)


def _tell_refund(desk: Desk, found: Refund) -> None:
    kind = "PAYMENT.CAPTURE.REFUNDED" if found.status == "COMPLETED" else "PAYMENT.REFUND.FAILED"
    desk.courier.announce(kind, "refund", shapes.refund_of(found, url=desk.url))
