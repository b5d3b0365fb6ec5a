"""Sends messages to those who want them, each endpoint at its own pace.

What is on its way stays so from step to step: a slow endpoint keeps nobody waiting but itself. Who
is killed with a message in hand has not noted what came of it, and so it is sent again.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from core import webhooks
from core.kit import db

REST_S = 0.25
TIDY_S = 60.0
KEEP_DAYS = 30
FORGOTTEN_MAX = 1_000
# Nobody is sent what cannot be signed.
UNSIGNED = webhooks.Answer(error="the key of its secret is not kept any more: rotate the secret")

log = structlog.get_logger()


class Courier:
    def __init__(self, pool: db.Pool, sender: webhooks.Sender, keys: webhooks.Keys) -> None:
        self._pool = pool
        self._sender = sender
        self._keys = keys
        self._sent: dict[asyncio.Task[None], webhooks.SubscriptionId] = {}
        self._clock = asyncio.get_running_loop().time
        self._tidy_at = 0.0

    async def step(self) -> bool:
        """Send what is due, and do not wait for it."""
        if self._clock() >= self._tidy_at:
            await self._tidy()
        async with db.transaction(self._pool) as conn:
            taken = await webhooks.take(conn, Counter(self._sent.values()))
            if not taken:
                return False
            who = {due.subscription_id for due in taken}
            secrets = await webhooks.secrets(conn, self._keys, subscription_ids=who)
        for due in taken:
            task = asyncio.create_task(self._deliver(due, secrets[due.subscription_id]))
            self._sent[task] = due.subscription_id
            task.add_done_callback(self._come_back)
        return True

    async def end(self) -> None:
        """Leave what is on its way: whoever plays next sends it again."""
        tasks = list(self._sent)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _come_back(self, task: asyncio.Task[None]) -> None:
        del self._sent[task]
        if not task.cancelled() and (error := task.exception()):
            log.warning("delivery_not_noted", error=repr(error))

    async def _deliver(self, due: webhooks.Due, secrets: Sequence[bytes]) -> None:
        began_at, began = datetime.now(UTC), self._clock()
        answer = UNSIGNED
        if secrets:
            signed = webhooks.headers(due.message_id, due.body, secrets, now_s=int(time.time()))
            answer = await self._sender.send(due.url, signed, due.body)
        attempt = webhooks.Attempt(
            number=due.attempt,
            began_at=began_at,
            latency_ms=round((self._clock() - began) * 1_000),
            status=answer.status,
            answer=webhooks.shown(answer.body),
            error=answer.error,
        )
        async with db.transaction(self._pool) as conn:
            if answer.is_success:
                await webhooks.arrived(conn, due, attempt)
                return
            draw = random.random()  # noqa: S311 - spreads retries; nothing is decided by it
            reason = await webhooks.failed(
                conn, due, attempt, answer, now=datetime.now(UTC), draw=draw
            )
        if reason:
            log.error("webhook_disabled", subscription_id=due.subscription_id, reason=reason)

    async def _tidy(self) -> None:
        """Once a minute: forget what is old, and stop for whom too much waits."""
        self._tidy_at = self._clock() + TIDY_S
        async with db.transaction(self._pool) as conn:
            for subscription_id in await webhooks.disable_overrun(conn):
                log.error("webhook_disabled", subscription_id=subscription_id, reason="overrun")
        async with db.transaction(self._pool) as conn:
            forgotten = await webhooks.forget(conn, days=KEEP_DAYS, batch_max=FORGOTTEN_MAX)
        async with db.transaction(self._pool) as conn:
            purged = await webhooks.purge(conn, batch_max=FORGOTTEN_MAX)
        if FORGOTTEN_MAX in {forgotten, purged}:
            self._tidy_at = self._clock() + 1.0
