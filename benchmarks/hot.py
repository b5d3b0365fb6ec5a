"""Does one hot SKU cost more than ten thousand, and how many orders does one fsync carry?

    python -m benchmarks.hot [--claims 20000] [--rounds 5] [--connections 1024] [--write]

Two sales stand in one shop, one of a single SKU and one of many, and meet the same load in turn,
with nobody writing orders down meanwhile. CPU in microseconds a claim; medians. Claims a fsync are
a floor: only claim.lua writes here, Redis syncs at most once a call, and counts its calls itself.
"""

import argparse
import statistics

import msgspec
import uvloop

from benchmarks import load, shop
from hotpath.nodes import Redis

WARM_UP = 2_000
SKUS = 10_000
GOAL_RATIO = 0.8
GOAL_PER_FSYNC = 100
SIDES = {"one SKU": 1, f"{SKUS:,} SKUs": SKUS}


class Row(msgspec.Struct):
    side: str
    api_us: float
    redis_us: float
    claims_per_s: float
    claims_per_fsync: float


async def measure(
    ours: shop.Shop, door: tuple[int, int], side: str, requests: list[bytes], connections: int
) -> Row:
    port, pid = door
    async with Redis.from_url(ours.redis.url) as client:
        calls = await shop.script_calls(client)
        meter = shop.Meter({"api_us": pid, "redis_us": ours.redis.pid})
        heard = await load.run(port, requests, connections=connections)
        cpu_us = meter.us_per(len(requests))
        calls = await shop.script_calls(client) - calls
    assert heard.statuses == {b"202": len(requests)}, (side, heard.statuses)
    rate = len(requests) / heard.seconds
    return Row(side, **cpu_us, claims_per_s=rate, claims_per_fsync=len(requests) / calls)


async def rounds(asked: argparse.Namespace) -> list[Row]:
    found = []
    async with shop.opened() as ours:
        door = ours.serve()
        await shop.ready([door[0]])
        plans = {side: shop.Plan(skus) for side, skus in SIDES.items()}
        sale_ids, sku_ids = await shop.open_sales(ours, plans)
        for number in range(asked.rounds + 1):
            for side, skus in SIDES.items():
                count = min(asked.claims, shop.REQUESTS_MAX) if number else WARM_UP
                path = b"/v1/sales/%d/orders" % sale_ids[side]
                requests = shop.claims(path, sku_ids[:skus], count)
                row = await measure(ours, door, side, requests, asked.connections)
                found += [row] if number else []
    return found


def summary(rows: list[Row]) -> list[dict[str, object]]:
    return [
        {
            "side": side,
            **{
                name: round(statistics.median(getattr(r, name) for r in rows if r.side == side), 2)
                for name in Row.__struct_fields__[1:]
            },
        }
        for side in SIDES
    ]


def ratios(one: dict[str, float], many: dict[str, float]) -> dict[str, float]:
    """The worse side by the better: 1 where both are alike."""
    return {
        name: round(min(one[name], many[name]) / max(one[name], many[name]), 2)
        for name in ("api_us", "redis_us", "claims_per_s")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--claims", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=1024)
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    rows = uvloop.run(rounds(asked))
    told = summary(rows)
    print(f"{'':14}{'api us':>8}{'redis us':>9}{'a second':>10}{'a fsync, at least':>19}")
    for one in told:
        print(
            f"{one['side']:14}{one['api_us']:>8}{one['redis_us']:>9}"
            f"{one['claims_per_s']:>10,.0f}{one['claims_per_fsync']:>19.0f}"
        )
    worst = ratios(*told)
    print(f"the worse by the better: {worst}; goals: {GOAL_RATIO} each, {GOAL_PER_FSYNC} a fsync")
    if asked.write:
        goals = {"ratio": GOAL_RATIO, "per_fsync": GOAL_PER_FSYNC}
        shop.keep("hot", {"medians": told, "ratios": worst, "goals": goals, "rounds": rows})


if __name__ == "__main__":
    main()
