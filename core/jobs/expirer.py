"""Cancels orders whose hold is over."""

from core.flows.expire_holds import expire_holds
from core.kit import db

BATCH_MAX = 500
REST_S = 0.5


class Expirer:
    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool

    async def step(self) -> bool:
        return await expire_holds(self._pool, batch_max=BATCH_MAX) == BATCH_MAX
