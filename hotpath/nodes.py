"""redis-py's client, knowing which server has a bucket: one server, or a node of a cluster.

Made with retries off, as everywhere: neither a command nor a redirection is repeated by itself.
Whoever meets a bucket on its way from node to node fails, and asks again.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, cast

from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from hotpath.slots import ALONE, Node, SlotMap, read_slots, seeds

LEARN_S = 0.25
# While redis-py listens for them, its pools hand out connections that the server has closed.
NO_NOTICES = MaintNotificationsConfig(enabled=False)


class Redis(redis_asyncio.Redis):
    """A client of one server, and by `of` of whichever server has a bucket now."""

    _around: "_Around | None" = None

    async def of(self, bucket: int) -> "Redis":
        """Return a client of the server that has a bucket, by a map of a moment ago at the most.

        Raises redis' ConnectionError where nobody serves it or nobody can be asked.
        """
        slots = await self._learnt().slots_now()
        if slots is None:
            return self
        node = slots.node_of(bucket)
        if node is None:
            raise RedisConnectionError(f"no node serves bucket {bucket}")
        return self._learnt().clients[node]

    async def every(self) -> "list[Redis]":
        """Return a client of each server that has buckets."""
        slots = await self._learnt().slots_now()
        if slots is None:
            return [self]
        return [self._learnt().clients[node] for node in sorted(slots.nodes)]

    def client(self) -> "Redis":
        return cast("Redis", super().client())

    def begin_with(self, others: Sequence["Redis"]) -> None:
        """Ask these, too, who serves what."""
        self._around = _Around(self, others)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        if self._around is not None:
            for client in self._around.clients.values():
                await client.aclose(close_connection_pool=True)
        await super().aclose(close_connection_pool)

    def _learnt(self) -> "_Around":
        if self._around is None:
            self._around = _Around(self, ())
        return self._around


class _Around:
    """The servers around one: the map that they tell, and a client of each."""

    def __init__(self, home: Redis, others: Sequence[Redis]) -> None:
        self.clients = {address_of(client): client for client in others}
        self._home = home
        self._slots: SlotMap | None = None
        self._is_alone = False
        self._learning = asyncio.Lock()
        self._learnt_at = float("-inf")

    async def slots_now(self) -> SlotMap | None:
        """The map, learnt a moment ago at the most; None where one server has every bucket."""
        clock = asyncio.get_running_loop().time
        async with self._learning:
            if not self._is_alone and clock() - self._learnt_at >= LEARN_S:
                await self._ask()
                self._learnt_at = clock()
            return self._slots

    async def _ask(self) -> None:
        """Learn from the first that tells. Who does not is asked last from then on."""
        failure: Exception | None = None
        for node, client in [*self.clients.items(), (address_of(self._home), self._home)]:
            asked = cast("Awaitable[Any]", client.execute_command("CLUSTER", "SLOTS"))  # type: ignore[no-untyped-call]
            try:
                self._learn(read_slots(await asked, asked=node))
            except ResponseError as error:
                if ALONE in str(error):
                    self._is_alone = True
                    return
                failure = error
            except (RedisConnectionError, RedisTimeoutError, OSError, ValueError) as error:
                failure = error
            else:
                return
            if client is not self._home:
                self.clients[node] = self.clients.pop(node)
        raise RedisConnectionError(f"no Redis tells who serves what: {failure}") from failure

    def _learn(self, slots: SlotMap) -> None:
        pool = self._home.connection_pool
        for node in slots.nodes - self.clients.keys():
            settings = pool.connection_kwargs | {"host": node.host, "port": node.port}
            self.clients[node] = Redis(
                connection_pool=redis_asyncio.ConnectionPool(
                    connection_class=pool.connection_class,
                    maint_notifications_config=NO_NOTICES,
                    **settings,
                )
            )
        self._slots = slots


def connect(urls: str, *, timeout_s: float) -> Redis:
    """Make a client from one address or several, with commas. Use it with `async with`."""
    first, *others = (
        cast(
            "Redis",
            Redis.from_url(
                url,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                maint_notifications_config=NO_NOTICES,
            ),
        )
        for url in seeds(urls)
    )
    first.begin_with(others)
    return first


def address_of(client: Redis) -> Node:
    settings = client.connection_pool.connection_kwargs
    return Node(settings.get("host") or settings.get("path", ""), settings.get("port", 0))
