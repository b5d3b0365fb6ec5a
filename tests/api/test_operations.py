"""Health, metrics, logs and the OpenAPI document."""

import asyncio
import json

import asyncpg
import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from core import embedded, sales, staff
from core.jobs.auditor import Auditor
from core.kit import db
from core.settings import UnreadableSettings
from hotpath.nodes import Redis
from tests.api.conftest import SECRET, as_admin, as_member, live, problem, serve, stop, token
from tests.patience import PATIENCE_S


@pytest.fixture
async def auditor(pool, redis):
    return Auditor(pool, redis)


async def ready(http) -> tuple[int, dict]:
    answer = await http.get("/health/ready")
    said = answer.json()
    assert said["ready"] == (answer.status_code == 200)
    return answer.status_code, {name: c["ok"] for name, c in said["checks"].items()}


async def test_it_is_ready_while_all_is_well(http, sale, auditor):
    assert (await http.get("/health/live")).json() == {"alive": True}
    await auditor.step()
    status, checks = await ready(http)
    assert status == 200
    assert set(checks) == set(ALL_WELL)


async def test_drift_a_fence_and_a_parked_message_each_turn_it(http, sale, pool, auditor):
    async with db.transaction(pool) as conn:
        await sales.record_audit(conn, sale_id=sale.id, drift=3, backlog=0, problem=None)
    assert await ready(http) == (503, {**ALL_WELL, "books": False})
    async with db.transaction(pool) as conn:
        await sales.record_audit(conn, sale_id=sale.id, drift=0, backlog=0, problem=None)
        (bucket,) = await sales.buckets(conn, sale_id=sale.id)
        await sales.fence(conn, number=bucket.number, reason="another process")
    assert await ready(http) == (503, {**ALL_WELL, "fences": False})
    async with db.transaction(pool) as conn:
        await sales.admit(conn, bucket, run_id=str(bucket.run_id))
        await conn.execute(
            "INSERT INTO kit.outbox (topic, payload, parked_at) VALUES ('x', '{}', now())"
        )
    assert await ready(http) == (503, {**ALL_WELL, "outbox": False})


ALL_WELL = dict.fromkeys(
    ["postgres", "redis", "fences", "books", "outbox", "feeds", "staff_log"], True
)


async def test_a_broken_log_of_staff_is_told_and_turns_no_buyer_away(http, pool):
    async def told():
        status, checks = await ready(http)
        (broken,) = (
            sample
            for name, sample in figures((await http.get("/metrics")).text).items()
            if name == ("sluice_staff_log_broken", "")
        )
        return status, checks == ALL_WELL, broken

    async def find(what):
        async with db.transaction(pool) as conn:
            found = staff.Finding(0, staff.START, None, what)
            await staff.record_proof(conn, found)

    await find("")
    assert await told() == (200, True, 0)
    await find("note 3 is gone")
    assert await told() == (200, False, 1)
    await find("")
    async with db.transaction(pool) as conn:
        await conn.execute("UPDATE staff.proofs SET proved_at = now() - interval '301 s'")
    assert await told() == (200, False, 0)


async def test_an_audit_that_is_too_old_turns_it(http, sale, pool):
    async with db.transaction(pool) as conn:
        await sales.record_audit(conn, sale_id=sale.id, drift=0, backlog=0, problem=None)
        await conn.execute("UPDATE sales.audits SET audited_at = now() - interval '31 s'")
    assert await ready(http) == (503, {**ALL_WELL, "books": False})


async def test_a_server_that_is_away_is_a_503_and_no_bug(settings, sale, sku_ids, tmp_path):
    """Take Redis, then Postgres away from a running application."""
    redis_server = embedded.Redis(tmp_path / "redis", port=embedded.free_port())
    await asyncio.to_thread(redis_server.start)
    app = create_app(msgspec.structs.replace(settings, redis_url=redis_server.url))
    async with app.lifespan():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
            await asyncio.to_thread(redis_server.stop)
            for _ in range(2):
                status, checks = await ready(http)
                assert (status, checks["redis"], checks["postgres"]) == (503, False, True)
                answer = await http.get(f"/v1/admin/sales/{sale.id}/audit", headers=as_admin())
                assert (answer.status_code, problem(answer)) == (503, "unavailable")
                answer = await http.post(
                    f"/v1/sales/{sale.id}/orders",
                    headers=as_member(7) | {"Idempotency-Key": "k"},
                    json={"sku_id": str(sku_ids[0]), "quantity": 1},
                )
                assert problem(answer) in {"unavailable", "no-such-sale", "sale-not-open"}


async def test_postgres_away_is_a_503_too(settings, sale, buy, http):
    """Its database is given another name, and every connection to it is cut."""
    where = (await buy(http)).headers["location"]
    server, _, name = settings.database_url.rpartition("/")
    admin = await asyncpg.connect(f"{server}/postgres")
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
    )
    try:
        for path in ("/v1/products", "/v1/sales/999", where, where):
            answer = await http.get(path, headers=as_member(7))
            assert (answer.status_code, problem(answer)) == (503, "unavailable"), path
        status, checks = await ready(http)
        assert (status, checks["postgres"], checks["redis"]) == (503, False, True)
        assert "sluice_requests_total" in (await http.get("/metrics")).text
        # Buying goes on without Postgres: that is what the stream is for.
        assert (await buy(http, 8)).status_code == 202
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()


def figures(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, "/".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_count_answers_claims_and_the_books(http, sale, buy, auditor):
    before = figures((await http.get("/metrics")).text)
    await buy(http)
    await buy(http, key="again", quantity=2)
    await http.get("/nowhere")
    await auditor.step()
    now = figures((await http.get("/metrics")).text)

    def risen(name, labels):
        return now.get((name, labels), 0) - before.get((name, labels), 0)

    route = "/v1/sales/{sale_id}/orders"
    assert risen("sluice_requests_total", f"POST/{route}/202") == 1
    assert risen("sluice_requests_total", "GET/none/404") == 1
    assert risen("sluice_request_seconds_count", route) == 2
    assert risen("sluice_claims_total", "accepted") == 1
    assert risen("sluice_claims_total", "member-limit") == 1
    assert now["sluice_sale_drift", str(sale.id)] == 0
    assert now["sluice_sale_backlog", str(sale.id)] == 1
    assert now["sluice_outbox_waiting", ""] == 0


async def test_metrics_say_why_claims_were_turned_away(http, app, sale, buy):
    before = figures((await http.get("/metrics")).text)
    await buy(http)
    # As the gate sees a Redis in which nothing is decided any more.
    (bucket,) = app.state.gate._buckets.values()
    bucket.admission.undecided += 1_000_000
    refused = await buy(http, 8)
    assert (problem(refused), refused.headers["retry-after"]) == ("busy", "2")
    assert refused.json()["retry_after_s"] == 2
    bucket.admission.undecided -= 1_000_000
    assert (await buy(http, 8)).status_code == 202
    for _ in range(2):
        now = figures((await http.get("/metrics")).text)
        shed = ("sluice_shed_total", "wait")
        assert now[shed] - before.get(shed, 0) == 1


async def test_several_workers_share_the_port_and_add_their_figures_up(settings, sale, buy):
    server = serve(msgspec.structs.replace(settings, workers=2))
    url = f"http://127.0.0.1:{settings.port}"
    try:
        await live(url, server)
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(
            base_url=url, trust_env=False, timeout=PATIENCE_S, limits=limits
        ) as client:
            answers = [await buy(client, member) for member in range(1, 21)]
            assert {answer.status_code for answer in answers} == {202}
            accepted = 0.0
            async with asyncio.timeout(PATIENCE_S):
                while accepted < 20:
                    now = figures((await client.get("/metrics")).text)
                    accepted = now.get(("sluice_claims_total", "accepted"), 0.0)
            assert accepted == 20
    finally:
        log = stop(server)
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())


async def test_the_log_is_json_and_holds_no_secret(settings, sale, sku_ids, redis_url):
    server = serve(settings)
    url = f"http://127.0.0.1:{settings.port}"
    bearer = token("7", "member")
    try:
        await live(url, server)
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
            await client.post(
                f"/v1/sales/{sale.id}/orders",
                headers={
                    "Authorization": f"Bearer {bearer}",
                    "Idempotency-Key": "canary-key",
                    "Cookie": "session=canary-cookie",
                },
                json={"sku_id": str(sku_ids[0]), "quantity": 1},
            )
            async with Redis.from_url(redis_url) as admin:
                await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await client.get("/health/ready")
    finally:
        log = stop(server)
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())
    for secret in (bearer, SECRET, "canary", settings.database_url, settings.redis_url):
        assert secret not in log


async def test_it_does_not_start_on_settings_that_it_cannot_use(settings):
    with pytest.raises(UnreadableSettings, match="TOKEN_SECRET"):
        create_app(msgspec.structs.replace(settings, token_secret="short"))
    for keys in ("", "1:", "x:AAAA", "1:!!", "0:" + "QUJD" * 8):
        with pytest.raises(UnreadableSettings, match="RECEIPT_KEYS"):
            create_app(msgspec.structs.replace(settings, receipt_keys=keys))


async def test_the_document_names_every_refusal_and_how_to_sign_in(http):
    document = (await http.get("/schema/openapi.json")).json()
    claim = document["paths"]["/v1/sales/{sale_id}/orders"]["post"]
    told = {status: one["description"] for status, one in claim["responses"].items()}
    assert told["409"] == "sale-not-open, sold-out, member-limit"
    assert told["422"] == "invalid-value, key-reused"
    assert told["404"] == "no-such-sale, no-such-sku"
    assert set(told) == {
        "202",
        "400",
        "401",
        "403",
        "404",
        "408",
        "409",
        "413",
        "415",
        "422",
        "503",
    }
    assert "outcome-unknown" in told["503"]
    assert "Retry-After" in claim["responses"]["503"]["headers"]
    assert "application/problem+json" in claim["responses"]["409"]["content"]
    assert claim["security"] == [{"bearer": []}]
    (key,) = [p for p in claim["parameters"] if p["in"] == "header"]
    assert (key["name"], key["required"]) == ("Idempotency-Key", True)
    body = claim["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][body.rpartition("/")[2]]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["quantity"]["maximum"] == 1_000_000
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_every_route_in_the_document_says_that_it_may_be_unavailable(http):
    document = (await http.get("/schema/openapi.json")).json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if not path.startswith("/health"):
                assert "503" in operation["responses"], (method, path)
