"""Sends out what is paid: plans its consignments, and lets their places pick the units."""

from core.flows.dispatch_orders import dispatch_orders
from core.kit import db

BATCH_MAX = 100
REST_S = 0.5


class Dispatcher:
    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool

    async def step(self) -> bool:
        return await dispatch_orders(self._pool, batch_max=BATCH_MAX) == BATCH_MAX
