"""Reads what happened in the shop, and writes messages for whoever wants to be told of it."""

from core.flows.tell_events import tell_events, wanted_sources
from core.jobs.role import for_each
from core.kit import db

REST_S = 0.5


class Herald:
    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool

    async def step(self) -> bool:
        sources = await wanted_sources(self._pool)
        return await for_each(sources, lambda source: tell_events(self._pool, source))
