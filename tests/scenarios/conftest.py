"""Journeys over HTTP, with real Postgres and Redis."""

import pytest

from core.kit import db
from tests.api.conftest import (  # noqa: F401  fixtures are found by their names
    app,
    buy,
    far,
    http,
    keyring,
    plan,
    sale,
    settings,
    sku_ids,
    token,
    url,
)

MISPLACED = """
    (SELECT product_id, to_jsonb(l) FROM catalogue.listed AS l
     EXCEPT SELECT product_id, to_jsonb(l) FROM catalogue.listings AS l)
    UNION ALL (SELECT product_id, to_jsonb(l) FROM catalogue.listings AS l
     EXCEPT SELECT product_id, to_jsonb(l) FROM catalogue.listed AS l)
    UNION ALL (SELECT product_id, to_jsonb(s) FROM catalogue.standing AS s
     EXCEPT SELECT product_id, to_jsonb(s) FROM catalogue.shelves AS s)
    UNION ALL (SELECT product_id, to_jsonb(s) FROM catalogue.shelves AS s
     EXCEPT SELECT product_id, to_jsonb(s) FROM catalogue.standing AS s)
"""


@pytest.fixture
def client(request):
    """In this process, or of `sluice serve` where a test asks for `far`."""
    return request.getfixturevalue(getattr(request, "param", "http"))


@pytest.fixture
def staff(client):
    """Ask as an administrator; give the answer's document, or the whole answer when `refused`."""

    async def staff(method, path, *, refused=None, who="admin", **body):
        headers = {"Authorization": f"Bearer {token(who, 'admin')}"}
        answer = await client.request(
            method, f"/v1/admin{path}", headers=headers, json=body or None
        )
        if refused:
            slug = answer.json()["type"].rpartition("/")[2]
            assert (answer.status_code, slug) == refused, answer.text
        else:
            assert answer.status_code in (200, 201), answer.text
        return answer.json()

    return staff


@pytest.fixture
def offer(staff):
    """Publish a product; give its id."""

    async def offer(
        en, zh, *, price=100, colour=None, sizes=(), category_id=None, said="", **prices
    ):
        description = {"description": {"en": said}} if said else {}
        body = {"title": {"en": en, "zh": zh}, "category_id": category_id} | description
        product_id = (await staff("POST", "/products", **body))["product_id"]
        sku = {"code": f"CODE-{product_id}", "currency": "CNY", "prices": {"CNY": price} | prices}
        values = {"colour": colour} if colour else {}
        skus = [
            sku | {"code": f"CODE-{product_id}-{size}", "attributes": values | {"size": size}}
            for size in sizes
        ]
        skus = skus or [sku | {"attributes": values}]
        await staff("POST", f"/products/{product_id}/skus", skus=skus)
        await staff("POST", f"/products/{product_id}/publish")
        return product_id

    return offer


@pytest.fixture
def found(client):
    """The ids of the products that a question finds, over all pages, each once and in order."""

    async def found(*, limit=100, **asked):
        ids, cursor = [], {}
        while True:
            answer = await client.get("/v1/products", params=asked | cursor | {"limit": limit})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            ids += [one["product_id"] for one in page["items"]]
            if page["cursor"] is None:
                assert len(ids) == len(set(ids))
                return ids
            cursor = {"cursor": page["cursor"]}

    return found


@pytest.fixture
def misplaced(pool):
    """Listings that are not as their products are, or do not stand where they have to."""

    async def misplaced():
        async with db.reading(pool) as conn:
            return await conn.fetch(MISPLACED)

    return misplaced
