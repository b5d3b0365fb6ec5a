"""Whatever comes in: the documented problem, never a 5xx, and the books do not move."""

import json

import jwt
import pytest

from core.flows.run_sale import arm_sale, close_sale
from tests.api.conftest import SECRET, as_admin, as_member, problem, token

DEEP = 200_000
JSON = {"content-type": "application/json"}

BODIES = {
    "invalid UTF-8": (b'{"sku_id":"\xff","quantity":1}', 400, "malformed-body"),
    "UTF-16": ('{"sku_id":"1","quantity":1}'.encode("utf-16"), 400, "malformed-body"),
    "a byte order mark": (b'\xef\xbb\xbf{"sku_id":"1","quantity":1}', 400, "malformed-body"),
    "deep arrays": (b"[" * DEEP, 400, "malformed-body"),
    "deep closed arrays": (b"[" * DEEP + b"]" * DEEP, 400, "malformed-body"),
    "deep objects": (b'{"a":' * (DEEP // 3), 400, "malformed-body"),
    "nothing": (b"", 400, "malformed-body"),
    "a blank": (b" ", 400, "malformed-body"),
    "half an object": (b'{"sku_id":"1"', 400, "malformed-body"),
    "two values": (b'{"sku_id":"1","quantity":1}{}', 400, "malformed-body"),
    "a duplicate key": (b'{"sku_id":"1","quantity":1,"quantity":2}', 400, "malformed-body"),
    "NaN": (b'{"sku_id":"1","quantity":NaN}', 400, "malformed-body"),
    "Infinity": (b'{"sku_id":"1","quantity":-Infinity}', 400, "malformed-body"),
    "half a surrogate": (b'{"sku_id":"\\ud800","quantity":1}', 400, "malformed-body"),
    "a raw line break in a text": (b'{"sku_id":"\n","quantity":1}', 400, "malformed-body"),
    "null": (b"null", 422, "invalid-value"),
    "an array": (b"[]", 422, "invalid-value"),
    "a text": (b'"sku_id"', 422, "invalid-value"),
    "U+0000": (b'{"sku_id":"\\u0000","quantity":1}', 422, "invalid-value"),
    "U+0000 in a name": (b'{"sku_id":"1","quantity":1,"\\u0000":1}', 422, "invalid-value"),
    "an unknown field": (b'{"sku_id":"1","quantity":1,"price":1}', 422, "invalid-value"),
    "a missing field": (b'{"sku_id":"1"}', 422, "invalid-value"),
    "a number as an id": (b'{"sku_id":1,"quantity":1}', 422, "invalid-value"),
    "2**70": (b'{"sku_id":"1","quantity":%d}' % 2**70, 422, "invalid-value"),
    "five hundred digits": (b'{"sku_id":"1","quantity":1%s}' % (b"0" * 500), 422, "invalid-value"),
    "1e999": (b'{"sku_id":"1","quantity":1e999}', 422, "invalid-value"),
    "half a unit": (b'{"sku_id":"1","quantity":0.5}', 422, "invalid-value"),
    "-5": (b'{"sku_id":"1","quantity":-5}', 422, "invalid-value"),
    "0": (b'{"sku_id":"1","quantity":0}', 422, "invalid-value"),
    "a million and one": (b'{"sku_id":"1","quantity":1000001}', 422, "invalid-value"),
    "a text as a quantity": (b'{"sku_id":"1","quantity":"1"}', 422, "invalid-value"),
    "true as a quantity": (b'{"sku_id":"1","quantity":true}', 422, "invalid-value"),
    "null as a quantity": (b'{"sku_id":"1","quantity":null}', 422, "invalid-value"),
    "an unknown SKU": (b'{"sku_id":"999","quantity":1}', 404, "no-such-sku"),
    "a SKU that is no number": (b'{"sku_id":"one","quantity":1}', 404, "no-such-sku"),
    "a SKU of 200 digits": (b'{"sku_id":"%s","quantity":1}' % (b"1" * 200), 404, "no-such-sku"),
    "a SKU in Arabic digits": ('{"sku_id":"\u0661","quantity":1}'.encode(), 404, "no-such-sku"),
    "a megabyte": (b'{"sku_id":"%s"}' % (b"1" * 1_000_000), 413, "body-too-large"),
}

KEYS = {
    "none": [],
    "an empty one": [(b"idempotency-key", b"")],
    "65 characters": [(b"idempotency-key", b"k" * 65)],
    "a blank inside": [(b"idempotency-key", b"a b")],
    "a tab inside": [(b"idempotency-key", b"a\tb")],
    "beyond ASCII": [(b"idempotency-key", "schlüssel".encode())],
    "beyond ASCII, in Latin-1": [(b"idempotency-key", b"\xe9")],
    "two": [(b"idempotency-key", b"a"), (b"idempotency-key", b"a")],
}

CLAIMS = {"sub": "7", "role": "member", "iat": 1, "exp": 2**33}
TOKENS = {
    "none": "",
    "no scheme": token("7", "member"),
    "another scheme": f"Basic {token('7', 'member')}",
    "no token": "Bearer",
    "garbage": "Bearer a.b.c",
    "beyond ASCII": "Bearer \xe9",
    "expired": f"Bearer {token('7', 'member', ttl_s=-60)}",
    "forged": f"Bearer {token('7', 'member', secret='another secret of 32 bytes, yes?')}",
    "unsigned": f"Bearer {jwt.encode(CLAIMS, None, algorithm='none')}",
    "another algorithm": f"Bearer {jwt.encode(CLAIMS, SECRET * 2, algorithm='HS512')}",
    "no expiry": f"Bearer {jwt.encode({'sub': '7', 'role': 'member', 'iat': 1}, SECRET)}",
    "a role that is no text": f"Bearer {jwt.encode(CLAIMS | {'role': ['member']}, SECRET)}",
}

SALES = [
    "999",
    "0",
    "-1",
    "+1",
    "1e0",
    "one",
    "9" * 30,
    "%00",
    "%ff",
    "\u0661",
    "1 ",
    "1.0",
    "null",
]


@pytest.fixture(autouse=True)
async def untouched(sale, books):
    """Every test in here leaves the books as they are."""
    before = await books(sale)
    yield
    assert await books(sale) == before == (100, 0, 0, 0)


async def test_a_bad_body_is_named(shop, buy):
    for name, (body, status, slug) in BODIES.items():
        answer = await buy(shop, json=None, content=body, headers=JSON)
        assert (answer.status_code, problem(answer)) == (status, slug), name


async def test_a_megabyte_without_a_length_is_too_large_as_well(far, buy):
    async def chunks():
        for _ in range(64):
            yield b" " * 16_384

    answer = await buy(far, json=None, content=chunks(), headers=JSON)
    assert (answer.status_code, problem(answer)) == (413, "body-too-large")


async def test_an_invalid_value_is_pointed_at(http, buy):
    answer = await buy(http, quantity=0)
    assert answer.json()["errors"] == [{"pointer": "/quantity", "detail": "Expected `int` >= 1"}]


async def test_only_json_is_read(http, buy):
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "x"):
        answer = await buy(http, headers={"content-type": media_type})
        assert (answer.status_code, problem(answer)) == (415, "unsupported-media-type")


async def test_exactly_one_good_key_is_needed(shop, sale, sku_ids):
    for name, keys in KEYS.items():
        answer = await shop.post(
            f"/v1/sales/{sale.id}/orders",
            headers=[*as_member(7).items(), *keys],
            json={"sku_id": str(sku_ids[0]), "quantity": 1},
        )
        assert (answer.status_code, problem(answer)) == (400, "malformed-key"), name


async def test_who_shows_no_good_token_is_asked_to_sign_in(shop, buy):
    for name, bearer in TOKENS.items():
        answer = await buy(shop, headers={"Authorization": bearer.encode("latin-1")})
        assert (answer.status_code, problem(answer)) == (401, "unauthenticated"), name
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_token_whose_header_nests_deeply_is_no_token(http, buy):
    deep = jwt.utils.base64url_encode(b'{"alg":' + b"[" * 20_000).decode()
    answer = await buy(http, headers={"Authorization": f"Bearer {deep}.e30.AAAA"})
    assert problem(answer) == "unauthenticated"


async def test_each_role_has_its_own_doors(http, buy, sale):
    assert problem(await buy(http, headers=as_admin())) == "forbidden"
    for path in ("", "/audit"):
        answer = await http.get(f"/v1/admin/sales/{sale.id}{path}", headers=as_member(7))
        assert (answer.status_code, problem(answer)) == (403, "forbidden")
    answer = await http.post(f"/v1/admin/sales/{sale.id}/close", headers=as_member(7))
    assert (answer.status_code, problem(answer)) == (403, "forbidden")


async def test_a_member_has_a_number(http, buy):
    for subject in ("0", "-1", "x", "9" * 30, "\u0661"):
        bearer = {"Authorization": f"Bearer {token(subject, 'member')}"}
        assert problem(await buy(http, headers=bearer)) == "forbidden", subject


async def test_an_id_that_names_no_sale_is_not_found(http, buy):
    for where in SALES:
        sale, run = f"/v1/sales/{where}", f"/v1/admin/sales/{where}"
        answers = [
            await buy(http, where=where),
            await http.get(sale),
            await http.get(f"{sale}/events"),
            await http.get(run, headers=as_admin()),
            await http.get(f"{run}/audit", headers=as_admin()),
            *[
                await http.post(f"{run}/{verb}", headers=as_admin())
                for verb in ("arm", "pause", "resume", "close")
            ],
        ]
        told = {(answer.status_code, problem(answer)) for answer in answers}
        assert told == {(404, "no-such-sale")}, where


async def test_an_id_that_names_no_order_is_not_found(http):
    for order_id in ("1", "x", "%00", "%ff", "6880cd6c-abc0-8000-8000-000010132e14"):
        path = f"/v1/orders/{order_id}"
        for answer in (
            await http.get(path, headers=as_member(7)),
            await http.post(f"{path}/cancel", headers=as_member(7)),
        ):
            assert (answer.status_code, problem(answer)) == (404, "no-such-order"), order_id


async def test_a_page_has_bounds(http):
    for query in ("limit=0", "limit=101", "limit=x", "limit=", "cursor=x", "cursor=0"):
        for path in ("/v1/products", "/v1/sales"):
            answer = await http.get(f"{path}?{query}")
            assert (answer.status_code, problem(answer)) == (422, "invalid-value"), query
            assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0]


async def test_what_is_not_there_is_a_problem_too(http):
    assert problem(await http.get("/nowhere")) == "no-such-page"
    assert problem(await http.get("/v1/nowhere")) == "no-such-page"
    answer = await http.delete("/v1/sales")
    assert (answer.status_code, problem(answer)) == (405, "method-not-allowed")
    assert "GET" in answer.headers["allow"]
    assert problem(await http.get("/problems/nonsense")) == "no-such-problem"


async def test_every_problem_explains_itself_in_both_languages(http):
    answer = await http.get("/problems/sold-out")
    assert answer.json() == {
        "type": "/problems/sold-out",
        "status": 409,
        "en": "Not enough units are left.",
        "zh": "库存不足。",
    }


PLAN = {
    "name": "Kettles",
    "starts_at": "2030-01-01T00:00:00Z",
    "ends_at": "2030-01-02T00:00:00Z",
    "items": [{"sku_id": "1", "quota": 1, "price": 1, "limit": 1}],
}
PLANS = {
    "no name": {"name": ""},
    "a long name": {"name": "x" * 201},
    "a name with U+0000": {"name": "a\0b"},
    "a time without a zone": {"starts_at": "2030-01-01T00:00:00"},
    "no time": {"starts_at": "soon"},
    "the year 1": {"starts_at": "0001-01-01T00:00:00+14:00"},
    "the year 9999": {"ends_at": "9999-12-31T23:59:59-12:00"},
    "an end before its start": {"ends_at": "2029-01-01T00:00:00Z"},
    "no items": {"items": []},
    "a SKU twice": {"items": PLAN["items"] * 2},
    "no quota": {"items": [PLAN["items"][0] | {"quota": 0}]},
    "a quota of 2**70": {"items": [PLAN["items"][0] | {"quota": 2**70}]},
    "a negative price": {"items": [PLAN["items"][0] | {"price": -1}]},
    "a limit above a million": {"items": [PLAN["items"][0] | {"limit": 1_000_001}]},
    "a hold of no time": {"hold_s": 0},
    "an unknown field": {"colour": "red"},
}


async def test_an_impossible_plan_is_refused(http):
    for name, change in PLANS.items():
        answer = await http.post("/v1/admin/sales", headers=as_admin(), json=PLAN | change)
        assert answer.status_code == 422, name
        assert problem(answer) in {"invalid-value", "impossible-plan"}, name


async def test_a_plan_of_an_unknown_sku_is_not_found(http):
    for sku_id in ("999", "x"):
        change = {"items": [PLAN["items"][0] | {"sku_id": sku_id}]}
        answer = await http.post("/v1/admin/sales", headers=as_admin(), json=PLAN | change)
        assert (answer.status_code, problem(answer)) == (404, "no-such-sku")


async def test_a_plan_may_be_long_but_not_endless(http):
    long = json.dumps(PLAN | {"name": "x" * 1_000_000})
    answer = await http.post("/v1/admin/sales", headers=as_admin() | JSON, content=long)
    assert problem(answer) == "invalid-value"
    answer = await http.post("/v1/admin/sales", headers=as_admin() | JSON, content=long * 5)
    assert problem(answer) == "body-too-large"


async def test_a_closed_sale_sells_nothing(http, buy, plan, pool, redis):
    other = await arm_sale(pool, redis, sale_id=(await plan()).id)
    await close_sale(pool, redis, sale_id=other.id)
    answer = await buy(http, where=str(other.id))
    assert problem(answer) in {"sale-not-open", "no-such-sale"}
