"""Finds the money that no message told us about, and closes what nobody is to pay any more.

Each provider is asked at its own pace: one that takes long keeps no other's buyers waiting.
"""

import asyncio

from core import payments
from core.flows.reconcile_payments import reconcile_payments
from core.kit import db

BATCH_MAX = 64
# Buyers who come back from a provider wait for this.
REST_S = 0.25


class Reconciler:
    def __init__(self, pool: db.Pool, channels: payments.Channels) -> None:
        self._pool = pool
        self._alone = {name: channels.only(name) for name in channels.offered}
        self._asking: dict[str, asyncio.Task[int]] = {}

    async def step(self) -> bool:
        """Ask every provider that is not being asked, and wait a moment for the answers."""
        for name in self._alone.keys() - self._asking.keys():
            asking = reconcile_payments(self._pool, self._alone[name], batch_max=BATCH_MAX)
            self._asking[name] = asyncio.create_task(asking)
        if not self._asking:
            return False
        await asyncio.wait(self._asking.values(), timeout=REST_S)
        ended = [name for name, task in self._asking.items() if task.done()]
        found = await asyncio.gather(*(self._asking.pop(name) for name in ended))
        return BATCH_MAX in found

    async def end(self) -> None:
        """Leave what is being asked: whoever plays next asks again."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
