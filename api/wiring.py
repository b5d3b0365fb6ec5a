"""Clients made from settings, the same way for every process."""

import base64
import binascii
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core import payments
from core.settings import Settings, UnreadableSettings, split
from hotpath.receipts import Keyring

REDIS_TIMEOUT_S = 5.0
SECRET_BYTES_MIN = 32
RECEIPT_KEY_BYTES_MIN = 16


def redis_client(settings: Settings) -> Redis:
    """A client that never repeats a command by itself. Use it with `async with`."""
    return Redis.from_url(
        settings.redis_url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
    )


@asynccontextmanager
async def payment_provider(settings: Settings) -> AsyncIterator[payments.Provider]:
    """The way to the sandbox provider. Proxies of the environment are none of its business."""
    async with httpx.AsyncClient(trust_env=False) as http:
        yield payments.SandboxClient(
            http,
            url=settings.sandbox_url,
            secret=settings.sandbox_secret.encode(),
            shop_url=settings.shop_url,
            clock=time.time,
        )


def keyring(settings: Settings) -> Keyring:
    """Read SLUICE_RECEIPT_KEYS."""
    keys: dict[int, bytes] = {}
    for part in split(settings.receipt_keys):
        number, _, text = part.partition(":")
        try:
            keys[int(number)] = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            raise UnreadableSettings("SLUICE_RECEIPT_KEYS is not 1:BASE64,2:BASE64") from None
    if not keys or min(keys) < 1 or min(map(len, keys.values())) < RECEIPT_KEY_BYTES_MIN:
        raise UnreadableSettings(
            f"SLUICE_RECEIPT_KEYS needs keys of {RECEIPT_KEY_BYTES_MIN} bytes or more, from 1 up"
        )
    return Keyring(keys)


def token_secret(settings: Settings) -> str:
    if len(settings.token_secret.encode()) < SECRET_BYTES_MIN:
        raise UnreadableSettings(f"SLUICE_TOKEN_SECRET needs {SECRET_BYTES_MIN} bytes or more")
    return settings.token_secret
