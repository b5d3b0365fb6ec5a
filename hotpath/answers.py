"""Answers, encoded as uvicorn would write them; only the date is put in as they leave."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

import msgspec

ACCEPTED = (202, "accepted")


class Answer(msgspec.Struct, frozen=True, gc=False, eq=False):
    """`label` is the status and the problem's slug, or `accepted`: figures are kept by it."""

    label: tuple[int, str]
    line: bytes
    head: bytes
    body: bytes

    def text(self, default_headers: bytes, *, last: bool) -> bytes:
        """The whole answer. `last` announces that the connection closes."""
        close = b"connection: close\r\n\r\n" if last else b"\r\n"
        return b"".join((self.line, default_headers, self.head, close, self.body))


def encode(
    status: int, verdict: str, headers: Mapping[str, str], body: bytes, *, media_type: str
) -> Answer:
    """Encode an answer once, to be sent often."""
    every = {**headers, "content-type": media_type, "content-length": str(len(body))}
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode("ascii")
    lines = (
        (name.lower().encode("ascii"), value.encode("latin-1")) for name, value in every.items()
    )
    return Answer((status, verdict), line, encode_headers(lines), body)


def encode_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)


_ACCEPTED_LINE = b"HTTP/1.1 202 Accepted\r\n"


def accepted(*, order_id: str, sale_id: int, sku_id: int, quantity: int, receipt: str) -> Answer:
    """The same bytes for every repeat, and the same as Litestar encodes."""
    body = (
        f'{{"order_id":"{order_id}","sale_id":"{sale_id}","sku_id":"{sku_id}",'
        f'"quantity":{quantity},"state":"accepted","receipt":"{receipt}"}}'
    ).encode("ascii")
    head = (
        f"location: /v1/orders/{order_id}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    ).encode("ascii")
    return Answer(ACCEPTED, _ACCEPTED_LINE, head, body)
