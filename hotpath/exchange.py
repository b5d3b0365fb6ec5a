"""Tells the other hosts what this one lets through, and counts what they say.

Several times a second each worker publishes its new claims, as (subject, claim, tick), and every
host enters them into its own rings: a repeat on another host still counts once, and windows slide
everywhere alike. Exact on one host, therefore, and late by less than a second between hosts. What
is published while nobody listens is lost. Without Redis each host counts for itself, and tells
the last of it when Redis is back.
"""

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from hotpath.risk import Risk

CHANNEL = "sluice:risk"
SEND_EVERY_S = 0.25
RECORDS_PER_MESSAGE_MAX = 4_096
RECORD_BYTES = 24
MESSAGE_BYTES_MAX = RECORD_BYTES * RECORDS_PER_MESSAGE_MAX
UNSENT_BYTES_MAX = 16 * MESSAGE_BYTES_MAX
HOST_BYTES = 8
WAIT_S = 1.0
PAUSE_S = 1.0
AWAY = (RedisError, OSError, TimeoutError)

log = structlog.get_logger()


class Exchange:
    """`clock` gives seconds since 1970, as for `Risk.decide`."""

    def __init__(self, redis: Redis, table: Risk, *, clock: Callable[[], float]) -> None:
        self._redis = redis
        self.table = table
        self._clock = clock
        self._unsent = b""
        self.sent = self.entered = 0

    async def tell(self) -> None:
        """Send for ever, with a pause whenever Redis is away."""
        while True:
            await asyncio.sleep(SEND_EVERY_S)
            try:
                await self.send()
            except AWAY as error:
                log.warning("risk_counts_alone", error=repr(error))
                await asyncio.sleep(PAUSE_S)

    async def send(self) -> None:
        """Publish what was let through since the last time; if nothing, that we are there.

        Whoever has heard of another host no longer takes its own memory for everybody's.
        """
        self._unsent = (self._unsent + self.table.drain())[-UNSENT_BYTES_MAX:]
        for _ in range(0, max(1, len(self._unsent)), MESSAGE_BYTES_MAX):
            await self._redis.publish(CHANNEL, self.table.host + self._unsent[:MESSAGE_BYTES_MAX])
            self._unsent = self._unsent[MESSAGE_BYTES_MAX:]
            self.sent += 1

    async def listen(self) -> None:
        """Hear the others for ever, with a pause whenever Redis is away."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    while True:
                        message = await channel.get_message(timeout=WAIT_S)
                        if message is not None:
                            self.hear(message["data"])
            except AWAY as error:
                log.warning("risk_hears_nobody", error=repr(error))
                await asyncio.sleep(PAUSE_S)

    def hear(self, message: bytes) -> None:
        """Count what another host says. What is not a message of this version counts nothing."""
        host, body = message[:HOST_BYTES], message[HOST_BYTES:]
        if host == self.table.host or len(host) < HOST_BYTES or len(body) % RECORD_BYTES:
            return
        if len(body) > MESSAGE_BYTES_MAX:
            return
        self.table.enter(body, self._clock())
        self.entered += len(body) // RECORD_BYTES
