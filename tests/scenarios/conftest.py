"""Journeys over HTTP, with real Postgres and Redis."""

import pytest

from tests.api.conftest import (  # noqa: F401  fixtures are found by their names
    app,
    far,
    http,
    keyring,
    settings,
    sku_ids,
    token,
    url,
)


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
