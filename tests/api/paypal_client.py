"""PayPal's own client for Python goes through a purchase, or has the money held first, and prints
what it hears.
"""

import os
import sys
from datetime import UTC, datetime, timedelta

import httpx
from paypalserversdk.configuration import Environment, Server
from paypalserversdk.exceptions.error_exception import ErrorException
from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials
from paypalserversdk.models.amount_with_breakdown import AmountWithBreakdown
from paypalserversdk.models.capture_request import CaptureRequest
from paypalserversdk.models.checkout_payment_intent import CheckoutPaymentIntent
from paypalserversdk.models.money import Money
from paypalserversdk.models.order_application_context import OrderApplicationContext
from paypalserversdk.models.order_request import OrderRequest
from paypalserversdk.models.purchase_unit_request import PurchaseUnitRequest
from paypalserversdk.models.refund_request import RefundRequest
from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient

from tests.patience import PATIENCE_S


def refused(call, message) -> None:
    """It has to say no, and this prints why."""
    try:
        call(message)
    except ErrorException as error:
        print(error.details[0].issue if error.name == "UNPROCESSABLE_ENTITY" else error.name)
    else:
        raise AssertionError("it was not refused")


def connect(url: str) -> PaypalServersdkClient:
    client = PaypalServersdkClient(
        environment=Environment.SANDBOX,
        client_credentials_auth_credentials=ClientCredentialsAuthCredentials(
            o_auth_client_id=os.environ["PAYPAL_CLIENT"],
            o_auth_client_secret=os.environ["PAYPAL_SECRET"],
        ),
    )
    client.config.environments[Environment.SANDBOX][Server.DEFAULT] = url
    return client


def wish(intent: str, number: int) -> OrderRequest:
    unit = PurchaseUnitRequest(
        amount=AmountWithBreakdown(currency_code="USD", value="19.99"),
        custom_id=f"c-{number}",
        invoice_id=f"i-{number}",
    )
    context = OrderApplicationContext(
        return_url="http://shop.example/back", cancel_url="http://shop.example/away"
    )
    return OrderRequest(intent=intent, purchase_units=[unit], application_context=context)


def hold(url: str) -> None:
    """Twice the money is held: once it is taken, once it is let go."""
    client = connect(url)
    orders, payments = client.orders, client.payments
    for number in (2, 3):
        wanted = wish(CheckoutPaymentIntent.AUTHORIZE, number)
        order = orders.create_order({"body": wanted, "prefer": "return=representation"}).body
        refused(orders.authorize_order, {"id": order.id})
        (page,) = (link.href for link in order.links if link.rel == "payer-action")
        httpx.post(page, data={"choice": "approve"})
        refused(orders.capture_order, {"id": order.id})
        done = orders.authorize_order({"id": order.id, "paypal_request_id": f"a-{number}"}).body
        (held,) = done.purchase_units[0].payments.authorizations
        print(done.status, held.status, held.amount.value)
        refused(orders.authorize_order, {"id": order.id})
        mine = {"authorization_id": held.id}
        assert payments.get_authorized_payment(mine).body.expiration_time > held.create_time
        if number == 2:
            more = CaptureRequest(amount=Money(currency_code="USD", value="20.00"))
            refused(payments.capture_authorized_payment, {**mine, "body": more})
            all_of_it = CaptureRequest(
                amount=Money(currency_code="USD", value="19.99"), final_capture=True
            )
            once = {**mine, "body": all_of_it, "paypal_request_id": "t-2"}
            taken = payments.capture_authorized_payment(once).body
            assert payments.capture_authorized_payment(once).body.id == taken.id
            print(payments.get_captured_payment({"capture_id": taken.id}).body.status)
        else:
            voided = payments.void_payment({**mine, "prefer": "return=representation"}).body
            print(voided.status)
        refused(payments.capture_authorized_payment, {**mine, "body": CaptureRequest()})
        refused(payments.void_payment, mine)
        print(payments.get_authorized_payment(mine).body.status)


def buy(url: str) -> None:
    client = connect(url)
    orders, payments = client.orders, client.payments
    request = wish(CheckoutPaymentIntent.CAPTURE, 1)
    wanted = {"body": request, "paypal_request_id": "r-1", "prefer": "return=representation"}
    order = orders.create_order(wanted).body
    assert orders.create_order(wanted).body.id == order.id
    print(order.status)
    refused(orders.capture_order, {"id": order.id})
    (page,) = (link.href for link in order.links if link.rel == "payer-action")
    back = httpx.post(page, data={"choice": "approve"}, timeout=PATIENCE_S)
    assert back.headers["location"].startswith(f"http://shop.example/back?token={order.id}")
    print(orders.get_order({"id": order.id}).body.status)
    taken = orders.capture_order({"id": order.id, "paypal_request_id": "t-1"}).body
    (capture,) = taken.purchase_units[0].payments.captures
    print(taken.status, capture.amount.value)
    for request_id, value in (("f-1", "5.00"), ("f-2", "15.00"), ("f-3", None)):
        amount = {"amount": Money(currency_code="USD", value=value)} if value else {}
        message = {
            "capture_id": capture.id,
            "paypal_request_id": request_id,
            "body": RefundRequest(**amount),
        }
        if value == "15.00":
            refused(payments.refund_captured_payment, message)
            continue
        refund = payments.refund_captured_payment(message).body
        assert payments.refund_captured_payment(message).body.id == refund.id
        print(payments.get_refund({"refund_id": refund.id}).body.status)
        print(payments.get_captured_payment({"capture_id": capture.id}).body.status)
    refused(orders.capture_order, {"id": order.id})
    now = datetime.now(UTC)
    asked = {"start_date": now - timedelta(days=1), "end_date": now + timedelta(days=1)}
    stamps = {name: at.strftime("%Y-%m-%dT%H:%M:%SZ") for name, at in asked.items()}
    told = client.transaction_search.search_transactions(stamps).body
    lines = [detail.transaction_info for detail in told.transaction_details]
    print(",".join(f"{o.transaction_event_code}:{o.transaction_amount.value}" for o in lines))
    refused(orders.get_order, {"id": "NOBODY"})


if __name__ == "__main__":
    {"buy": buy, "hold": hold}[sys.argv[1]](sys.argv[2])
