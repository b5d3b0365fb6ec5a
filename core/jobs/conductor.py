"""Opens and closes sales at their times, tells Redis their state, settles closed ones."""

from functools import partial

import structlog

from core import sales
from core.flows.run_sale import close_sale, tell_redis
from core.flows.settle_sale import settle_sale
from core.jobs.role import for_each
from core.kit import db
from core.kit.refusal import Refusal
from hotpath.loading import EpochMoved
from hotpath.nodes import Redis

REST_S = 0.25

log = structlog.get_logger()


class Conductor:
    def __init__(self, pool: db.Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis

    async def step(self) -> bool:
        async with db.transaction(self._pool) as conn:
            for sale_id in await sales.open_due(conn):
                log.info("sale_opened", sale_id=sale_id)
            for sale_id in await sales.note_sold_out(conn):
                log.info("sale_sold_out", sale_id=sale_id)
            due = await sales.due_to_close(conn)
            watched = await sales.watched(conn)
        unsettled = [sale for sale in watched if sale.settled_at is None]
        deeds = [partial(self._close, sale) for sale in due]
        deeds += [partial(self._follow_up, sale) for sale in unsettled]
        return await for_each(deeds, lambda deed: deed())

    async def _close(self, sale: sales.Sale) -> bool:
        """Redis' clock decides the window, and Postgres' may be ahead: to close is for good."""
        for node in await self._redis.every():
            seconds, microseconds = await node.time()
            if seconds + microseconds / 1e6 < sale.ends_at.timestamp():
                return False
        try:
            await close_sale(self._pool, self._redis, sale_id=sale.id)
            log.info("sale_closed", sale_id=sale.id)
        except Refusal as refusal:
            log.warning("sale_closes_later", sale_id=sale.id, reason=str(refusal))
        return False

    async def _follow_up(self, sale: sales.Sale) -> bool:
        """Whatever was decided in Postgres while Redis was away is told to it again."""
        async with db.reading(self._pool) as conn:
            buckets = await sales.buckets(conn, sale_id=sale.id)
        try:
            await tell_redis(self._redis, sale, [b for b in buckets if b.run_id is not None])
        except EpochMoved as moved:
            log.warning("redis_bears_another_epoch", sale_id=sale.id, stamp=str(moved))
            return False
        if sale.state == sales.State.CLOSED and await settle_sale(
            self._pool, self._redis, sale_id=sale.id
        ):
            log.info("sale_settled", sale_id=sale.id)
        return False
