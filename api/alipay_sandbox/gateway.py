"""What the gateway does for each method, on its books. No network here."""

import sqlite3
import time
from typing import Any, TypeVar

import msgspec

from . import clock, store
from .delivery import announce
from .model import Merchant, Refund, Trade, WantRefund, WantTradeNamed
from .signature import Signer

Shape = TypeVar("Shape")
Answer = dict[str, Any]

WAITING, PAID, CLOSED = "WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_CLOSED"
BPS = 10_000
SUCCESS: Answer = {"code": "10000", "msg": "Success"}


class Refused(Exception):
    """A business no: code 40004, or another one."""

    def __init__(self, sub_code: str, sub_msg: str, code: str = "40004") -> None:
        msg = {"40004": "Business Failed", "40002": "Invalid Arguments"}.get(code, "Failed")
        super().__init__(sub_code)
        self.answer: Answer = {"code": code, "msg": msg, "sub_code": sub_code, "sub_msg": sub_msg}


class Gateway:
    """Each verb runs in a transaction of the caller's."""

    def __init__(self, conn: sqlite3.Connection, merchant: Merchant, signer: Signer) -> None:
        self._conn = conn
        self._merchant = merchant
        self._signer = signer

    def answer(self, method: str, content: str) -> Answer:
        verbs = {
            "alipay.trade.query": self.query,
            "alipay.trade.close": self.close,
            "alipay.trade.refund": self.refund,
            "alipay.trade.fastpay.refund.query": self.query_refund,
        }
        if method not in verbs:
            raise Refused("isv.invalid-method", "不存在的方法名", code="40002")
        return verbs[method](content)

    def query(self, content: str) -> Answer:
        trade = self._trade(read(content, WantTradeNamed))
        answer = {**SUCCESS, **_names(trade), "trade_status": trade.status}
        answer |= {"total_amount": clock.yuan(trade.amount), "buyer_logon_id": "buy***@example.com"}
        if trade.paid_at:
            answer["send_pay_date"] = trade.paid_at
            answer["buyer_pay_amount"] = clock.yuan(trade.amount)
        return answer

    def close(self, content: str) -> Answer:
        trade = self._trade(read(content, WantTradeNamed))
        if trade.status != WAITING:
            raise Refused("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        store.move(self._conn, trade, CLOSED, amount=trade.amount, paid_at=None)
        return {**SUCCESS, **_names(trade)}

    def refund(self, content: str) -> Answer:
        wanted = read(content, WantRefund)
        trade = self._trade(WantTradeNamed(wanted.out_trade_no, wanted.trade_no))
        amount, number = clock.fen(wanted.refund_amount), wanted.out_request_no
        number = number or trade.out_trade_no
        before = store.find_refund(self._conn, trade, number)
        if before is not None:
            if before.amount != amount:
                raise Refused("ACQ.DISCORDANT_REPEAT_REQUEST", "请求信息不一致")
        else:
            self._refuse(trade, amount)
            trade = self._send(trade, amount, number, wanted.refund_reason)
        return {
            **SUCCESS,
            **_names(trade),
            "fund_change": "N" if before else "Y",
            "refund_fee": clock.yuan(trade.refunded),
            "buyer_logon_id": "buy***@example.com",
        }

    def query_refund(self, content: str) -> Answer:
        wanted = read(content, WantTradeNamed)
        trade = self._trade(wanted)
        refund = store.find_refund(self._conn, trade, wanted.out_request_no)
        if refund is None:
            return SUCCESS
        return {
            **SUCCESS,
            **_names(trade),
            "out_request_no": refund.out_request_no,
            "refund_amount": clock.yuan(refund.amount),
            "total_amount": clock.yuan(trade.amount),
            "refund_status": "REFUND_SUCCESS",
        }

    def pay(self, trade: Trade) -> Trade:
        """The buyer's click. A second one changes nothing, and neither does one that is late."""
        trade = self.standing(trade)
        if trade.status != WAITING:
            return trade
        amount = max(1, trade.amount + store.behaviour(self._conn).amount_off)
        store.move(self._conn, trade, PAID, amount=amount, paid_at=clock.now_text())
        paid = self._again(trade)
        self._move_money(paid, "在线支付", amount)
        self._move_money(paid, "收费", -(amount * store.behaviour(self._conn).fee_bps // BPS))
        announce(self._conn, self._merchant, self._signer, paid)
        return paid

    def withdraw(self, amount: int) -> None:
        """To the merchant's bank."""
        store.move_money(self._conn, "", "", "提现", -amount, clock.now_text())

    def standing(self, trade: Trade) -> Trade:
        """What waited too long is closed, and the shop is told so."""
        if trade.status != WAITING or time.time() < trade.expires_at_s:
            return trade
        store.move(self._conn, trade, CLOSED, amount=trade.amount, paid_at=None)
        closed = self._again(trade)
        announce(self._conn, self._merchant, self._signer, closed)
        return closed

    def _send(self, trade: Trade, amount: int, number: str, reason: str) -> Trade:
        refund = Refund(number, trade.trade_no, amount, reason, clock.now_text())
        store.refund(self._conn, refund)
        self._move_money(trade, "交易退款", -amount)
        if trade.refunded + amount == trade.amount:
            store.move(self._conn, trade, CLOSED, amount=trade.amount, paid_at=None)
        after = self._again(trade)
        announce(self._conn, self._merchant, self._signer, after, refund)
        return after

    def _move_money(self, trade: Trade, kind: str, amount: int) -> None:
        if amount:
            facts = (trade.trade_no, trade.out_trade_no, kind, amount, clock.now_text())
            store.move_money(self._conn, *facts)

    def _refuse(self, trade: Trade, amount: int) -> None:
        if trade.status != PAID:
            raise Refused("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        if not 0 < amount <= trade.amount - trade.refunded:
            raise Refused("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限")

    def _trade(self, wanted: WantTradeNamed) -> Trade:
        found = store.find(self._conn, trade_no=wanted.trade_no, out_trade_no=wanted.out_trade_no)
        if found is None:
            raise Refused("ACQ.TRADE_NOT_EXIST", "交易不存在")
        return self.standing(found)

    def _again(self, trade: Trade) -> Trade:
        found = store.find(self._conn, trade_no=trade.trade_no)
        assert found is not None
        return found


def read(content: str, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(content, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused("isv.invalid-parameter", str(error), code="40002") from None


def _names(trade: Trade) -> Answer:
    return {"trade_no": trade.trade_no, "out_trade_no": trade.out_trade_no}
