"""What does a shop sell when ten times as many ask as it can serve, and when is it itself again?

    python -m benchmarks.overload [--claims-per-s 1000] [--connections 110] [--storms 3] [--write]

A slow road to Redis (`narrow.py`) keeps one `sluice serve` at a rate that a load on the same
machine can exceed ten times; `sluice work` writes the orders meanwhile, over a road of its own. The
crowd obeys Retry-After and comes within half a second. Each storm is ten times the connections of
the peak in a closed loop, then 1.2 times the rate of the peak in an open loop, each followed by the
crowd of the peak. Others ask for health, the sale and the back office all the time. Goodput is
that of the worst storm, tails and recovery those of the middle one, with the worst beside it.
Exits with 1 unless every promise held.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

import msgspec
import psutil
import uvloop

from api import auth
from api.rehearsal.client import Client, NoAnswer
from benchmarks import shop
from benchmarks.storm import Crowd, Heard
from core import embedded

TIMES_CONNECTIONS = 10
TIMES_RATE = 1.2
STORM_GOODPUT_MIN = 0.9
OPEN_GOODPUT_MIN = 0.6
P99_TIMES_MAX = 3.0
NORMAL_AGAIN_S_MAX = 5.0
MEMORY_GROWTH_MAX = 0.1
# Normal: three slots in a row with nearly the peak's goodput, and no tail worse than twice its.
# Over the slow road claims come back by the dozens: one batch less must not spoil a slot.
SLOT_S = 1.0
SLOTS_IN_A_ROW = 2
NORMAL_GOODPUT_MIN = 0.9
NORMAL_P99_TIMES_MAX = 2.0

# About what one claim takes on the road: the peak is measured, so it need not be exact.
CLAIM_BYTES = 76
CLAIMS_PER_ADDRESS = 50
WARM_UP_S = 3.0
PROBE_S = 0.1
DRAINED_S_MAX = 60.0
STORMS_MAX = 300
TIMEOUT_S = 30.0


class Told(msgspec.Struct, frozen=True):
    """One stretch of time. `offered` counts every request, `refused` those told to come again."""

    phase: str
    connections: int
    seconds: float
    goodput_per_s: float
    offered_per_s: float
    refused_share: float
    lost: int
    gave_up: int
    p50_ms: float
    p99_ms: float
    cpu: float
    memory_mb: float
    probes_p99_ms: dict[str, float]
    probes_failed: dict[str, int]
    normal_again_s: float | None = None


class Counter(msgspec.Struct):
    """Where to buy what, and the process that sells it."""

    port: int
    serve: psutil.Process
    sale_id: int
    sku_id: int
    audit: Callable[[], dict[str, object]]


class Probes:
    """Everybody else: asks for other pages all the time, one request of each kind at once."""

    def __init__(self, client: Client, counter: Counter) -> None:
        now_s = int(time.time())
        admin = auth.issue(shop.SECRET, subject="admin", role="admin", now_s=now_s, ttl_s=86_400)
        signed = {"Authorization": f"Bearer {admin}"}
        self._client = client
        self._asked: dict[str, tuple[str, dict[str, str]]] = {
            "live": ("/health/live", {}),
            "ready": ("/health/ready", {}),
            "sale": (f"/v1/sales/{counter.sale_id}", {}),
            "admin": (f"/v1/admin/sales/{counter.sale_id}/audit", signed),
        }
        self.heard: list[tuple[float, str, float, int]] = []

    async def run(self) -> None:
        await asyncio.gather(*(self._ask_on(name) for name in self._asked))

    async def _ask_on(self, name: str) -> None:
        path, headers = self._asked[name]
        while True:
            began = time.perf_counter()
            try:
                status = (await self._client.ask("GET", path, headers=headers)).status
            except NoAnswer:
                status = 0
            self.heard.append((began, name, time.perf_counter() - began, status))
            await asyncio.sleep(PROBE_S)

    def between(self, start: float, end: float) -> tuple[dict[str, float], dict[str, int]]:
        """Return p99 in milliseconds and the failures, by name."""
        slow, failed = {}, {}
        for name in self._asked:
            mine = [one for one in self.heard if one[1] == name and start <= one[0] < end]
            slow[name] = percentile([one[2] for one in mine], 99)
            failed[name] = sum(one[3] != 200 for one in mine)
        return slow, failed


class Evening:
    """Runs one stretch after another and notes what was told in each."""

    def __init__(self, counter: Counter, crowd: Crowd, probes: Probes) -> None:
        self.told: list[Told] = []
        self._serve, self._crowd, self._probes = counter.serve, crowd, probes

    async def spend(
        self, phase: str, connections: int, rush: Coroutine[None, None, None]
    ) -> tuple[float, float]:
        heard, serve = self._crowd.heard, self._serve
        refused, lost, gave_up = heard.refused.total(), heard.lost, heard.gave_up
        start, cpu_s = time.perf_counter(), sum(serve.cpu_times()[:2])
        await rush
        end = time.perf_counter()
        latencies = heard.between(start, end)
        slow, failed = self._probes.between(start, end)
        refused = heard.refused.total() - refused
        self.told.append(
            Told(
                phase,
                connections,
                round(end - start, 2),
                round(len(latencies) / (end - start), 1),
                round((len(latencies) + refused) / (end - start), 1),
                round(refused / max(1, len(latencies) + refused), 3),
                heard.lost - lost,
                heard.gave_up - gave_up,
                percentile(latencies, 50),
                percentile(latencies, 99),
                round((sum(serve.cpu_times()[:2]) - cpu_s) / (end - start), 2),
                own_memory_mb(serve),
                slow,
                failed,
            )
        )
        show(self.told[-1])
        return start, end

    def normal_again_s(self, start: float, end: float, peak: Told) -> float:
        """How long after `start` it took until slot after slot looked like the peak."""
        good = 0
        for number in range(int((end - start) / SLOT_S)):
            at = start + number * SLOT_S
            found = self._crowd.heard.between(at, at + SLOT_S)
            is_good = (
                len(found) >= NORMAL_GOODPUT_MIN * peak.goodput_per_s * SLOT_S
                and percentile(found, 99) <= NORMAL_P99_TIMES_MAX * peak.p99_ms
            )
            good = good + 1 if is_good else 0
            if good == SLOTS_IN_A_ROW:
                return round((number + 1 - SLOTS_IN_A_ROW) * SLOT_S, 1)
        return float("inf")


def percentile(seconds: list[float], cut: int) -> float:
    """Return it in milliseconds; nothing measured is as bad as can be."""
    if len(seconds) < 2:
        return seconds[0] * 1e3 if seconds else float("inf")
    return round(statistics.quantiles(seconds, n=100, method="inclusive")[cut - 1] * 1e3, 1)


def own_memory_mb(serve: psutil.Process) -> float:
    """Without what is mapped from files: the table of risk fills up as new addresses come."""
    found = serve.memory_info()
    return round((found.rss - found.shared) / 1e6, 1)


def show(told: Told) -> None:
    probes = " ".join(f"{name} {ms:.0f}" for name, ms in told.probes_p99_ms.items())
    failed = sum(told.probes_failed.values())
    print(
        f"{told.phase:10}{told.connections:>6}{told.goodput_per_s:>9,.0f}{told.offered_per_s:>9,.0f}"
        f"{told.refused_share:>7.1%}{told.lost:>6}{told.p50_ms:>8.0f}{told.p99_ms:>8.0f}"
        f"{told.cpu:>6.0%}{told.memory_mb:>7.0f}   {probes}{f', {failed} failed' * bool(failed)}",
        flush=True,
    )


def requests(counter: Counter) -> Iterator[bytes]:
    """Claims without end, each by a member of its own, from no address too many."""
    now_s = int(time.time())
    body = b'{"sku_id":"%d","quantity":1}' % counter.sku_id
    head = (
        b"POST /v1/sales/%d/orders HTTP/1.1\r\nHost: shop\r\nUser-Agent: load\r\nAccept: */*\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\nIdempotency-Key: storm\r\n"
        % (counter.sale_id, len(body))
    )
    for member in itertools.count(1):
        address = shop.own_address(member // CLAIMS_PER_ADDRESS)
        token = shop.token(member, now_s)
        yield b"%bX-Forwarded-For: %b\r\nAuthorization: Bearer %b\r\n\r\n%b" % (
            head,
            address,
            token,
            body,
        )


async def spend_the_evening(
    asked: argparse.Namespace, counter: Counter
) -> tuple[list[Told], Heard]:
    heard = Heard()
    crowd = Crowd(counter.port, requests(counter), heard)
    n, s = asked.connections, asked.seconds
    url = f"http://127.0.0.1:{counter.port}"
    async with Client(url, connections_max=16, timeout_s=TIMEOUT_S) as client:
        probes = Probes(client, counter)
        asking = asyncio.create_task(probes.run())
        evening = Evening(counter, crowd, probes)
        await crowd.closed(await crowd.dial(n), seconds=WARM_UP_S)
        await evening.spend("peak", n, crowd.closed(await crowd.dial(n), seconds=s))
        peak = evening.told[0]
        for _ in range(asked.storms):
            many = TIMES_CONNECTIONS * n
            rate = TIMES_RATE * peak.goodput_per_s
            for name, count in (("storm", many), ("open loop", 0)):
                if count:
                    rush = crowd.closed(await crowd.dial(count), seconds=s)
                else:
                    rush = crowd.open(rate, seconds=s)
                await evening.spend(name, count, rush)
                lines = await crowd.dial(n)
                start, end = await evening.spend("after", n, crowd.closed(lines, seconds=s))
                evening.told[-1] = msgspec.structs.replace(
                    evening.told[-1], normal_again_s=evening.normal_again_s(start, end, peak)
                )
        asking.cancel()
        await asyncio.wait([asking])
    return evening.told, heard


def verdicts(told: list[Told], audit: dict[str, object]) -> dict[str, tuple[bool, str]]:
    peak = told[0]
    storms = [one for one in told if one.phase == "storm"]
    opens = [one for one in told if one.phase == "open loop"]
    afters = [one for one in told if one.phase == "after"]
    goodput = min(one.goodput_per_s for one in storms) / peak.goodput_per_s
    steady = min(one.goodput_per_s for one in opens) / peak.goodput_per_s
    # Another's rush on a shared machine spoils one stretch; what is ours spoils all of them.
    tails = [one.p99_ms / peak.p99_ms for one in storms + opens]
    slow = statistics.median(tails)
    again_s = [one.normal_again_s or 0.0 for one in afters]
    calm_s = statistics.median(again_s)
    growth = afters[-1].memory_mb / afters[len(afters) // 2].memory_mb - 1
    failed = sum(sum(one.probes_failed.values()) for one in told)
    return {
        "goodput with ten times the connections": (goodput >= STORM_GOODPUT_MIN, f"{goodput:.1%}"),
        "goodput at 1.2 times the rate": (steady >= OPEN_GOODPUT_MIN, f"{steady:.1%}"),
        "p99 of the admitted, of the peak's": (
            slow <= P99_TIMES_MAX,
            f"{slow:.2f} times, at worst {max(tails):.2f}",
        ),
        "normal again": (
            calm_s <= NORMAL_AGAIN_S_MAX,
            f"after {calm_s} s, at worst {max(again_s)}",
        ),
        "memory grew in the second half": (growth <= MEMORY_GROWTH_MAX, f"{growth:+.1%}"),
        "others were answered": (failed == 0, f"{failed} failed"),
        "the books": (audit["drift"] == 0 and audit["in_flight"] == 0, f"drift {audit['drift']}"),
    }


@contextlib.asynccontextmanager
async def open_counter(asked: argparse.Namespace) -> AsyncIterator[Counter]:
    # In memory: a disk that others use as well would be measured instead.
    async with shop.opened(in_memory=True) as opened:
        road, redis = embedded.free_port(), opened.redis
        speed = str(asked.claims_per_s * CLAIM_BYTES)
        opened.start("benchmarks.narrow", str(road), str(redis.port), speed)
        opened.work()
        slow_url = redis.url.replace(f":{redis.port}", f":{road}")
        port, pid = opened.serve(SLUICE_REDIS_URL=slow_url)
        await shop.ready([port])
        sale_ids, (sku_id,) = await shop.open_sales(opened, {"storm": shop.Plan()})

        def audit() -> dict[str, object]:
            words = [sys.executable, "-m", "api.cli", "audit", str(sale_ids["storm"]), "--json"]
            env = opened.environment()
            done = subprocess.run(words, cwd=shop.ROOT, env=env, capture_output=True, check=False)
            return json.loads(done.stdout)

        yield Counter(port, psutil.Process(pid), sale_ids["storm"], sku_id, audit)


async def books(counter: Counter) -> dict[str, object]:
    """Audit the sale once all that was accepted is written down, or time is up."""
    until = time.monotonic() + DRAINED_S_MAX
    while True:
        audit = await asyncio.to_thread(counter.audit)
        if audit["in_flight"] == 0 or time.monotonic() > until:
            return audit
        await asyncio.sleep(1.0)


async def measure(asked: argparse.Namespace) -> tuple[list[Told], dict[str, tuple[bool, str]]]:
    async with open_counter(asked) as counter:
        told, heard = await spend_the_evening(asked, counter)
        audit = await books(counter)
    print(f"told to come again, in seconds: {dict(sorted(heard.retry_after_s.items()))}")
    found = verdicts(told, audit)
    sold = sum(item["sold"] for item in audit["items"])
    found["every 202 is an order"] = (sold >= len(heard.accepted), f"{sold} orders")
    return told, found


def options(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--claims-per-s", type=int, default=1_000, help="what the road carries")
    parser.add_argument("--connections", type=int, default=110, help="at the peak")
    parser.add_argument("--storms", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=7.0, help="of each stretch")
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args(given)
    assert 0 < asked.storms <= STORMS_MAX
    return asked


def main() -> None:
    asked = options()
    print(
        f"{'phase':10}{'conns':>6}{'sold/s':>9}{'asked/s':>9}{'503':>7}{'lost':>6}{'p50 ms':>8}"
        f"{'p99 ms':>8}{'cpu':>6}{'MB':>7}   p99 ms of the others"
    )
    told, found = uvloop.run(measure(asked))
    for name, (held, figure) in found.items():
        print(f"{'held  ' if held else 'BROKEN'}  {name}: {figure}")
    if asked.write:
        kept = {name: {"held": held, "figure": figure} for name, (held, figure) in found.items()}
        shop.keep("overload", {"verdicts": kept, "stretches": told})
    raise SystemExit(not all(held for held, _ in found.values()))


if __name__ == "__main__":
    main()
