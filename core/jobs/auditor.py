"""Audits every sale and the ledger, all the time. Drift turns `/health/ready`, the metrics and the
log. What is told of long times is added up on the way.
"""

import asyncio

import structlog
from redis.exceptions import RedisError

from core import fulfilment, ledger, sales
from core.flows.audit_ledger import FIRST, audit_page
from core.flows.audit_sale import audit_sale
from core.jobs.role import for_each
from core.kit import db
from core.kit.refusal import Refusal
from hotpath.nodes import Redis

REST_S = 1.0
# Nothing but a late cancel moves the books of a settled sale, and nobody may ever retire it.
SETTLED_REST_S = 10.0
CARRIED_MAX = 5_000
LEADS_REST_S = 60.0

log = structlog.get_logger()


class Auditor:
    def __init__(self, pool: db.Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis
        self._clock = asyncio.get_running_loop().time
        self._settled_due = 0.0
        self._leads_due = 0.0
        self._reached = FIRST
        self._drift = 0

    async def step(self) -> bool:
        parts = [self._audit_sales, self._audit_ledger, self._sum_up_leads]
        return await for_each(parts, lambda part: part())

    async def _sum_up_leads(self) -> bool:
        if self._clock() >= self._leads_due:
            self._leads_due = self._clock() + LEADS_REST_S
            async with db.transaction(self._pool) as conn:
                await fulfilment.sum_up_leads(conn)
        return False

    async def _audit_sales(self) -> bool:
        async with db.reading(self._pool) as conn:
            watched = await sales.watched(conn)
        is_settled_due = self._clock() >= self._settled_due
        if is_settled_due:
            self._settled_due = self._clock() + SETTLED_REST_S
        due = [sale.id for sale in watched if is_settled_due or sale.settled_at is None]
        return await for_each(due, self._audit)

    async def _audit(self, sale_id: sales.SaleId) -> bool:
        drift, backlog, problem = 0, 0, None
        try:
            found = await audit_sale(self._pool, self._redis, sale_id=sale_id)
            drift, backlog = found.drift, found.backlog
        except (Refusal, RedisError) as error:
            problem = str(error) or repr(error)
            log.warning("audit_impossible", sale_id=sale_id, problem=problem)
        if drift:
            log.error("audit_drift", sale_id=sale_id, drift=drift)
        async with db.transaction(self._pool) as conn:
            await sales.record_audit(
                conn, sale_id=sale_id, drift=drift, backlog=backlog, problem=problem
            )
        return False

    async def _audit_ledger(self) -> bool:
        """One page of the payments a step; what a round found stands until the next one ends."""
        async with db.transaction(self._pool) as conn:
            carried = await ledger.carry_forward(conn, batch_max=CARRIED_MAX)
        page = await audit_page(self._pool, after=self._reached)
        for one in page.mismatches:
            log.error("ledger_drift", reference=one.reference, kind=one.kind)
        self._drift += len(page.mismatches)
        self._reached = page.reached or FIRST
        async with db.transaction(self._pool) as conn:
            uneven = await ledger.uneven(conn)
            if self._drift or uneven or page.reached is None:
                await ledger.record_audit(conn, drift=self._drift + len(uneven))
        if page.reached is None:
            self._drift = 0
        return carried == CARRIED_MAX
