"""Reading a claim from the raw bytes of its request: what is not surely one is not read at all.

`_parse.pyx` does the same faster; this is what it means. A claim is plain when HTTP leaves no room
for another reading: every header line is a name of letters, digits and hyphens and a value of
printable ASCII; what decides anything stands there once, spelt as we know it; nothing changes how
the bytes are framed; the body is an object of exactly a SKU and a quantity, without an escape.
"""

import re
from typing import TypeAlias

from hotpath.claims import ID_MAX, KEY_MAX, QUANTITY_MAX

START = b"POST /v1/sales/"
LINE_END = b"/orders HTTP/1.1\r\n"
ID_DIGITS_MAX = 19
HEAD_BYTES_MAX = 8_192
BODY_BYTES_MAX = 512

# Sale, SKU, quantity, key, token, Accept-Language, X-Forwarded-For and X-Device-Id (empty where
# they are missing), and where the request ends.
Wanted: TypeAlias = tuple[int, int, int, str, bytes, bytes, bytes, bytes, int]
MORE: tuple[()] = ()
"""What has come so far may become a claim."""

# No possessive group: in early Pythons 3.11 it forgets to step back from half a line.
_ID = rb"([1-9][0-9]{0,18})"
_LINES = rb"(?:[A-Za-z0-9-]+:[\t -~]*\r\n)*"
_HEAD = re.compile(START + _ID + re.escape(LINE_END) + rb"(" + _LINES + rb")\r\n")
_LINES_SO_FAR = re.compile(_LINES + rb"(?:\r|[A-Za-z0-9-]+(?::[\t -~]*\r?)?)?")

_BLANK = rb"[ \t\r\n]*+"
_SKU = rb'"sku_id"' + _BLANK + rb":" + _BLANK + rb'"' + _ID + rb'"'
_QUANTITY = rb'"quantity"' + _BLANK + rb":" + _BLANK + rb"([1-9][0-9]{0,6})"
_BODY = re.compile(_BLANK.join([b"", rb"\{", _SKU, b",", _QUANTITY, rb"\}", b""]))
_SWAPPED = re.compile(_BLANK.join([b"", rb"\{", _QUANTITY, b",", _SKU, rb"\}", b""]))

# Each may stand there once, with a value like this.
_VALUES = {
    b"host": re.compile(rb"[!-~]+"),
    b"connection": re.compile(rb"keep-alive", re.IGNORECASE),
    b"content-length": re.compile(rb"[1-9][0-9]{0,3}"),
    b"content-type": re.compile(rb"application/json"),
    b"authorization": re.compile(rb"(?i:bearer) [A-Za-z0-9_.-]+"),
    b"idempotency-key": re.compile(rb"[!-~]{1,%d}" % KEY_MAX),
    b"accept-language": re.compile(rb"[ -~]*"),
    b"x-forwarded-for": re.compile(rb"[ -~]+"),
    b"x-device-id": re.compile(rb"[ -~]+"),
}
_TOLD = (b"accept-language", b"x-forwarded-for", b"x-device-id")
_NEEDED = _VALUES.keys() - {b"connection", *_TOLD}
# Each changes the framing, the connection or the meaning of the body.
_UNSURE = frozenset(
    {b"transfer-encoding", b"expect", b"upgrade", b"proxy-connection", b"te", b"trailer"}
    | {b"content-encoding", b"http2-settings"}
)


def read(data: bytes) -> Wanted | tuple[()] | None:
    """Read the claim that `data` begins with; None where it does not surely begin with one."""
    found = _HEAD.match(data)
    if found is None:
        return MORE if _may_become_one(data) else None
    values = _read_lines(found[2])
    if values is None:
        return None
    size = int(values[b"content-length"])
    end = found.end() + size
    if size > BODY_BYTES_MAX or found.end() > HEAD_BYTES_MAX:
        return None
    if len(data) < end:
        return MORE
    body = _read_body(data[found.end() : end])
    sale_id = int(found[1])
    if body is None or sale_id > ID_MAX:
        return None
    token = values[b"authorization"].partition(b" ")[2]
    key = values[b"idempotency-key"].decode("ascii")
    language, forwarded, device = (values.get(name, b"") for name in _TOLD)
    return (sale_id, *body, key, token, language, forwarded, device, end)


def _read_lines(lines: bytes) -> dict[bytes, bytes] | None:
    values: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _UNSURE:
            return None
        if name in _VALUES:
            value = value.lstrip(b" \t")
            if name in values or not _VALUES[name].fullmatch(value):
                return None
            values[name] = value
    return values if values.keys() >= _NEEDED else None


def _read_body(body: bytes) -> tuple[int, int] | None:
    if found := _BODY.fullmatch(body):
        sku_id, quantity = int(found[1]), int(found[2])
    elif found := _SWAPPED.fullmatch(body):
        sku_id, quantity = int(found[2]), int(found[1])
    else:
        return None
    return (sku_id, quantity) if sku_id <= ID_MAX and quantity <= QUANTITY_MAX else None


def _may_become_one(data: bytes) -> bool:
    if len(data) > HEAD_BYTES_MAX:
        return False
    if len(data) <= len(START):
        return START.startswith(data)
    rest = data.removeprefix(START)
    after = rest.lstrip(b"0123456789")
    digits = rest[: len(rest) - len(after)]
    if rest is data or digits.startswith(b"0") or len(digits) > ID_DIGITS_MAX:
        return False
    if len(after) <= len(LINE_END):
        return LINE_END.startswith(after) and (digits != b"" or after == b"")
    if not after.startswith(LINE_END):
        return False
    return digits != b"" and _LINES_SO_FAR.fullmatch(after, len(LINE_END)) is not None
