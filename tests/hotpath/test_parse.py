"""What `read` takes for a claim, against httptools and Python's own JSON; and twin against twin."""

import json

import httptools
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from hotpath import _parse_py, parse
from hotpath.parse import MORE

BODY = b'{"sku_id":"7","quantity":2}'
PLAIN = (
    b"POST /v1/sales/17/orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer a.b.c\r\n"
    b"Idempotency-Key: k\r\nContent-Type: application/json\r\nContent-Length: 27\r\n"
    b"User-Agent: x\r\n\r\n" + BODY
)
WANTED = (17, 7, 2, "k", b"a.b.c", b"", b"", b"", len(PLAIN))
PIECES = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"0",
        b"9",
        b'"',
        b"\\",
        b"}",
        b",",
        b"\0",
        b"\xe9",
    ),
    *(b"Content-Length: 27\r\n", b"connection: close\r\n", b"connection: keep-alive\r\n"),
    *(b"x-forwarded-for: 1.2.3.4, ::1\r\n", b"X-Device-Id: phone\r\n", b"x-device-id:\r\n"),
    *(b"transfer-encoding: chunked\r\n", b"accept-language: zh\r\n", b"host: h\r\n", b"x-y:z\r\n"),
]
TWINS = [parse.read, _parse_py.read]


class Message:
    """What httptools makes of the bytes."""

    def __init__(self, data: bytes) -> None:
        self.url, self.headers, self.body, self.whole, self.begun = b"", [], b"", 0, 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_message_begin(self):
        self.begun += 1

    def on_url(self, url):
        self.url += url

    def on_header(self, name, value):
        self.headers.append((name.lower(), value))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.whole += 1

    def only(self, name):
        (value,) = [v for n, v in self.headers if n == name]
        return value


def assert_true_reading(data: bytes, wanted) -> None:
    sale_id, sku_id, quantity, key, token, language, forwarded, device, end = wanted
    told = Message(data[:end])
    assert (told.begun, told.whole) == (1, 1)
    assert told.parser.get_method() == b"POST"
    assert told.parser.get_http_version() == "1.1"
    assert told.parser.should_keep_alive()
    assert not told.parser.should_upgrade()
    assert told.url == b"/v1/sales/%d/orders" % sale_id
    assert told.only(b"idempotency-key") == key.encode()
    assert told.only(b"authorization").lower() == b"bearer " + token.lower()
    assert told.only(b"content-type") == b"application/json"
    for name, value in (
        (b"accept-language", language),
        (b"x-forwarded-for", forwarded),
        (b"x-device-id", device),
    ):
        assert [v for n, v in told.headers if n == name] in ([value], [] if not value else [value])
    assert not {b"expect", b"transfer-encoding"} & {n for n, _ in told.headers}
    assert json.loads(told.body) == {"sku_id": str(sku_id), "quantity": quantity}


@pytest.mark.parametrize("read", TWINS)
def test_a_plain_claim_is_read_wherever_it_ends(read):
    assert read(PLAIN) == WANTED
    assert read(PLAIN + b"POST") == WANTED
    for end in range(len(PLAIN)):
        assert read(PLAIN[:end]) == MORE, PLAIN[:end]


@pytest.mark.parametrize("read", TWINS)
@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /v1/sales/0",
        b"POST /v1/sales//",
        b"POST /v1/sales/" + b"1" * 20,
        b"POST /v1/sales/1/orders?",
        b"POST /v1/sales/1/orders HTTP/1.0",
        b"POST /v1/sales/1/orders HTTP/1.1\n",
        b"POST /v1/sales/1/orders HTTP/1.1\r\n ",
        b"POST /v1/sales/1/orders HTTP/1.1\r\nhost : ",
        b"POST /v1/sales/1/orders HTTP/1.1\r\nhost: \0",
        b"POST /v1/sales/1/orders HTTP/1.1\r\nhost\r\n",
        b"POST /v1/sales/1/orders HTTP/1.1\r\nhost: a\rb",
        b"POST /v1/sales/1/orders HTTP/1.1\r\nhost: a\r\n\r\r",
        b"POST /v1/sales/1/orders HTTP/1.1\r\n\r\n",
        b"POST /v1/sales/1/orders HTTP/1.1\r\nx: " + b"x" * 9_000,
        b"\r\n" + PLAIN,
        PLAIN.replace(b"User-Agent", b"Expect")[: -len(BODY)],
    ],
)
def test_what_can_be_no_plain_claim_any_more_is_not_waited_for(read, start):
    assert read(start) is None


def mutants():
    """The plain claim with some bytes cut out, put in, or copied elsewhere."""
    some = st.sampled_from(PIECES)
    line_starts = [0, *(at + 2 for at in range(len(PLAIN)) if PLAIN.startswith(b"\r\n", at))]
    places = st.one_of(st.integers(0, len(PLAIN)), st.sampled_from(line_starts))
    change = st.tuples(
        places, st.sampled_from([0, 0, 1, 2]), some | st.just(b"") | st.binary(max_size=2)
    )

    def apply(changes):
        data = PLAIN
        for at, cut, put in changes:
            data = data[:at] + put + data[at + cut :]
        return data

    return st.lists(change, max_size=3).map(apply)


@settings(max_examples=5_000, deadline=None)
@given(
    mutants()
    | st.binary(max_size=50)
    | st.permutations(PLAIN.split(b"\r\n")[1:-2]).map(
        lambda lines: b"\r\n".join([PLAIN.split(b"\r\n")[0], *lines, b"", BODY])
    )
)
def test_whatever_is_read_httptools_and_json_read_alike(data):
    wanted = parse.read(data)
    event("read" if wanted else "more" if wanted == MORE else "handed over")
    if wanted:
        assert_true_reading(data, wanted)


@pytest.mark.skipif(parse.IMPLEMENTATION != "cython", reason="not compiled")
@settings(max_examples=5_000, deadline=None)
@given(mutants(), st.integers(0, 2 * len(PLAIN)))
def test_the_compiled_parser_agrees_with_its_twin(data, end):
    assert parse.read(data) == _parse_py.read(data)
    assert parse.read(data[:end]) == _parse_py.read(data[:end])
