"""What does a claim cost in the gate's own process, and what in Redis?

    python -m benchmarks.gate [--claims 100000] [--waves 1,10,100,1000] [--batches 512] [--write]

A wave is how many claims arrive in one turn of the event loop; a batch, at most how many go in one
call, and so share one fsync. CPU is counted, not time: of this process (gate and wire, with the
making of the claim) and of the server (claim.lua, with its log).
"""

import argparse
import asyncio
import itertools
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop
from redis import Redis

from benchmarks import shop
from core import embedded
from hotpath import routing, scripts
from hotpath.claims import BucketFacts, Claim, Kind, SaleFacts, Verdict
from hotpath.gate import Gate
from hotpath.wire import Wire

CLAIMS_MAX = 1_000_000
WAVE_MAX = 20_000
IN_FLIGHT_MAX = 4_000
VERDICTS = ("accepted", "repeat", "sold out")
STAMP = "1.00112233445566ff"


class Row(msgspec.Struct):
    """One measurement; CPU in microseconds a claim."""

    what: str
    wave: int
    batch_max: int
    client_us: float
    server_us: float
    claims_per_batch: float
    claims_per_s: float


class Load:
    """Sends claims in waves, with no more in flight than a queue would hold."""

    def __init__(self, gate: Gate, claims: list[Claim], wave: int):
        self.gate, self.claims, self.wave = gate, claims, wave
        self.answered = self.sent = 0
        self.room = asyncio.Event()
        self.kinds: dict[Kind, int] = dict.fromkeys(Kind, 0)

    def done(self, verdict: Verdict) -> None:
        self.answered += 1
        self.kinds[verdict.kind] += 1
        if self.sent - self.answered in {0, IN_FLIGHT_MAX // 2}:
            self.room.set()

    async def run(self) -> None:
        while self.sent < len(self.claims):
            for claim in self.claims[self.sent : self.sent + self.wave]:
                self.gate.claim(claim, self.done)
            self.sent = min(len(self.claims), self.sent + self.wave)
            await asyncio.sleep(0)
            if self.sent - self.answered > IN_FLIGHT_MAX:
                self.room.clear()
                await self.room.wait()
        while self.answered < self.sent:
            self.room.clear()
            await self.room.wait()


def prepare(server: embedded.Redis, left: int) -> BucketFacts:
    keys = scripts.BucketKeys(1)
    with Redis.from_url(server.url) as client:
        client.flushall()
        window = {"opens_at_ms": 0, "closes_at_ms": 2**42}
        client.hset(keys.sale, mapping={"stamp": STAMP, "state": "open", **window})
        client.hset(keys.left, "7", left)
        client.hset(keys.limits, "7", 1_000_000)
        return BucketFacts(1, 1, STAMP, client.info("server")["run_id"])


def server_cpu_s(server: embedded.Redis) -> float:
    with Redis.from_url(server.url) as client:
        cpu = client.info("cpu")
    return cpu["used_cpu_sys"] + cpu["used_cpu_user"]


async def measure(
    server: embedded.Redis, what: str, wave: int, claims: list[Claim], *, batch_max: int
) -> Row:
    facts = prepare(server, 0 if what == "sold out" else 10**9)
    wire = Wire(server.url, scripts=[scripts.CLAIM.source], reply_timeout_s=30)
    wire.start()
    await wire.connected()
    gate = Gate(wire, key_id=1, backlog_max=10**9, batch_max=batch_max, deadline_s=60)
    gate.know({1: SaleFacts([facts])})
    if what == "repeat":
        await Load(gate, claims, 1000).run()
        gate.counters.batches = gate.counters.claims = 0
    load = Load(gate, claims, wave)
    server_s, client_s, started = server_cpu_s(server), time.process_time(), time.perf_counter()
    await load.run()
    took_s, client_s = time.perf_counter() - started, time.process_time() - client_s
    server_s = server_cpu_s(server) - server_s
    expected = Kind.SOLD_OUT if what == "sold out" else Kind.ACCEPTED
    assert load.kinds[expected] == len(claims), load.kinds
    per_claim_us = 1e6 / len(claims)
    batch = gate.counters.claims / gate.counters.batches
    await wire.aclose()
    return Row(
        what=what,
        wave=wave,
        batch_max=batch_max,
        client_us=client_s * per_claim_us,
        server_us=server_s * per_claim_us,
        claims_per_batch=batch,
        claims_per_s=len(claims) / took_s,
    )


def rows(server: embedded.Redis, count: int, waves: list[int], batches: list[int]) -> Iterator[Row]:
    wanted = [Claim(1, member, "key-0123456789abcdef", 7, 1) for member in range(1, count + 1)]
    for what, wave, batch_max in itertools.product(VERDICTS, waves, batches):
        # A wave of few leaves Redis a sync for each batch: fewer claims say as much.
        some = wanted[: max(1_000, min(count, wave * 1_000))]
        yield uvloop.run(measure(server, what, wave, some, batch_max=batch_max))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--claims", type=int, default=100_000)
    parser.add_argument("--waves", default="1,10,100,1000")
    parser.add_argument("--batches", default="512", help="at most so many claims in one call")
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    count = min(asked.claims, CLAIMS_MAX)
    waves = [min(int(wave), WAVE_MAX) for wave in asked.waves.split(",")]
    batches = [min(int(batch), WAVE_MAX) for batch in asked.batches.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    server = embedded.Redis(folder, port=embedded.free_port())
    server.start()
    print(f"routing: {routing.IMPLEMENTATION}; appendfsync always; CPU in us a claim")
    print(f"{'verdict':10}{'wave':>6}{'at most':>8}{'gate':>8}", end="")
    print(f"{'redis':>8}{'a batch':>9}{'claims/s':>10}")
    found = []
    try:
        for row in rows(server, count, waves, batches):
            found.append(row)
            print(
                f"{row.what:10}{row.wave:>6}{row.batch_max:>8}{row.client_us:>8.1f}"
                f"{row.server_us:>8.1f}{row.claims_per_batch:>9.0f}{row.claims_per_s:>10,.0f}",
                flush=True,
            )
    finally:
        server.stop()
        shutil.rmtree(folder)
    if asked.write:
        shop.keep("gate", {"rounds": found})


if __name__ == "__main__":
    main()
