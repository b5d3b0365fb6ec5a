"""Reads what happened in the shop, and writes messages for whoever wants to be told of it."""

from core import webhooks
from core.flows.tell_events import tell_events
from core.jobs.role import for_each
from core.kit import db

REST_S = 0.5


class Herald:
    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool

    async def step(self) -> bool:
        return await for_each(webhooks.Source, lambda source: tell_events(self._pool, source))
