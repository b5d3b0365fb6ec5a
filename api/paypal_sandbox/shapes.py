"""What PayPal's answers and webhooks say, as its documents have it."""

import sqlite3
from datetime import datetime, timedelta
from decimal import Decimal

from . import store
from .model import DIGITS, Authorization, Capture, Dispute, Line, Money, Order, Refund

FEE_PER_CENT = 3

Document = dict[str, object]


def minor(money: Money) -> int | None:
    """In the smallest unit; None where PayPal does not take such an amount."""
    digits = DIGITS.get(money.currency_code)
    if digits is None:
        return None
    amount = Decimal(money.value).scaleb(digits)
    return int(amount) if amount == amount.to_integral_value() else None


def money(amount: int, currency: str) -> Document:
    digits = DIGITS[currency]
    return {"currency_code": currency, "value": f"{Decimal(amount).scaleb(-digits):.{digits}f}"}


def order_of(conn: sqlite3.Connection, order: Order, *, url: str) -> Document:
    here = f"{url}/v2/checkout/orders/{order.id}"
    links = [_link(here, "self", "GET")]
    if order.status in {"CREATED", "PAYER_ACTION_REQUIRED"}:
        links += [_link(f"{url}/checkoutnow?token={order.id}", "payer-action", "GET")]
    if order.status == "APPROVED":
        step = order.intent.lower()
        links += [_link(f"{here}/{step}", step, "POST")]
    unit = _present(
        reference_id=order.reference_id,
        amount=money(order.amount, order.currency),
        custom_id=order.custom_id,
        invoice_id=order.invoice_id,
        description=order.description,
    )
    captures, held = store.captures(conn, order.id), store.authorization(conn, order.id)
    refunds = [refund for one in captures for refund in store.refunds(conn, one.id)]
    moved = {
        "authorizations": [authorization_of(held, url=url)] if held else [],
        "captures": [capture_of(one, url=url) for one in captures],
        "refunds": [refund_of(one, url=url) for one in refunds],
    }
    if any(moved.values()):
        unit["payments"] = {kind: found for kind, found in moved.items() if found}
    return {
        "id": order.id,
        "intent": order.intent,
        "status": order.status,
        "create_time": order.made_at,
        "purchase_units": [unit],
        "links": links,
    }


def authorization_of(held: Authorization, *, url: str) -> Document:
    here = f"{url}/v2/payments/authorizations/{held.id}"
    links = [_link(here, "self", "GET")]
    if held.status == "CREATED":
        links += [_link(f"{here}/{step}", step, "POST") for step in ("capture", "void")]
    return _present(
        id=held.id,
        status=held.status,
        amount=money(held.amount, held.currency),
        custom_id=held.custom_id,
        invoice_id=held.invoice_id,
        expiration_time=held.ends_at,
        create_time=held.made_at,
        update_time=held.made_at,
        supplementary_data={"related_ids": {"order_id": held.order_id}},
        links=links,
    )


def capture_of(capture: Capture, *, url: str) -> Document:
    here = f"{url}/v2/payments/captures/{capture.id}"
    return _present(
        id=capture.id,
        status=capture.status,
        status_details={"reason": "PENDING_REVIEW"} if capture.status == "PENDING" else None,
        amount=money(capture.amount, capture.currency),
        final_capture=True,
        custom_id=capture.custom_id,
        invoice_id=capture.invoice_id,
        create_time=capture.made_at,
        update_time=capture.made_at,
        supplementary_data={"related_ids": {"order_id": capture.order_id}},
        links=[_link(here, "self", "GET"), _link(f"{here}/refund", "refund", "POST")],
    )


def refund_of(refund: Refund, *, url: str) -> Document:
    return _present(
        id=refund.id,
        status=refund.status,
        amount=money(refund.amount, refund.currency),
        custom_id=refund.custom_id,
        invoice_id=refund.invoice_id,
        note_to_payer=refund.note,
        create_time=refund.made_at,
        update_time=refund.made_at,
        links=[
            _link(f"{url}/v2/payments/refunds/{refund.id}", "self", "GET"),
            _link(f"{url}/v2/payments/captures/{refund.capture_id}", "up", "GET"),
        ],
    )


def dispute_of(capture: Capture, dispute: Dispute) -> Document:
    is_open = dispute.status == "OPEN"
    return _present(
        dispute_id=dispute.id,
        create_time=dispute.made_at,
        update_time=dispute.updated_at,
        disputed_transactions=[
            _present(
                seller_transaction_id=capture.id,
                custom=capture.custom_id,
                invoice_number=capture.invoice_id,
            )
        ],
        reason="MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
        status=dispute.status,
        dispute_amount=money(capture.amount, capture.currency),
        dispute_life_cycle_stage="INQUIRY" if is_open else "CHARGEBACK",
        seller_response_due_date=later(dispute.made_at) if is_open else None,
        dispute_outcome={"outcome_code": dispute.outcome} if dispute.outcome else None,
    )


def later(at: str) -> str:
    """How long the merchant has to answer."""
    return (datetime.fromisoformat(at) + timedelta(days=10)).isoformat()


def line_of(line: Line) -> Document:
    fee = line.amount * FEE_PER_CENT // 100 if line.amount > 0 else 0
    return {
        "transaction_info": _present(
            transaction_id=line.id,
            paypal_reference_id=line.reference,
            paypal_reference_id_type="TXN" if line.reference else None,
            transaction_event_code=line.code,
            transaction_initiation_date=line.at,
            transaction_updated_date=line.at,
            transaction_amount=money(line.amount, line.currency),
            fee_amount=money(-fee, line.currency) if fee else None,
            transaction_status="S",
            invoice_id=line.invoice_id,
            custom_field=line.custom_id,
        )
    }


def _link(href: str, rel: str, method: str) -> Document:
    return {"href": href, "rel": rel, "method": method}


def _present(**facts: object) -> Document:
    return {name: fact for name, fact in facts.items() if fact is not None}
