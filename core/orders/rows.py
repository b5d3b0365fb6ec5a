"""New orders as rows of Postgres' binary COPY format: what a batch shares is encoded once."""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from hotpath.ids import OrderIds
from hotpath.records import Packer, Shelf

# A claim's own columns come first, then its SKU's, then those that all of a batch share.
ORDER_COLUMNS = (
    *("id", "member_id", "idempotency_key", "key_id", "amount_minor"),
    *("currency",),
    *("sale_id", "bucket", "epoch", "state", "expires_at"),
)
LINE_COLUMNS = (
    *("order_id", "quantity"),
    *("line_no", "sku_id", "price_minor", "seller_id", "commission_bps"),
)

BEGINNING = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Price(NamedTuple):
    sku_id: int
    price_minor: int
    currency: str
    seller_id: int
    commission_bps: int


def packer(order_ids: OrderIds, prices: Iterable[Price], *, bucket: int, epoch: int) -> Packer:
    """Makes rows of an epoch's claims, of which each SKU has one price."""
    return Packer(
        order_ids,
        {price.sku_id: shelf(price) for price in prices},
        bucket=bucket,
        epoch=epoch,
        order_head=struct.pack(">h", len(ORDER_COLUMNS)),
        line_head=struct.pack(">h", len(LINE_COLUMNS)),
    )


def shelf(price: Price) -> Shelf:
    return Shelf(
        price.price_minor,
        text(price.currency),
        struct.pack(
            ">ihiqiqiqih",
            *(2, 1, 8, price.sku_id, 8, price.price_minor),
            *(8, price.seller_id, 2, price.commission_bps),
        ),
    )


def common(*, sale_id: int, bucket: int, epoch: int, state: str, expires_at: datetime) -> bytes:
    """The columns that all orders of a batch share."""
    where = struct.pack(">iqiiih", 8, sale_id, 4, bucket, 2, epoch)
    microseconds = (expires_at - POSTGRES_EPOCH) // timedelta(microseconds=1)
    return where + text(state) + struct.pack(">iq", 8, microseconds)


def whole(rows: bytes) -> bytes:
    return b"".join((BEGINNING, rows, END))


def text(value: str) -> bytes:
    raw = value.encode()
    return len(raw).to_bytes(4, "big") + raw
