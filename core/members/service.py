from core.kit.db import Conn

from . import store


async def enrol_demo(conn: Conn, *, first: int, count: int) -> None:
    """Make demo members `first` to `first + count - 1` where they are missing."""
    await store.enrol_range(conn, first, count)
