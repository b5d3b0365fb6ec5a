"""Machines that think of more than we do: Schemathesis over the document, raw bytes on a socket.

FUZZ_EXAMPLES and FUZZ_REQUESTS say how many of each, FUZZ_SEED which ones.
"""

import asyncio
import contextlib
import json
import os
import random

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from tests.api.conftest import as_admin, as_member, known, token

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "15"))
REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "1500"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(2**32)
AT_ONCE = 32
PAUSE_S = 0.3
ANSWER_S_MAX = 12
HELD = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.missing_required_header,
    openapi_checks.unsupported_method,
    openapi_checks.ignored_auth,
]
STREAMS = "/v1/sales/{sale_id}/events"


@pytest.fixture
async def untouched(sale, far, books):
    """Whatever was bought meanwhile, the books add up and the server is well."""
    await known(far, sale.id)
    yield
    left, in_flight, sold, returned = await books(sale)
    assert left + in_flight + sold + returned == 100
    assert (await far.get("/health/live")).status_code == 200


async def test_every_operation_keeps_its_word(untouched, url, sale):
    document = schemathesis.openapi.from_url(f"{url}/schema/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 15
    for operation in operations:
        if operation.path != STREAMS:
            await asyncio.to_thread(probe, operation, str(sale.id))


def probe(operation, sale_id: str) -> None:
    """Generate requests, half of them at the sale that exists, signed by whoever may ask."""
    signed = as_admin() if "/admin/" in operation.path else as_member(7)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case):
        if "sale_id" in case.path_parameters and random.random() < 0.5:
            case.path_parameters["sale_id"] = sale_id
        case.call_and_validate(headers=signed, checks=HELD, timeout=ANSWER_S_MAX)

    ask()


def whole_requests(sale_id: int, sku_id: int) -> list[bytes]:
    """Requests that are right, to be broken."""
    body = json.dumps({"sku_id": str(sku_id), "quantity": 1}).encode()
    claim = (
        b"POST /v1/sales/%d/orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer %s\r\n"
        b"Idempotency-Key: k\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (sale_id, token("7", "member").encode(), len(body), body)
    )
    chunked = claim.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    chunked = chunked.removesuffix(body) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    look = b"GET /v1/sales/%d?limit=1&cursor=%%41 HTTP/1.1\r\nHost: shop\r\n\r\n" % sale_id
    return [claim, chunked, look, look.replace(b"1.1", b"1.0"), claim + look]


SPICES = [
    b"\0", b"\r\n", b"\n", b"\r", b" ", b"\t", b"\xff", b"\xc3\x28", b"%00", b"%", b"%zz",
    b"..", b"//", b"?", b"#", b"&&", b":", b"{", b"[" * 2000, b'"', b"\\u0000", b"1e999", b"-1",
    b"9" * 400, b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"Connection: Upgrade\r\n",
    b"Host: other\r\n", b"HTTP/9.9", b"OPTIONS * ", b"TRACE ", b"CONNECT a:1 ",
    b"http://other/", b"X" * 5000, b"\xe4\xb8\xad", b"Idempotency-Key: a\r\n",
    b"Authorization: Bearer x\r\n", b"Accept-Language: zh;q=1e9,\xff\r\n",
    b"ffffffffffffffff\r\n",
]  # fmt: skip


def broken(whole: bytes, dice: random.Random) -> bytes:
    """Break it in one to four places."""
    raw = bytearray(whole)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(raw) + 1)
        match dice.randrange(6):
            case 0:
                raw[at:at] = dice.choice(SPICES)
            case 1:
                del raw[at : at + dice.randint(1, 20)]
            case 2 if at < len(raw):
                raw[at] = dice.randrange(256)
            case 3:
                raw[at:at] = raw[at : at + dice.randint(1, 60)]
            case 4:
                del raw[at:]
            case _:
                end = raw.find(b"\r\n", at)
                if end >= 0:
                    raw[end + 2 : end + 2] = dice.choice(SPICES)
    return bytes(raw)


async def heard(port: int, raw: bytes) -> bytes:
    """Say it, hear what comes without a pause, then end our side and hear the rest."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(raw)
            with contextlib.suppress(TimeoutError):
                while chunk := await asyncio.wait_for(reader.read(65_536), PAUSE_S):
                    said += chunk
            writer.write_eof()
            async with asyncio.timeout(ANSWER_S_MAX):
                said += await reader.read()
        return said
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def statuses(answers: bytes) -> list[int]:
    lines = [part for part in answers.split(b"\r\n") if part.startswith(b"HTTP/1.1 ")]
    return [int(line.split()[1]) for line in lines]


async def test_no_bytes_get_a_server_error(untouched, url, sale, sku_ids):
    dice = random.Random(SEED)
    wholes = whole_requests(sale.id, sku_ids[0])
    raws = [broken(dice.choice(wholes), dice) for _ in range(REQUESTS)]
    port, turn = httpx.URL(url).port, asyncio.Semaphore(AT_ONCE)

    async def say(raw: bytes) -> list[int]:
        async with turn:
            try:
                return statuses(await heard(port, raw))
            except TimeoutError:
                pytest.fail(f"FUZZ_SEED={SEED}: no end after {ANSWER_S_MAX} s: {raw!r}")

    told = await asyncio.gather(*(say(raw) for raw in raws))
    wrong = [(raw, got) for raw, got in zip(raws, told, strict=True) if max(got, default=0) >= 500]
    assert not wrong, f"FUZZ_SEED={SEED}: {wrong[0]}"
    assert {202, 400, 404} <= {status for got in told for status in got}
