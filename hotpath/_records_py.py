"""From entries of the stream to rows of orders, written to be read. `_records.pyx` does the same.

The rows are in Postgres' binary COPY format: a count of columns, then each column's size and bytes.
Whoever knows the tables says what an SKU's rows have in common; here is only what tells one claim
from another.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from hotpath.claims import DamagedRecord, Record, decode_record
from hotpath.entries import Entry
from hotpath.ids import OrderIds

KEY_ID_MAX = 32_767
PRICE_MAX = 9_000_000_000_000

_ID, _SHORT, _LONG = struct.Struct(">i16s"), struct.Struct(">ih"), struct.Struct(">iq")
_INT = struct.Struct(">ii")


class Shelf(NamedTuple):
    """An SKU's price, and the columns of its rows that come after a claim's own: see `Rows`."""

    price_minor: int
    order_columns: bytes
    line_columns: bytes


class Rows(NamedTuple):
    """`orders` begin with id, member, key, key id and amount, `lines` with order id and quantity.

    Then come the SKU's columns, and in `orders` what all of a batch have in common. `sold` is in
    units, by SKU.
    """

    orders: bytes
    lines: bytes
    sold: dict[int, int]
    claims: int


class Packer:
    """Makes rows of one epoch's claims. The heads say how many columns a row has in all."""

    def __init__(
        self,
        order_ids: OrderIds,
        shelves: Mapping[int, Shelf],
        *,
        bucket: int,
        epoch: int,
        order_head: bytes,
        line_head: bytes,
    ) -> None:
        assert all(0 <= shelf.price_minor <= PRICE_MAX for shelf in shelves.values())
        self._order_ids = order_ids
        self._shelves = shelves
        self._bucket = bucket
        self._epoch = epoch
        self._heads = (order_head, line_head)

    def pack(self, entries: Sequence[Entry], common: bytes) -> Rows | None:
        """None where any claim is not what claim.lua writes, or cannot become an order."""
        orders, lines, sold = list[bytes](), list[bytes](), dict[int, int]()
        claims = 0
        order_head, line_head = self._heads
        for entry in entries:
            records = entry.records.split(b"\n")
            if entry.count != b"%d,%d" % (len(records), len(records)):
                return None
            ms, seq = map(int, entry.position.split("-"))
            if ms >= 1 << 42 or seq + len(records) > 1 << 30:
                return None
            for at, raw in enumerate(records, seq):
                record = self._read(raw)
                if record is None:
                    return None
                shelf = self._shelves[record.sku_id]
                member, key = record.member_id, record.key.encode()
                made = self._order_ids.make(self._bucket, self._epoch, f"{ms}-{at}", member)
                order_id = _ID.pack(16, UUID(made).bytes)
                orders += (order_head, order_id, _LONG.pack(8, member))
                orders += (len(key).to_bytes(4, "big"), key, _SHORT.pack(2, record.key_id))
                orders += (_LONG.pack(8, shelf.price_minor * record.quantity),)
                orders += (shelf.order_columns, common)
                lines += (line_head, order_id, _INT.pack(4, record.quantity), shelf.line_columns)
                sold[record.sku_id] = sold.get(record.sku_id, 0) + record.quantity
            claims += len(records)
        return Rows(b"".join(orders), b"".join(lines), sold, claims)

    def _read(self, raw: bytes) -> Record | None:
        try:
            record = decode_record(raw)
        except DamagedRecord:
            return None
        is_ours = record.epoch == self._epoch and record.sku_id in self._shelves
        return record if is_ours and record.key_id <= KEY_ID_MAX else None
