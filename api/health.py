"""Whether this process lives, and whether it should be given buyers."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from api.problems import AWAY
from core import feeds, ledger, sales, staff
from core.kit import db, outbox
from hotpath.cluster import ClusterWires
from hotpath.gate import Gate
from hotpath.nodes import Redis

CHECK_TIMEOUT_S = 2.0
AUDIT_AGE_MAX_S = 30.0
PROOF_AGE_MAX_S = 300.0

Look = Callable[[], Awaitable[list[str]]]


class Check(msgspec.Struct, frozen=True):
    ok: bool
    detail: str


class Health(msgspec.Struct, frozen=True):
    ready: bool
    checks: dict[str, Check]


class Alive(msgspec.Struct, frozen=True):
    alive: bool


@get("/health/live", tags=["operations"])
async def live() -> Alive:
    return Alive(alive=True)


@get("/health/ready", tags=["operations"])
async def ready(
    pool: NamedDependency[db.Pool],
    redis: NamedDependency[Redis],
    wires: NamedDependency[ClusterWires],
    gate: NamedDependency[Gate],
) -> Response[Health]:
    """503 while anything is wrong that a buyer would notice, or that an operator must see.

    A silent feed and a broken log of staff are told here, and turn no buyer away.
    """

    async def reach_postgres() -> list[str]:
        async with db.reading(pool):
            return []

    async def reach_redis() -> list[str]:
        for node in await redis.every():
            await node.ping()
        missing = wires.unconnected
        return [f"the gate has no connection to {missing} Redis nodes"] if missing else []

    looks: dict[str, Look] = {
        "postgres": reach_postgres,
        "redis": reach_redis,
        "fences": lambda: find_fences(pool, gate),
        "books": lambda: find_drift(pool),
        "outbox": lambda: find_parked(pool),
    }
    warnings: dict[str, Look] = {
        "feeds": lambda: find_silent(pool),
        "staff_log": lambda: find_forgery(pool),
    }
    every = looks | warnings
    found = await asyncio.gather(*(check(look) for look in every.values()))
    checks = dict(zip(every, found, strict=True))
    healthy = all(checks[name].ok for name in looks)
    return Response(Health(healthy, checks), status_code=200 if healthy else 503)


async def check(look: Look) -> Check:
    """Look, and say in words what is wrong. Addresses stay out: anyone may read this."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            wrong = await look()
    except AWAY as error:
        wrong = [f"cannot be reached ({type(error).__name__})"]
    return Check(not wrong, "; ".join(wrong) or "ok")


async def find_fences(pool: db.Pool, gate: Gate) -> list[str]:
    """Buckets that take no claims: fenced, or waiting for the process we reach to be admitted."""
    async with db.reading(pool) as conn:
        unsettled = await sales.unsettled_buckets(conn)
    shut = [b for b in unsettled if b.run_id != gate.process_of(b.number)]
    return [
        f"sale {b.sale_id}, bucket {b.number}: {b.fence_reason or 'Redis is not admitted to it'}"
        for b in shut
    ]


async def find_drift(pool: db.Pool) -> list[str]:
    async with db.reading(pool) as conn:
        audits = await sales.audits(conn)
        booked = await ledger.last_audit(conn)
    wrong = [f"sale {a.sale_id}: {a.drift} units unaccounted for" for a in audits if a.drift]
    wrong += [f"sale {a.sale_id}: {a.problem}" for a in audits if a.problem]
    wrong += [
        f"sale {a.sale_id}: last audited {a.age_s:.0f} s ago"
        for a in audits
        if a.age_s > AUDIT_AGE_MAX_S
    ]
    if booked is not None and booked.drift:
        wrong.append(f"ledger: {booked.drift} entries are wrong; run `sluice ledger check`")
    return wrong


async def find_silent(pool: db.Pool) -> list[str]:
    """Places that were to be heard of by now: what the books say of them grows old."""
    async with db.reading(pool) as conn:
        silent = [feed for feed in await feeds.feeds(conn) if feed.is_silent]
    return [f"place {feed.place_id}: nothing was heard for {feed.age_s:.0f} s" for feed in silent]


async def find_forgery(pool: db.Pool) -> list[str]:
    async with db.reading(pool) as conn:
        proof = await staff.last_proof(conn)
    if proof is None:
        return []
    old = proof.age_s > PROOF_AGE_MAX_S
    late = [f"the log of staff was last proven {proof.age_s:.0f} s ago"] if old else []
    return late + ([f"the log of staff is broken: {proof.wrong}"] if proof.wrong else [])


async def find_parked(pool: db.Pool) -> list[str]:
    async with db.reading(pool) as conn:
        _, parked = await outbox.count(conn)
    return [f"{parked} messages were given up: `sluice outbox parked`"] if parked else []
