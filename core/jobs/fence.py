"""Watches which Redis process stands where, and admits it to each bucket or fences the bucket."""

import asyncio
from collections.abc import Collection

import structlog
from redis.exceptions import RedisError

from core import sales
from core.flows.admit_redis import Outcome, admit_redis
from core.jobs.role import for_each
from core.kit import db, promises
from hotpath import scripts
from hotpath.nodes import Redis

REST_S = 0.25
# API workers that lost a process first get to say how far it had acknowledged.
WITNESS_S = 0.6
AWAY = ""

log = structlog.get_logger()


class Fence:
    def __init__(self, pool: db.Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis
        self._clock = asyncio.get_running_loop().time
        self._since: dict[str, float] = {}
        "When each process was first seen where a bucket trusts another."

    async def step(self) -> bool:
        async with db.reading(self._pool) as conn:
            live = [b for b in await sales.live_buckets(conn) if b.fence_reason is None]
        nodes = {bucket.number: await self._redis.of(bucket.number) for bucket in live}
        processes = await self._processes({*nodes.values()})
        strange = [b for b in live if processes[nodes[b.number]] not in {AWAY, b.run_id}]
        newcomers = {nodes[bucket.number] for bucket in strange}
        now = self._clock()
        self._since = {processes[n]: self._since.get(processes[n], now) for n in newcomers}
        fit = {
            node
            for node in newcomers
            if now - self._since[processes[node]] >= WITNESS_S and await is_fit(node)
        }
        ready = [(b, processes[nodes[b.number]]) for b in strange if nodes[b.number] in fit]
        return await for_each(ready, self._judge)

    async def _processes(self, nodes: Collection[Redis]) -> dict[Redis, str]:
        """Which process each node is. One that is away keeps nobody from judging the others."""
        found = await asyncio.gather(*map(scripts.process_of, nodes), return_exceptions=True)
        processes = {}
        for node, came in zip(nodes, found, strict=True):
            if isinstance(came, BaseException) and not isinstance(came, RedisError):
                raise came
            processes[node] = AWAY if isinstance(came, BaseException) else came
        return processes

    async def _judge(self, stranger: tuple[sales.Bucket, str]) -> bool:
        bucket, run_id = stranger
        judgement = await admit_redis(self._pool, self._redis, number=bucket.number, run_id=run_id)
        note = log.error if judgement.outcome is Outcome.FENCED else log.info
        note(
            "redis_judged",
            sale_id=bucket.sale_id,
            bucket=bucket.number,
            outcome=judgement.outcome.value,
            reason=judgement.reason,
        )
        return False


async def is_fit(node: Redis) -> bool:
    """A process that breaks a promise takes no claims until somebody mends it."""
    findings = await promises.check_redis(node)
    for finding in findings:
        log.error("redis_breaks_a_promise", what=finding.what)
    return not findings
