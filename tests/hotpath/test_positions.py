"""Positions outlive whatever rewrites or replays the log: they are what order ids are made of."""

import time
from uuid import uuid4

import pytest
from redis import Redis

from core import embedded
from hotpath import claims, loading, scripts
from hotpath.claims import BucketFacts, Claim, Kind
from hotpath.entries import Entry, claims_of
from tests.patience import PATIENCE_S


@pytest.fixture(params=["wheel", "debian"])
def source(request):
    return request.param


@pytest.fixture(params=["yes", "no"], ids=["preamble", "commands"])
def server(request, source, servers_folder):
    """A server of the test's own, which rewrites its log in one way or the other."""
    server = embedded.Redis(
        servers_folder / f"positions-{uuid4().hex}",
        port=embedded.free_port(),
        binaries=source,
        settings={"aof-use-rdb-preamble": request.param},
    )
    try:
        server.start()
    except embedded.CouldNotStart:
        pytest.skip(f"no {source} server here")
    yield server
    server.stop(within_s=0)


class Buyers:
    """Claims of members who never come twice, by the batch."""

    def __init__(self, server, sale):
        self.server, self.sale, self.members = server, sale, 0
        self.told: dict[int, str] = {}
        sale.open(server.url)

    def claim(self, count):
        bucket = BucketFacts(17, 3, self.sale.stamp, "")
        first = self.members + 1
        self.members += count
        wanted = [Claim(1, n, "k", 7, 1) for n in range(first, first + count)]
        arguments = claims.pack_batch(bucket, wanted, key_id=1, backlog_max=10**6)
        with Redis.from_url(self.server.url) as client:
            reply = client.eval(scripts.CLAIM.source, 6, *self.sale.keys.for_claim(), *arguments)
        verdicts = claims.read_batch(reply, bucket, wanted, key_id=1).verdicts
        for claim, verdict in zip(wanted, verdicts, strict=True):
            assert verdict.kind is Kind.ACCEPTED
            self.told[claim.member_id] = verdict.position

    def found(self):
        """Where each member's claim stands in the stream, and where its end is."""
        with Redis.from_url(self.server.url) as client:
            flat = client.eval(
                loading.DRAIN.source,
                2,
                self.sale.keys.sale,
                self.sale.keys.claims,
                *(self.sale.stamp, "0-0", 10**6, ""),
            )
            last = client.xinfo_stream(self.sale.keys.claims)["last-generated-id"]
        entries = [
            Entry(position.decode(), records, count)
            for position, records, count in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        ]
        there = {
            claims.decode_record(claim.record).member_id: claim.position
            for entry in entries
            for claim in claims_of(entry)
        }
        return there, last.decode()

    def agree(self):
        there, last = self.found()
        assert there == self.told
        assert last == self.told[self.members]
        assert len(set(self.told.values())) == self.members


def rewrite(server):
    with Redis.from_url(server.url) as client:
        client.bgrewriteaof()
        due = time.monotonic() + PATIENCE_S
        while client.info("persistence")["aof_rewrite_in_progress"]:
            assert time.monotonic() < due
            time.sleep(0.02)


def start_again(server):
    server.process.kill()
    server.process.wait()
    server.start()


def test_positions_outlive_a_restart_and_a_rewrite_of_the_log(server, sale):
    buyers = Buyers(server, sale)
    for count in (1, 5, 300):
        buyers.claim(count)
    start_again(server)
    buyers.agree()
    rewrite(server)
    buyers.claim(7)
    start_again(server)
    buyers.agree()
    buyers.claim(2)
    buyers.agree()


def test_positions_go_on_above_the_last_claim_though_all_is_trimmed_and_the_clock_stands(
    server, sale
):
    buyers = Buyers(server, sale)
    ahead = 2**41
    with Redis.from_url(server.url) as client:
        # The next ids can only count up from here.
        client.xadd(sale.keys.claims, {"c": ""}, id=f"{ahead}-0")
    buyers.claim(3)
    buyers.claim(2)
    assert list(buyers.told.values()) == [f"{ahead}-{n}" for n in range(1, 6)]
    with Redis.from_url(server.url) as client:
        client.xtrim(sale.keys.claims, maxlen=0, approximate=False)
    rewrite(server)
    start_again(server)
    buyers.claim(1)
    assert buyers.told[6] == f"{ahead}-6"
