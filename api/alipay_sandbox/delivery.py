"""Notifications: a signed form, sent again and again until the shop says `success`."""

import secrets
import sqlite3
from urllib.parse import urlencode

import httpx

from api import played

from . import clock, store
from .clock import now_text
from .model import Merchant, Refund, Trade
from .signature import Signer, joined

ANSWER_BYTES_MAX = 1_024
HEARD = b"success"


def announce(
    conn: sqlite3.Connection,
    merchant: Merchant,
    signer: Signer,
    trade: Trade,
    refund: Refund | None = None,
) -> None:
    """Write a notification down. The caller's transaction is also what it tells of."""
    fields = {
        "notify_time": now_text(),
        "notify_type": "trade_status_sync",
        "notify_id": secrets.token_hex(17),
        "charset": "utf-8",
        "version": "1.0",
        "sign_type": "RSA2",
        "app_id": merchant.app_id,
        "auth_app_id": merchant.app_id,
        "seller_id": merchant.seller_id,
        "buyer_id": "2088000000000007",
        "trade_no": trade.trade_no,
        "out_trade_no": trade.out_trade_no,
        "trade_status": trade.status,
        "subject": trade.subject,
        "total_amount": clock.yuan(trade.amount),
        "receipt_amount": clock.yuan(trade.amount),
        "buyer_pay_amount": clock.yuan(trade.amount),
        "fund_bill_list": f'[{{"amount":"{clock.yuan(trade.amount)}","fundChannel":"PCREDIT"}}]',
        "gmt_create": trade.created_at,
        "gmt_payment": trade.paid_at or "",
    }
    if refund is not None:
        fields["out_biz_no"] = refund.out_request_no
        fields["refund_fee"] = clock.yuan(trade.refunded)
        fields["gmt_refund"] = f"{refund.at}.000"
    # A notification is signed without its `sign_type`, and with what is empty.
    claimed = signer.sign(joined({k: v for k, v in fields.items() if k != "sign_type"}))
    body = urlencode({**fields, "sign": claimed}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    about = f"{trade.out_trade_no} {trade.status}"
    for due_at_s in played.due_times_s(store.behaviour(conn), about):
        played.send(conn, trade.notify_url, headers, body, due_at_s=due_at_s)


class Courier(played.Courier):
    """As many tries as Alipay's, within a minute instead of a day."""

    tries_max = 8

    def is_lost(self, notice: played.Notice) -> bool:
        return store.behaviour(self._conn).down or super().is_lost(notice)

    async def is_heard(self, answer: httpx.Response) -> bool:
        said = b""
        async for chunk in answer.aiter_bytes():
            said += chunk
            if len(said) > ANSWER_BYTES_MAX:
                return False
        return answer.is_success and said.strip() == HEARD
