"""Fetches what providers say of the days that are over, and of what buyers contest there."""

from datetime import date

import structlog

from core import payments, reconciliation
from core.flows.check_statement import fetch_statement
from core.flows.follow_disputes import follow_disputes
from core.kit import db

REST_S = 600.0
# A shop that was away for longer asks for the rest by hand.
DAYS_MAX = 7

log = structlog.get_logger()


class StatementTaker:
    def __init__(self, pool: db.Pool, channels: payments.Channels) -> None:
        self._pool = pool
        self._channels = channels
        self._asked: set[tuple[str, date]] = set()

    async def step(self) -> bool:
        """Ask about disputes, then take one day that is missing, each once in a round. A step
        that lasts is cut off, and the other days and providers have their turn all the same.
        """
        if await follow_disputes(self._pool, self._channels):
            return True
        for channel in self._channels.reporters:
            async with db.reading(self._pool) as conn:
                days = await reconciliation.missing_days(conn, channel=channel, days_max=DAYS_MAX)
            for day in days:
                if (channel, day) not in self._asked:
                    self._asked.add((channel, day))
                    await self._take(channel, day)
                    return True
        self._asked.clear()
        return False

    async def _take(self, channel: str, day: date) -> None:
        reporter = self._channels.reporter(channel)
        try:
            found = await fetch_statement(self._pool, reporter, channel=channel, day=day)
        except (payments.ChannelUnavailable, payments.ProviderRefused) as error:
            log.warning("no_statement", channel=channel, day=f"{day}", problem=str(error))
            return
        if found.open_count:
            log.error("statement_differs", channel=channel, day=f"{day}", count=found.open_count)
