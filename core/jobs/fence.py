"""Watches which Redis process stands there, and admits it to each bucket or fences the bucket."""

import asyncio

import structlog
from redis.asyncio import Redis

from core import sales
from core.flows.admit_redis import Outcome, admit_redis
from core.jobs.role import for_each
from core.kit import db, promises
from hotpath import scripts

REST_S = 0.25
# API workers that lost a process first get to say how far it had acknowledged.
WITNESS_S = 0.6

log = structlog.get_logger()


class Fence:
    def __init__(self, pool: db.Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis
        self._clock = asyncio.get_running_loop().time
        self._newcomer = ""
        self._since = 0.0

    async def step(self) -> bool:
        run_id = await scripts.process_of(self._redis)
        async with db.reading(self._pool) as conn:
            live = await sales.live_buckets(conn)
        strange = [b for b in live if b.run_id != run_id and b.fence_reason is None]
        if not strange:
            return False
        if run_id != self._newcomer:
            self._newcomer, self._since = run_id, self._clock()
        if self._clock() - self._since < WITNESS_S or await self._is_unfit():
            return False
        return await for_each(strange, self._judge)

    async def _judge(self, bucket: sales.Bucket) -> bool:
        judgement = await admit_redis(
            self._pool, self._redis, number=bucket.number, run_id=self._newcomer
        )
        note = log.error if judgement.outcome is Outcome.FENCED else log.info
        note(
            "redis_judged",
            sale_id=bucket.sale_id,
            bucket=bucket.number,
            outcome=judgement.outcome.value,
            reason=judgement.reason,
        )
        return False

    async def _is_unfit(self) -> bool:
        """A process that breaks a promise takes no claims until somebody mends it."""
        findings = await promises.check_redis(self._redis)
        for finding in findings:
            log.error("redis_breaks_a_promise", what=finding.what)
        return bool(findings)
