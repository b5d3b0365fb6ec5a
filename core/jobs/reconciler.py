"""Finds the money that no message told us about, and closes what nobody is to pay any more."""

from core import payments
from core.flows.reconcile_payments import reconcile_payments
from core.kit import db

BATCH_MAX = 64
# Buyers who come back from a provider wait for this.
REST_S = 0.25


class Reconciler:
    def __init__(self, pool: db.Pool, channels: payments.Channels) -> None:
        self._pool = pool
        self._channels = channels

    async def step(self) -> bool:
        found = await reconcile_payments(self._pool, self._channels, batch_max=BATCH_MAX)
        return found == BATCH_MAX
