"""Connections to the very addresses that were checked, whatever a name leads to the next time."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpcore

from .addresses import Reach, check_address

# Names are looked up in threads of their own: a slow name server holds up no other kind of work.
LOOKUPS_MAX = 64
ADDRESSES_MAX = 4

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Resolver:
    """Asks the system for all addresses of a host."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, port)
        return list(dict.fromkeys(found))


def _look_up(host: str, port: int) -> list[str]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in rows]


class Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the very address that was checked: a name that is asked twice may answer twice.

    Certificates are held against the name all the same.
    """

    def __init__(self, reach: Reach, resolve: Resolve) -> None:
        self._reach = reach
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore names it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name leads nowhere: {error}") from error
        for address in addresses:
            check_address(address, self._reach)
        failure = httpcore.ConnectError("the name leads nowhere")
        for address in addresses[:ADDRESSES_MAX]:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except httpcore.ConnectError as error:
                failure = error
        raise failure
