"""How long does a list of orders, or of what belongs to them, take with a million of them?

    python -m benchmarks.order_lists [--orders 1000000] [--requests 100] [--write]

Four of five are of 200 flash sales, the fifth is of a cart and has three lines; one in a hundred is
of one member, who has ten thousand. Beside them stand a million consignments, cases, entries of
the ledger, notes, messages: order_lists.sql. Each kind of list (also of back_office.py), first page
and deep, a hundred a page, is asked of `sluice serve` over HTTP, one request after the other; once
warm, and once more after Postgres was restarted. Plans are told as `catalogue` tells them. Takes
five minutes and 4 GB of disk.
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import asyncpg
import uvloop

from benchmarks import back_office, goods, shop
from benchmarks.catalogue import EXPLAIN, GOAL_P95_MS, PLANS, Asker, every, plan, restarted
from core import orders

COLLECTOR = 7
PAGE = "limit=100"
STAFF = "/v1/admin/orders"
MINE = "/v1/orders"
NO_SUCH_MEMBER = 999_999_999

SCRIPT = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
SCHEMAS = (
    *("orders", "fulfilment", "payments", "aftersale", "ledger", "reconciliation", "staff"),
    *("feeds", "webhooks", "disputes"),
)


class Ids(NamedTuple):
    """Some that exist: any orders, orders of carts with their members, and members."""

    orders: list[str]
    ordinary: list[tuple[str, int]]
    members: list[int]


async def load(url: str, many: int) -> float:
    began = time.perf_counter()
    conn = await asyncpg.connect(url, command_timeout=goods.LOAD_S_MAX)
    try:
        await conn.execute("SELECT set_config('lists.orders', $1, false)", str(many))
        indexes = await goods.unindexed(conn, SCHEMAS)
        await goods.follow(conn, SCRIPT, began)
        await goods.index_all(conn, indexes)
        await conn.execute("VACUUM ANALYZE")
        await conn.execute("CHECKPOINT")
        goods.tell(began, "indexes, vacuum, analyze, checkpoint")
    finally:
        await conn.close()
    return time.perf_counter() - began


async def some(url: str) -> Ids:
    conn = await asyncpg.connect(url)
    try:
        rows = await conn.fetch(
            "SELECT id::text, member_id, sale_id IS NULL AS is_ordinary"
            "  FROM orders.orders TABLESAMPLE SYSTEM (1) REPEATABLE (7) LIMIT 5000"
        )
    finally:
        await conn.close()
    ordinary = [(row["id"], row["member_id"]) for row in rows if row["is_ordinary"]]
    return Ids([row["id"] for row in rows], ordinary, [member for _, member in ordinary])


def kinds(ids: Ids) -> dict[str, Callable[[random.Random], str]]:
    def deep(rng: random.Random) -> str:
        return f"{PAGE}&cursor={rng.choice(ids.orders)}"

    def mine(member: int, path: str) -> str:
        return f"member {member}:{path}"

    def one_of_mine(rng: random.Random) -> str:
        order_id, member = rng.choice(ids.ordinary)
        return mine(member, f"{MINE}/{order_id}")

    found: dict[str, Callable[[random.Random], str]] = {
        "staff: all, newest": lambda _: f"{STAFF}?{PAGE}",
        "staff: all, deep": lambda rng: f"{STAFF}?{deep(rng)}",
    }
    for state in orders.Shown:
        path = f"{STAFF}?state={state}&"
        found[f"staff: {state}, newest"] = lambda _, path=path: path + PAGE
        found[f"staff: {state}, deep"] = lambda rng, path=path: path + deep(rng)
    return found | {
        "staff: of a member": lambda rng: f"{STAFF}?member_id={rng.choice(ids.members)}&{PAGE}",
        "staff: of the collector": lambda _: f"{STAFF}?member_id={COLLECTOR}&{PAGE}",
        "staff: of nobody": lambda _: f"{STAFF}?member_id={NO_SUCH_MEMBER}&{PAGE}",
        "staff: one order": lambda rng: f"{STAFF}/{rng.choice(ids.orders)}",
        "member: mine": lambda rng: mine(rng.choice(ids.members), f"{MINE}?{PAGE}"),
        "member: mine, deep": lambda rng: mine(rng.choice(ids.members), f"{MINE}?{deep(rng)}"),
        "member: the collector's": lambda _: mine(COLLECTOR, f"{MINE}?{PAGE}"),
        "member: the collector's, deep": lambda rng: mine(COLLECTOR, f"{MINE}?{deep(rng)}"),
        "member: one order": one_of_mine,
        "member: cases of an order": lambda rng: f"{one_of_mine(rng)}/cases",
        "staff: an order's log": lambda rng: f"{STAFF}/{rng.choice(ids.orders)}/log",
        "staff: an order's flow": lambda rng: f"{STAFF}/{rng.choice(ids.orders)}/flow",
        "staff: an order's refunds": lambda rng: f"{STAFF}/{rng.choice(ids.orders)}/refunds",
        "staff: an order's entries": lambda rng: (
            f"/v1/admin/ledger/entries?reference={rng.choice(ids.orders)}"
        ),
    }


async def rounds(asked: argparse.Namespace) -> dict[str, object]:
    async with shop.opened() as ours:
        took_s = await load(ours.url, asked.orders)
        port, api = ours.serve()
        await shop.ready([port])
        found = kinds(await some(ours.url)) | back_office.all_of(asked.orders)
        asker = Asker(port, {"postgres": ours.postgres.pid, "api": api})
        warm = await every(asker, found, asked.requests, title="warm")
        asker.pids = await restarted(ours, port, api)
        cold = await every(asker, found, asked.requests // 4, title="Postgres restarted", warm_up=0)
        slowest = sorted(warm + cold, key=lambda row: -row.p95)
        slow = [row for row in slowest if row.p95 > GOAL_P95_MS] or slowest[:PLANS]
        asker.pids = await restarted(ours, port, api, **EXPLAIN)
        plans = {row.kind: await plan(ours, asker, row) for row in slow}
    for path, bound in back_office.BOUNDED.items():
        print(f"not asked: {path}: {bound}")
    return {
        "orders": {"orders": asked.orders, "load_s": round(took_s)},
        "goals": {"p95_ms": GOAL_P95_MS},
        "warm": warm,
        "restarted": cold,
        "plans": plans,
        "bounded": back_office.BOUNDED,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=100, help="of each kind")
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    asked = parser.parse_args()
    found = uvloop.run(rounds(asked))
    worst = max(row.p95 for part in ("warm", "restarted") for row in found[part])
    print(f"\nthe slowest kind's p95 is {worst:.1f} ms (goal {GOAL_P95_MS:.0f})")
    if asked.write:
        shop.keep("order_lists", found)


if __name__ == "__main__":
    main()
