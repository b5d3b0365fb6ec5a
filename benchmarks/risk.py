"""What does one decision of the risk kernel cost?

    python -m benchmarks.risk [--decisions 300000] [--processes 2]

CPU in nanoseconds a decision, the call from Python included; with several processes on one table,
all of them hammering one address, also how often the limit was exact.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core import risk as domain
from hotpath import _risk_py, risk
from hotpath.address import Proxies, halves, parse

KEY = b"a key for a benchmark"
F152 = ("ip:600:100:block:152",)
MANY = (*F152, "member:60:10:block:201", "device:60:10:review:202")
NOW_S = 1_790_000_000.0
V4 = 0xFFFF << 32
SUBJECTS = 65_536
LIMIT = 100


def program(*rules: str, deny: tuple[str, ...] = ()) -> risk.Program:
    return domain.compile_program(rules, deny=deny, allow=(), hash_key=len)


def opened(folder: Path, told: risk.Program) -> risk.Risk:
    sizes = risk.sizes_for(told, subjects=SUBJECTS)
    return risk.open_table(folder / "risk", sizes, key=KEY, program=told, now_s=NOW_S)


def cost_ns(ask: Callable[[int], object], count: int) -> float:
    began = time.process_time_ns()
    for number in range(count):
        ask(number)
    spent = time.process_time_ns() - began
    began = time.process_time_ns()
    for _ in range(count):
        pass
    return (spent - (time.process_time_ns() - began)) / count


def scenes(folder: Path, count: int) -> dict[str, float]:
    """Each on a table of its own. A key's hash is any number: hashing is measured by itself."""

    def table(name: str, told: risk.Program) -> risk.Risk:
        return opened(folder / name, told)

    plain = table("a", program(*F152))
    found = {
        "a first claim, each from its own address": cost_ns(
            lambda n: plain.decide(NOW_S, 0, V4 + n % 60_000, n, n, 0), min(count, 60_000)
        ),
        "a repeat": cost_ns(
            lambda n: plain.decide(NOW_S, 0, V4 + n % 60_000, n, n, 0), min(count, 60_000)
        ),
    }
    full = table("b", program(*F152))
    found["blocked: one address, one hundred claims behind it"] = cost_ns(
        lambda n: full.decide(NOW_S, 0, V4, n, n, 0), count
    )
    three = table("c", program(*MANY))
    found["a first claim with rules for address, member and device"] = cost_ns(
        lambda n: three.decide(NOW_S, 0, V4 + n % 20_000, n % 20_000, n, 1 + n % 20_000),
        min(count, 20_000),
    )
    networks = tuple(f"10.{n >> 8}.{n & 255}.0/28" for n in range(10_000))
    listed = table("d", program(*F152, deny=networks))
    found["denied by one of 10,000 networks"] = cost_ns(
        lambda n: listed.decide(NOW_S, 0, V4 | 10 << 24 | n % 10_000 << 8, n, n, 0), count
    )
    found["hash of a key of 24 characters"] = cost_ns(
        lambda _: plain.hash_key(b"0123456789abcdef01234567"), count
    )
    proxies = Proxies([])
    found["address of a direct peer"] = cost_ns(
        lambda _: halves(proxies.client("203.0.113.9", ())), count
    )
    found["address, parsed only"] = cost_ns(lambda _: parse("203.0.113.9"), count)
    terms = {"subjects": 1_024, "ring": 128, "seen": 16_384, "seed": (1, 2)}
    twin = _risk_py.Table(None, **terms)
    twin.obey(1, program(*F152).rules, deny=([], [], []), allow=([], [], []))
    found["the readable twin: a first claim"] = cost_ns(
        lambda n: twin.decide(NOW_S, 0, V4 + n % 1_000, n, n, 0), count // 50
    )
    return found


def hammer(folder: str, who: int, count: int, start, cpu_ns, passed) -> None:
    table = opened(Path(folder), program(*F152))
    start.wait()
    began = time.process_time_ns()
    for number in range(count):
        # One hundred claims pass, and a thousand addresses take turns.
        answer = table.decide(NOW_S, 0, V4 + number // 300, number, who, 0)
        passed[number // 300 * 64 + who] += risk.verdict_of(answer) == risk.ALLOW
    cpu_ns[who] = time.process_time_ns() - began


def together(folder: Path, processes: int, count: int) -> tuple[float, int, int]:
    """CPU of a decision under contention, addresses, and how many let exactly the limit pass."""
    context = multiprocessing.get_context("spawn")
    addresses = count // 300
    start = context.Barrier(processes)
    cpu_ns = context.Array("Q", processes, lock=False)
    passed = context.Array("Q", (addresses + 1) * 64, lock=False)
    workers = [
        context.Process(
            target=hammer, args=(str(folder), n, addresses * 300, start, cpu_ns, passed)
        )
        for n in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sums = [sum(passed[64 * n : 64 * n + 64]) for n in range(addresses)]
    return sum(cpu_ns) / (processes * addresses * 300), addresses, sums.count(LIMIT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=300_000)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    count = max(1_000, min(asked.decisions, 10_000_000))
    processes = max(1, min(asked.processes, 64))
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        print(f"risk: {risk.IMPLEMENTATION}; CPU in ns")
        for what, cost in scenes(Path(folder), count).items():
            print(f"{what:60}{cost:>10,.0f}")
        cost, addresses, exact = together(Path(folder) / "e", processes, count)
    print(f"{f'{processes} processes on one table, the same address at once':60}{cost:>10,.0f}")
    print(f"exactly {LIMIT} let through for {exact:,} of {addresses:,} addresses")


if __name__ == "__main__":
    main()
