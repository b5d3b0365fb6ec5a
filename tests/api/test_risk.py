"""F-152 over real HTTP: one address, one hundred claims, whichever worker they reach."""

import asyncio
import base64
import subprocess
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from core.flows.run_sale import arm_sale
from core.settings import Settings
from hotpath import risk
from hotpath.risk import Program
from tests.api.conftest import (
    RECEIPT_KEY,
    ROOT,
    SECRET,
    Served,
    environment,
    live,
    problem,
    serve,
    stop,
)
from tests.patience import PATIENCE_S

BOT = {"X-Forwarded-For": "203.0.113.99"}
ELSEWHERE = {"X-Forwarded-For": "198.51.100.1"}


def serve_alone(settings) -> Served:
    """Workers behind uvicorn's own parser: the application alone, without the lane."""
    workers = ("--workers", str(settings.workers))
    plain = ("--factory", "--no-proxy-headers", "--log-level", "warning")
    port = ("--port", str(settings.port))
    words = (sys.executable, "-m", "uvicorn", "api.app:create_app", *plain, *port, *workers)
    return Served(*words, settings=settings)


@asynccontextmanager
async def served(settings, start=serve):
    server = start(settings)
    url = f"http://127.0.0.1:{settings.port}"
    try:
        await live(url, server)
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
            yield client
    finally:
        stop(server)


@pytest.fixture
async def sale(pool, redis, plan):
    return await arm_sale(pool, redis, sale_id=(await plan(quota=1_000, limit=1_000)).id)


@pytest.mark.skipif(risk.IMPLEMENTATION != "cython", reason="the twin shares nothing")
@pytest.mark.parametrize("start", [serve, serve_alone])
async def test_exactly_one_hundred_pass_over_two_workers(sale, settings, buy, start):
    async with served(msgspec.structs.replace(settings, workers=2), start) as client:
        await asyncio.sleep(1)  # both workers accept
        answers = await asyncio.gather(
            *(
                buy(client, member, key=f"k{key}", headers=BOT)
                for member in range(1, 51)
                for key in range(3)
                for _ in range(2)
            )
        )
    told = Counter(answer.status_code for answer in answers)
    assert told == {202: 200, 403: 100}
    accepted = [answer.content for answer in answers if answer.status_code == 202]
    assert Counter(Counter(accepted).values()) == {2: 100}


async def test_the_refusal_names_its_rule_in_both_languages(sale, http, buy):
    for number in range(100):
        assert (await buy(http, key=f"k{number}", headers=BOT)).status_code == 202
    refused = await buy(http, key="one-more", headers=BOT)
    assert (refused.status_code, problem(refused)) == (403, "risk-blocked")
    said = refused.json()
    assert said["rule"] == "152"
    assert said["version"].isdigit()
    refused = await buy(http, key="one-more", headers=BOT | {"Accept-Language": "zh"})
    assert "请求" in refused.json()["title"]
    # It was never tried, so it is not used up.
    assert (await buy(http, key="one-more", headers=ELSEWHERE)).status_code == 202


async def test_a_202_is_repeated_byte_for_byte_when_its_address_is_blocked(sale, http, buy):
    first = await buy(http, key="mine", headers=ELSEWHERE)
    for number in range(101):
        last = await buy(http, 8, key=f"k{number}", headers=BOT)
    assert last.status_code == 403
    again = await buy(http, key="mine", headers=BOT)
    assert (again.status_code, again.content) == (202, first.content)


async def test_a_table_that_forgot_asks_redis_before_it_refuses(sale, app, http, buy, tmp_path):
    first = await buy(http, key="mine")
    nobody_new = Program(9, [risk.IP, 600, 0, risk.BLOCK, 16])
    sizes = risk.sizes_for(nobody_new, subjects=1_024)
    terms = {"key": b"another", "program": nobody_new, "now_s": time.time()}
    app.state.table = risk.open_table(tmp_path / "emptied", sizes, **terms)
    again = await buy(http, key="mine")
    assert (again.status_code, again.content) == (202, first.content)
    assert problem(await buy(http, key="mine", quantity=2)) == "key-reused"
    assert problem(await buy(http, key="another")) == "risk-blocked"
    assert problem(await buy(http, 8, key="mine")) == "risk-blocked"
    assert problem(await buy(http, where="999")) == "no-such-sale"


async def test_what_a_stranger_forwards_does_not_count(sale, settings, buy):
    distrustful = msgspec.structs.replace(settings, trusted_proxies="10.0.0.0/8")
    async with served(distrustful) as client:
        answers = await asyncio.gather(
            *(buy(client, member, headers=forged(member)) for member in range(1, 121))
        )
    assert Counter(answer.status_code for answer in answers) == {202: 100, 403: 20}


def forged(member: int) -> dict[str, str]:
    return {"X-Forwarded-For": f"203.0.113.{member}"}


async def test_lists_and_member_velocity_come_from_the_settings(sale, settings, buy, sku_ids):
    changed = msgspec.structs.replace(
        settings,
        risk_rules="ip:600:100:block:152,member:600:2:block:300",
        risk_deny="192.0.2.0/24,member:13",
        risk_allow="device:kiosk-1",
    )
    async with served(changed) as client:
        answers = [await buy(client, key=f"k{number}") for number in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 403]
        assert answers[2].json()["rule"] == "300"
        kiosk = {"X-Device-ID": "kiosk-1"}
        assert (await buy(client, key="k9", headers=kiosk)).status_code == 202
        denied = await buy(client, 8, headers={"X-Forwarded-For": "192.0.2.7"})
        assert denied.json()["rule"] == "denied-network"
        assert (await buy(client, 13)).json()["rule"] == "denied-member"


@pytest.mark.parametrize(
    "wrong", ["ip:600:100:block", "ip:0:1:block:16", "cookie:1:1:block:16", "ip:1:9999:block:16"]
)
def test_a_rule_that_cannot_be_read_stops_the_start(tmp_path, wrong):
    settings = Settings(
        home=str(tmp_path),
        database_url="postgresql://nobody@127.0.0.1:1/none",
        redis_url="redis://127.0.0.1:1",
        token_secret=SECRET,
        receipt_keys=f"1:{base64.b64encode(RECEIPT_KEY).decode()}",
        risk_rules=wrong,
    )
    started = subprocess.run(
        [sys.executable, "-m", "api.cli", "serve"],
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert started.returncode == 1
    assert started.stderr.count("\n") == 1
    assert wrong in started.stderr
