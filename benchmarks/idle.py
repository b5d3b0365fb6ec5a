"""What do the background roles cost while nobody buys?

    python -m benchmarks.idle [--seconds 20] [--role NAME ...] [--write]

One sale is open and nothing happens in it. What the worker, Postgres and Redis run then, in
milliseconds of CPU a second, is taken from every order of a busy hour: at 25,000 orders a second,
25 ms a second are a microsecond each. With `--role` only that one is played, each by itself.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence

import asyncpg
import uvloop

from api.cli.work import NAMES
from benchmarks import shop

PLAYED = "SELECT count(*) FROM kit.leases"
PLAYED_S_MAX = 30.0
SETTLE_S = 2.0
EVERYTHING = "everything"


async def idle(names: Sequence[str], seconds: float) -> dict[str, float]:
    """Milliseconds of CPU a second, of each process with all its children."""
    async with shop.opened() as ours:
        pids = {
            "worker": ours.start("api.cli", "work", *(f"--role={name}" for name in names)),
            "postgres": ours.postgres.pid,
            "redis": ours.redis.pid,
        }
        await shop.open_sales(ours, {"idle": shop.Plan()})
        await played(ours.url, len(names) or len(NAMES))
        meter, began = shop.Meter(pids), time.perf_counter()
        await asyncio.sleep(seconds)
        us_per_s = meter.us_per(1)
        took_s = time.perf_counter() - began
        return {name: round(us / 1e3 / took_s, 1) for name, us in us_per_s.items()}


async def played(url: str, roles: int) -> None:
    """Wait until each role has its player."""
    conn = await asyncpg.connect(url)
    try:
        deadline = time.monotonic() + PLAYED_S_MAX
        while (held := await conn.fetchval(PLAYED)) < roles:
            assert time.monotonic() < deadline, f"only {held} of {roles} roles are played"
            await asyncio.sleep(0.1)
    finally:
        await conn.close()
    await asyncio.sleep(SETTLE_S)


async def everyone(asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    casts = {name: [name] for name in asked.role} or {EVERYTHING: []}
    return {name: await idle(names, asked.seconds) for name, names in casts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--role", action="append", default=[], help="only this; may be repeated")
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    found = uvloop.run(everyone(asked))
    print(f"{'ms of CPU a second':20}{'worker':>9}{'postgres':>10}{'redis':>7}")
    for name, ms in found.items():
        print(f"{name:20}{ms['worker']:9.1f}{ms['postgres']:10.1f}{ms['redis']:7.1f}")
    if asked.write:
        shop.keep("idle", {"ms_per_s": found})


if __name__ == "__main__":
    main()
