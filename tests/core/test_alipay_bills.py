"""Alipay's bills: read to the fen, from where they may lie, and refused whatever else they are."""

# ruff: noqa: RUF001  Chinese has its own punctuation.

import asyncio
import io
import zipfile
from datetime import UTC, date, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.payments import Movement
from core.payments import alipay_bills as bills
from tests.core.receivers import receiving

DAY = date(2026, 11, 20)
SELLER = "2088000000000001"
TRADE_HEAD = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,"
    "订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,"
    "券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,"
    "分润（元）,备注"
)
ACCOUNT_HEAD = (
    "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,"
    "账户余额（元）,交易渠道,业务类型,备注"
)
NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)
OURS, REFUND = uuid4(), uuid4()


def trade(number=OURS.hex, amount="20.00", kind="交易", request="", trade_no="2026112022001"):
    return (
        f"{trade_no}\t,{number}\t,{kind}\t,茶,2026-11-20 11:59:59,2026-11-20 12:00:00,\t,\t,\t,\t,"
        f"*杨(137****2600)\t,{amount},{amount},0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,{request}\t,"
        "0.12,0.00,"
    )


def moved(kind, come="0.00", gone="0.00", number="", line_id="57"):
    return (
        f"{line_id}\t,2026112022001\t,{number}\t,茶\t,2026-11-20 12:00:00,*杨,{come},{gone},9.99,"
        f"支付宝,{kind},"
    )


def text_of(bill, rows, head=None, account=f"{SELLER}0156", day="2026年11月20日"):
    name = bill.title[4:6]
    head = head or (TRADE_HEAD if bill is bills.TRADES else ACCOUNT_HEAD)
    return "\r\n".join(
        [
            bill.title,
            f"#账号：[{account}]",
            f"#起始日期：[{day} 00:00:00]   终止日期：[2026年11月21日 00:00:00]",
            f"#-----{name}明细列表-----",
            head,
            *rows,
            f"#-----{name}明细列表结束-----,,,",
            "#交易合计：2笔，商家实收共36.80元，商家优惠共0.00元",
            "",
        ]
    )


def packed(*texts, encoding="gbk", **more):
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("汇总.csv", "#支付宝业务汇总查询\r\n".encode(encoding))
        for number, text in enumerate(texts):
            archive.writestr(f"明细_{number}.csv", text.encode(encoding))
        for name, raw in more.items():
            archive.writestr(name, raw)
    return into.getvalue()


def read(raw, bill=bills.TRADES, day=DAY):
    return bills.read(raw, bill, day=day, seller_id=SELLER)


def test_what_buyers_paid_and_what_went_back_is_told_by_our_own_ids():
    rows = [
        trade(),
        trade(amount="-3.05", kind="退款", request=REFUND.hex),
        trade(amount="-1.00", kind="退款", trade_no="T2"),
        trade(amount="7.5", number="till-17", trade_no="T3"),
        trade(amount="0.00", trade_no="T4"),
    ]
    assert read(packed(text_of(bills.TRADES, rows[:2]), text_of(bills.TRADES, rows[2:]))) == [
        Movement("2026112022001", "capture", str(OURS), 2_000, "CNY", NOON),
        Movement(f"2026112022001:{REFUND.hex}", "refund", str(REFUND), 305, "CNY", NOON),
        Movement("T2:", "refund", "T2:", 100, "CNY", NOON),
        Movement("T3", "capture", "T3", 750, "CNY", NOON),
    ]


def test_fees_withdrawals_and_what_nobody_here_knows_are_told_by_the_accounts_bill():
    rows = [
        moved("在线支付", come="20.00", number=OURS.hex),
        moved("交易退款", gone="-3.05", number=OURS.hex),
        moved("收费", gone="-0.12", number=OURS.hex, line_id="1"),
        moved("收费", come="0.12", number=OURS.hex, line_id="2"),
        moved("提现", gone="-16.83", line_id="3"),
        moved("转账", gone="5.00", line_id="4"),
        moved("在线支付", come="1.00", gone="", number="till-17", line_id="5"),
        moved("其它", line_id="6"),
    ]
    assert read(packed(text_of(bills.ACCOUNT, rows)), bills.ACCOUNT) == [
        Movement("1", "fee", "1", 12, "CNY", NOON),
        Movement("2", "capture", "2", 12, "CNY", NOON),
        Movement("3", "payout", "", 1_683, "CNY", NOON),
        Movement("4", "refund", "4", 500, "CNY", NOON),
        Movement("5", "capture", "5", 100, "CNY", NOON),
    ]


@given(st.integers(1, 10**12))
def test_every_amount_there_is_comes_out_as_it_went_in(amount_minor):
    yuan = f"{amount_minor // 100}.{amount_minor % 100:02}"
    (found,) = read(packed(text_of(bills.TRADES, [trade(amount=yuan)])))
    assert found.amount_minor == amount_minor


FINE = text_of(bills.TRADES, [trade()])
WRONG = {
    "nothing at all": b"",
    "a page": b"<html>502 Bad Gateway</html>",
    "half a zip": packed(FINE)[:-30],
    "another bill": packed(text_of(bills.ACCOUNT, [])),
    "another encoding": packed(FINE, encoding="utf-8"),
    "no text": packed(**{"x.csv": b"\xff\xff\xff"}),
    "a column is missing": packed(
        text_of(bills.TRADES, [trade()], head=TRADE_HEAD.replace("商家实收", "实收"))
    ),
    "no columns": packed(text_of(bills.TRADES, [], head="#")),
    "a cell too many": packed(text_of(bills.TRADES, [trade() + ","])),
    "a cell too few": packed(text_of(bills.TRADES, [trade()[:-1]])),
    "half a fen": packed(text_of(bills.TRADES, [trade(amount="1.005")])),
    "a grouped amount": packed(text_of(bills.TRADES, [trade(amount='"1,005.00"')])),
    "no amount": packed(text_of(bills.TRADES, [trade(amount="")])),
    "no number": packed(text_of(bills.TRADES, [trade(trade_no="")])),
    "no time": packed(FINE.replace("2026-11-20 12:00:00", "2026-11-20 24:00:00")),
    "another's": packed(text_of(bills.TRADES, [trade()], account="20880000000000020156")),
    "another day's": packed(text_of(bills.TRADES, [trade()], day="2026年11月19日")),
    "a bomb": packed(FINE, bomb=bytes(bills.CSV_BYTES_MAX)),
    "many files": packed(*[FINE] * (bills.FILES_MAX + 1)),
}


@pytest.mark.parametrize("raw", WRONG.values(), ids=list(WRONG))
def test_what_is_no_bill_of_ours_is_refused_with_a_reason(raw):
    with pytest.raises(bills.Unreadable) as refused:
        read(raw)
    assert str(refused.value)


def test_a_bill_of_more_rows_than_there_may_be_is_refused(monkeypatch):
    monkeypatch.setattr(bills, "ROWS_MAX", 3)
    assert len(read(packed(text_of(bills.TRADES, [trade()] * 3)))) == 3
    with pytest.raises(bills.Unreadable, match="more than 3 rows"):
        read(packed(text_of(bills.TRADES, [trade()] * 4)))


def test_a_file_that_is_larger_than_it_says_is_not_unpacked():
    """The sizes in a zip are its author's words."""
    raw = bytearray(packed(FINE, bomb=bytes(1_000_000)))
    said = (1_000_000).to_bytes(4, "little")
    assert raw.count(said) >= 1
    with pytest.raises(bills.Unreadable):
        read(bytes(raw.replace(said, (10).to_bytes(4, "little"))))


# --- where bills may lie


class Names:
    """A name server that leads everybody to one address."""

    def __init__(self, address):
        self.address, self.asked = address, []

    async def __call__(self, host, port):
        self.asked.append((host, port))
        return [self.address]


@pytest.mark.parametrize(
    "url",
    [
        *("https://evil.example/b", "https://alipay.com.evil.example/b", "https://notalipay.com/b"),
        *("https://10.0.0.1/b", "https://127.0.0.1/b", "https://169.254.169.254/latest", ""),
        *("https://dwbillcenter.alipay.com:22/b", "https://x@dwbillcenter.alipay.com/b"),
        *("ftp://dwbillcenter.alipay.com/b", "file:///etc/passwd", "https://[::1]/b"),
    ],
)
async def test_a_bill_that_lies_elsewhere_is_not_fetched(url):
    names = Names("1.1.1.1")
    with pytest.raises(bills.Unreadable):
        await bills.Shelf("https://openapi.alipay.com/gateway.do", resolve=names).download(url)
    assert names.asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_of_alipays_that_leads_inside_is_not_connected_to(scheme):
    names = Names("10.0.0.1")
    shelf = bills.Shelf("https://openapi.alipay.com/gateway.do", resolve=names)
    with pytest.raises(bills.Unreadable, match="not a public one"):
        await shelf.download(f"{scheme}://dwbillcenter.alipay.com/downloadBillFile.resource?x=1")
    assert names.asked == [("dwbillcenter.alipay.com", 443)]


async def test_what_plays_alipay_may_keep_its_bills_on_this_machine_and_nowhere_else():
    async with receiving() as receiver:
        shelf = bills.Shelf("http://127.0.0.1:1/gateway.do")
        assert await shelf.download(receiver.url) == b"ok"
        for url in (f"http://localhost:{receiver.port}/b", "http://127.0.0.2/b"):
            with pytest.raises(bills.Unreadable):
                await shelf.download(url)
        with pytest.raises(bills.Unreadable):
            await bills.Shelf("https://openapi.alipay.com/gateway.do").download(receiver.url)
    assert len(receiver.got) == 1


REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"


async def endless(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(bytes(65_536))
        await writer.drain()


async def silent(writer):
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (REDIRECT, "302"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "500"),
        (b"nonsense\r\n\r\n", "ProtocolError"),
        (endless, "more than"),
        (silent, "no whole bill"),
    ],
    ids=["elsewhere", "broken", "nonsense", "endless", "silent"],
)
async def test_a_place_without_a_bill_is_left_in_bounded_time(monkeypatch, answer, why):
    monkeypatch.setattr(bills, "DOWNLOAD_S", 3.0)
    async with receiving() as receiver:
        receiver.answer = answer
        with pytest.raises(bills.Unreadable, match=why):
            await bills.Shelf("http://127.0.0.1:1/gateway.do").download(receiver.url)
