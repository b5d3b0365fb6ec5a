import asyncio
from collections.abc import Callable

from tests.patience import PATIENCE_S


async def eventually(holds: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait until this holds, or raise TimeoutError."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what we wait for tells nobody
            await asyncio.sleep(0.005)
