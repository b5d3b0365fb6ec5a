"""What happens to orders and money here, each with the webhook that tells of it.

All of it in the caller's transaction; `Desk` is what every act needs.
"""

import secrets
import sqlite3
import string

import msgspec

from . import shapes, store
from .delivery import Courier, now_text
from .model import DIGITS, Capture, Money, Order, Refund, Unit, WantOrder, WantRefund

ID_LENGTH = 17


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
        return _known(store.order(self.conn, order_id))

    def capture(self, capture_id: str) -> Capture:
        return _known(store.capture(self.conn, capture_id))

    def refund(self, refund_id: str) -> Refund:
        return _known(store.refund(self.conn, refund_id))

    def shown(self, order: Order) -> shapes.Document:
        return shapes.order_of(self.conn, order, url=self.url)


def open_order(desk: Desk, wanted: WantOrder, unit: Unit, *, order_id: str) -> None:
    context = wanted.payment_source.paypal.experience_context
    if context.return_url is None:
        context = wanted.application_context
    order = Order(
        id=order_id,
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
    if order.status == "COMPLETED":
        raise unprocessable("ORDER_ALREADY_CAPTURED")
    if order.status != "APPROVED":
        raise unprocessable("ORDER_NOT_APPROVED")
    if store.is_invoiced(desk.conn, order.invoice_id):
        raise unprocessable("DUPLICATE_INVOICE_ID")
    behaviour = store.behaviour(desk.conn)
    if behaviour.declines:
        raise unprocessable("INSTRUMENT_DECLINED")
    taken = Capture(
        id=new_id(),
        order_id=order.id,
        status="PENDING" if behaviour.pends else "COMPLETED",
        currency=behaviour.currency or order.currency,
        amount=max(0, order.amount + behaviour.amount_off),
        custom_id=order.custom_id,
        invoice_id=order.invoice_id,
        made_at=now_text(),
    )
    store.add_capture(desk.conn, taken)
    store.move_order(desk.conn, order, "COMPLETED")
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
    taken = desk.capture(subject_id)
    if act == "dispute":
        told = shapes.dispute_of(taken, dispute_id=f"PP-D-{secrets.randbelow(100_000)}")
        desk.courier.announce("CUSTOMER.DISPUTE.CREATED", "dispute", told)
    elif act == "reverse":
        _reverse(desk, taken)
    elif taken.status == "PENDING":
        store.move_capture(desk.conn, taken.id, "COMPLETED" if act == "complete" else "DECLINED")
        _tell_capture(desk, desk.capture(taken.id))


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
