"""Alipay's bills of a day: fetched from Alipay's own hosts, unpacked within limits, and read.

Two of them tell a day: `trade` what buyers paid and what was refunded, by our own numbers, and
`signcustomer` whatever moved the account, of which we take all that the other one does not tell.
"""

import asyncio
import csv
import io
import re
import ssl
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from urllib.parse import urlsplit
from uuid import UUID

import httpcore
import msgspec

from core.kit.addresses import Reach, UnfitUrl, names_loopback, target
from core.kit.pinned import Pinned, Resolve, Resolver

from .model import Movement

CHINA = timezone(timedelta(hours=8))
CURRENCY = "CNY"
# Where Alipay, and its sandbox, keep what they let one download.
SITES = (".alipay.com", ".alipaydev.com")
# Two of them, and what is asked for them, fit into a step of a role.
DOWNLOAD_S = 20.0
CONNECT_S = 5.0
OK = 200

ZIP_BYTES_MAX = 16 * 1024 * 1024
FILES_MAX = 16
CSV_BYTES_MAX = 64 * 1024 * 1024
ROWS_MAX = 100_000
HEAD_CHARS = 1_000

YUAN = re.compile(r"-?(0|[1-9][0-9]{0,10})(?:\.([0-9]{1,2}))?", re.ASCII)
NAME = re.compile(r"[!-~]{1,64}")
OURS = re.compile(r"[0-9a-f]{32}")
FORM = "%Y-%m-%d %H:%M:%S"

REFUND, FEE, WITHDRAWAL = "退款", "收费", "提现"
# What the account's bill calls money that the bill of trades tells by our numbers.
TOLD_BY_TRADES = frozenset({"在线支付", "交易付款", "交易退款", "交易", REFUND})

Row = Mapping[str, str]


class Unreadable(Exception):
    """It is no bill, or not the one that was asked for; its words say why."""


class Bill(msgspec.Struct, frozen=True):
    """How a kind of bill is asked for, how its file begins, and the columns that are read of it."""

    bill_type: str
    title: str
    columns: frozenset[str]


TRADES = Bill(
    "trade",
    "#支付宝业务明细查询",
    frozenset(
        {
            *("支付宝交易号", "商户订单号", "业务类型", "完成时间"),
            *("商家实收(元)", "退款批次号/请求号"),
        }
    ),
)
ACCOUNT = Bill(
    "signcustomer",
    "#支付宝账务明细查询",
    frozenset(
        {
            *("账务流水号", "商户订单号", "发生时间", "业务类型"),
            *("收入金额(+元)", "支出金额(-元)"),
        }
    ),
)


class Shelf:
    """Where bills lie. `gateway` is Alipay's, and what plays it keeps its bills at its own host."""

    def __init__(
        self, gateway: str, *, resolve: Resolve | None = None, trust: ssl.SSLContext | None = None
    ) -> None:
        self._host = urlsplit(gateway).hostname or ""
        self._reach = Reach(loopback=names_loopback(self._host))
        self._resolve = resolve or Resolver()
        self._trust = trust

    async def download(self, url: str) -> bytes:
        """Raises Unreadable, also for whatever goes wrong on the way."""
        try:
            async with asyncio.timeout(DOWNLOAD_S):
                return await self._get(self._checked(url))
        except TimeoutError:
            raise Unreadable(f"no whole bill within {DOWNLOAD_S:.0f} s") from None
        except (UnfitUrl, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise Unreadable(f"{type(error).__name__}: {error}") from error
        except httpcore.TimeoutException as error:
            raise Unreadable("nobody answers where the bill should lie") from error

    def _checked(self, url: str) -> str:
        """Alipay still writes http, and its host answers https. Raises UnfitUrl."""
        if url.startswith("http://") and not self._reach.loopback:
            url = "https" + url.removeprefix("http")
        host = target(url, self._reach).host
        if host != self._host and not host.endswith(SITES):
            raise UnfitUrl("A bill does not lie there.", host=host)
        return url

    async def _get(self, url: str) -> bytes:
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._trust or ssl.create_default_context(),
            network_backend=Pinned(self._reach, self._resolve),
        )
        timeouts = {"timeout": {"connect": CONNECT_S}}
        async with pool, pool.stream("GET", url, extensions=timeouts) as answer:
            if answer.status != OK:
                raise Unreadable(f"where the bill should lie, the answer is {answer.status}")
            told = bytearray()
            async for part in answer.aiter_stream():
                told += part
                if len(told) > ZIP_BYTES_MAX:
                    raise Unreadable(f"it has more than {ZIP_BYTES_MAX} bytes")
            return bytes(told)


def read(packed: bytes, bill: Bill, *, day: date, seller_id: str) -> list[Movement]:
    """All that a zip tells of a day. Raises Unreadable."""
    try:
        texts = [text for text in _texts(packed) if text.startswith(bill.title)]
        if not texts:
            raise Unreadable(f"no file of it begins with {bill.title}")
        for text in texts:
            _insist_on(text, day, seller_id)
        rows = [row for text in texts for row in _rows(text, bill)]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise Unreadable(f"no zip that can be read: {error}") from error
    except UnicodeDecodeError:
        raise Unreadable("a file of it is not GBK") from None
    except csv.Error as error:
        raise Unreadable(f"no CSV: {error}") from error
    tell = _of_trade if bill is TRADES else _of_account
    return [moved for row in rows for moved in tell(row)]


def _texts(packed: bytes) -> Iterator[str]:
    """Each file of a zip. What it says of their sizes is checked, and no more than that is read."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        files = archive.infolist()
        if len(files) > FILES_MAX or sum(one.file_size for one in files) > CSV_BYTES_MAX:
            raise Unreadable(f"more than {FILES_MAX} files, or {CSV_BYTES_MAX} bytes unpacked")
        for one in files:
            yield archive.read(one).decode("gb18030")


def _insist_on(text: str, day: date, seller_id: str) -> None:
    """It says of itself whose it is, and of which day."""
    head = unicodedata.normalize("NFKC", text[:HEAD_CHARS])
    if f"#账号:[{seller_id}" not in head:
        raise Unreadable("it is another account's")
    if f"#起始日期:[{day.year}年{day.month:02}月{day.day:02}日" not in head:
        raise Unreadable("it is of another day")


def _rows(text: str, bill: Bill) -> Iterator[Row]:
    lines = (line for line in io.StringIO(text, newline="") if not line.startswith("#"))
    table = csv.reader(lines, strict=True)
    columns = [unicodedata.normalize("NFKC", cell).strip() for cell in next(table, [])]
    if missing := bill.columns - set(columns):
        raise Unreadable(f"columns are missing: {', '.join(sorted(missing))}")
    for number, cells in enumerate((cells for cells in table if cells), 1):
        if number > ROWS_MAX:
            raise Unreadable(f"it has more than {ROWS_MAX} rows")
        if len(cells) != len(columns):
            raise Unreadable(f"row {number} has {len(cells)} cells, not {len(columns)}")
        yield {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}


def _of_trade(row: Row) -> Iterator[Movement]:
    amount_minor = _fen(row["商家实收(元)"])
    trade_no, moved_at = _name(row["支付宝交易号"]), _moment(row["完成时间"])
    if not amount_minor:
        return
    if row["业务类型"] == REFUND or amount_minor < 0:
        line_id = f"{trade_no}:{row['退款批次号/请求号']}"
        reference = _ours(row["退款批次号/请求号"]) or _name(line_id)
        yield Movement(line_id, "refund", reference, abs(amount_minor), CURRENCY, moved_at)
        return
    reference = _ours(row["商户订单号"]) or trade_no
    yield Movement(trade_no, "capture", reference, amount_minor, CURRENCY, moved_at)


def _of_account(row: Row) -> Iterator[Movement]:
    """What has no name here counts as a capture or a refund that nobody knows: somebody looks."""
    amount_minor = _fen(row["收入金额(+元)"] or "0") - abs(_fen(row["支出金额(-元)"] or "0"))
    line_id, moved_at = _name(row["账务流水号"]), _moment(row["发生时间"])
    is_told = row["业务类型"] in TOLD_BY_TRADES and _ours(row["商户订单号"])
    if is_told or not amount_minor:
        return
    kind, reference = "capture" if amount_minor > 0 else "refund", line_id
    if amount_minor < 0 and row["业务类型"] == FEE:
        kind = "fee"
    elif amount_minor < 0 and row["业务类型"] == WITHDRAWAL:
        kind, reference = "payout", ""
    yield Movement(line_id, kind, reference, abs(amount_minor), CURRENCY, moved_at)


def _ours(number: str) -> str | None:
    """The id that we gave Alipay as 32 hex digits; None where it is no number of ours."""
    return str(UUID(number)) if OURS.fullmatch(number) else None


def _name(text: str) -> str:
    if NAME.fullmatch(text) is None:
        raise Unreadable(f"no number of Alipay's: {text[:64]!r}")
    return text


def _fen(text: str) -> int:
    found = YUAN.fullmatch(text)
    if found is None:
        raise Unreadable(f"no amount in yuan: {text[:64]!r}")
    amount_minor = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
    return -amount_minor if text.startswith("-") else amount_minor


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, FORM).replace(tzinfo=CHINA)
    except ValueError:
        raise Unreadable(f"no time: {text[:64]!r}") from None
