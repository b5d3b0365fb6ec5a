"""Notifications: a signed form, sent again and again until the shop says `success`."""

import asyncio
import random
import secrets
import sqlite3
import time
from urllib.parse import urlencode

import httpx

from . import clock, store
from .clock import now_text
from .model import Delivery, Merchant, Refund, Trade
from .signature import Signer, joined

# As many tries as Alipay's, within a minute instead of a day.
TRIES_MAX = 8
PAUSE_S = 0.5
DEADLINE_S = 5.0
ANSWER_BYTES_MAX = 1_024
BATCH_MAX = 32
IDLE_S = 5.0
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
    behaviour = store.behaviour(conn)
    # The trade draws, not the notification, so that one seed misbehaves the same way again.
    draw = random.Random(f"{behaviour.seed} {trade.out_trade_no} {trade.status}")  # noqa: S311
    for _ in range(1 + (draw.random() < behaviour.duplicate)):
        wait_s = behaviour.delay_s + draw.random() * behaviour.shuffle_s
        store.send(conn, trade.notify_url, body, due_at_s=time.time() + wait_s)


class Courier:
    """Delivers what is due, a batch at a time. `wake` it when there is something new."""

    def __init__(self, conn: sqlite3.Connection, http: httpx.AsyncClient) -> None:
        self._conn = conn
        self._http = http
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()

    async def run(self) -> None:
        while True:
            self._news.clear()
            try:
                batch = store.due(self._conn, now_s=time.time(), batch_max=BATCH_MAX)
                if batch:
                    await asyncio.gather(*map(self._deliver, batch))
                else:
                    await self._idle()
            except sqlite3.Error:
                # A full disk or a lock held too long: what was not noted is delivered again.
                await asyncio.sleep(IDLE_S)

    async def _idle(self) -> None:
        due_at_s = store.next_due(self._conn)
        wait_s = IDLE_S if due_at_s is None else due_at_s - time.time()
        try:
            async with asyncio.timeout(min(max(wait_s, 0.0), IDLE_S)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _deliver(self, delivery: Delivery) -> None:
        heard = await self._post(delivery)
        tries = delivery.tries + 1
        ended = "heard" if heard else "given up" if tries >= TRIES_MAX else None
        due_at_s = time.time() + PAUSE_S * 2**delivery.tries
        with self._conn:
            store.tried(self._conn, delivery, due_at_s=due_at_s, ended=ended)

    async def _post(self, delivery: Delivery) -> bool:
        behaviour = store.behaviour(self._conn)
        if behaviour.down or delivery.tries < behaviour.drop_first:
            return False
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        said = b""
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._http.stream(
                    "POST", delivery.url, content=delivery.body, headers=headers
                ) as answer,
            ):
                async for chunk in answer.aiter_bytes():
                    said += chunk
                    if len(said) > ANSWER_BYTES_MAX:
                        return False
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False
        return answer.is_success and said.strip() == HEARD
