"""Fetches what providers say of the days that are over, and holds it against our books."""

from collections.abc import Mapping
from datetime import date
from functools import partial

import structlog

from core import payments, reconciliation
from core.flows.check_statement import fetch_statement
from core.jobs.role import for_each
from core.kit import db

REST_S = 600.0
# A shop that was away for longer asks for the rest by hand.
DAYS_MAX = 7

log = structlog.get_logger()


class StatementTaker:
    def __init__(self, pool: db.Pool, reporters: Mapping[str, payments.Reporter]) -> None:
        self._pool = pool
        self._reporters = reporters

    async def step(self) -> bool:
        return await for_each(self._reporters, self._take_missing)

    async def _take_missing(self, channel: str) -> bool:
        async with db.reading(self._pool) as conn:
            days = await reconciliation.missing_days(conn, channel=channel, days_max=DAYS_MAX)
        return await for_each(days, partial(self._take, channel))

    async def _take(self, channel: str, day: date) -> bool:
        reporter = self._reporters[channel]
        try:
            found = await fetch_statement(self._pool, reporter, channel=channel, day=day)
        except (payments.ChannelUnavailable, payments.ProviderRefused) as error:
            log.warning("no_statement", channel=channel, day=f"{day}", problem=str(error))
            return False
        if found.open_count:
            log.error("statement_differs", channel=channel, day=f"{day}", count=found.open_count)
        return False
