"""The bills of a day, as Alipay writes them: CSV files in GBK in a zip, kept for 30 seconds."""

# ruff: noqa: RUF001  Chinese has its own punctuation.

import io
import secrets
import sqlite3
import time
import zipfile
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from . import clock, store
from .model import Behaviour, Merchant, WantBill

GOOD_FOR_S = 30.0
KEPT_MAX = 64
BOMB_BYTES = 80 * 1024 * 1024
BIZ_TYPES = {"trade": "trade", "signcustomer": "fnd"}
NAMES = {"trade": "业务", "signcustomer": "账务"}
COLUMNS = {
    "trade": (
        "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,"
        "对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,"
        "商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,"
        "退款批次号/请求号,服务费（元）,分润（元）,备注"
    ),
    "signcustomer": (
        "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,"
        "账户余额（元）,交易渠道,业务类型,备注"
    ),
}
BUYER = "*家(buy***@example.com)"


class Desk:
    """Hands out bills by addresses that are good for a moment."""

    def __init__(self, merchant: Merchant) -> None:
        self._account = f"{merchant.seller_id}0156"
        self._kept: dict[str, tuple[float, bytes]] = {}

    def address(self, conn: sqlite3.Connection, wanted: WantBill, *, site: str) -> str | None:
        """None where there is no bill: of today, or of a day on which nothing happened."""
        behaviour = store.behaviour(conn)
        day = date.fromisoformat(wanted.bill_date)
        rows = rows_of(conn, wanted.bill_type, day)
        if not rows or (day >= clock.today() and not behaviour.writes_today):
            return None
        token, text = secrets.token_hex(16), f"{day:%Y%m%d}"
        self._kept[token] = (time.monotonic(), self._packed(wanted.bill_type, day, rows, behaviour))
        while len(self._kept) > KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        query = {
            "bizType": BIZ_TYPES[wanted.bill_type],
            "userId": self._account,
            "fileType": "csv.zip",
            "bizDates": text,
            "downloadFileName": f"{self._account}_{text}.csv.zip",
            "token": token,
        }
        return f"{site_of(site, behaviour)}/downloadBillFile.resource?{urlencode(query)}"

    def take(self, token: str) -> bytes | None:
        kept_at_s, packed = self._kept.get(token, (float("-inf"), b""))
        return packed if time.monotonic() - kept_at_s < GOOD_FOR_S else None

    def _packed(
        self, bill_type: str, day: date, rows: list[list[str]], behaviour: Behaviour
    ) -> bytes:
        spoilt = behaviour.bill
        if spoilt == "html":
            return b"<html>502 Bad Gateway</html>"
        day += timedelta(days=spoilt == "another day")
        account = self._account if spoilt != "another account" else "20880000000000090156"
        text = detail(bill_type, account, day, rows)
        if spoilt == "columns":
            text = text.replace("商家实收", "实收").replace("支出金额", "支出")
        name, summary = NAMES[bill_type], f"#支付宝{NAMES[bill_type]}汇总查询\r\n"
        into = io.BytesIO()
        with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
            stem = f"{account}_{day:%Y%m%d}"
            encoding = "utf-8" if spoilt == "utf-8" else "gbk"
            archive.writestr(f"{stem}_{name}明细.csv", text.encode(encoding))
            archive.writestr(f"{stem}_{name}明细(汇总).csv", summary.encode("gbk"))
            if spoilt == "bomb":
                archive.writestr(f"{stem}_2.csv", bytes(BOMB_BYTES))
        return into.getvalue()


def site_of(site: str, behaviour: Behaviour) -> str:
    sites = {"foreign host": "http://localhost.example", "private address": "http://10.0.0.1"}
    return sites.get(behaviour.bill, site.rstrip("/"))


def rows_of(conn: sqlite3.Connection, bill_type: str, day: date) -> list[list[str]]:
    return trades_of(conn, day) if bill_type == "trade" else moves_of(conn, day)


def trades_of(conn: sqlite3.Connection, day: date) -> list[list[str]]:
    """A row a payment, and a row a refund. Tabs keep spreadsheets from reading numbers as such."""
    rows = []
    for trade, amount, at, number in store.business(conn, f"{day}"):
        kind, yuan = "退款" if number else "交易", clock.yuan(amount)
        rows.append(
            [
                *(f"{trade.trade_no}\t", f"{trade.out_trade_no}\t", f"{kind}\t", trade.subject),
                *(trade.created_at, at, "\t", "\t", "\t", "\t", BUYER, yuan, yuan),
                *(["0.00"] * 5),
                *("", "0.00\t", "0.00", f"{number}\t", "0.00", "0.00", ""),
            ]
        )
    return rows


def moves_of(conn: sqlite3.Connection, day: date) -> list[list[str]]:
    rows = []
    for move in store.moves(conn, f"{day}"):
        yuan = clock.yuan(move.amount)
        sides = (yuan, "0.00") if move.amount > 0 else ("0.00", yuan)
        names = (f"{move.id:014}\t", f"{move.trade_no}\t", f"{move.out_trade_no}\t")
        rows.append([*names, "\t", move.at, BUYER, *sides, "0.00", "支付宝", move.kind, ""])
    return rows


def detail(bill_type: str, account: str, day: date, rows: list[list[str]]) -> str:
    name, until = NAMES[bill_type], day + timedelta(days=1)
    now = datetime.now(clock.CHINA)
    lines = [
        f"#支付宝{name}明细查询",
        f"#账号：[{account}]",
        f"#起始日期：[{chinese(day)} 00:00:00]   终止日期：[{chinese(until)} 00:00:00]",
        f"#{'-' * 41}{name}明细列表{'-' * 40}",
        COLUMNS[bill_type],
        *(",".join(row) for row in rows),
        f"#{'-' * 41}{name}明细列表结束{'-' * 36}",
        f"#合计：{len(rows)}笔",
        f"#导出时间：[{chinese(now.date())} {now:%H:%M:%S}]",
    ]
    return "\r\n".join(lines) + "\r\n"


def chinese(day: date) -> str:
    return f"{day.year}年{day.month:02}月{day.day:02}日"
