"""The lane answers byte for byte what Litestar answers, whatever comes in and however it comes."""

import asyncio
import random
import re
from itertools import pairwise

import msgspec
import pytest

from api.till import open_till
from core.flows.run_sale import arm_sale
from hotpath.lane import MALFORMED
from tests.api.conftest import SECRET, token
from tests.api.doors import door

# The last word on each connection, so that both doors close and nothing stays hidden.
LAST = b"GET /health/live HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
HASTY = {"request_timeout_s": 0.5, "linger_s": 0.2}
METRICS = b"GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
SEED = 20_261_122


@pytest.fixture
def settings(settings):
    """Believe the addresses that claims bring along, so that risk stops some and not all."""
    return msgspec.structs.replace(settings, trusted_proxies="127.0.0.0/8")


@pytest.fixture
async def wide_sale(pool, redis, plan, app):
    """So wide that no claim of a test is in another's way."""
    sale = await arm_sale(pool, redis, sale_id=(await plan(quota=1_000, limit=1_000)).id)
    await app.state.directory.refresh()
    return sale


@pytest.fixture
def till(app):
    """A till of the test's own, whose figures nobody takes."""
    state = app.state
    known = state.gate, state.keyring, state.directory, state.table, state.proxies
    return open_till(*known, secret=SECRET)


@pytest.fixture
async def doors(app, till):
    async with (
        door(app, {"till": till}) as lane,
        door(app, {}) as plain,
    ):
        yield lane, plain


@pytest.fixture
async def hasty_doors(app, till):
    """For requests of which some never end."""
    async with (
        door(app, {"till": till}, **HASTY) as lane,
        door(app, {}, **HASTY) as plain,
    ):
        yield lane, plain


class Requests:
    """Claims, most of them with something odd about them."""

    def __init__(self, sale_id, sku_id, *, seed=SEED):
        self.random = random.Random(seed)
        self.sale_id, self.sku_id, self.count = sale_id, sku_id, 0
        self.tokens = [token(str(member), "member").encode() for member in range(1, 20)]
        self.odd_tokens = [
            token("7", "member", ttl_s=-60).encode(),
            token("7", "member", secret="another secret of 32 bytes, yes?").encode(),
            token("x", "member").encode(),
            token("admin", "admin").encode(),
            self.tokens[0][:-1],
            self.tokens[0] + b"=",
            self.tokens[0][:-1] + b"_",
            b"a.b.c",
            b"..",
        ]

    def plain(self) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
        self.count += 1
        body = b'{"sku_id":"%d","quantity":1}' % self.sku_id
        headers = [
            (b"host", b"shop"),
            (b"x-forwarded-for", b"10.0.%d.%d" % divmod(self.count // 3, 256)),
            (b"authorization", b"Bearer " + self.random.choice(self.tokens)),
            (b"idempotency-key", b"k%d" % self.count),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        return b"POST /v1/sales/%d/orders HTTP/1.1" % self.sale_id, headers, body

    def claim(self) -> bytes:
        line, headers, body = self.plain()
        return b"\r\n".join([line, *(b": ".join(pair) for pair in headers), b"", body])

    def odd(self) -> bytes:
        line, headers, body = self.plain()
        for _ in range(self.random.choice([0, 1, 1, 2])):
            change = self.random.choice([self.line, self.head, self.body, self.head])
            line, headers, body = change(line, headers, body)
        head = [name + self.between() + value for name, value in headers]
        return b"\r\n".join([line, *head, b"", body])

    def between(self) -> bytes:
        return self.random.choice([b": "] * 20 + [b":", b":\t", b":   ", b" : ", b":\r\n "])

    def line(self, line, headers, body):
        method, path, version = line.split(b" ", 2)
        paths = [b"/v1/sales/%b/orders" % i for i in ODD_IDS] + [path + b"/", path + b"?a=b"]
        paths += [b"http://shop" + path, path.upper(), b"/v1//sales/1/orders", path + b"%20"]
        changed = [
            (self.random.choice([b"GET", b"HEAD", b"PUT", b"post", b"OPTIONS"]), path, version),
            (method, self.random.choice(paths), version),
            (
                method,
                path,
                self.random.choice([b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1"]),
            ),
            (method, path + b" ", version),
        ]
        return b" ".join(self.random.choice(changed)), headers, body

    def head(self, line, headers, body):
        headers = list(headers)
        at = self.random.randrange(len(headers))
        name, value = headers[at]
        match self.random.randrange(6):
            case 0:
                self.random.shuffle(headers)
            case 1:
                headers[at] = (self.random.choice([name.title(), name.upper()]), value)
            case 2:
                headers.append((name, self.random.choice([value, b"x", b""])))
            case 3:
                del headers[at]
            case 4:
                headers[at] = (name, self.random.choice(ODD_VALUES.get(name, [b""])))
                if name == b"authorization":
                    headers[at] = (name, b"Bearer " + self.random.choice(self.odd_tokens))
            case 5:
                headers.insert(at, self.random.choice(OTHER_HEADERS))
        return line, headers, body

    def body(self, line, headers, body):
        sku = b"%d" % self.sku_id
        body = self.random.choice(BODIES).replace(b"SKU", sku)
        size = b"%d" % len(body)
        return line, [(n, size if n == b"content-length" else v) for n, v in headers], body


ODD_IDS = [b"0", b"01", b"-1", b"999", b"9" * 19, b"9" * 20, b"1.0", b"%31", b"", b"x"]
ODD_VALUES = {
    b"host": [b"", b"a b", b"shop:80"],
    b"x-forwarded-for": [b"", b"203.0.113.9, 127.0.0.1", b"::1", b"unknown", b"10.0.0.1,", b"\xe9"],
    b"idempotency-key": [b"", b"a b", b"x" * 64, b"x" * 65, b"k ", b"\xe9", b"a\tb", b"\x7f"],
    b"content-type": [
        b"application/json; charset=utf-8",
        b"Application/JSON",
        b"text/plain",
        b"application/json ",
        b"",
    ],
    b"content-length": [b"0", b"5", b"007", b"+9", b"1e1", b"99999999", b"-1", b"28 ", b"28,28"],
}
OTHER_HEADERS = [
    (b"accept-language", b"zh"),
    (b"accept-language", b"en;q=0.1, zh-CN"),
    (b"accept-language", b"*"),
    (b"x-device-id", b"phone"),
    (b"x-device-id", b"a phone"),
    (b"x-device-id", b"x" * 65),
    (b"x-device-id", b""),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    (b"cookie", b"a=b; c=d"),
    (b"connection", b"keep-alive"),
    (b"connection", b"close"),
    (b"connection", b"upgrade"),
    (b"upgrade", b"websocket"),
    (b"expect", b"100-continue"),
    (b"expect", b"the best"),
    (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"identity"),
    (b"te", b"trailers"),
    (b"proxy-connection", b"close"),
    (b"content-encoding", b"gzip"),
    (b"origin", b"http://elsewhere"),
    (b"x_under_score", b"1"),
    (b"x-high", b"\xe9"),
    (b"x-nul", b"\0"),
    (b"x-cr", b"a\rb"),
    (b"x-lf", b"a\nb"),
    (b"x-" + b"y" * 9_000, b"1"),
    (b"", b"1"),
    (b"x y", b"1"),
]
BODIES = [
    b'{"sku_id":"SKU","quantity":1}',
    b' {\n"quantity" : 2 ,\t"sku_id": "SKU" }\r\n',
    b'{"sku_id":"SKU","quantity":1000000}',
    b'{"sku_id":"SKU","quantity":1000001}',
    b'{"sku_id":"SKU","quantity":0}',
    b'{"sku_id":"SKU","quantity":01}',
    b'{"sku_id":"SKU","quantity":-1}',
    b'{"sku_id":"SKU","quantity":1.0}',
    b'{"sku_id":"SKU","quantity":1e0}',
    b'{"sku_id":"SKU","quantity":"1"}',
    b'{"sku_id":"SKU","quantity":1,"quantity":1}',
    b'{"sku_id":"SKU","quantity":1,"more":1}',
    b'{"sku_id":"SKU","quantity":1}x',
    b'{"sku_id":"SKU","quantity":1,}',
    b'{"sku_id":SKU,"quantity":1}',
    b'{"sku_id":"0SKU","quantity":1}',
    b'{"sku_id":"\\u0031","quantity":1}',
    b'{"sku\\u005fid":"SKU","quantity":1}',
    b'{"sku_id":"999","quantity":1}',
    b'{"sku_id":"9223372036854775808","quantity":1}',
    b'{"sku_id":"99999999999999999999","quantity":1}',
    b'{"sku_id":"SKU"}',
    b"[]",
    b"{}",
    b"\xff",
    b'{"sku_id":"SKU","quantity":1}' + b" " * 600,
]


async def assert_alike(doors, *pieces: bytes):
    lane, plain = doors
    heard, expected = await lane.transcript(*pieces), await plain.transcript(*pieces)
    assert heard == expected or plainer(heard) == plainer(expected) != b"", pieces
    return heard


def plainer(heard: bytes) -> bytes:
    """Without what noise behind a claim changes: uvicorn closes in silence when it came too early
    to answer it, and the lane, which has not read it yet, says what is wrong with it.
    """
    return heard.removesuffix(MALFORMED).replace(b"connection: close\r\n", b"")


async def in_waves(jobs, *, at_once=20):
    jobs = iter(jobs)

    async def work():
        for job in jobs:
            await job

    await asyncio.gather(*(work() for _ in range(at_once)))


async def test_two_thousand_odd_requests_are_answered_alike(wide_sale, hasty_doors, sku_ids, till):
    requests = Requests(wide_sale.id, sku_ids[0])
    await in_waves(assert_alike(hasty_doors, requests.odd() + LAST) for _ in range(2_000))
    told = till.figures.answers
    assert told[202, "accepted"] > 300
    assert told[401, "unauthenticated"] > 3
    assert told.keys() >= {(404, "no-such-sku"), (409, "member-limit")}


async def test_a_request_cut_at_any_byte_is_answered_alike(wide_sale, doors, sku_ids):
    whole = Requests(wide_sale.id, sku_ids[0]).claim()
    heard = await assert_alike(doors, whole + LAST)
    assert heard.count(b"HTTP/1.1 202") == 1
    text = whole * 2 + LAST
    cuts = [0, *range(1, len(whole) + 40), len(text)]
    await in_waves(assert_alike(doors, text[:cut], text[cut:]) for cut in cuts[1:-1])
    await assert_alike(doors, *(whole[n : n + 1] for n in range(len(whole))), LAST)
    lane, _ = doors
    heard = await lane.transcript(*(text[a:b] for a, b in pairwise([0, 100, 400, len(text)])))
    assert heard.count(b"HTTP/1.1 202") == 2


async def test_figures_are_the_same_whoever_answers(wide_sale, app, sku_ids):
    async def figures():
        heard = await plain.transcript(METRICS)
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in heard.decode().splitlines()
            if line.startswith(("sluice_claims", "sluice_request")) and "_sum" not in line
        }

    requests = Requests(wide_sale.id, sku_ids[0])
    grown = []
    async with (
        door(app, {"till": app.state.till}) as lane,
        door(app, {}) as plain,
    ):
        for way in (lane, plain, lane, plain):
            before = await figures()
            assert (await way.transcript(requests.claim() + LAST)).count(b" 202 ") == 1
            after = await figures()
            grown.append({n: v - before.get(n, 0) for n, v in after.items() if "/metrics" not in n})
    assert {name for name, by in grown[0].items() if by and "_bucket" not in name} >= {
        'sluice_claims_total{verdict="accepted"}',
        'sluice_requests_total{method="POST",route="/v1/sales/{sale_id}/orders",status="202"}',
        'sluice_request_seconds_count{route="/v1/sales/{sale_id}/orders"}',
    }
    unbounded = [{n: by for n, by in g.items() if "le=" not in n or "+Inf" in n} for g in grown]
    assert unbounded[2] == unbounded[3]


async def test_pipelined_requests_are_answered_in_order(wide_sale, doors, sku_ids):
    requests = Requests(wide_sale.id, sku_ids[0])
    look = b"GET /problems/sold-out HTTP/1.1\r\nhost: h\r\n\r\n"

    for pattern in ["cc", "lc", "cl", "clc", "lcl", "cccclccc", "llcc", "c" * 60]:
        parts = [requests.claim() if kind == "c" else look for kind in pattern]
        for pieces in ([b"".join([*parts, LAST])], [*parts, LAST]):
            heard = await assert_alike(doors, *pieces)
            statuses = re.findall(rb"HTTP/1.1 (\d+) ", heard)
            assert statuses == [b"202" if k == "c" else b"200" for k in pattern] + [b"200"]


def smuggling_vectors(requests) -> list[bytes]:
    """Every known way to have two readers disagree on where a request ends."""
    line, headers, body = requests.plain()
    hidden = b"GET /problems/busy HTTP/1.1\r\nhost: h\r\n\r\n"
    rest = [pair for pair in headers if pair[0] != b"content-length"]
    size = b"%d" % len(body)
    framings = [[(b"content-length", size), (b"transfer-encoding", t)] for t in CODINGS]
    framings += [[pair[1], pair[0]] for pair in framings]
    framings += [
        [(b"content-length", size), (b"content-length", other)]
        for other in [size, b"0", b"1", b"99", b"", b"x", b"+" + size, size + b" ", b"0" + size]
    ]
    framings += [[(b"content-length", other.replace(b"N", size))] for other in SIZES]
    framings += [[(name, size)] for name in LENGTHS]
    framings += [[(b"content-length", size), (name, b"chunked")] for name in TRANSFERS]
    ends = [b"\r\n", b"\n", b"\r", b"\r\r\n"]
    bodies = [
        body + hidden,
        b"0\r\n\r\n" + hidden,
        b"1d;x=y\r\n" + body + b"\r\n0\r\n\r\n" + hidden,
    ]
    found = []
    for framing in framings:
        head = [line, *(n + b": " + v for n, v in rest + framing), b"", b""]
        found += [b"\r\n".join(head) + one for one in bodies]
    for end in ends:
        head = [line, *(n + b": " + v for n, v in headers), b"", b""]
        found += [end.join(head) + body + hidden]
        found += [b"\r\n".join(head[:3]) + end + b"\r\n".join(head[3:]) + one for one in bodies]
    chunked = [line, *(n + b": " + v for n, v in rest), b"transfer-encoding: chunked", b"", b""]
    found += [b"\r\n".join(chunked) + one for one in [*bodies, *CHUNKS]]
    folds = [b"\r\n ", b"\r\n\t", b"\n ", b"\r ", b"\0"]
    for at in range(len(headers)):
        for fold in folds:
            lines = [n + b": " + v for n, v in headers]
            lines[at] = lines[at].replace(b": ", b":" + fold)
            found.append(b"\r\n".join([line, *lines, b"", body]) + hidden)
    return found


CODINGS = [
    *(b"chunked", b"Chunked", b" chunked", b"chunked ", b"x, chunked", b"chunked, x", b"identity"),
    *(b"xchunked", b"\x0bchunked", b"chunked\t", b'"chunked"', b"", b"gzip"),
]
SIZES = [
    *(b"0", b"1", b"", b"-1", b"+N", b"0x1d", b"N, N", b"N\t", b"\tN", b"N 1", b"9" * 30, b"0N"),
    *(b"N;", b"1_0"),
]
LENGTHS = [
    *(b"Content_Length", b"content-length ", b" content-length", b"content-length\t"),
    *(b"content-length\0", b"content-length\x0b", b"x\r\ncontent-length", b"content\r-length"),
]
TRANSFERS = [
    b"transfer-encoding",
    b"Transfer-Encoding",
    b"transfer_encoding",
    b"transfer-encoding ",
    b" transfer-encoding",
    b"\ttransfer-encoding",
    b"x: y\ntransfer-encoding",
    b"x: y\rtransfer-encoding",
    b"transfer-encoding\0",
]
CHUNKS = [
    b"5\r\nhello\r\n0\r\nx: y\r\n\r\n",
    b"5;" + b"x" * 50 + b"\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-1\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff0\r\nhello\r\n",
    b"5\r\nhelloX\r\n0\r\n\r\n",
]


async def test_two_hundred_ways_to_hide_a_request_hide_none(wide_sale, hasty_doors, sku_ids):
    vectors = smuggling_vectors(Requests(wide_sale.id, sku_ids[0]))
    assert len(vectors) >= 200
    await in_waves(assert_alike(hasty_doors, vector + LAST) for vector in vectors)
